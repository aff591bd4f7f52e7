//! Messages from the host, and mail from other engines.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use crate::component::actor::Actor;
use crate::component::pool::{Chosen, Pool};
use crate::component::status::State;
use crate::core::deadline::deadline_in;
use crate::core::error::{CallError, LimitBreach};
use crate::core::id::{ComponentHandle, ComponentId, CorrelationId};
use crate::core::limits::{self, MailboxBound};
use crate::core::message::{Message, MessageView, Outcome, Timestamp};
use crate::core::payload::Payload;
use crate::core::waiting::{Wait, WaitNode};
use crate::messaging::correlation::{Completion, Receiver, Requester, TableFull};
use crate::messaging::mail::{Mail, Refusal};
use crate::messaging::mailbox::Mailbox;
use crate::messaging::members::{Delivered, Members, NotAwaited, Rooms, Undelivered};
use crate::messaging::queue::Place;
use crate::messaging::reply::{Reply, Waiter};
use crate::runtime::block_on::block_on;
use crate::runtime::off_fiber::current_component;
use crate::system::blocking::run_here_first;
use crate::system::engine::Engine;
use crate::system::error::EngineError;

/// A message from the host.
pub struct HostMessage<'a> {
    /// Opaque bytes.
    pub payload: &'a [u8],
    /// In whose name; `None`: the host's own.
    pub sender: Option<ComponentId>,
    /// What the payload is.
    pub content_type: Option<&'a str>,
}

/// Mail that another engine's router took.
pub struct Inbound<'a> {
    /// Who sent it.
    pub source: ComponentId,
    /// Whom it is for.
    pub target: &'a str,
    /// What its receiver sees as its correlation.
    pub correlation: Option<CorrelationId>,
    /// Until when an answer is of use.
    pub deadline: Option<SystemTime>,
    /// What the payload is.
    pub content_type: Option<&'a str>,
    /// Opaque bytes.
    pub payload: &'a [u8],
}

impl Engine {
    /// Queues a message whose outcome nobody waits for. `timeout`: how long it may wait for room.
    pub fn send(
        &self,
        handle: ComponentHandle,
        message: HostMessage<'_>,
        timeout: Option<Duration>,
    ) -> Result<(), EngineError> {
        self.check_running()?;
        let mail = Mail::Message(Self::message(message), Reply::nobody());
        // Nearly always it is done after a look at the pool, which need not be kept for it.
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

    /// Queues one message for several receivers; all are tried.
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

    /// Hands a message over and waits for its outcome. `stack`: how many bytes that of the calling
    /// thread has left.
    pub fn call(
        &self,
        handle: ComponentHandle,
        message: HostMessage<'_>,
        timeout: Option<Duration>,
        stack: usize,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        self.check_running()?;
        let pool = self.pool(handle)?;
        let chosen = pool
            .try_enter(message.payload)
            .map_err(|refusal| self.not_accepted(pool.actors()[0].mailbox(), refusal))?;
        match chosen {
            Chosen::Closed => Err(self.unknown(handle)),
            Chosen::Entered(actor) => {
                let _wait = self.wait_for(actor).inspect_err(|_| actor.mailbox().leave())?;
                let outcome = self.call_entered(actor, message, timeout, stack)?;
                outcome.map_err(|error| self.call_failed(actor.mailbox(), error))
            }
            Chosen::Busy => self.call_queued(&pool, message, timeout),
        }
    }

    /// Waits for the outcome of a message that waits its turn.
    fn call_queued(
        &self,
        pool: &Pool,
        message: HostMessage<'_>,
        timeout: Option<Duration>,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        let deadline = timeout.map(deadline_in);
        let (waiter, reply) = Waiter::with_reply();
        let mail = Mail::Message(Self::message(message), reply);
        let (to, place, _wait) = match current_component() {
            None => {
                let (to, place) = self.queue(pool.members(), Address::Handle, mail, deadline)?;
                (to, place, None)
            }
            // A callback queues only where it can wait for the outcome.
            Some(caller) => self.queue_awaited(pool.members(), mail, deadline, &caller)?,
        };
        let outcome = match (waiter.wait(deadline.map(left)), timeout) {
            (Err(CallError::CallerTimeout { .. }), Some(timeout)) => {
                // It is told the timeout that it had set, not what was left of it.
                let over = |unstarted| CallError::CallerTimeout { timeout, unstarted };
                match to.give_up(place, |unstarted| over(Some(unstarted))) {
                    Some(given_up) => Err(given_up),
                    // It has begun, or has its outcome by now.
                    None => match waiter.wait(Some(Duration::ZERO)) {
                        Err(CallError::CallerTimeout { .. }) => Err(over(None)),
                        outcome => outcome,
                    },
                }
            }
            (outcome, _) => outcome,
        };
        outcome.map_err(|error| self.call_failed(&to, error))
    }

    fn call_entered(
        &self,
        actor: &Arc<Actor>,
        message: HostMessage<'_>,
        timeout: Option<Duration>,
        stack: usize,
    ) -> Result<Outcome, EngineError> {
        if ends_in_time(actor, timeout) {
            let message = MessageView {
                sender: message.sender.as_ref().unwrap_or(&self.host),
                payload: message.payload,
                content_type: message.content_type,
                correlation: None,
                reply_to: None,
                accepted: Timestamp::recent(),
            };
            return Ok(actor.handle_here(message, stack));
        }
        let (timers, ambient) =
            (&actor.blueprint().context.timers, actor.ambient_timers().is_some());
        let call = Arc::clone(actor).handle_directly(Self::message(message));
        Ok(run_here_first(timers, ambient, call, timeout)
            .unwrap_or_else(|missed| Err(missed.into())))
    }

    /// Hands a message over; `completion` gets its outcome, exactly once, unless this fails.
    pub fn request(
        &self,
        handle: ComponentHandle,
        message: HostMessage<'_>,
        timeout: Option<Duration>,
        completion: Completion,
    ) -> Result<CorrelationId, EngineError> {
        self.check_running()?;
        let pool = self.pool(handle)?;
        let deadline = timeout.map(deadline_in);
        let message = Self::message(message);
        self.request_of(pool.members(), Address::Handle, message, deadline, completion)
    }

    fn request_of(
        &self,
        members: &Arc<Members>,
        address: Address,
        message: Message,
        deadline: Option<Instant>,
        completion: Completion,
    ) -> Result<CorrelationId, EngineError> {
        let correlations = &self.office.correlations;
        let requester = Requester::Host(completion);
        let any = members.all().first().ok_or(EngineError::Stopped)?;
        let request = correlations
            .open(requester, Receiver::here(any))
            .map_err(|TableFull| EngineError::TooManyRequests)?;
        let correlation = message.correlation.or(Some(request.id));
        let message = Message { correlation, wants_reply: true, ..message };
        let mail = Mail::Message(message, Reply::to_request(Arc::clone(correlations), request));
        match (self.queue(members, address, mail, deadline), deadline) {
            (Ok((to, place)), Some(deadline)) => {
                correlations.arm(request, deadline, Some((&to, place)));
            }
            // An engine that stops meanwhile may have answered it.
            (Err(error), _) if correlations.discard(request) => return Err(error),
            _ => {}
        }
        Ok(request.id)
    }

    /// Ends a request of the host as cancelled.
    pub fn cancel(&self, id: u64) -> Result<(), EngineError> {
        let cancelled = CorrelationId::from_u64(id)
            .is_some_and(|id| self.office.correlations.cancel_of_host(id));
        if cancelled { Ok(()) } else { Err(EngineError::UnknownRequest(id)) }
    }

    /// Brings in mail from another engine; a request has a `completion`.
    pub fn deliver(
        &self,
        mail: Inbound<'_>,
        completion: Option<Completion>,
    ) -> Result<Option<CorrelationId>, EngineError> {
        self.check_running()?;
        let target = ComponentId::parse(mail.target)?;
        let members = self.office.registry.find(&target);
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
                self.request_of(&members, Address::Id, message, deadline, completion).map(Some)
            }
            None => {
                let mail = Mail::Message(message, Reply::nobody());
                self.queue(&members, Address::Id, mail, deadline).map(|_| None)
            }
        }
    }

    /// Answers a request that the host's router took.
    pub fn complete(&self, token: u64, outcome: Outcome) -> Result<(), EngineError> {
        let waited_for = CorrelationId::from_u64(token)
            .is_some_and(|id| self.office.correlations.complete_routed(id, outcome));
        if waited_for { Ok(()) } else { Err(EngineError::UnknownRequest(token)) }
    }

    /// The id of a component, for a word about it after it is gone.
    pub fn name_of(&self, handle: ComponentHandle) -> String {
        let pool = self.components.get(handle);
        let id = pool.as_ref().and_then(|pool| pool.id());
        id.map_or_else(|| handle.to_string(), ToString::to_string)
    }

    /// Queues mail with the least busy that takes it, which is returned with its place, and waits for
    /// room where that is what senders do. What is refused is dropped without an answer.
    fn queue(
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
            if let (Address::Id, Some(Undelivered { refusal: Refusal::Closed, at, .. })) =
                (address, &undelivered)
                && let Some((_, others)) = self.office.registry.find(members.all()[*at].owner())
                && !Arc::ptr_eq(&others, &members)
                && let Some(closed) = undelivered
            {
                (mail, members) = (closed.mail, others);
                continue;
            }
            let full = self.no_room(&members, undelivered)?;
            let rooms = members.rooms(&full.mail, current_component().as_ref());
            mail = self.wait_for_room(*full, rooms, deadline)?;
        }
    }

    /// As [`Engine::queue`], where `caller` can wait for the outcome.
    fn queue_awaited(
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
                Err(NotAwaited::Circle(mail)) => {
                    mail.withdraw();
                    return Err(members
                        .pick()
                        .map_or(EngineError::Stopped, |by| would_deadlock(by)));
                }
                Err(NotAwaited::Undelivered(undelivered)) => undelivered,
            };
            let full = self.no_room(members, Some(undelivered))?;
            let rooms = members.rooms(&full.mail, Some(caller));
            mail = self.wait_for_room(*full, rooms, deadline)?;
        }
    }

    /// Mail whose sender waits for room, or else why it was not accepted.
    fn no_room(
        &self,
        members: &Members,
        undelivered: Option<Undelivered>,
    ) -> Result<Box<Full>, EngineError> {
        // Nobody has ever been there.
        let Some(Undelivered { refusal, mail, at }) = undelivered else {
            return Err(EngineError::Stopped);
        };
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

    /// Queues mail that is no message with one actor.
    pub(super) fn ask(&self, actor: &Actor, mail: Mail) -> Result<(), EngineError> {
        match actor.mailbox().deliver(mail) {
            Ok(_) => Ok(()),
            Err((refusal, mail)) => {
                mail.withdraw();
                Err(self.not_accepted(actor.mailbox(), refusal))
            }
        }
    }

    /// Why a component does not accept a message, for the host.
    fn not_accepted(&self, by: &Mailbox, refusal: Refusal) -> EngineError {
        let component = Arc::clone(by.owner());
        match refusal {
            Refusal::Full(bound) | Refusal::NoRoom(bound) => queue_full(by, bound),
            // Two handles may have had the id; the caller's is gone.
            Refusal::Closed => match self.check_running() {
                Ok(()) => EngineError::Gone(component),
                Err(stopped) => stopped,
            },
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

    /// Waits until there may be room for mail, which is given back.
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
        Err(full.give_up(|by, bound| stopped.unwrap_or_else(|| queue_full(by, bound))))
    }

    /// Waits for room; false if it does not come in time, or the engine stops.
    fn has_room(&self, full: &Mailbox, rooms: Rooms, deadline: Option<Instant>) -> bool {
        let room = rooms.wait();
        let Some(deadline) = deadline else {
            block_on(None, pin!(room));
            return true;
        };
        // One that is gone is not full.
        let Some(pool) = self.components.get(full.handle()) else { return true };
        // Knows when the engine stops, which a timer of its workers alone would not survive.
        let timers = &pool.actors()[0].blueprint().context.timers;
        let (mut room, mut over) = (pin!(room), pin!(timers.interruption(deadline, None)));
        let first = poll_fn(|cx| match over.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending => room.as_mut().poll(cx).map(|()| true),
        });
        block_on(None, pin!(first))
    }

    pub(super) fn call_failed(&self, by: &Mailbox, error: CallError) -> EngineError {
        EngineError::Call { component: Arc::clone(by.owner()), error }
    }

    fn message(message: HostMessage<'_>) -> Message {
        Message {
            content_type: message.content_type.map(Into::into),
            ..Message::new(message.sender.map(Arc::new), Payload::copy_of(message.payload))
        }
    }
}

/// How the receivers of mail were named.
#[derive(Clone, Copy)]
enum Address {
    /// By a handle: these, and no others.
    Handle,
    /// By an id: whoever has it.
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

/// Whether a caller that lends its payload and its thread gets both back in time: a guest must
/// not be unwound because its caller can not wait.
fn ends_in_time(actor: &Actor, timeout: Option<Duration>) -> bool {
    // A new instance after a crash takes time of its own.
    timeout.is_none_or(|timeout| {
        actor.status().state() == State::Running
            && timeout >= actor.blueprint().limits.max_execution_time
    })
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
