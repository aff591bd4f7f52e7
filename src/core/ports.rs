//! The traits that host functions call in other layers, and those that the layers call in the host.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::core::error::{CallError, ComponentError, MessagingError};
use crate::core::id::{ComponentHandle, ComponentId, CorrelationId, IdRange, RawId};
use crate::core::message::Message;
use crate::core::payload::Payload;

/// The identity of a loaded component.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The handle, which tells apart components that share an id.
    pub handle: ComponentHandle,
    /// The id.
    pub id: Arc<ComponentId>,
}

/// What became of a message from a component.
pub enum Handover<T> {
    /// The message was accepted or refused.
    Done(Result<T, MessagingError>),
    /// The receiver's full mailbox blocks its senders; try again when this future completes.
    Wait(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// The host's router decides, in host code.
    AskHost(Box<dyn FnOnce() -> Result<T, MessagingError> + Send>),
}

/// Whether a fire-and-forget message is part of a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// To one receiver.
    Single,
    /// Part of a broadcast.
    Broadcast,
}

/// The interface `host-messaging` of one sender.
pub trait Messenger: Send + Sync {
    /// Sends a fire-and-forget message.
    fn send(&self, target: RawId<'_>, payload: Payload, sending: Sending) -> Handover<()>;

    /// Sends a request; exactly one callback follows, at `deadline` at the latest.
    fn request(
        &self,
        target: RawId<'_>,
        payload: Payload,
        deadline: Instant,
    ) -> Handover<CorrelationId>;

    /// Cancels one of the sender's own requests; no callback follows.
    fn cancel_request(&self, request: &str) -> Result<(), MessagingError>;
}

/// What one component may learn about another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    /// The other component's id.
    pub id: Arc<ComponentId>,
    /// From its metadata; empty if it has none.
    pub name: String,
    /// From its metadata; empty if it has none.
    pub version: String,
    /// The lower-case name of its `health-status`.
    pub health: &'static str,
}

/// The part of `host-services` that concerns other components.
pub trait Directory: Send + Sync {
    /// Returns up to `most` ids of a range, after `after` if given, ascending and without
    /// duplicates.
    fn page(
        &self,
        range: &IdRange,
        after: Option<&ComponentId>,
        most: usize,
    ) -> Vec<Arc<ComponentId>>;

    /// Returns what is known of one component.
    fn info(&self, id: &ComponentId) -> Result<ComponentInfo, ComponentError>;
}

/// Mail to or from another engine.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The sender.
    pub source: Arc<ComponentId>,
    /// The receiver.
    pub target: Arc<ComponentId>,
    /// Set on requests: the id that the receiver sees and the reply names.
    pub correlation: Option<CorrelationId>,
    /// After this time a reply has no effect.
    pub deadline: Option<SystemTime>,
    /// The sender's declaration of the payload's type.
    pub content_type: Option<Arc<str>>,
    /// Opaque bytes.
    pub payload: Payload,
}

/// The host's route to components of other engines. Its functions run host code.
pub trait Router: Send + Sync {
    /// Takes over mail. A request is completed later.
    fn route(&self, envelope: &Envelope) -> Result<(), MessagingError>;

    /// Announces that no one waits for the reply to `request` any longer.
    fn cancel(&self, request: CorrelationId);
}

/// A call of one of the host's functions by a component.
#[derive(Clone, Copy, Debug)]
pub struct FunctionCall<'a> {
    /// The interface, as the component imports it.
    pub interface: &'a str,
    /// The function.
    pub function: &'a str,
    /// Who calls.
    pub caller: &'a Identity,
    /// The arguments, a JSON array.
    pub arguments: &'a [u8],
    /// The name of the call for an answer that comes later.
    pub token: u64,
}

/// What a host function came to: the JSON of its result, or the text of an error.
pub type FunctionOutcome = Result<Vec<u8>, String>;

/// How the host answers a call.
#[derive(Debug)]
pub enum FunctionAnswer {
    /// At once.
    Now(FunctionOutcome),
    /// Later, from any thread, by the token of the call.
    Later,
}

/// An interface of the host that components may import.
pub trait HostInterface: Send + Sync {
    /// Calls one of its functions. Runs host code.
    fn call(&self, call: &FunctionCall<'_>) -> FunctionAnswer;
}

/// The destination of accepted messages that cannot be handled.
pub trait DeadLetters: Send + Sync {
    /// Takes a dead letter. Must not block.
    fn take(&self, target: &Arc<ComponentId>, message: Message, reason: &CallError);
}

/// One change of a component's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// The name of the state before.
    pub from: &'static str,
    /// The name of the state after.
    pub to: &'static str,
    /// The name of the cause.
    pub cause: &'static str,
    /// The code of the error that ended the instance, or kept a new one from being made.
    pub code: Option<&'static str>,
}

/// One change of the health that a component reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthChange {
    /// The name of the health before.
    pub from: &'static str,
    /// The name of the health after.
    pub to: &'static str,
}

/// One change of a group's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupChange {
    /// The handle of the group.
    pub handle: ComponentHandle,
    /// Its name.
    pub name: Arc<str>,
    /// The name of the state before.
    pub from: &'static str,
    /// The name of the state after.
    pub to: &'static str,
    /// The number of the restarts that it has made.
    pub restarts: u64,
}

/// What became of a component up to a change of its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoFar {
    /// The number of its version.
    pub version: u64,
    /// The number of its restarts.
    pub restarts: u64,
}

/// How many messages and callbacks were handled, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub messages: u64,
    /// Those that failed.
    pub errors: u64,
}

/// The begin or the end of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanaryChange {
    /// The name of the change.
    pub change: &'static str,
    /// The name of the reason, at the end.
    pub reason: Option<&'static str>,
    /// The number of the version before.
    pub before: u64,
    /// The number of the version on trial.
    pub version: u64,
    /// What the version before has handled meanwhile.
    pub stable: Tally,
    /// What the canary has handled.
    pub canary: Tally,
}

/// The destination of changes of state and health.
pub trait StateChanges: Send + Sync {
    /// Takes a change of the instance with this number of a component. Must not block.
    fn changed(&self, component: &Identity, instance: usize, change: StateChange, so_far: SoFar);

    /// Takes a change of the health that an instance reports. Must not block.
    fn health_changed(&self, component: &Identity, instance: usize, change: HealthChange);

    /// Takes a change of a group, after the loss of an instance of `component`, if that is the cause.
    /// Must not block.
    fn group_changed(&self, change: GroupChange, component: Option<&Identity>);

    /// Takes the begin or the end of a canary. Must not block.
    fn canary_changed(&self, component: &Identity, change: CanaryChange);
}

/// The destination of an engine's events. Its functions run host code.
pub trait EventSink: Send + Sync {
    /// Delivers one event: its kind, a JSON document about it, and its payload.
    fn event(&self, kind: &str, document: &str, payload: &[u8]);
}
