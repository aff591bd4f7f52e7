//! Errors that cross layers: failures of handling and of delivery.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::core::account::HostBytesExceeded;
use crate::core::id::{ComponentId, CorrelationId};
use crate::core::limits::{Full, MailboxBounds};

/// The WIT variant `wasm-error`: a guest's own error for a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WasmError {
    #[error("component-not-found: {0}")]
    ComponentNotFound(String),
    #[error("instantiation-failed: {0}")]
    InstantiationFailed(String),
    #[error("export-not-found: {0}")]
    ExportNotFound(String),
    #[error("timeout")]
    Timeout,
    #[error("resource-limit-exceeded: {0}")]
    ResourceLimitExceeded(String),
    #[error("invalid-component: {0}")]
    InvalidComponent(String),
    #[error("runtime-error: {0}")]
    RuntimeError(String),
}

impl WasmError {
    /// Returns the WIT case name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ComponentNotFound(_) => "component-not-found",
            Self::InstantiationFailed(_) => "instantiation-failed",
            Self::ExportNotFound(_) => "export-not-found",
            Self::Timeout => "timeout",
            Self::ResourceLimitExceeded(_) => "resource-limit-exceeded",
            Self::InvalidComponent(_) => "invalid-component",
            Self::RuntimeError(_) => "runtime-error",
        }
    }
}

/// The WIT variant `component-error`: a guest's own error from a life-cycle function.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ComponentError {
    #[error("initialization-failed: {0}")]
    InitializationFailed(String),
    #[error("already-initialized")]
    AlreadyInitialized,
    #[error("not-initialized")]
    NotInitialized,
    #[error("shutdown-failed: {0}")]
    ShutdownFailed(String),
    #[error("invalid-state: {0}")]
    InvalidState(String),
}

/// A limit that a component exceeded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LimitBreach {
    /// All memories together would exceed the limit.
    #[error("max-memory-bytes {limit} exceeded: {wanted} bytes wanted")]
    Memory {
        /// The limit.
        limit: u64,
        /// The refused total.
        wanted: u64,
    },
    /// All tables together would exceed the limit.
    #[error("max-table-elements {limit} exceeded: {wanted} elements wanted")]
    TableElements {
        /// The limit.
        limit: u64,
        /// The refused total.
        wanted: u64,
    },
    /// Host memory held for the component would exceed the limit.
    #[error("{0}")]
    HostBytes(HostBytesExceeded),
    /// A message or a reply exceeds the limit.
    #[error("max-message-bytes {limit} exceeded: {bytes} bytes")]
    MessageBytes {
        /// The limit.
        limit: u64,
        /// The size of the message or reply.
        bytes: u64,
    },
    /// Too many core instances.
    #[error("max-instances {limit} exceeded")]
    Instances {
        /// The limit.
        limit: u64,
    },
    /// Too many resources that the host has handles for.
    #[error("{limit} resource handles exceeded: drop those that are no longer used")]
    Resources {
        /// The limit.
        limit: u64,
    },
    /// Too many memories.
    #[error("{limit} memories exceeded")]
    Memories {
        /// The limit.
        limit: u64,
    },
    /// Too many tables.
    #[error("{limit} tables exceeded")]
    Tables {
        /// The limit.
        limit: u64,
    },
    /// The message used up its fuel.
    #[error("max-fuel {limit} exceeded")]
    Fuel {
        /// The limit.
        limit: u64,
    },
    /// The guest's call stack overflowed.
    #[error("stack of {limit} bytes exhausted")]
    Stack {
        /// The limit.
        limit: u64,
    },
    /// A quota, where the interface has no error of its own for it.
    #[error("quota {name} {limit} exceeded")]
    Quota {
        /// The quota's name in the options.
        name: &'static str,
        /// The quota's value.
        limit: u64,
        /// Whether the audit already has a record of the breach.
        recorded: bool,
    },
}

impl From<HostBytesExceeded> for LimitBreach {
    fn from(exceeded: HostBytesExceeded) -> Self {
        Self::HostBytes(exceeded)
    }
}

impl LimitBreach {
    /// Returns name and value of the limit.
    pub fn limit(&self) -> (&'static str, u64) {
        match *self {
            Self::Memory { limit, .. } => ("max-memory-bytes", limit),
            Self::TableElements { limit, .. } => ("max-table-elements", limit),
            Self::HostBytes(HostBytesExceeded { limit, .. }) => ("max-host-bytes", limit),
            Self::MessageBytes { limit, .. } => ("max-message-bytes", limit),
            Self::Instances { limit } => ("max-instances", limit),
            Self::Resources { limit } => ("resource-handles", limit),
            Self::Memories { limit } => ("memories", limit),
            Self::Tables { limit } => ("tables", limit),
            Self::Fuel { limit } => ("max-fuel", limit),
            Self::Stack { limit } => ("stack-bytes", limit),
            Self::Quota { name, limit, .. } => (name, limit),
        }
    }
}

/// A payload too large for its receiver.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unfit {
    /// A reply larger than its component may send.
    #[error("the reply has {bytes} bytes, beyond max-message-bytes {limit}")]
    Reply {
        /// The size in bytes.
        bytes: u64,
        /// The largest size allowed.
        limit: u64,
    },
    /// An outcome too large for its requester.
    #[error("the outcome has {bytes} bytes, beyond the requester's {limit} {value}")]
    Outcome {
        /// The size in bytes.
        bytes: u64,
        /// The limit of the requester.
        limit: &'static str,
        /// The value of that limit.
        value: u64,
    },
    /// A state too large to be handed over.
    #[error("the state has {bytes} bytes, beyond max-host-bytes {limit}")]
    State {
        /// The size in bytes.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A payload too large for the receiver's memory.
    #[error(
        "{bytes} bytes do not fit: the receiver uses {used} of max-memory-bytes {limit} and has \
         handled no payload as large at that size"
    )]
    Memory {
        /// The size in bytes.
        bytes: u64,
        /// The memory that the receiver may use.
        limit: u64,
        /// The memory that it uses.
        used: u64,
    },
}

impl Unfit {
    /// Returns name and value of the limit.
    pub fn limit(&self) -> (&'static str, u64) {
        match *self {
            Self::Reply { limit, .. } => ("max-message-bytes", limit),
            Self::Outcome { limit, value, .. } => (limit, value),
            Self::State { limit, .. } => ("max-host-bytes", limit),
            Self::Memory { limit, .. } => ("max-memory-bytes", limit),
        }
    }
}

/// The wait of a message that timed out before it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unstarted {
    /// How long it waited, to a few milliseconds.
    pub waited: Duration,
    /// How many messages were ahead of it at the end, including the one in progress.
    pub behind: usize,
}

impl fmt::Display for Unstarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waited, behind) = (self.waited.as_millis(), self.behind);
        let plural = if behind == 1 { "" } else { "s" };
        write!(f, "it waited {waited} ms behind {behind} message{plural} and never started")
    }
}

fn after_colon(more: &Option<impl fmt::Display>) -> String {
    more.as_ref().map_or_else(String::new, |more| format!(": {more}"))
}

/// Why an accepted message has no reply.
#[derive(Debug, Clone, Error)]
pub enum CallError {
    /// The guest returned an error of its own.
    #[error("{0}")]
    Guest(WasmError),
    /// The guest trapped; its instance is gone.
    #[error("{reason}")]
    Trap {
        /// The trap, in words.
        reason: String,
        /// The guest's stack at the trap, innermost frame first. May be empty.
        backtrace: String,
        /// The last lines that the guest wrote to standard error. May be empty. Other components
        /// do not see them.
        stderr: String,
    },
    /// The guest exited; its instance is gone.
    #[error("the component exited with code {code}")]
    Exited {
        /// The exit code.
        code: i32,
        /// As in [`CallError::Trap`].
        stderr: String,
    },
    /// The guest exceeded a limit; its instance is gone.
    #[error(transparent)]
    Limit(#[from] LimitBreach),
    /// The message, its reply, or the outcome of a request is too large and was not delivered.
    #[error("{0}")]
    DoesNotFit(Unfit),
    /// The message exceeded the execution time limit; its instance is gone.
    #[error("max-execution-time-ms {} exceeded", limit.as_millis())]
    ExecutionTime {
        /// The limit.
        limit: Duration,
    },
    /// `health` did not return in time; its instance is gone.
    #[error("health did not return within timeout-ms {}", limit.as_millis())]
    HealthTimeout {
        /// The limit.
        limit: Duration,
    },
    /// Too many checks in a row were unhealthy; its instance was given up.
    #[error("it was unhealthy {times} times in a row")]
    Unhealthy {
        /// The number of checks.
        times: u32,
    },
    /// The system had no memory for the guest's stack; the guest did not start.
    #[error("no memory for a stack: {reason}")]
    NoStack {
        /// The system's error, and the remedy.
        reason: String,
    },
    /// The component lacks the export.
    #[error("it exports no {export}")]
    ExportNotFound {
        /// The name of the export.
        export: &'static str,
    },
    /// The component exports no such function.
    #[error("it exports no function {function:?}{}", after_colon(offered))]
    FunctionNotFound {
        /// The function, as the caller named it.
        function: String,
        /// What it exports instead, if anything.
        offered: Option<String>,
    },
    /// The arguments of a typed call do not fit the function; it was not called.
    #[error("{function}: {problem}")]
    InvalidArguments {
        /// The function, as the caller named it.
        function: String,
        /// The place and what is wrong there.
        problem: String,
    },
    /// The function cannot be called by a host.
    #[error("{function}: {reason}")]
    Uncallable {
        /// The function, as the caller named it.
        function: String,
        /// Why.
        reason: &'static str,
    },
    /// The receiver has no instance, and a new one failed to start.
    #[error("it has no instance, and a new one could not be made: {reason}")]
    RestartFailed {
        /// The error of the new instance.
        reason: String,
        /// As in [`CallError::Trap`].
        stderr: String,
    },
    /// Its saved state, or the storage of that, is not as it must be.
    #[error("its state was not {what}: {reason}")]
    StateStorage {
        /// What was to be done with it.
        what: &'static str,
        /// The error of the storage.
        reason: String,
    },
    /// A life-cycle function returned an error.
    #[error("{export} failed: {error}")]
    Lifecycle {
        /// The name of the function.
        export: &'static str,
        /// Its error.
        error: ComponentError,
    },
    /// The full mailbox dropped the message in favour of a newer one.
    #[error("it was dropped from a full mailbox ({bounds}, when-full drop-oldest)")]
    Dropped {
        /// The bounds of the mailbox.
        bounds: MailboxBounds,
    },
    /// The host interrupted the component; its instance is gone.
    #[error("the host interrupted it")]
    Interrupted,
    /// The sender cancelled the request.
    #[error("the request was cancelled")]
    Cancelled,
    /// The request failed in another engine.
    #[error("{message}")]
    Remote {
        /// The WIT case name.
        code: &'static str,
        /// The status in the C ABI.
        status: i32,
        /// The error's text.
        message: String,
    },
    /// The receiver was stopped before it replied.
    #[error("it was stopped before it answered")]
    Stopped,
    /// The receiver has crashed too often; the message was not handled.
    #[error("it has failed: its supervision allows no further restart")]
    Failed,
    /// The receiver was unloaded before it replied.
    #[error("it was unloaded before it answered")]
    Unloaded,
    /// A bug in this library, hit while the message was handled.
    #[error("internal error while handling the message{}", after_colon(panic))]
    Internal {
        /// The panic message, if known.
        panic: Option<String>,
    },
    /// The engine stopped before the receiver replied.
    #[error("the engine stopped before the message was answered")]
    EngineStopped,
    /// The caller's timeout passed.
    #[error("no reply within the caller's timeout of {} ms{}", timeout.as_millis(), after_colon(unstarted))]
    CallerTimeout {
        /// The caller's timeout.
        timeout: Duration,
        /// The wait, if the message was never started. It will not be.
        unstarted: Option<Unstarted>,
    },
    /// The request's deadline passed.
    #[error("no reply to request {correlation} before its deadline{}", after_colon(unstarted))]
    CorrelationTimeout {
        /// The request.
        correlation: CorrelationId,
        /// As in [`CallError::CallerTimeout`].
        unstarted: Option<Unstarted>,
    },
}

impl CallError {
    /// Returns the code of this error: the WIT case name (of `wasm-error` or `messaging-error`), or
    /// `trap` or `exit`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Guest(error) => error.code(),
            Self::Trap { .. } => "trap",
            Self::Exited { .. } => "exit",
            Self::NoStack { .. } => "runtime-error",
            Self::Limit(_) | Self::DoesNotFit(_) => "resource-limit-exceeded",
            Self::ExecutionTime { .. }
            | Self::HealthTimeout { .. }
            | Self::CallerTimeout { .. } => "timeout",
            Self::ExportNotFound { .. } | Self::FunctionNotFound { .. } => "export-not-found",
            Self::InvalidArguments { .. } | Self::Uncallable { .. } => "invalid-message",
            Self::RestartFailed { .. } => "instantiation-failed",
            Self::Lifecycle { .. } | Self::StateStorage { .. } => "runtime-error",
            Self::Dropped { .. } => "queue-full",
            Self::Interrupted | Self::Unhealthy { .. } => "runtime-error",
            Self::Cancelled | Self::Stopped | Self::Failed => "delivery-failed",
            Self::Remote { code, .. } => code,
            Self::Unloaded => "target-not-found",
            Self::EngineStopped => "delivery-failed",
            Self::Internal { .. } => "runtime-error",
            Self::CorrelationTimeout { .. } => "correlation-timeout",
        }
    }

    /// Returns the last lines that the guest wrote to standard error before it trapped or exited.
    pub fn stderr(&self) -> Option<&str> {
        match self {
            Self::Trap { stderr, .. }
            | Self::Exited { stderr, .. }
            | Self::RestartFailed { stderr, .. }
                if !stderr.is_empty() =>
            {
                Some(stderr)
            }
            _ => None,
        }
    }

    /// Returns whether the failed instance is unusable.
    pub fn poisons_instance(&self) -> bool {
        matches!(
            self,
            Self::Trap { .. }
                | Self::Exited { .. }
                | Self::Limit(_)
                | Self::ExecutionTime { .. }
                | Self::HealthTimeout { .. }
                | Self::Interrupted
                | Self::EngineStopped
        )
    }
}

/// The WIT variant `messaging-error`: why a message was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessagingError {
    /// The message, or part of a broadcast, was not delivered.
    #[error("delivery-failed: {0}")]
    DeliveryFailed(String),
    /// The message is malformed.
    #[error("invalid-message: {0}")]
    InvalidMessage(String),
    /// The receiver's mailbox is full.
    #[error("mailbox of {target} is full ({full})")]
    QueueFull {
        /// The receiver.
        target: Arc<ComponentId>,
        /// The bound that it reached.
        full: Full,
    },
    /// The receiver's mailbox, in another engine, is full.
    #[error("mailbox of {0} is full")]
    RemoteQueueFull(Arc<ComponentId>),
    /// No component has this id.
    #[error("no component {}/{}/{} is loaded", .0[0], .0[1], .0[2])]
    TargetNotFound([String; 3]),
    /// [`MessagingError::DeliveryFailed`] with a text from the host.
    #[error("delivery-failed: {0}")]
    HostDeliveryFailed(String),
    /// [`MessagingError::InvalidMessage`] with a text from the host.
    #[error("invalid-message: {0}")]
    HostInvalidMessage(String),
}

impl InHostWords for MessagingError {
    fn shown(self) -> Self {
        match self {
            Self::HostDeliveryFailed(text) => Self::DeliveryFailed(text),
            Self::HostInvalidMessage(text) => Self::InvalidMessage(text),
            other => other,
        }
    }

    fn withheld(self) -> (Self, Option<String>) {
        match self {
            Self::HostDeliveryFailed(text) => {
                (Self::DeliveryFailed("the host's router failed".into()), Some(text))
            }
            Self::HostInvalidMessage(text) => {
                (Self::InvalidMessage("the host's router refused it".into()), Some(text))
            }
            other => (other, None),
        }
    }
}

/// An error whose text may come from the host. Guests see that text only through `shown`.
pub trait InHostWords: Sized {
    /// Returns the error for a guest that may see the host's text.
    fn shown(self) -> Self;

    /// Returns the error without the host's text, and that text.
    fn withheld(self) -> (Self, Option<String>);
}
