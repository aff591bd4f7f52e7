//! All errors of an engine's functions.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use crate::component::canary::Verdict;
use crate::component::group_tree::InvalidGroup;
use crate::component::lifecycle::State;
use crate::core::codec::UnsupportedCodec;
use crate::core::error::{CallError, LimitBreach};
use crate::core::id::{ComponentHandle, ComponentId, InvalidId};
use crate::core::limits::Full;
use crate::runtime::engine::RuntimeError;
use crate::runtime::load_error::LoadError;
use crate::runtime::shortage::NoThread;
use crate::security::directory::DescriptorLimit;
use crate::storage::backend::StorageError;
use crate::storage::durable::open_error::OpenError;
use crate::storage::export_format::MAX_VALUE_BYTES;
use crate::storage::namespace::Namespace;
use crate::system::json::OptionsError;
use crate::system::storage_transfer::{ImportError, Imported};

/// Why an engine's function failed.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A malformed id.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// An id in the namespace of hosts.
    #[error("component id {0}: the namespace is reserved for hosts as senders of messages")]
    ReservedId(ComponentId),
    /// An unusable JSON document.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The engine could not be created.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The threads that every engine needs could not be started.
    #[error(transparent)]
    Threads(#[from] NoThread),
    /// No file descriptor is left for the log.
    #[error("cannot duplicate stderr for the log: {0}; {limit}", limit = DescriptorLimit)]
    Stderr(#[source] std::io::Error),
    /// The storage's file could not be opened.
    #[error(transparent)]
    StorageFile(#[from] OpenError),
    /// The configuration has two storages.
    #[error(
        "the configuration has a storage.path ({}) and a storage of the host; set one of them",
        path.display()
    )]
    TwoStorages {
        /// The path.
        path: PathBuf,
    },
    /// Options of a storage's file, and no file.
    #[error("config.storage has options of a file and no \"path\"; give it one")]
    NoStorageFile,
    /// The storage could not be compacted.
    #[error("{}", told(.0))]
    Compaction(StorageError),
    /// A component file could not be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error.
        source: std::io::Error,
    },
    /// A component could not be loaded.
    #[error("{id}: {error}")]
    Load {
        /// The id given for it.
        id: ComponentId,
        /// The error.
        error: LoadError,
    },
    /// A component keeps its version, because the other one is not ready.
    #[error("{component} keeps version {version}: {error}")]
    NotReplaced {
        /// The component.
        component: Arc<ComponentId>,
        /// The number of the version that it keeps.
        version: u64,
        /// The error.
        error: LoadError,
    },
    /// A component keeps its version, because its message did not end in time.
    #[error(
        "{component} keeps version {version}: its message did not end within timeout-ms {}",
        timeout.as_millis()
    )]
    NotInTime {
        /// The component.
        component: Arc<ComponentId>,
        /// The number of the version that it keeps.
        version: u64,
        /// The timeout.
        timeout: Duration,
    },
    /// There is nothing to roll back to.
    #[error("{component} has no earlier version")]
    NoEarlierVersion {
        /// The component.
        component: Arc<ComponentId>,
    },
    /// Another component saves its state under the same id.
    #[error(
        "{component}: the component with handle {handle} keeps a durable state under this id; unload \
         it first, or load this one without \"state\": \"durable\""
    )]
    StateInUse {
        /// The id.
        component: Arc<ComponentId>,
        /// The other component.
        handle: ComponentHandle,
    },
    /// A name that no group can have.
    #[error("group {name:?}: the name {reason}")]
    InvalidGroupName {
        /// The name, or its first characters.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A group that cannot be made.
    #[error(transparent)]
    InvalidGroup(#[from] InvalidGroup),
    /// A group, where a component is expected.
    #[error("handle {handle} is the group {name:?}; this function takes a component")]
    Group {
        /// The handle.
        handle: ComponentHandle,
        /// The name of the group.
        name: Arc<str>,
    },
    /// The handle of all components, where one is expected.
    #[error(
        "AIRSSYS_ALL_COMPONENTS: an unload takes one component or group; airssys_engine_shutdown \
         ends all"
    )]
    UnloadOfAll,
    /// A version on trial must be promoted or aborted before another takes over.
    #[error("{component} has version {version} as a canary; promote or abort that first")]
    HasCanary {
        /// The component.
        component: Arc<ComponentId>,
        /// The number of the version on trial.
        version: u64,
    },
    /// There is nothing to promote or abort.
    #[error("{component} has no canary{}", how(*ended))]
    NoCanary {
        /// The component.
        component: Arc<ComponentId>,
        /// What became of the canary meanwhile.
        ended: Option<Verdict>,
    },
    /// A canary is decided on, and its component's message did not end in time.
    #[error(
        "{component}: the canary is to be {}; the message in progress did not end within {} ms",
        verdict.name(), timeout.as_millis()
    )]
    CanaryInTime {
        /// The component.
        component: Arc<ComponentId>,
        /// What becomes of the canary.
        verdict: Verdict,
        /// The timeout.
        timeout: Duration,
    },
    /// No loaded component has this handle.
    #[error("no component has handle {0}")]
    UnknownHandle(ComponentHandle),
    /// No component has this id.
    #[error("no component {0} is loaded")]
    UnknownId(ComponentId),
    /// The component was unloaded during delivery.
    #[error("{0} is being unloaded")]
    Gone(Arc<ComponentId>),
    /// The component is stopped or has failed, and takes no mail.
    #[error("{component} {}", refuses(*state))]
    NotRunning {
        /// The component.
        component: Arc<ComponentId>,
        /// [`State::Stopped`] or [`State::Failed`].
        state: State,
    },
    /// The receiver does not accept the payload's codec.
    #[error("{component}: {problem}")]
    InvalidMessage {
        /// The receiver.
        component: Arc<ComponentId>,
        /// The codecs found and accepted.
        problem: UnsupportedCodec,
    },
    /// A grant to be revoked is not held.
    #[error("{component} holds no grant {action} {pattern}")]
    NotGranted {
        /// The component.
        component: String,
        /// The action of the grant.
        action: &'static str,
        /// The pattern of the grant.
        pattern: String,
    },
    /// Some receivers of a broadcast did not get the message.
    #[error("{} of {targets} messages were not accepted; the first: {}", failed.len(), first(failed))]
    Broadcast {
        /// The number of receivers.
        targets: usize,
        /// The receivers without the message, and the reasons.
        failed: Vec<(ComponentHandle, EngineError)>,
    },
    /// A function for several components failed for some.
    #[error("{} of {components} components: {}", failed.len(), first(failed))]
    Several {
        /// The number of components.
        components: usize,
        /// The components for which it failed, and the reasons.
        failed: Vec<(ComponentHandle, EngineError)>,
    },
    /// The caller has no pending request with this id.
    #[error("no request {0} is under way")]
    UnknownRequest(u64),
    /// The table of requests is full.
    #[error("too many requests are under way")]
    TooManyRequests,
    /// The mailbox is full.
    #[error("mailbox of {component} is full ({full})")]
    QueueFull {
        /// The owner of the mailbox.
        component: Arc<ComponentId>,
        /// The bound that it reached.
        full: Full,
    },
    /// The payload exceeds the receiver's limit.
    #[error("{component}: {breach}")]
    MessageTooLarge {
        /// The receiver.
        component: Arc<ComponentId>,
        /// The limit and the size.
        breach: LimitBreach,
    },
    /// A binary was not compiled.
    #[error(transparent)]
    Precompile(LoadError),
    /// An accepted message got no reply.
    #[error("{component}: {error}")]
    Call {
        /// The receiver.
        component: Arc<ComponentId>,
        /// The error.
        error: CallError,
    },
    /// The component's `shutdown` failed; the component is gone nevertheless.
    #[error("{component}: {error}")]
    Shutdown {
        /// The component.
        component: Arc<ComponentId>,
        /// The error.
        error: CallError,
    },
    /// The component is unloaded, but a host callback still runs for it.
    #[error(
        "{component}: a host callback that runs for it has not returned; the component ends with it"
    )]
    StillInCallback {
        /// The component.
        component: Arc<ComponentId>,
    },
    /// The component did not get into a state in time.
    #[error(
        "{component} is {state}, and did not become {wanted} within {} ms", timeout.as_millis()
    )]
    OtherState {
        /// The component.
        component: Arc<ComponentId>,
        /// The name of the state that the caller waited for.
        wanted: &'static str,
        /// The name of its state.
        state: &'static str,
        /// The caller's timeout.
        timeout: Duration,
    },
    /// The call would deadlock: the component waits for the callback that makes it.
    #[error("{target}: the call would deadlock: {target} waits for the callback that makes it")]
    WouldDeadlock {
        /// The component.
        target: String,
    },
    /// Components were still busy when the timeout of a graceful shutdown passed.
    #[error("{} component(s) had not finished within {} ms", unfinished.len(), timeout.as_millis())]
    ShutdownTimeout {
        /// The components, as JSON.
        unfinished: Vec<Value>,
        /// The timeout.
        timeout: Duration,
    },
    /// The storage of components failed.
    #[error("{}{error}", of_namespace(namespace))]
    Storage {
        /// The namespace; `None` for all.
        namespace: Option<Namespace>,
        /// The error.
        error: StorageError,
    },
    /// The host's callback did not take a piece of an export.
    #[error("the export was not written: {reason}")]
    NotExported {
        /// The callback's reason.
        reason: String,
    },
    /// An import failed; what it stored before stays.
    #[error("line {line}: {error}")]
    Import {
        /// The line that it had come to.
        line: u64,
        /// What it did before.
        imported: Imported,
        /// The error.
        error: ImportError,
    },
    /// A batch changes a key more than once.
    #[error("the key {key:?} occurs twice")]
    KeyTwice {
        /// The key.
        key: String,
    },
    /// A value for the storage is too large.
    #[error("the value of {key:?} has {bytes} bytes, at most {MAX_VALUE_BYTES} are allowed")]
    ValueTooLarge {
        /// The key.
        key: String,
        /// The size of the value.
        bytes: usize,
    },
    /// The engine was shut down.
    #[error("the engine has been shut down")]
    Stopped,
}

impl EngineError {
    /// Returns the failure of the guest call behind it, if there is one.
    pub fn cause(&self) -> Option<&CallError> {
        match self {
            Self::Call { error, .. } | Self::Shutdown { error, .. } => Some(error),
            Self::Load { error, .. } | Self::NotReplaced { error, .. } => error.cause(),
            _ => None,
        }
    }
}

fn how(verdict: Option<Verdict>) -> String {
    verdict.map_or_else(String::new, |verdict| {
        format!(": it was {} ({})", verdict.name(), verdict.reason().name())
    })
}

fn told(error: &StorageError) -> String {
    match error {
        StorageError::QuotaExceeded => "the disk has no room to compact the storage's file".into(),
        other => other.to_string(),
    }
}

fn of_namespace(namespace: &Option<Namespace>) -> String {
    namespace.as_ref().map_or_else(|| "storage: ".into(), |namespace| format!("{namespace}: "))
}

fn refuses(state: State) -> &'static str {
    match state {
        State::Failed => {
            "has failed and takes no messages; its status says why, and a start brings it back"
        }
        _ => "is stopped and takes no messages; a start brings it back",
    }
}

fn first(failed: &[(ComponentHandle, EngineError)]) -> String {
    failed.first().map(|(_, error)| error.to_string()).unwrap_or_default()
}
