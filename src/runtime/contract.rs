//! The types of the WIT package `airssys:core@1.0.0` at the component boundary.
//!
//! Values passed to a guest are borrowed; values from a guest are owned.

use wasmtime::StoreContextMut;
use wasmtime::component::{Component, ComponentType, Lift, Lower};

use crate::core::bounds::{
    MAX_ERROR_TEXT_BYTES, MAX_METADATA_TEXT_BYTES, MAX_OPERATION_BYTES, MAX_OPERATIONS,
};
use crate::core::error::{self, InHostWords, MessagingError as CoreMessagingError};
use crate::core::id::{self, shorten};
use crate::core::log;
use crate::core::message;
use crate::core::metadata;
use crate::runtime::lifting::{CutText, Excerpt, ShortText, TooLong};
use crate::runtime::load_error::LoadError;
use crate::storage::backend;

/// The interface exported by components.
pub const LIFECYCLE: &str = "airssys:core/component-lifecycle@1.0.0";
/// The interface for messages between components.
pub const MESSAGING: &str = "airssys:core/host-messaging@1.0.0";
/// The interface for logging, time and the directory of components.
pub const SERVICES: &str = "airssys:core/host-services@1.0.0";
/// The interface for a component's own storage.
pub const STORAGE: &str = "airssys:core/storage@1.0.0";

/// The interface exported by components that hand their state over.
pub const STATE: &str = "airssys:core/component-state@1.1.0";

/// Returns whether a name is that of an interface, in any version that a component may be made for:
/// minor versions only add to one another.
pub fn is_of(interface: &str, name: &str) -> bool {
    let major = |name: &str| {
        let (name, version) = name.split_once('@')?;
        Some((name.to_owned(), version.split_once('.')?.0.to_owned()))
    };
    interface == name || major(interface).is_some_and(|of| Some(of) == major(name))
}

/// Refuses a component that exports one of the interfaces in a version that is not called.
pub fn check_exports(component: &Component) -> Result<(), LoadError> {
    for (name, _) in component.component_type().exports(component.engine()) {
        for known in [LIFECYCLE, STATE] {
            let interface = |name: &str| name.split('@').next().map(str::to_owned);
            if interface(known) == interface(name) && !is_of(known, name) {
                return Err(LoadError::InvalidComponent(format!(
                    "it exports {}, and this host calls {known} and later minor versions",
                    shorten(name)
                )));
            }
        }
    }
    Ok(())
}

/// A component id from a guest, still in its memory.
#[derive(ComponentType, Lift)]
#[component(record)]
pub struct ComponentId {
    pub namespace: IdPart,
    pub name: IdPart,
    pub instance: IdPart,
}

/// One part of an id.
type IdPart = ShortText<{ id::MAX_PART_BYTES }>;

impl ComponentId {
    /// Returns the size of the texts in the guest's memory.
    pub fn bytes(&self) -> u64 {
        let Self { namespace, name, instance } = self;
        [namespace, name, instance].map(|part| part.bytes() as u64).iter().sum()
    }

    /// Calls `use_id` with the id as in the guest's memory, unless a part is too long. Malformed
    /// text is a trap, as in the Canonical ABI.
    pub fn read<T: 'static, R>(
        &self,
        store: &StoreContextMut<'_, T>,
        use_id: impl FnOnce(id::RawId<'_>) -> R,
    ) -> wasmtime::Result<Result<R, id::InvalidId>> {
        let part = |which, part: &IdPart| {
            let text = part.read(store, which)?;
            Ok::<_, wasmtime::Error>(
                text.map_err(|TooLong { bytes }| id::InvalidId::too_long(which, bytes)),
            )
        };
        let parts = (
            part("namespace", &self.namespace)?,
            part("name", &self.name)?,
            part("instance", &self.instance)?,
        );
        Ok(match parts {
            (Ok(namespace), Ok(name), Ok(instance)) => {
                Ok(use_id(id::RawId { namespace: &namespace, name: &name, instance: &instance }))
            }
            (Err(invalid), ..) | (_, Err(invalid), _) | (.., Err(invalid)) => Err(invalid),
        })
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub struct ComponentIdRef<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub instance: &'a str,
}

impl<'a> From<&'a id::ComponentId> for ComponentIdRef<'a> {
    fn from(id: &'a id::ComponentId) -> Self {
        Self { namespace: id.namespace(), name: id.name(), instance: id.instance() }
    }
}

/// A component id returned by a host function, which cannot borrow.
#[derive(ComponentType, Lower)]
#[component(record)]
pub struct ComponentIdOwned {
    pub namespace: String,
    pub name: String,
    pub instance: String,
}

impl From<&id::ComponentId> for ComponentIdOwned {
    fn from(id: &id::ComponentId) -> Self {
        Self {
            namespace: id.namespace().to_owned(),
            name: id.name().to_owned(),
            instance: id.instance().to_owned(),
        }
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub struct Timestamp {
    pub seconds: u64,
    pub nanoseconds: u32,
}

impl From<message::Timestamp> for Timestamp {
    fn from(time: message::Timestamp) -> Self {
        Self { seconds: time.seconds(), nanoseconds: time.nanoseconds() }
    }
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct MessageMetadata<'a> {
    #[component(name = "correlation-id")]
    pub correlation_id: Option<&'a str>,
    #[component(name = "reply-to")]
    pub reply_to: Option<ComponentIdRef<'a>>,
    pub timestamp: Timestamp,
    #[component(name = "content-type")]
    pub content_type: Option<&'a str>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct ComponentMessage<'a> {
    pub sender: ComponentIdRef<'a>,
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
    pub env_vars: &'a [(String, String)],
    #[component(name = "config-data")]
    pub config_data: Option<&'a [u8]>,
    #[component(name = "resource-limits")]
    pub resource_limits: ResourceLimits,
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub enum LogLevel {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

impl From<LogLevel> for log::LogLevel {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Trace => Self::Trace,
            LogLevel::Debug => Self::Debug,
            LogLevel::Info => Self::Info,
            LogLevel::Warn => Self::Warn,
            LogLevel::Error => Self::Error,
        }
    }
}

#[derive(ComponentType, Lift, Clone, Copy, Debug, PartialEq, Eq)]
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

impl HealthStatus {
    /// All cases, in the order of the WIT enum.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Unhealthy, Self::Unknown];

    /// Returns the WIT case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the status with this name, or unknown.
    pub fn named(name: &[u8]) -> Self {
        let named = |status: &Self| status.name().as_bytes() == name;
        Self::ALL.into_iter().find(named).unwrap_or(Self::Unknown)
    }

    /// Returns the worse of two; from worst to best: unhealthy, degraded, unknown, healthy.
    pub fn worse(one: Self, other: Self) -> Self {
        let badness = |status| match status {
            Self::Healthy => 0,
            Self::Unknown => 1,
            Self::Degraded => 2,
            Self::Unhealthy => 3,
        };
        if badness(other) > badness(one) { other } else { one }
    }
}

/// A guest's description of itself.
#[derive(ComponentType, Lift)]
#[component(record)]
pub struct ComponentMetadata {
    name: MetadataText,
    version: MetadataText,
    description: MetadataText,
    author: MetadataText,
    license: MetadataText,
    #[component(name = "supported-operations")]
    supported_operations: Vec<Excerpt<MAX_OPERATION_BYTES>>,
    stateful: bool,
}

type MetadataText = Excerpt<MAX_METADATA_TEXT_BYTES>;

impl ComponentMetadata {
    /// Validates the metadata against its bounds.
    pub fn checked(self) -> Result<metadata::ComponentMetadata, metadata::Oversized> {
        let text = |name, text: MetadataText| {
            text.whole().map_err(|TooLong { bytes }| metadata::Oversized::Text {
                name,
                bytes,
                limit: MAX_METADATA_TEXT_BYTES,
            })
        };
        let operations = self.supported_operations;
        if operations.len() > MAX_OPERATIONS {
            return Err(metadata::Oversized::Operations { count: operations.len() });
        }
        let operation = |operation: Excerpt<MAX_OPERATION_BYTES>| {
            operation.whole().map_err(|TooLong { bytes }| metadata::Oversized::Text {
                name: "supported-operations",
                bytes,
                limit: MAX_OPERATION_BYTES,
            })
        };
        Ok(metadata::ComponentMetadata {
            name: text("name", self.name)?,
            version: text("version", self.version)?,
            description: text("description", self.description)?,
            author: text("author", self.author)?,
            license: text("license", self.license)?,
            supported_operations: operations
                .into_iter()
                .map(operation)
                .collect::<Result<_, _>>()?,
            stateful: self.stateful,
        })
    }
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct ComponentInfo {
    pub id: ComponentIdOwned,
    pub name: String,
    pub version: String,
    pub health: String,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct StorageUsage {
    #[component(name = "used-bytes")]
    pub used_bytes: u64,
    #[component(name = "quota-bytes")]
    pub quota_bytes: u64,
    #[component(name = "key-count")]
    pub key_count: u64,
}

/// The part of a guest's error text that is kept.
pub type ErrorText = CutText<MAX_ERROR_TEXT_BYTES>;

#[derive(ComponentType, Lift)]
#[component(variant)]
pub enum WasmError {
    #[component(name = "component-not-found")]
    ComponentNotFound(ErrorText),
    #[component(name = "instantiation-failed")]
    InstantiationFailed(ErrorText),
    #[component(name = "export-not-found")]
    ExportNotFound(ErrorText),
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "resource-limit-exceeded")]
    ResourceLimitExceeded(ErrorText),
    #[component(name = "invalid-component")]
    InvalidComponent(ErrorText),
    #[component(name = "runtime-error")]
    RuntimeError(ErrorText),
}

impl From<WasmError> for error::WasmError {
    fn from(error: WasmError) -> Self {
        match error {
            WasmError::ComponentNotFound(text) => Self::ComponentNotFound(text.into()),
            WasmError::InstantiationFailed(text) => Self::InstantiationFailed(text.into()),
            WasmError::ExportNotFound(text) => Self::ExportNotFound(text.into()),
            WasmError::Timeout => Self::Timeout,
            WasmError::ResourceLimitExceeded(text) => Self::ResourceLimitExceeded(text.into()),
            WasmError::InvalidComponent(text) => Self::InvalidComponent(text.into()),
            WasmError::RuntimeError(text) => Self::RuntimeError(text.into()),
        }
    }
}

/// A life-cycle error returned by a guest.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub enum LifecycleError {
    #[component(name = "initialization-failed")]
    InitializationFailed(ErrorText),
    #[component(name = "already-initialized")]
    AlreadyInitialized,
    #[component(name = "not-initialized")]
    NotInitialized,
    #[component(name = "shutdown-failed")]
    ShutdownFailed(ErrorText),
    #[component(name = "invalid-state")]
    InvalidState(ErrorText),
}

impl From<LifecycleError> for error::ComponentError {
    fn from(error: LifecycleError) -> Self {
        match error {
            LifecycleError::InitializationFailed(text) => Self::InitializationFailed(text.into()),
            LifecycleError::AlreadyInitialized => Self::AlreadyInitialized,
            LifecycleError::NotInitialized => Self::NotInitialized,
            LifecycleError::ShutdownFailed(text) => Self::ShutdownFailed(text.into()),
            LifecycleError::InvalidState(text) => Self::InvalidState(text.into()),
        }
    }
}

/// A life-cycle error returned by a host function.
#[derive(ComponentType, Lower)]
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

impl From<error::ComponentError> for ComponentError {
    fn from(error: error::ComponentError) -> Self {
        match error {
            error::ComponentError::InitializationFailed(text) => Self::InitializationFailed(text),
            error::ComponentError::AlreadyInitialized => Self::AlreadyInitialized,
            error::ComponentError::NotInitialized => Self::NotInitialized,
            error::ComponentError::ShutdownFailed(text) => Self::ShutdownFailed(text),
            error::ComponentError::InvalidState(text) => Self::InvalidState(text),
        }
    }
}

#[derive(ComponentType, Lower)]
#[component(variant)]
#[expect(dead_code, reason = "the variant is complete as the WIT package has it")]
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
    TargetNotFound(ComponentIdOwned),
}

impl From<CoreMessagingError> for MessagingError {
    fn from(error: CoreMessagingError) -> Self {
        match error {
            CoreMessagingError::DeliveryFailed(text) => Self::DeliveryFailed(text),
            CoreMessagingError::InvalidMessage(text) => Self::InvalidMessage(text),
            CoreMessagingError::HostDeliveryFailed(_)
            | CoreMessagingError::HostInvalidMessage(_) => error.withheld().0.into(),
            CoreMessagingError::QueueFull { .. } | CoreMessagingError::RemoteQueueFull(_) => {
                Self::QueueFull
            }
            CoreMessagingError::TargetNotFound([namespace, name, instance]) => {
                Self::TargetNotFound(ComponentIdOwned { namespace, name, instance })
            }
        }
    }
}

#[derive(ComponentType, Lower)]
#[component(variant)]
#[expect(dead_code, reason = "the variant is complete as the WIT package has it")]
pub enum StorageError {
    #[component(name = "not-found")]
    NotFound(String),
    #[component(name = "already-exists")]
    AlreadyExists(String),
    #[component(name = "quota-exceeded")]
    QuotaExceeded,
    #[component(name = "invalid-key")]
    InvalidKey(String),
    #[component(name = "io-error")]
    IoError(String),
}

impl From<backend::StorageError> for StorageError {
    fn from(error: backend::StorageError) -> Self {
        match error {
            backend::StorageError::NotFound(text) => Self::NotFound(text),
            backend::StorageError::QuotaExceeded => Self::QuotaExceeded,
            backend::StorageError::InvalidKey(text) => Self::InvalidKey(text),
            backend::StorageError::Io(text) | backend::StorageError::Denied(text) => {
                Self::IoError(text)
            }
            backend::StorageError::Unsupported(_) | backend::StorageError::WouldDeadlock => {
                Self::IoError(error.to_string())
            }
            backend::StorageError::HostInvalidKey(_)
            | backend::StorageError::HostIo(_)
            | backend::StorageError::File { .. } => error.withheld().0.into(),
        }
    }
}
