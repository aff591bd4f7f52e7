//! What host functions need from the layers above and beside `runtime`.

use std::sync::Arc;
use std::time::Duration;

use crate::core::error::{ComponentError, MessagingError};
use crate::core::id::{ComponentHandle, ComponentId, CorrelationId};

/// A component as the sender of a message.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Which of the components of that id.
    pub handle: ComponentHandle,
    /// Its identity.
    pub id: Arc<ComponentId>,
}

/// An id as a guest wrote it: `[namespace, name, instance]`, not yet checked.
pub type RawId = [String; 3];

/// The interface `host-messaging`, for one sender.
pub trait Messenger: Send + Sync {
    /// Hands a fire-and-forget message over.
    fn send(
        &self,
        from: &Sender,
        target: &RawId,
        payload: Arc<Vec<u8>>,
    ) -> Result<(), MessagingError>;

    /// Hands a request over; exactly one callback follows.
    fn request(
        &self,
        from: &Sender,
        target: &RawId,
        payload: Arc<Vec<u8>>,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError>;

    /// Takes a request of the sender's own back; no callback follows.
    fn cancel_request(&self, from: &Sender, request: &str) -> Result<(), MessagingError>;
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
    /// The ids that `viewer` may see, ascending, each once.
    fn list(&self, viewer: &Sender) -> Vec<Arc<ComponentId>>;

    /// What is known of one of them.
    fn info(&self, viewer: &Sender, id: RawId) -> Result<ComponentInfo, ComponentError>;
}
