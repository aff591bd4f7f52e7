//! Everything that an engine's functions can report.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::core::codec::UnsupportedCodec;
use crate::core::error::{CallError, LimitBreach};
use crate::core::id::{ComponentHandle, ComponentId, InvalidId};
use crate::core::limits::Full;
use crate::runtime::engine::RuntimeError;
use crate::runtime::load_error::LoadError;
use crate::runtime::shortage::NoThread;
use crate::security::directory::DescriptorLimit;
use crate::system::json::OptionsError;

/// Why an engine did not do what it was asked.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A malformed id.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// An id that only hosts have.
    #[error("component id {0}: the namespace is that of hosts, as senders of messages")]
    ReservedId(ComponentId),
    /// A JSON document that can not be used.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// No engine could be made.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The threads that every engine needs could not be started.
    #[error(transparent)]
    Threads(#[from] NoThread),
    /// There is no descriptor for the log.
    #[error("stderr, for the log: {0}; {limit}", limit = DescriptorLimit)]
    Stderr(#[source] std::io::Error),
    /// A component file that can not be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A component that can not be loaded.
    #[error("{id}: {error}")]
    Load {
        /// Under which id.
        id: ComponentId,
        /// Why.
        error: LoadError,
    },
    /// No component has this handle, or not any more.
    #[error("no component has handle {0}")]
    UnknownHandle(ComponentHandle),
    /// No component has this id.
    #[error("no component {0} is loaded")]
    UnknownId(ComponentId),
    /// The component was unloaded while the message was handed over.
    #[error("{0} is being unloaded")]
    Gone(Arc<ComponentId>),
    /// The payload is not what the receiver takes.
    #[error("{component}: {problem}")]
    InvalidMessage {
        /// The receiver.
        component: Arc<ComponentId>,
        /// Why not.
        problem: UnsupportedCodec,
    },
    /// A grant that is to be taken away and is not held.
    #[error("{component} holds no grant {action} {pattern}")]
    NotGranted {
        /// Who does not.
        component: String,
        /// What was named.
        action: &'static str,
        /// Its pattern.
        pattern: String,
    },
    /// Some of several receivers did not get the message.
    #[error("{} of {targets} messages were not accepted; the first: {}", failed.len(), first(failed))]
    Broadcast {
        /// How many there were.
        targets: usize,
        /// Which did not, and why.
        failed: Vec<(ComponentHandle, EngineError)>,
    },
    /// No request of the caller's has this id, or not any more.
    #[error("no request {0} is under way")]
    UnknownRequest(u64),
    /// As many requests are under way as can be told apart.
    #[error("too many requests are under way")]
    TooManyRequests,
    /// The mailbox takes no more.
    #[error("mailbox of {component} is full ({full})")]
    QueueFull {
        /// Whose mailbox.
        component: Arc<ComponentId>,
        /// How much it holds.
        full: Full,
    },
    /// The payload is larger than any that the receiver takes.
    #[error("{component}: {breach}")]
    MessageTooLarge {
        /// The receiver.
        component: Arc<ComponentId>,
        /// By how much.
        breach: LimitBreach,
    },
    /// The message was accepted and not answered.
    #[error("{component}: {error}")]
    Call {
        /// The receiver.
        component: Arc<ComponentId>,
        /// Why.
        error: CallError,
    },
    /// The component's `shutdown` failed; the component is gone all the same.
    #[error("{component}: {error}")]
    Shutdown {
        /// The component.
        component: Arc<ComponentId>,
        /// What it said.
        error: CallError,
    },
    /// The component is unloaded, and ends with a callback of the host.
    #[error(
        "{component}: a callback of the host that runs for it has not returned; it ends when that does"
    )]
    StillInCallback {
        /// The component.
        component: Arc<ComponentId>,
    },
    /// The call would wait for the component whose callback makes it.
    #[error("{target}: the calling callback belongs to a call that {target} waits for")]
    WouldDeadlock {
        /// Which component it would wait for.
        target: String,
    },
    /// Components were still at work when the time for a graceful stop was over.
    #[error("{unfinished} component(s) had not finished within {} ms", timeout.as_millis())]
    ShutdownTimeout {
        /// How many.
        unfinished: usize,
        /// The time.
        timeout: Duration,
    },
    /// The engine was shut down.
    #[error("the engine has been shut down")]
    Stopped,
}

fn first(failed: &[(ComponentHandle, EngineError)]) -> String {
    failed.first().map(|(_, error)| error.to_string()).unwrap_or_default()
}
