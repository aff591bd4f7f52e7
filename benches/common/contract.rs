//! The types of the contract, borrowed like the library's own.

use wasmtime::component::{ComponentType, Lift, Lower, WasmStr};

pub const LIFECYCLE: &str = "airssys:core/component-lifecycle@1.0.0";
pub const MESSAGING: &str = "airssys:core/host-messaging@1.0.0";

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub struct ComponentId<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub instance: &'a str,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub struct Timestamp {
    pub seconds: u64,
    pub nanoseconds: u32,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct MessageMetadata<'a> {
    #[component(name = "correlation-id")]
    pub correlation_id: Option<&'a str>,
    #[component(name = "reply-to")]
    pub reply_to: Option<ComponentId<'a>>,
    pub timestamp: Timestamp,
    #[component(name = "content-type")]
    pub content_type: Option<&'a str>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct ComponentMessage<'a> {
    pub sender: ComponentId<'a>,
    pub payload: &'a [u8],
    pub metadata: MessageMetadata<'a>,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub struct ResourceLimits {
    #[component(name = "max-memory-bytes")]
    pub max_memory_bytes: u64,
    #[component(name = "max-execution-time-ms")]
    pub max_execution_time_ms: u64,
    #[component(name = "max-fuel")]
    pub max_fuel: Option<u64>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct ComponentConfig<'a> {
    #[component(name = "env-vars")]
    pub env_vars: &'a [(&'a str, &'a str)],
    #[component(name = "config-data")]
    pub config_data: Option<&'a [u8]>,
    #[component(name = "resource-limits")]
    pub resource_limits: ResourceLimits,
}

/// An id that a guest passes, still in its memory.
#[derive(ComponentType, Lift)]
#[component(record)]
pub struct GuestId {
    pub namespace: WasmStr,
    pub name: WasmStr,
    pub instance: WasmStr,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct OwnedId {
    pub namespace: String,
    pub name: String,
    pub instance: String,
}

#[derive(ComponentType, Lower)]
#[component(variant)]
pub enum MessagingError {
    #[component(name = "delivery-failed")]
    DeliveryFailed(String),
    #[component(name = "correlation-timeout")]
    CorrelationTimeout(String),
    #[component(name = "invalid-message")]
    InvalidMessage(String),
    #[component(name = "queue-full")]
    QueueFull,
    #[component(name = "target-not-found")]
    TargetNotFound(OwnedId),
}

#[derive(ComponentType, Lift, Debug)]
#[component(variant)]
pub enum WasmError {
    #[component(name = "component-not-found")]
    ComponentNotFound(String),
    #[component(name = "instantiation-failed")]
    InstantiationFailed(String),
    #[component(name = "export-not-found")]
    ExportNotFound(String),
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "resource-limit-exceeded")]
    ResourceLimitExceeded(String),
    #[component(name = "invalid-component")]
    InvalidComponent(String),
    #[component(name = "runtime-error")]
    RuntimeError(String),
}

#[derive(ComponentType, Lift, Debug)]
#[component(variant)]
pub enum ComponentError {
    #[component(name = "initialization-failed")]
    InitializationFailed(String),
    #[component(name = "already-initialized")]
    AlreadyInitialized,
    #[component(name = "not-initialized")]
    NotInitialized,
    #[component(name = "shutdown-failed")]
    ShutdownFailed(String),
    #[component(name = "invalid-state")]
    InvalidState(String),
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub struct ComponentMetadata {
    pub name: String,
    pub version: String,
    pub description: String,
    pub author: String,
    pub license: String,
    #[component(name = "supported-operations")]
    pub supported_operations: Vec<String>,
    pub stateful: bool,
}

#[derive(ComponentType, Lift, Debug, Clone, Copy, PartialEq)]
#[component(enum)]
#[repr(u8)]
pub enum HealthStatus {
    #[component(name = "healthy")]
    Healthy,
    #[component(name = "degraded")]
    Degraded,
    #[component(name = "unhealthy")]
    Unhealthy,
    #[component(name = "unknown")]
    Unknown,
}

pub type InitializeResult = (Result<(), ComponentError>,);
pub type MessageResult = (Result<Option<Vec<u8>>, WasmError>,);
