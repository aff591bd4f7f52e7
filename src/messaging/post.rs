//! The interface `host-messaging` over mailboxes of this process.

use std::sync::Arc;
use std::time::Duration;

use crate::core::deadline::deadline_in;
use crate::core::error::MessagingError;
use crate::core::id::{ComponentId, CorrelationId, shorten};
use crate::core::message::{Message, Timestamp};
use crate::core::ports::{Messenger, RawId, Sender};
use crate::messaging::correlation::Correlations;
use crate::messaging::mailbox::{Mail, Mailbox, Refusal};
use crate::messaging::registry::Registry;
use crate::messaging::reply::Reply;

/// Delivers between components of one engine.
pub struct Post {
    registry: Arc<Registry>,
    correlations: Arc<Correlations>,
}

impl Post {
    /// Delivers to the mailboxes in `registry`.
    pub fn new(registry: Arc<Registry>, correlations: Arc<Correlations>) -> Self {
        Self { registry, correlations }
    }

    fn resolve(&self, from: &Sender, target: &RawId) -> Result<Arc<Mailbox>, MessagingError> {
        let id = ComponentId::new(&target[0], &target[1], &target[2])
            .map_err(|error| MessagingError::InvalidMessage(error.to_string()))?;
        // A component in its `initialize` is not to be found by others, but may write to itself.
        self.registry
            .find(&id)
            .or_else(|| if id == *from.id { self.registry.get(from.handle) } else { None })
            .ok_or_else(|| MessagingError::TargetNotFound(target.clone()))
    }
}

fn message(from: &Sender, payload: Arc<Vec<u8>>) -> Message {
    Message {
        sender: Arc::clone(&from.id),
        payload,
        content_type: None,
        correlation: None,
        reply_to: None,
        accepted: Timestamp::now(),
    }
}

/// Queues a message, and says in the messenger's terms why it could not; `on_refusal` runs before
/// the refused message's reply is dropped.
fn hand_over(
    target: &Mailbox,
    message: Message,
    reply: Reply,
    on_refusal: impl FnOnce(),
) -> Result<(), MessagingError> {
    target.deliver(Mail::Message(message, reply)).map_err(|(refusal, _mail)| {
        on_refusal();
        refused(target, refusal)
    })
}

/// The messenger's word for a mailbox's refusal.
pub fn refused(target: &Mailbox, refusal: Refusal) -> MessagingError {
    let id = target.owner();
    match refusal {
        Refusal::Full => {
            MessagingError::QueueFull { target: Arc::clone(id), bounds: target.bounds() }
        }
        Refusal::Closed => MessagingError::TargetNotFound(
            [id.namespace(), id.name(), id.instance()].map(str::to_owned),
        ),
    }
}

impl Messenger for Post {
    fn send(
        &self,
        from: &Sender,
        target: &RawId,
        payload: Arc<Vec<u8>>,
    ) -> Result<(), MessagingError> {
        let target = self.resolve(from, target)?;
        hand_over(&target, message(from, payload), Reply::nobody(), || ())
    }

    fn request(
        &self,
        from: &Sender,
        target: &RawId,
        payload: Arc<Vec<u8>>,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        let target = self.resolve(from, target)?;
        let requester = self.registry.get(from.handle).ok_or_else(|| {
            MessagingError::DeliveryFailed(format!("{} is being unloaded", from.id))
        })?;
        // Callbacks are never refused, so a requester that does not get to them makes no more.
        if requester.is_over_bytes() {
            return Err(refused(&requester, Refusal::Full));
        }
        let deadline = deadline_in(timeout);
        let id = self.correlations.open(&requester, Arc::clone(target.owner()));
        let message = Message {
            correlation: Some(id),
            reply_to: Some(Arc::clone(&from.id)),
            ..message(from, payload)
        };
        // Refused mail drops its reply, which must find no request to answer any more.
        let reply = Reply::to_request(Arc::clone(&self.correlations), id);
        hand_over(&target, message, reply, || self.correlations.discard(id))?;
        // Armed only now: a request that is refused must not time out as well.
        self.correlations.arm(id, deadline);
        Ok(id)
    }

    fn cancel_request(&self, from: &Sender, request: &str) -> Result<(), MessagingError> {
        let cancelled = CorrelationId::parse(request)
            .is_some_and(|id| self.correlations.cancel(from.handle, id));
        if cancelled {
            return Ok(());
        }
        Err(MessagingError::InvalidMessage(format!(
            "{} has no request {:?} under way",
            from.id,
            shorten(request)
        )))
    }
}
