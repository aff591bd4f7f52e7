//! Messages from the host, and mail from other engines.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use crate::component::actor::Actor;
use crate::component::lifecycle::State;
use crate::core::caller_watch;
use crate::core::deadline::deadline_in;
use crate::core::error::{CallError, LimitBreach};
use crate::core::id::{ComponentHandle, ComponentId, CorrelationId};
use crate::core::limits::{self, MailboxBound};
use crate::core::message::{Invocation, Message, Outcome};
use crate::core::payload::Payload;
use crate::core::wait_graph::{Wait, WaitNode};
use crate::messaging::mail::{Mail, Refusal};
use crate::messaging::mailbox::Mailbox;
use crate::messaging::members::{Delivered, Members, Rooms, Undelivered};
use crate::messaging::pending_requests::{Completion, RequestTarget, Requester, TableFull};
use crate::messaging::queue::Place;
use crate::messaging::reply::Reply;
use crate::runtime::block_on::block_on;
use crate::runtime::off_fiber::current_component;
use crate::system::engine::Engine;
use crate::system::error::EngineError;

/// A message from the host.
pub struct HostMessage<'a> {
    /// Opaque bytes.
    pub payload: &'a [u8],
    /// The nominal sender; `None` is the host itself.
    pub sender: Option<ComponentId>,
    /// The declared type of the payload.
    pub content_type: Option<&'a str>,
    /// The function that handles it, for a typed call.
    pub invocation: Option<Arc<Invocation>>,
}

/// How long a caller waits, and what happens to its message afterwards.
#[derive(Default)]
pub struct Patience {
    /// The longest wait.
    pub timeout: Option<Duration>,
    /// Whether to interrupt the message in progress when the caller gives up.
    pub ends_message: bool,
    /// Polled on the caller's thread: whether the caller gives up.
    pub gives_up: Option<Box<dyn Fn() -> bool>>,
}

/// Mail that another engine's router took.
pub struct Inbound<'a> {
    /// The sender.
    pub source: ComponentId,
    /// The receiver.
    pub target: &'a str,
    /// The correlation that the receiver sees.
    pub correlation: Option<CorrelationId>,
    /// After this time a reply has no effect.
    pub deadline: Option<SystemTime>,
    /// The declared type of the payload.
    pub content_type: Option<&'a str>,
    /// Opaque bytes.
    pub payload: &'a [u8],
}

impl Engine {
    /// Queues a fire-and-forget message. `timeout` bounds the wait for room.
    pub fn send(
        &self,
        handle: ComponentHandle,
        message: HostMessage<'_>,
        timeout: Option<Duration>,
    ) -> Result<(), EngineError> {
        self.check_running()?;
        let mail = Mail::Message(Self::message(message), Reply::nobody());
        // The common case, without a clone of the pool's `Arc`.
        let offered = self.components.with(handle, |pool| match pool.members().deliver(mail) {
            Ok(_) => Ok(()),
            Err(undelivered) => Err(self.no_room(pool.members(), undelivered)),
        });
        let full = match offered {
            Some(Ok(())) => return Ok(()),
            Some(Err(refused)) => refused?,
            None => return Err(self.unknown(handle)),
        };
        match self.components.get(handle) {
            Some(pool) => {
                let deadline = timeout.map(deadline_in);
                self.queue(pool.members(), Address::Handle, full.mail, deadline).map(drop)
            }
            None => {
                full.mail.withdraw();
                Err(self.unknown(handle))
            }
        }
    }

    /// Queues one message for several receivers, trying all of them.
    pub fn broadcast(
        &self,
        handles: &[ComponentHandle],
        message: HostMessage<'_>,
        timeout: Option<Duration>,
    ) -> Result<(), EngineError> {
        self.check_running()?;
        let message = Self::message(message);
        let deadline = timeout.map(deadline_in);
        let send = |handle| {
            let pool = self.pool(handle)?;
            let mail = Mail::Message(message.clone(), Reply::nobody());
            self.queue(pool.members(), Address::Handle, mail, deadline).map(drop)
        };
        let failed: Vec<_> = handles
            .iter()
            .filter_map(|handle| send(*handle).err().map(|error| (*handle, error)))
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(EngineError::Broadcast { targets: handles.len(), failed })
    }

    /// Sends a request. `completion` gets exactly one outcome, unless this fails.
    pub fn request(
        &self,
        handle: ComponentHandle,
        message: HostMessage<'_>,
        patience: Patience,
        completion: Completion,
    ) -> Result<CorrelationId, EngineError> {
        self.check_running()?;
        let pool = self.pool(handle)?;
        let until = Until {
            deadline: patience.timeout.map(deadline_in),
            ends_message: patience.ends_message,
        };
        let message = Self::message(message);
        self.request_of(pool.members(), Address::Handle, message, until, completion)
    }

    fn request_of(
        &self,
        members: &Arc<Members>,
        address: Address,
        message: Message,
        until: Until,
        completion: Completion,
    ) -> Result<CorrelationId, EngineError> {
        let Until { deadline, ends_message } = until;
        let pending_requests = &self.messaging.pending_requests;
        let requester = Requester::Host(completion);
        let any = members.all().first();
        let request = pending_requests
            .open(requester, RequestTarget::here(any))
            .map_err(|TableFull| EngineError::TooManyRequests)?;
        let correlation = message.correlation.or(Some(request.id));
        let message = Message { correlation, wants_reply: true, ..message };
        let mail = Mail::Message(message, Reply::to_request(Arc::clone(pending_requests), request));
        match self.queue(members, address, mail, deadline) {
            Ok((to, place)) => {
                if ends_message {
                    pending_requests.end_with(request, &to, place);
                }
                if let Some(deadline) = deadline {
                    pending_requests.arm(request, deadline, Some((&to, place)));
                }
            }
            // A concurrent stop of the engine may already have completed the request.
            Err(error) if pending_requests.discard(request) => return Err(error),
            Err(_) => {}
        }
        Ok(request.id)
    }

    /// Completes a request of the host as cancelled.
    pub fn cancel(&self, id: u64) -> Result<(), EngineError> {
        let cancelled = CorrelationId::from_u64(id)
            .is_some_and(|id| self.messaging.pending_requests.cancel_of_host(id));
        if cancelled { Ok(()) } else { Err(EngineError::UnknownRequest(id)) }
    }

    /// Delivers mail from another engine; a request comes with a `completion`.
    pub fn deliver(
        &self,
        mail: Inbound<'_>,
        completion: Option<Completion>,
    ) -> Result<Option<CorrelationId>, EngineError> {
        self.check_running()?;
        let target = ComponentId::parse(mail.target)?;
        let members = self.messaging.registry.find(&target);
        let (_, members) = members.ok_or_else(|| EngineError::UnknownId(target.clone()))?;
        let message = Message {
            content_type: mail.content_type.map(Into::into),
            correlation: mail.correlation,
            ..Message::new(Some(Arc::new(mail.source)), Payload::copy_of(mail.payload))
        };
        let deadline = mail.deadline.map(|deadline| {
            deadline_in(deadline.duration_since(SystemTime::now()).unwrap_or_default())
        });
        match completion {
            Some(completion) => {
                let until = Until { deadline, ends_message: false };
                self.request_of(&members, Address::Id, message, until, completion).map(Some)
            }
            None => {
                let mail = Mail::Message(message, Reply::nobody());
                self.queue(&members, Address::Id, mail, deadline).map(|_| None)
            }
        }
    }

    /// Completes a request taken by the host's router.
    pub fn complete(&self, token: u64, outcome: Outcome) -> Result<(), EngineError> {
        let waited_for = CorrelationId::from_u64(token)
            .is_some_and(|id| self.messaging.pending_requests.complete_routed(id, outcome));
        if waited_for { Ok(()) } else { Err(EngineError::UnknownRequest(token)) }
    }

    /// Returns the id of a component, or its handle if it is gone, for use in texts.
    pub fn name_of(&self, handle: ComponentHandle) -> String {
        let pool = self.components.look(handle);
        pool.map_or_else(|| handle.to_string(), |pool| pool.id().to_string())
    }

    /// Queues mail with the least busy mailbox that accepts it, and returns that mailbox and the
    /// place. Waits for room where senders block. Refused mail is dropped without an outcome.
    pub(super) fn queue(
        &self,
        members: &Arc<Members>,
        address: Address,
        mut mail: Mail,
        deadline: Option<Instant>,
    ) -> Result<(Arc<Mailbox>, Place), EngineError> {
        let mut members = Arc::clone(members);
        loop {
            let undelivered = match members.deliver(mail) {
                Ok(Delivered { at, place }) => return Ok((Arc::clone(&members.all()[at]), place)),
                Err(undelivered) => undelivered,
            };
            if let (Address::Id, Refusal::Closed) = (address, &undelivered.refusal)
                && let Some((_, others)) =
                    self.messaging.registry.find(members.all().first().owner())
                && !Arc::ptr_eq(&others, &members)
            {
                (mail, members) = (undelivered.mail, others);
                continue;
            }
            let full = self.no_room(&members, undelivered)?;
            let rooms = members.rooms(&full.mail, current_component().as_ref());
            mail = self.wait_for_room(*full, rooms, deadline)?;
        }
    }

    /// As [`Engine::queue`], but only where `caller` can await the outcome.
    pub(super) fn queue_awaited(
        &self,
        members: &Members,
        mut mail: Mail,
        deadline: Option<Instant>,
        caller: &Arc<WaitNode>,
    ) -> Result<(Arc<Mailbox>, Place, Option<Wait>), EngineError> {
        loop {
            let undelivered = match members.deliver_awaited(mail, caller) {
                Ok((Delivered { at, place }, wait)) => {
                    return Ok((Arc::clone(&members.all()[at]), place, Some(wait)));
                }
                Err(undelivered) => undelivered,
            };
            let full = self.no_room(members, undelivered)?;
            let rooms = members.rooms(&full.mail, Some(caller));
            mail = self.wait_for_room(*full, rooms, deadline)?;
        }
    }

    /// Returns mail whose sender has to wait for room, or the error for a refusal.
    fn no_room(
        &self,
        members: &Members,
        Undelivered { refusal, mail, at }: Undelivered,
    ) -> Result<Box<Full>, EngineError> {
        let by = &members.all()[at];
        match refusal {
            Refusal::Full(bound) if by.blocks_senders() => {
                Ok(Box::new(Full { by: Arc::clone(by), bound, mail }))
            }
            refusal => {
                mail.withdraw();
                Err(self.not_accepted(by, refusal))
            }
        }
    }

    /// Queues mail other than a message with one actor; returns its place.
    pub(super) fn ask(&self, actor: &Actor, mail: Mail) -> Result<Place, EngineError> {
        actor.mailbox().deliver(mail).map_err(|(refusal, mail)| {
            mail.withdraw();
            self.not_accepted(actor.mailbox(), refusal)
        })
    }

    /// Converts a mailbox's refusal to an error for the host.
    pub(super) fn not_accepted(&self, by: &Mailbox, refusal: Refusal) -> EngineError {
        let component = Arc::clone(by.owner());
        match refusal {
            Refusal::Full(bound) | Refusal::NoRoom(bound) => queue_full(by, bound),
            Refusal::Cycle => would_deadlock(by),
            // The id may have been loaded again under another handle; the caller's handle is gone.
            Refusal::Closed => match self.check_running() {
                Ok(()) => EngineError::Gone(component),
                Err(stopped) => stopped,
            },
            Refusal::Stopped => EngineError::NotRunning { component, state: State::Stopped },
            Refusal::Failed => EngineError::NotRunning { component, state: State::Failed },
            Refusal::Codec(problem) => EngineError::InvalidMessage { component, problem },
            Refusal::TooLarge { limit, bytes } => {
                let breach = LimitBreach::MessageBytes { limit, bytes };
                EngineError::MessageTooLarge { component, breach }
            }
            Refusal::NoHandler(export) => {
                EngineError::Call { component, error: CallError::ExportNotFound { export } }
            }
        }
    }

    /// Waits until there may be room for mail, and returns the mail.
    fn wait_for_room(
        &self,
        full: Full,
        rooms: Option<Rooms>,
        deadline: Option<Instant>,
    ) -> Result<Mail, EngineError> {
        let Some(rooms) = rooms else { return Err(full.give_up(|by, _| would_deadlock(by))) };
        if self.has_room(&full.by, rooms, deadline) {
            return Ok(full.mail);
        }
        let stopped = self.check_running().err();
        Err(full.give_up(|by, bound| match stopped {
            Some(stopped) => stopped,
            None if caller_watch::check() == caller_watch::State::GivenUp => {
                self.call_failed(by, CallError::Interrupted)
            }
            None => queue_full(by, bound),
        }))
    }

    /// Waits for room; returns false if there is none in time, the caller gives up, or the engine
    /// stops.
    fn has_room(&self, full: &Mailbox, rooms: Rooms, deadline: Option<Instant>) -> bool {
        let mut room = pin!(rooms.wait());
        let mut room = pin!(poll_fn(|cx| match caller_watch::check() {
            caller_watch::State::GivenUp => Poll::Ready(false),
            _ => room.as_mut().poll(cx).map(|()| true),
        }));
        let Some(deadline) = deadline else { return block_on(None, room) };
        // An unloaded component is not full.
        let Some(pool) = self.components.get(full.handle()) else { return true };
        // These timers notice that the engine stops; a bare timer of its workers would not survive
        // that.
        let timers = &pool.actors().first().spec().context.timers;
        let mut over = pin!(timers.interruption(deadline, None));
        let first = poll_fn(|cx| match over.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending => room.as_mut().poll(cx),
        });
        block_on(None, pin!(first))
    }

    pub(super) fn call_failed(&self, by: &Mailbox, error: CallError) -> EngineError {
        EngineError::Call { component: Arc::clone(by.owner()), error }
    }

    pub(super) fn message(message: HostMessage<'_>) -> Message {
        Message {
            content_type: message.content_type.map(Into::into),
            invocation: message.invocation,
            ..Message::new(message.sender.map(Arc::new), Payload::copy_of(message.payload))
        }
    }
}

/// The deadline of a request.
#[derive(Clone, Copy)]
struct Until {
    deadline: Option<Instant>,
    /// Whether the deadline interrupts the message in progress.
    ends_message: bool,
}

/// How the receivers of mail were addressed.
#[derive(Clone, Copy)]
pub(super) enum Address {
    /// By a handle: these mailboxes only.
    Handle,
    /// By an id: whichever mailboxes have it.
    Id,
}

/// Mail whose sender waits for room.
struct Full {
    by: Arc<Mailbox>,
    bound: MailboxBound,
    mail: Mail,
}

impl Full {
    fn give_up(self, error: impl FnOnce(&Mailbox, MailboxBound) -> EngineError) -> EngineError {
        self.mail.withdraw();
        self.by.count_refused();
        error(&self.by, self.bound)
    }
}

fn would_deadlock(by: &Mailbox) -> EngineError {
    EngineError::WouldDeadlock { target: by.owner().to_string() }
}

fn queue_full(by: &Mailbox, bound: MailboxBound) -> EngineError {
    let full = limits::Full { bounds: by.options().bounds, by: bound };
    EngineError::QueueFull { component: Arc::clone(by.owner()), full }
}
