//! Errors that cross layers: how a message's handling fails, and how its delivery fails.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::core::account::HostBytesExceeded;
use crate::core::id::{ComponentId, CorrelationId};
use crate::core::limits::{Full, MailboxBounds};

/// The WIT variant `wasm-error`: what a guest answers when it can not handle a message.
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
    /// The WIT case name.
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

/// The WIT variant `component-error`: what a guest answers when its life cycle fails.
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

/// A limit that a component ran into.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LimitBreach {
    /// The sum over its memories would have grown past the limit.
    #[error("max-memory-bytes {limit} exceeded: {wanted} bytes wanted")]
    Memory {
        /// The limit.
        limit: u64,
        /// The total that was refused.
        wanted: u64,
    },
    /// The sum over its tables would have grown past the limit.
    #[error("max-table-elements {limit} exceeded: {wanted} elements wanted")]
    TableElements {
        /// The limit.
        limit: u64,
        /// The total that was refused.
        wanted: u64,
    },
    /// The host would have held more for it than allowed.
    #[error("{0}")]
    HostBytes(HostBytesExceeded),
    /// A message, or a reply, was larger than allowed.
    #[error("max-message-bytes {limit} exceeded: {bytes} bytes")]
    MessageBytes {
        /// The limit.
        limit: u64,
        /// The size of the message.
        bytes: u64,
    },
    /// More core instances than allowed.
    #[error("max-instances {limit} exceeded")]
    Instances {
        /// The limit.
        limit: u64,
    },
    /// More memories than a component may have.
    #[error("{limit} memories exceeded")]
    Memories {
        /// The limit.
        limit: u64,
    },
    /// More tables than a component may have.
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
    /// The guest's call stack is full.
    #[error("stack of {limit} bytes exhausted")]
    Stack {
        /// The limit.
        limit: u64,
    },
    /// A quota that leaves no other way to say so.
    #[error("quota {name} {limit} exceeded")]
    Quota {
        /// Which, as options name it.
        name: &'static str,
        /// How much it is.
        limit: u64,
        /// Whether the breach is in the record of decisions.
        recorded: bool,
    },
}

impl From<HostBytesExceeded> for LimitBreach {
    fn from(exceeded: HostBytesExceeded) -> Self {
        Self::HostBytes(exceeded)
    }
}

impl LimitBreach {
    /// Name and value of the limit.
    pub fn limit(&self) -> (&'static str, u64) {
        match *self {
            Self::Memory { limit, .. } => ("max-memory-bytes", limit),
            Self::TableElements { limit, .. } => ("max-table-elements", limit),
            Self::HostBytes(HostBytesExceeded { limit, .. }) => ("max-host-bytes", limit),
            Self::MessageBytes { limit, .. } => ("max-message-bytes", limit),
            Self::Instances { limit } => ("max-instances", limit),
            Self::Memories { limit } => ("memories", limit),
            Self::Tables { limit } => ("tables", limit),
            Self::Fuel { limit } => ("max-fuel", limit),
            Self::Stack { limit } => ("stack-bytes", limit),
            Self::Quota { name, limit, .. } => (name, limit),
        }
    }
}

/// Something that is larger than what there is room for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unfit {
    /// A reply beyond what its component may hand over.
    #[error("the reply has {bytes} bytes, beyond max-message-bytes {limit}")]
    Reply {
        /// How many bytes it has.
        bytes: u64,
        /// How many it may have.
        limit: u64,
    },
    /// An outcome for which its requester has no room.
    #[error("the outcome has {bytes} bytes, beyond the requester's {limit} {value}")]
    Outcome {
        /// How many bytes it has.
        bytes: u64,
        /// What leaves no room.
        limit: &'static str,
        /// The value of that.
        value: u64,
    },
    /// A payload for which the receiver's memory has no room.
    #[error(
        "{bytes} bytes do not fit: of max-memory-bytes {limit} it uses {used}, and has handled nothing \
         as large since it used that"
    )]
    Memory {
        /// How many bytes it has.
        bytes: u64,
        /// How much memory the receiver may have.
        limit: u64,
        /// How much it has.
        used: u64,
    },
}

impl Unfit {
    /// Name and value of the limit.
    pub fn limit(&self) -> (&'static str, u64) {
        match *self {
            Self::Reply { limit, .. } => ("max-message-bytes", limit),
            Self::Outcome { limit, value, .. } => (limit, value),
            Self::Memory { limit, .. } => ("max-memory-bytes", limit),
        }
    }
}

/// What a message waited for whose sender's time was over before its turn came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unstarted {
    /// How long, to a few milliseconds.
    pub waited: Duration,
    /// How much mail was before it at last, the one being handled included.
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

/// Why a message that was accepted has no reply.
#[derive(Debug, Clone, Error)]
pub enum CallError {
    /// The guest answered with an error of its own.
    #[error("{0}")]
    Guest(WasmError),
    /// The guest trapped; its instance is gone.
    #[error("{reason}")]
    Trap {
        /// Which trap, in words.
        reason: String,
        /// The guest's stack at the trap, innermost frame first; may be empty.
        backtrace: String,
    },
    /// The guest ran into a limit; its instance is gone.
    #[error(transparent)]
    Limit(#[from] LimitBreach),
    /// The message, its reply, or the outcome of a request does not fit; nobody has seen it.
    #[error("{0}")]
    DoesNotFit(Unfit),
    /// The message took longer than the component may; its instance is gone.
    #[error("max-execution-time-ms {} exceeded", limit.as_millis())]
    ExecutionTime {
        /// The limit.
        limit: Duration,
    },
    /// The system had no memory for the stack that the guest needs; it has not begun.
    #[error("no memory for a stack: {reason}")]
    NoStack {
        /// What the system said, and what to do.
        reason: String,
    },
    /// The component has no such export.
    #[error("it exports no {export}")]
    ExportNotFound {
        /// What was looked for.
        export: &'static str,
    },
    /// The receiver crashed before, and a new instance could not be made.
    #[error("it crashed and could not be restarted: {reason}")]
    RestartFailed {
        /// What its new instance said.
        reason: String,
    },
    /// A life-cycle function answered with an error.
    #[error("{export} failed: {error}")]
    Lifecycle {
        /// The function.
        export: &'static str,
        /// What it answered.
        error: ComponentError,
    },
    /// A newer message took its place in the receiver's mailbox.
    #[error("it was dropped from a full mailbox ({bounds}, when-full drop-oldest)")]
    Dropped {
        /// How much the mailbox holds.
        bounds: MailboxBounds,
    },
    /// The host has interrupted the component; its instance is gone.
    #[error("the host interrupted it")]
    Interrupted,
    /// Its sender took the request back.
    #[error("the request was cancelled")]
    Cancelled,
    /// Whoever took the request elsewhere says that it failed there.
    #[error("{message}")]
    Remote {
        /// The WIT case name.
        code: &'static str,
        /// The status of the C ABI that came with it.
        status: i32,
        /// What was said.
        message: String,
    },
    /// The receiver was unloaded before it answered.
    #[error("it was unloaded before it answered")]
    Unloaded,
    /// A defect of this library, while the message was handled.
    #[error("internal error while the message was handled{}", after_colon(panic))]
    Internal {
        /// What it says, as far as that is known.
        panic: Option<String>,
    },
    /// The engine stopped before the receiver answered.
    #[error("the engine stopped before the message was answered")]
    EngineStopped,
    /// The caller waited as long as it had said it would.
    #[error("no reply within the caller's timeout of {} ms{}", timeout.as_millis(), after_colon(unstarted))]
    CallerTimeout {
        /// What the caller allowed.
        timeout: Duration,
        /// What the message waited for, if it was not begun, and will not be.
        unstarted: Option<Unstarted>,
    },
    /// The deadline of a request passed.
    #[error("no reply to request {correlation} before its deadline{}", after_colon(unstarted))]
    CorrelationTimeout {
        /// The request.
        correlation: CorrelationId,
        /// As in [`CallError::CallerTimeout`].
        unstarted: Option<Unstarted>,
    },
}

impl CallError {
    /// The WIT case name (`wasm-error` or `messaging-error`) that stands for this error in the
    /// callback of a failed request.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Guest(error) => error.code(),
            Self::Trap { .. } | Self::NoStack { .. } => "runtime-error",
            Self::Limit(_) | Self::DoesNotFit(_) => "resource-limit-exceeded",
            Self::ExecutionTime { .. } | Self::CallerTimeout { .. } => "timeout",
            Self::ExportNotFound { .. } => "export-not-found",
            Self::RestartFailed { .. } => "instantiation-failed",
            Self::Lifecycle { .. } => "runtime-error",
            Self::Dropped { .. } => "queue-full",
            Self::Interrupted => "runtime-error",
            Self::Cancelled => "delivery-failed",
            Self::Remote { code, .. } => code,
            Self::Unloaded => "target-not-found",
            Self::EngineStopped => "delivery-failed",
            Self::Internal { .. } => "runtime-error",
            Self::CorrelationTimeout { .. } => "correlation-timeout",
        }
    }

    /// Whether the instance that failed can not be used again.
    pub fn poisons_instance(&self) -> bool {
        matches!(
            self,
            Self::Trap { .. }
                | Self::Limit(_)
                | Self::ExecutionTime { .. }
                | Self::Interrupted
                | Self::EngineStopped
        )
    }
}

/// The WIT variant `messaging-error`: why a message was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessagingError {
    /// The message, or part of a broadcast, could not be handed over.
    #[error("delivery-failed: {0}")]
    DeliveryFailed(String),
    /// The message itself is wrong.
    #[error("invalid-message: {0}")]
    InvalidMessage(String),
    /// The receiver's mailbox is full.
    #[error("mailbox of {target} is full ({full})")]
    QueueFull {
        /// The receiver.
        target: Arc<ComponentId>,
        /// How much its mailbox holds.
        full: Full,
    },
    /// The receiver, in another engine, has no room.
    #[error("mailbox of {0} is full")]
    RemoteQueueFull(Arc<ComponentId>),
    /// Nobody has that id.
    #[error("no component {}/{}/{} is loaded", .0[0], .0[1], .0[2])]
    TargetNotFound([String; 3]),
    /// [`MessagingError::DeliveryFailed`], in words of the host's own.
    #[error("delivery-failed: {0}")]
    HostDeliveryFailed(String),
    /// [`MessagingError::InvalidMessage`], in words of the host's own.
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
                (Self::InvalidMessage("the host's router does not take it".into()), Some(text))
            }
            other => (other, None),
        }
    }
}

/// An error that may be in words of the host's own. What becomes of it without further ado has none.
pub trait InHostWords: Sized {
    /// The error as a guest may see it that may see those words.
    fn shown(self) -> Self;

    /// The error as any guest may see it, and the words.
    fn withheld(self) -> (Self, Option<String>);
}
