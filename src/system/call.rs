//! Calls by the host: messages whose sender waits for the outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::component::actor::Actor;
use crate::component::lifecycle::State;
use crate::component::pool::Pool;
use crate::core::caller_watch::{self, Missed, watched};
use crate::core::deadline::deadline_in;
use crate::core::error::CallError;
use crate::core::id::ComponentHandle;
use crate::core::message::{MessageView, Outcome, Timestamp};
use crate::messaging::mail::Mail;
use crate::messaging::mailbox::{Acquire, Mailbox};
use crate::messaging::queue::Place;
use crate::messaging::reply::Waiter;
use crate::runtime::off_fiber::current_component;
use crate::runtime::threads::signal_stack;
use crate::system::engine::Engine;
use crate::system::error::EngineError;
use crate::system::run_here_first::run_here_first;
use crate::system::sending::{Address, HostMessage, Patience};

impl Engine {
    /// Sends a message and waits for the outcome, with `stack` bytes of stack left on the calling
    /// thread.
    pub fn call(
        &self,
        handle: ComponentHandle,
        message: HostMessage<'_>,
        patience: Patience,
        stack: usize,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        let Patience { timeout, ends_message, gives_up } = patience;
        let limit = timeout.map(|timeout| Limit { timeout, ends_message });
        watched(gives_up, || self.call_watched(handle, message, limit, stack))
    }

    fn call_watched(
        &self,
        handle: ComponentHandle,
        message: HostMessage<'_>,
        limit: Option<Limit>,
        stack: usize,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        self.check_running()?;
        let pool = self.pool(handle)?;
        let chosen = pool
            .try_acquire(message.payload, message.invocation.is_some())
            .map_err(|refusal| self.not_accepted(pool.mailboxes().first(), refusal))?;
        match chosen {
            Acquire::Acquired((actor, place)) => {
                let _wait = self.wait_for(actor).inspect_err(|_| actor.mailbox().release())?;
                let outcome = self.call_acquired((actor, place), message, limit, stack);
                outcome.map_err(|error| self.call_failed(actor.mailbox(), error))
            }
            // The queue knows why it is closed.
            Acquire::Busy | Acquire::Closed => self.call_queued(&pool, message, limit),
        }
    }

    /// Queues a message and waits for the outcome.
    fn call_queued(
        &self,
        pool: &Pool,
        message: HostMessage<'_>,
        limit: Option<Limit>,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        let deadline = limit.map(|limit| deadline_in(limit.timeout));
        let (waiter, reply) = Waiter::with_reply();
        let mail = Mail::Message(Self::message(message), reply);
        let (to, place, _wait) = match current_component() {
            None => {
                let (to, place) = self.queue(pool.members(), Address::Handle, mail, deadline)?;
                (to, place, None)
            }
            // A callback may queue only where waiting cannot deadlock.
            Some(caller) => self.queue_awaited(pool.members(), mail, deadline, &caller)?,
        };
        caller_watch::set_end(|| end_of(&to, place));
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let outcome = match (waiter.wait_watched(deadline.map(left)), limit) {
            (Err(CallError::CallerTimeout { .. }), Some(Limit { timeout, ends_message })) => {
                // The error states the caller's timeout, not the remainder of it.
                let over = |unstarted| CallError::CallerTimeout { timeout, unstarted };
                match to.give_up(place, |unstarted| over(Some(unstarted))) {
                    Some(given_up) => Err(given_up),
                    // The message has started, or even has its outcome.
                    None => match waiter.wait(Some(Duration::ZERO)) {
                        Err(CallError::CallerTimeout { .. }) => {
                            if ends_message {
                                to.interrupt(place);
                            }
                            Err(over(None))
                        }
                        outcome => outcome,
                    },
                }
            }
            (outcome, _) => outcome,
        };
        outcome.map_err(|error| self.call_failed(&to, error))
    }

    fn call_acquired(
        &self,
        (actor, place): (&Arc<Actor>, Place),
        message: HostMessage<'_>,
        limit: Option<Limit>,
        stack: usize,
    ) -> Outcome {
        caller_watch::set_end(|| end_of(actor.mailbox(), place));
        if ends_in_time(actor, limit) && signal_stack::ensure().is_ok() {
            let message = MessageView {
                sender: message.sender.as_ref().unwrap_or(&self.host),
                payload: message.payload,
                content_type: message.content_type,
                invocation: message.invocation.as_deref(),
                correlation: None,
                reply_to: None,
                accepted: Timestamp::recent(),
            };
            return actor.handle_here(message, stack);
        }
        let (timers, ambient) = (&actor.spec().context.timers, actor.ambient_timers().is_some());
        let call = Arc::clone(actor).handle_directly(Self::message(message));
        let timeout = limit.map(|limit| limit.timeout);
        run_here_first(timers, ambient, call, timeout).unwrap_or_else(|missed| {
            if let (Missed::TimedOut(_), Some(Limit { ends_message: true, .. })) = (missed, limit) {
                actor.mailbox().interrupt(place);
            }
            Err(missed.into())
        })
    }
}

/// When the caller's patience ends by itself.
#[derive(Clone, Copy)]
struct Limit {
    timeout: Duration,
    ends_message: bool,
}

/// Returns the function that ends a message when its caller gives up.
fn end_of(to: &Arc<Mailbox>, place: Place) -> Box<dyn Fn() -> caller_watch::State> {
    let to = Arc::clone(to);
    Box::new(move || match to.give_up(place, |_| CallError::Interrupted) {
        Some(_) => caller_watch::State::GivenUp,
        None => {
            to.interrupt(place);
            caller_watch::State::Ending
        }
    })
}

/// Returns whether a caller that lends its payload and its thread gets both back in time: a guest
/// must not be unwound just because its caller cannot wait.
fn ends_in_time(actor: &Actor, limit: Option<Limit>) -> bool {
    // A new instance after a crash takes time of its own.
    limit.is_none_or(|Limit { timeout, .. }| {
        actor.status().state() == State::Running
            && timeout >= actor.spec().limits.max_execution_time
    })
}
