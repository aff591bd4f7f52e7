//! The interface `host-messaging` of one component: delivers to mailboxes of this engine and to the
//! host's router.

use std::future::ready;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Instant, SystemTime};

use vec1::vec1;

use crate::core::account::HostBytesExceeded;
use crate::core::error::{CallError, LimitBreach, MessagingError};
use crate::core::id::{ComponentId, CorrelationId, RawId, shorten};
use crate::core::limits::{Full, MailboxBound};
use crate::core::message::Message;
use crate::core::payload::Payload;
use crate::core::ports::{Envelope, Handover, Messenger, Router, Sending};
use crate::core::versioned::Versioned;
use crate::messaging::mail::{CALLBACK_BYTES, Mail, Refusal};
use crate::messaging::mailbox::Mailbox;
use crate::messaging::members::{Delivered, Members, Undelivered};
use crate::messaging::pending_requests::{
    PendingRequests, RequestTarget, Requester, TableFull, Ticket,
};
use crate::messaging::registry::Registry;
use crate::messaging::reply::Reply;
use crate::security::action::Action;
use crate::security::audit::Basis;
use crate::security::guard::{AllowedUntil, Guard, Refused};
use crate::security::quota::QuotaBreach;
use crate::security::resource::Resource;

/// Host memory held for a pending request: its entry in the table, and its callback.
const REQUEST_BYTES: u64 = 256 + CALLBACK_BYTES;

/// The number of targets that a sender caches.
const REMEMBERED: usize = 4;

/// State shared by all senders of an engine.
pub struct MessagingContext {
    /// The components of this engine.
    pub registry: Arc<Registry>,
    /// The pending requests.
    pub pending_requests: Arc<PendingRequests>,
    /// The route to everyone else.
    pub router: Option<Arc<dyn Router>>,
}

/// The sending side of one component.
pub struct ComponentMessenger {
    messaging: Arc<MessagingContext>,
    id: Arc<ComponentId>,
    own: Weak<Mailbox>,
    guard: Arc<Guard>,
    recent: Mutex<Versioned<(u64, u64), TargetCache>>,
    sent: Arc<AtomicU64>,
}

/// The most recent targets, found without access to shared state. Valid for one version of the
/// registry and one of the guard.
#[derive(Default)]
struct TargetCache {
    targets: Vec<Target>,
    /// The entry to be replaced next.
    oldest: usize,
}

struct Target {
    id: Arc<ComponentId>,
    members: Arc<Members>,
    /// The rights on this target decided so far.
    allowed: Vec<(Action, AllowedUntil)>,
}

/// The route of a message.
enum Way {
    Here(Arc<Members>),
    Elsewhere(ComponentId),
}

impl ComponentMessenger {
    /// Creates the sender of the component with the mailbox `own`, with the rights of `guard`.
    pub fn new(messaging: Arc<MessagingContext>, own: &Arc<Mailbox>, guard: Arc<Guard>) -> Self {
        Self {
            messaging,
            guard,
            id: Arc::clone(own.owner()),
            own: Arc::downgrade(own),
            recent: Mutex::default(),
            sent: Arc::default(),
        }
    }

    /// Returns the number of accepted messages and requests.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends one of the component's requests without an outcome. Returns false if there is no such
    /// request, or its outcome is under way.
    pub fn abandon(&self, request: CorrelationId) -> bool {
        self.messaging.pending_requests.cancel_of(&self.own, request)
    }

    /// Goes on with a number of accepted messages and requests.
    pub fn go_on(&self, sent: u64) {
        self.sent.store(sent, Ordering::Relaxed);
    }

    /// Finds the receiver of a permitted message. The right is checked first: a sender without it
    /// must not learn whether the id is loaded.
    fn resolve(&self, raw: RawId<'_>, action: Action) -> Result<Way, MessagingError> {
        if let Some(target) = self.recent().at(self.versions()).find(raw, action) {
            self.admit_again(action, target)?;
            return Ok(Way::Here(Arc::clone(&target.members)));
        }
        let id =
            raw.checked().map_err(|error| MessagingError::InvalidMessage(error.to_string()))?;
        let versions = self.versions();
        // Taken first, so that refused messages count too.
        self.guard.take_message(action, id.as_str()).map_err(refused)?;
        let allowed = self.guard.check(action, id.as_str()).map_err(refused)?;
        if let Some((id, members)) = self.messaging.registry.find(&id) {
            if let Some(recent) = self.recent().if_at(versions) {
                recent.remember(id, &members, (action, allowed));
            }
            return Ok(Way::Here(members));
        }
        // During `initialize` a component is not in the registry, but may send to itself.
        if let (true, Some(own)) = (id == *self.id, self.own.upgrade()) {
            return Ok(Way::Here(Arc::new(Members::new(vec1![own]))));
        }
        if self.messaging.router.is_some() { Ok(Way::Elsewhere(id)) } else { Err(not_found(raw)) }
    }

    fn recent(&self) -> MutexGuard<'_, Versioned<(u64, u64), TargetCache>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn versions(&self) -> (u64, u64) {
        (self.messaging.registry.version(), self.guard.version())
    }

    /// Records a message to a cached target and takes it off the quota.
    fn admit_again(&self, action: Action, target: &Target) -> Result<(), MessagingError> {
        self.guard.take_message(action, target.id.as_str()).map_err(refused)?;
        self.guard.record_allowed(action, Resource::Text(target.id.as_str()));
        Ok(())
    }

    fn message(&self, payload: Payload) -> Message {
        Message::new(Some(Arc::clone(&self.id)), payload)
    }

    /// Delivers mail to a mailbox of this engine.
    fn deliver<T>(
        &self,
        action: Action,
        members: &Arc<Members>,
        message: Message,
        reply: Reply,
        accepted: impl FnOnce(Delivered) -> T,
        refused: impl FnOnce(),
    ) -> Handover<T> {
        let Undelivered { refusal, mail, at } = match members.deliver(Mail::Message(message, reply))
        {
            Ok(delivered) => {
                count(&self.sent);
                return Handover::Done(Ok(accepted(delivered)));
            }
            Err(undelivered) => undelivered,
        };
        let target = &members.all()[at];
        let waits = matches!(refusal, Refusal::Full(_)) && target.blocks_senders();
        // Two senders that wait for each other's room would wait forever.
        let own = self.own.upgrade().filter(|_| waits);
        let rooms = own.and_then(|own| members.rooms(&mail, Some(own.node())));
        mail.withdraw();
        refused();
        if let Some(rooms) = rooms {
            self.guard.give_message_back();
            return Handover::Wait(Box::pin(rooms.wait()));
        }
        if waits {
            target.count_refused();
        }
        if refusal == Refusal::Closed && self.is_served_by_others(members, target.owner()) {
            self.guard.give_message_back();
            return Handover::Wait(Box::pin(ready(())));
        }
        if let Refusal::Full(bound) | Refusal::NoRoom(bound) = refusal {
            self.record_full(action, target, bound);
        }
        Handover::Done(Err(explain(target, refusal)))
    }

    /// Returns whether the id now belongs to other mailboxes than those found.
    fn is_served_by_others(&self, found: &Arc<Members>, id: &ComponentId) -> bool {
        match self.messaging.registry.find(id) {
            Some((_, members)) => !Arc::ptr_eq(&members, found),
            None => self.messaging.router.is_some() && *id != *self.id,
        }
    }

    /// Records a message that a full mailbox refused although every other quota allowed it.
    fn record_full(&self, action: Action, target: &Mailbox, bound: MailboxBound) {
        let (name, value) = bound.limit();
        let resource = Resource::Text(target.owner().as_str());
        self.guard.refuse(action, resource, Basis::Quota(QuotaBreach { name, value }));
    }

    fn request_here(
        &self,
        members: &Arc<Members>,
        payload: Payload,
        deadline: Instant,
    ) -> Result<Handover<CorrelationId>, MessagingError> {
        // Any member will do until one has the message.
        let request = self.open(RequestTarget::here(members.all().first()))?;
        let message =
            Message { correlation: Some(request.id), wants_reply: true, ..self.message(payload) };
        let pending_requests = &self.messaging.pending_requests;
        let reply = Reply::to_request(Arc::clone(pending_requests), request);
        // Armed only after acceptance: a refused request must not time out.
        let accepted = |delivered: Delivered| {
            pending_requests.arm(
                request,
                deadline,
                Some((&members.all()[delivered.at], delivered.place)),
            );
            request.id
        };
        let refused = || _ = pending_requests.discard(request);
        Ok(self.deliver(Action::MessagingRequest, members, message, reply, accepted, refused))
    }

    fn request_elsewhere(
        &self,
        address: ComponentId,
        payload: Payload,
        deadline: Instant,
    ) -> Result<Handover<CorrelationId>, MessagingError> {
        let request = self.open(RequestTarget::Elsewhere(Arc::new(address.clone())))?;
        let envelope = Envelope {
            correlation: Some(request.id),
            deadline: SystemTime::now()
                .checked_add(deadline.saturating_duration_since(Instant::now())),
            ..self.envelope(address, payload)
        };
        let (messaging, sent) = (Arc::clone(&self.messaging), Arc::clone(&self.sent));
        Ok(Handover::AskHost(Box::new(move || {
            ask_router(&messaging, &envelope, request, deadline).inspect(|_| count(&sent))
        })))
    }

    /// Enters a request of this component into the table.
    fn open(&self, receiver: RequestTarget) -> Result<Ticket, MessagingError> {
        let failed = MessagingError::DeliveryFailed;
        let own = self.own.upgrade().ok_or_else(|| failed(format!("{} is unloaded", self.id)))?;
        let permit = self.guard.take_request(receiver.id().as_str()).map_err(refused)?;
        // The room for the callback, which is never refused.
        let charge = own.account().charge(REQUEST_BYTES).map_err(
            |HostBytesExceeded { limit, .. }| {
                let bound = MailboxBound::HostBytes(limit);
                self.record_full(Action::MessagingRequest, &own, bound);
                failed(format!("{bound}: the component has too many requests under way"))
            },
        )?;
        let mailbox = Weak::clone(&self.own);
        let requester = Requester::Component { mailbox, permit, charge };
        let opened = self.messaging.pending_requests.open(requester, receiver);
        opened.map_err(|TableFull| failed("too many requests are under way".into()))
    }

    fn envelope(&self, target: ComponentId, payload: Payload) -> Envelope {
        Envelope {
            source: Arc::clone(&self.id),
            target: Arc::new(target),
            correlation: None,
            deadline: None,
            content_type: None,
            payload,
        }
    }
}

impl TargetCache {
    /// Returns the cached target if the action on it is allowed.
    fn find(&self, raw: RawId<'_>, action: Action) -> Option<&Target> {
        self.targets.iter().find(|target| *target.id == raw).filter(|target| target.allows(action))
    }

    /// Caches a target and a right on it.
    fn remember(
        &mut self,
        id: Arc<ComponentId>,
        members: &Arc<Members>,
        allowed: (Action, AllowedUntil),
    ) {
        if let Some(known) = self.targets.iter_mut().find(|target| target.id == id) {
            known.allowed.retain(|(action, _)| *action != allowed.0);
            known.allowed.push(allowed);
            return;
        }
        let target = Target { id, members: Arc::clone(members), allowed: vec![allowed] };
        if self.targets.len() < REMEMBERED {
            self.targets.push(target);
        } else {
            self.targets[self.oldest] = target;
            self.oldest = (self.oldest + 1) % REMEMBERED;
        }
    }
}

impl Target {
    fn allows(&self, action: Action) -> bool {
        self.allowed.iter().any(|(known, allowed)| *known == action && allowed.holds())
    }
}

impl Messenger for ComponentMessenger {
    fn send(&self, target: RawId<'_>, payload: Payload, sending: Sending) -> Handover<()> {
        let action = match sending {
            Sending::Single => Action::MessagingSend,
            Sending::Broadcast => Action::MessagingBroadcast,
        };
        {
            // Holding the lock costs less than cloning the `Arc`.
            let mut recent = self.recent();
            if let Some(known) = recent.at(self.versions()).find(target, action) {
                if let Err(error) = self.admit_again(action, known) {
                    return Handover::Done(Err(error));
                }
                let (message, reply) = (self.message(payload), Reply::nobody());
                return self.deliver(action, &known.members, message, reply, |_| (), || ());
            }
        }
        let members = match self.resolve(target, action) {
            Ok(Way::Here(members)) => members,
            Ok(Way::Elsewhere(id)) => {
                let envelope = self.envelope(id, payload);
                let (messaging, sent) = (Arc::clone(&self.messaging), Arc::clone(&self.sent));
                return Handover::AskHost(Box::new(move || match &messaging.router {
                    Some(router) => router.route(&envelope).inspect(|()| count(&sent)),
                    None => Ok(()),
                }));
            }
            Err(error) => return Handover::Done(Err(error)),
        };
        let (message, reply) = (self.message(payload), Reply::nobody());
        self.deliver(action, &members, message, reply, |_| (), || ())
    }

    fn request(
        &self,
        target: RawId<'_>,
        payload: Payload,
        deadline: Instant,
    ) -> Handover<CorrelationId> {
        let result = match self.resolve(target, Action::MessagingRequest) {
            Ok(Way::Here(members)) => self.request_here(&members, payload, deadline),
            Ok(Way::Elsewhere(address)) => self.request_elsewhere(address, payload, deadline),
            Err(error) => Err(error),
        };
        result.unwrap_or_else(|error| Handover::Done(Err(error)))
    }

    fn cancel_request(&self, request: &str) -> Result<(), MessagingError> {
        let shown = shorten(request);
        let (action, resource) = (Action::MessagingCancel, Resource::Text(&shown));
        let decision = self.guard.decide(action, resource);
        if !decision.allowed {
            return Err(refused(self.guard.refuse(action, resource, decision.basis)));
        }
        let cancelled = CorrelationId::parse(request)
            .is_some_and(|id| self.messaging.pending_requests.cancel_of(&self.own, id));
        if cancelled {
            self.guard.record_allowed(action, resource);
            return Ok(());
        }
        // The guest gets the same error for an unknown id and for another component's request.
        self.guard.refuse(action, resource, Basis::Never("no request of its own"));
        Err(MessagingError::InvalidMessage(format!(
            "{} has no request {shown:?} under way",
            self.id,
        )))
    }
}

fn ask_router(
    messaging: &MessagingContext,
    envelope: &Envelope,
    request: Ticket,
    deadline: Instant,
) -> Result<CorrelationId, MessagingError> {
    let Some(router) = &messaging.router else { return Ok(request.id) };
    match router.route(envelope) {
        Ok(()) => {
            messaging.pending_requests.arm(request, deadline, None);
            Ok(request.id)
        }
        Err(error) if messaging.pending_requests.discard(request) => Err(error),
        // The router completed the request and then refused it; the callback is on its way.
        Err(_) => Ok(request.id),
    }
}

/// Not atomic: only the component's own calls count, one at a time.
fn count(sent: &AtomicU64) {
    sent.store(sent.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

fn refused(refused: Refused) -> MessagingError {
    MessagingError::DeliveryFailed(refused.to_string())
}

fn not_found(raw: RawId<'_>) -> MessagingError {
    MessagingError::TargetNotFound([raw.namespace, raw.name, raw.instance].map(str::to_owned))
}

/// Converts a mailbox's refusal to the error for the guest.
fn explain(target: &Mailbox, refusal: Refusal) -> MessagingError {
    let id = target.owner();
    match refusal {
        Refusal::Full(by) | Refusal::NoRoom(by) => {
            let full = Full { bounds: target.options().bounds, by };
            MessagingError::QueueFull { target: Arc::clone(id), full }
        }
        Refusal::TooLarge { limit, bytes } => {
            let breach = LimitBreach::MessageBytes { limit, bytes };
            MessagingError::InvalidMessage(format!("{id}: {breach}"))
        }
        Refusal::Closed => MessagingError::TargetNotFound(
            [id.namespace(), id.name(), id.instance()].map(str::to_owned),
        ),
        Refusal::Stopped => MessagingError::DeliveryFailed(format!("{id} is stopped")),
        Refusal::Failed => MessagingError::DeliveryFailed(format!("{id} has failed")),
        Refusal::Cycle => MessagingError::DeliveryFailed(format!("{id} waits for the sender")),
        Refusal::Codec(unsupported) => {
            MessagingError::InvalidMessage(format!("{id}: {unsupported}"))
        }
        Refusal::NoHandler(export) => {
            let error = CallError::ExportNotFound { export };
            MessagingError::DeliveryFailed(format!("{id}: {error}"))
        }
    }
}
