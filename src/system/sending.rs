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
use crate::core::limits::{Full, MailboxBound};
use crate::core::message::{Message, MessageView, Outcome, Timestamp};
use crate::core::payload::Payload;
use crate::messaging::correlation::{Completion, Requester, TableFull};
use crate::messaging::mailbox::{Mail, Refusal};
use crate::messaging::members::Undelivered;
use crate::messaging::reply::{Reply, Waiter};
use crate::runtime::block_on::block_on;
use crate::runtime::off_fiber::current_component;
use crate::runtime::threads::signal_stack;
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
        let offered = self.components.with(handle, |pool| self.offer_any(pool, mail).map(drop));
        match offered.unwrap_or_else(|| Err(Offer::Refused(self.unknown(handle)))) {
            Ok(()) => Ok(()),
            Err(Offer::Refused(error)) => Err(error),
            Err(Offer::NoRoom(refused)) => match self.components.get(handle) {
                Some(pool) => self.queue(&pool, refused.0, timeout.map(deadline_in)).map(drop),
                None => {
                    refused.0.withdraw();
                    Err(self.unknown(handle))
                }
            },
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
            self.queue(&pool, mail, deadline).map(drop)
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
            .map_err(|refusal| self.not_accepted(&pool.actors()[0], refusal))?;
        let (actor, outcome) = match chosen {
            Chosen::Closed => return Err(self.unknown(handle)),
            Chosen::Entered(actor) => {
                let _wait = self.wait_for(actor).inspect_err(|_| actor.mailbox().leave())?;
                (actor, self.call_entered(actor, message, timeout, stack)?)
            }
            Chosen::Busy(actor) => {
                let _wait = self.wait_for(actor)?;
                let deadline = timeout.map(deadline_in);
                let (waiter, reply) = Waiter::with_reply();
                let mail = Mail::Message(Self::message(message), reply);
                // A callback queues only where it can wait for the outcome.
                let offered = match current_component() {
                    Some(_) => self.offer(actor, mail).map(|()| actor),
                    None => self.offer_any(&pool, mail),
                };
                let actor = match offered {
                    Ok(actor) => actor,
                    Err(Offer::Refused(error)) => return Err(error),
                    Err(Offer::NoRoom(refused)) => self.queue(&pool, refused.0, deadline)?,
                };
                // It may be another that took it.
                let _wait = self.wait_for(actor).ok();
                let outcome = waiter.wait(deadline.map(left));
                (actor, outcome.map_err(|error| as_the_caller_knows_it(error, timeout)))
            }
        };
        outcome.map_err(|error| self.call_failed(actor, error))
    }

    fn call_entered(
        &self,
        actor: &Arc<Actor>,
        message: HostMessage<'_>,
        timeout: Option<Duration>,
        stack: usize,
    ) -> Result<Outcome, EngineError> {
        if ends_in_time(actor, timeout) && signal_stack::ensure().is_ok() {
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
        let timers = actor.ambient_timers().is_some();
        let call = Arc::clone(actor).handle_directly(Self::message(message));
        Ok(run_here_first(self.workers()?, timers, call, timeout)
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
        self.request_of(&pool, Self::message(message), None, deadline, completion)
    }

    fn request_of(
        &self,
        pool: &Pool,
        message: Message,
        correlation: Option<CorrelationId>,
        deadline: Option<Instant>,
        completion: Completion,
    ) -> Result<CorrelationId, EngineError> {
        let correlations = &self.office.correlations;
        let requester = Requester::Host(completion);
        let target = Arc::clone(pool.id().ok_or_else(|| self.unknown(pool.handle()))?);
        let request = correlations
            .open(requester, target, false)
            .map_err(|TableFull| EngineError::TooManyRequests)?;
        let message =
            Message { correlation: correlation.or(Some(request.id)), wants_reply: true, ..message };
        let mail = Mail::Message(message, Reply::to_request(Arc::clone(correlations), request));
        if let Err(error) = self.queue(pool, mail, deadline)
            // An engine that stops meanwhile may have answered it.
            && correlations.discard(request)
        {
            return Err(error);
        }
        if let Some(deadline) = deadline {
            correlations.arm(request, deadline);
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
        let unknown = || EngineError::UnknownId(target.clone());
        let handle = self.office.registry.least_busy(&target).ok_or_else(unknown)?;
        let pool = self.components.get(handle).ok_or_else(unknown)?;
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
                self.request_of(&pool, message, mail.correlation, deadline, completion).map(Some)
            }
            None => {
                self.queue(&pool, Mail::Message(message, Reply::nobody()), deadline).map(|_| None)
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

    /// Queues mail with the least busy actor, which is returned, and waits for room where that is
    /// what senders do. What is refused is dropped without an answer.
    fn queue<'a>(
        &self,
        pool: &'a Pool,
        mut mail: Mail,
        deadline: Option<Instant>,
    ) -> Result<&'a Arc<Actor>, EngineError> {
        loop {
            let by;
            (mail, by) = match self.offer_any(pool, mail) {
                Ok(actor) => return Ok(actor),
                Err(Offer::Refused(error)) => return Err(error),
                Err(Offer::NoRoom(refused)) => *refused,
            };
            // All are full; the error names one of them.
            let Some(full) = pool.pick() else {
                mail.withdraw();
                return Err(self.unknown(pool.handle()));
            };
            if let Err(error) = self.wait_for_room(pool, full, (mail.size(), by), deadline) {
                mail.withdraw();
                full.mailbox().count_refused();
                return Err(error);
            }
        }
    }

    /// Queues mail with the least busy actor that takes it now, which is returned.
    fn offer_any<'a>(&self, pool: &'a Pool, mail: Mail) -> Result<&'a Arc<Actor>, Offer> {
        match pool.members().deliver(mail) {
            Ok(at) => Ok(&pool.actors()[at]),
            Err(None) => Err(Offer::Refused(self.unknown(pool.handle()))),
            Err(Some(Undelivered { refusal, mail, at })) => {
                Err(self.refused(&pool.actors()[at], refusal, mail))
            }
        }
    }

    /// Queues mail with one actor, if it takes it now.
    pub(super) fn offer(&self, actor: &Actor, mail: Mail) -> Result<(), Offer> {
        match actor.mailbox().deliver(mail) {
            Ok(()) => Ok(()),
            Err((refusal, mail)) => Err(self.refused(actor, refusal, mail)),
        }
    }

    fn refused(&self, actor: &Actor, refusal: Refusal, mail: Mail) -> Offer {
        let mailbox = actor.mailbox();
        if let Refusal::Full(by) = refusal
            && mailbox.blocks_senders()
        {
            return Offer::NoRoom(Box::new((mail, by)));
        }
        mail.withdraw();
        Offer::Refused(self.not_accepted(actor, refusal))
    }

    /// Why a component does not accept a message, for the host.
    fn not_accepted(&self, actor: &Actor, refusal: Refusal) -> EngineError {
        let component = Arc::clone(actor.mailbox().owner());
        match refusal {
            Refusal::Full(by) | Refusal::NoRoom(by) => queue_full(actor, by),
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
        }
    }

    fn wait_for_room(
        &self,
        pool: &Pool,
        full: &Actor,
        (size, by): (u64, MailboxBound),
        deadline: Option<Instant>,
    ) -> Result<(), EngineError> {
        let _wait = pool
            .members()
            .wait_for_any(current_component().as_ref())
            .ok_or_else(|| would_deadlock(full))?;
        let room = pool.members().room(size);
        let Some(deadline) = deadline else {
            block_on(None, pin!(room));
            return Ok(());
        };
        // Knows when the engine stops, which a timer of its workers alone would not survive.
        let over = full.blueprint().context.timers.interruption(deadline);
        let (mut room, mut over) = (pin!(room), pin!(over));
        let first = poll_fn(|cx| match over.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending => room.as_mut().poll(cx).map(|()| true),
        });
        let waited = block_on(None, pin!(first));
        if waited { Ok(()) } else { self.check_running().and_then(|()| Err(queue_full(full, by))) }
    }

    pub(super) fn call_failed(&self, actor: &Actor, error: CallError) -> EngineError {
        EngineError::Call { component: Arc::clone(actor.mailbox().owner()), error }
    }

    fn message(message: HostMessage<'_>) -> Message {
        Message {
            content_type: message.content_type.map(Into::into),
            ..Message::new(message.sender.map(Arc::new), Payload::copy_of(message.payload))
        }
    }
}

/// Why an actor did not take mail.
pub(super) enum Offer {
    /// For good; the mail was dropped without an answer.
    Refused(EngineError),
    /// Its senders wait for room, with their mail, because of this bound.
    NoRoom(Box<(Mail, MailboxBound)>),
}

impl From<Offer> for EngineError {
    fn from(offer: Offer) -> Self {
        match offer {
            Offer::Refused(error) => error,
            // Mail that is no message has room always.
            Offer::NoRoom(refused) => {
                refused.0.withdraw();
                Self::Stopped
            }
        }
    }
}

fn would_deadlock(actor: &Actor) -> EngineError {
    EngineError::WouldDeadlock { target: actor.mailbox().owner().to_string() }
}

fn queue_full(actor: &Actor, by: MailboxBound) -> EngineError {
    let mailbox = actor.mailbox();
    let full = Full { bounds: mailbox.options().bounds, by };
    EngineError::QueueFull { component: Arc::clone(mailbox.owner()), full }
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

/// A caller that gave up is told the timeout that it had set, not what was left of it.
fn as_the_caller_knows_it(error: CallError, timeout: Option<Duration>) -> CallError {
    match (error, timeout) {
        (CallError::CallerTimeout { .. }, Some(timeout)) => CallError::CallerTimeout { timeout },
        (error, _) => error,
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
