//! The life cycle of components by call: restarts, and waits for states.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::component::actor::Actor;
use crate::component::lifecycle::State;
use crate::core::deadline::deadline_in;
use crate::core::error::CallError;
use crate::core::id::ComponentHandle;
use crate::messaging::mail::Mail;
use crate::messaging::reply::Waiter;
use crate::system::engine::Engine;
use crate::system::error::EngineError;
use crate::system::interrupt::{interrupting, still_in_callback};

impl Engine {
    /// Gives a component a new instance after the mail in progress; of a pool, one instance at a
    /// time. After `timeout`, that mail is interrupted.
    pub fn restart(&self, handle: ComponentHandle, timeout: Duration) -> Result<(), EngineError> {
        self.check_running()?;
        let pool = self.pool(handle)?;
        for actor in pool.actors() {
            self.wait_for(actor)?;
        }
        let deadline = deadline_in(timeout);
        pool.actors().iter().try_for_each(|actor| self.restart_one(actor, deadline))
    }

    fn restart_one(&self, actor: &Arc<Actor>, deadline: Instant) -> Result<(), EngineError> {
        let _wait = self.wait_for(actor)?;
        let (waiter, reply) = Waiter::with_reply();
        let mailbox = actor.mailbox();
        let place = mailbox.deliver(Mail::Restart(reply)).map_err(|(refusal, mail)| {
            mail.withdraw();
            self.not_accepted(mailbox, refusal)
        })?;
        let interrupt = || mailbox.interrupt_other(place);
        let outcome = interrupting(deadline, interrupt, |left| waiter.wait(Some(left)).map(drop));
        outcome.map_err(|error| match error {
            CallError::CallerTimeout { .. } => still_in_callback(actor),
            error => self.call_failed(actor.mailbox(), error),
        })
    }

    /// Blocks until all instances of a component have a state.
    pub fn wait_for_state(
        &self,
        handle: ComponentHandle,
        wanted: State,
        timeout: Duration,
    ) -> Result<(), EngineError> {
        let pool = self.pool(handle)?;
        let _waits: Vec<_> = pool
            .actors()
            .iter()
            .map(|actor| self.wait_for(actor))
            .collect::<Result<_, EngineError>>()?;
        let states = || pool.actors().iter().map(|actor| actor.status().state());
        let look = || {
            if states().all(|state| state == wanted) {
                return Some(Ok(()));
            }
            let is_final = states().any(|state| state == State::Stopped);
            match self.check_running() {
                Ok(()) if is_final && wanted != State::Stopped => Some(Err(self.unknown(handle))),
                Ok(()) => None,
                Err(stopped) => Some(Err(stopped)),
            }
        };
        self.states.until(deadline_in(timeout), look).unwrap_or_else(|| {
            let (component, state) = (Arc::clone(pool.id()), pool.state().name());
            Err(EngineError::OtherState { component, wanted: wanted.name(), state, timeout })
        })
    }
}
