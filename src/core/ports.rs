//! What host functions need from the layers above and beside `runtime`, and what those need from
//! the host.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::core::error::{CallError, ComponentError, MessagingError};
use crate::core::id::{ComponentHandle, ComponentId, CorrelationId, IdRange, RawId};
use crate::core::message::Message;
use crate::core::payload::Payload;

/// Who a component is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Which of the components of that id.
    pub handle: ComponentHandle,
    /// Its identity.
    pub id: Arc<ComponentId>,
}

/// What became of a message that a component hands over.
pub enum Handover<T> {
    /// It was accepted or refused.
    Done(Result<T, MessagingError>),
    /// The receiver's mailbox is full and makes its senders wait: to be tried again when this is
    /// done.
    Wait(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// The host's router has to be asked, which is code of the host.
    AskHost(Box<dyn FnOnce() -> Result<T, MessagingError> + Send>),
}

/// How many a fire-and-forget message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// The one that it names.
    Single,
    /// It is one of a broadcast.
    Broadcast,
}

/// The interface `host-messaging`, for one sender.
pub trait Messenger: Send + Sync {
    /// Hands a fire-and-forget message over.
    fn send(&self, target: RawId<'_>, payload: Payload, sending: Sending) -> Handover<()>;

    /// Hands a request over; exactly one callback follows, at `deadline` at the latest.
    fn request(
        &self,
        target: RawId<'_>,
        payload: Payload,
        deadline: Instant,
    ) -> Handover<CorrelationId>;

    /// Takes a request of the sender's own back; no callback follows.
    fn cancel_request(&self, request: &str) -> Result<(), MessagingError>;
}

/// What one component may know of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    /// Whose it is.
    pub id: Arc<ComponentId>,
    /// From its metadata; empty if it has none.
    pub name: String,
    /// From its metadata; empty if it has none.
    pub version: String,
    /// The lower-case name of its `health-status`.
    pub health: &'static str,
}

/// The part of `host-services` that looks at other components.
pub trait Directory: Send + Sync {
    /// The first ids of a range, at most so many, ascending, each once; those behind `after`, if
    /// that is given.
    fn page(
        &self,
        range: &IdRange,
        after: Option<&ComponentId>,
        most: usize,
    ) -> Vec<Arc<ComponentId>>;

    /// What is known of one of them.
    fn info(&self, id: &ComponentId) -> Result<ComponentInfo, ComponentError>;
}

/// Mail on its way to or from another engine.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Who sent it.
    pub source: Arc<ComponentId>,
    /// Whom it is for.
    pub target: Arc<ComponentId>,
    /// Set on requests: what the receiver sees, and what the answer names.
    pub correlation: Option<CorrelationId>,
    /// Until when an answer is of use.
    pub deadline: Option<SystemTime>,
    /// The sender's word on what the payload is.
    pub content_type: Option<Arc<str>>,
    /// Opaque bytes.
    pub payload: Payload,
}

/// The host's way to components that are not loaded here. Its functions are code of the host.
pub trait Router: Send + Sync {
    /// Takes mail over; a request is completed later.
    fn route(&self, envelope: &Envelope) -> Result<(), MessagingError>;

    /// Says that nobody waits for the answer of a request any more.
    fn cancel(&self, request: CorrelationId);
}

/// Where messages go that were accepted and can not be handled.
pub trait DeadLetters: Send + Sync {
    /// Takes a dead letter; must not block.
    fn take(&self, target: &Arc<ComponentId>, message: Message, reason: &CallError);
}

/// Where an engine's events go. Its functions are code of the host.
pub trait EventSink: Send + Sync {
    /// Takes one event: its kind, a JSON document about it, and what it carries.
    fn event(&self, kind: &str, document: &str, payload: &[u8]);
}
