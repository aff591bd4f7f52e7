//! The graceful shutdown of an engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::component::actor::Actor;
use crate::core::error::CallError;
use crate::messaging::mail::Mail;
use crate::messaging::reply::Waiter;
use crate::system::engine::Engine;
use crate::system::error::EngineError;

/// How long a graceful shutdown lets components go on messaging each other; some never stop.
const MAX_QUIET_WAIT: Duration = Duration::from_secs(10);

/// How often a graceful shutdown checks whether the components are idle.
const QUIET_POLL: Duration = Duration::from_millis(1);

impl Engine {
    /// Closes the engine to the host, lets the components finish their mail and the mail that
    /// results from it, and calls `shutdown` on each. After `timeout` the rest is stopped as it is.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), EngineError> {
        for actor in self.actors() {
            self.wait_for(&actor)?;
        }
        self.stop_accepting();
        // Read only now: a load could still finish until the line above.
        let actors = self.actors();
        let deadline = Instant::now().checked_add(timeout);
        let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        self.wait_until_quiet(&actors, Instant::now() + (timeout / 2).min(MAX_QUIET_WAIT));

        let closing: Vec<_> = actors
            .iter()
            .rev()
            .map(|actor| {
                let (waiter, reply) = Waiter::with_reply();
                let ours = actor.mailbox().close(Mail::Shutdown(reply), true).is_some();
                (actor, ours.then_some(waiter))
            })
            .collect();
        let (mut first_failure, mut unfinished) = (Ok(()), 0);
        for (actor, waiter) in closing {
            // An actor that waits for the component whose callback makes this call would never end.
            let _wait = match self.wait_for(actor) {
                Ok(wait) => wait,
                Err(would_deadlock) => {
                    first_failure = first_failure.and(Err(would_deadlock));
                    continue;
                }
            };
            let outcome = match waiter {
                Some(waiter) => waiter.wait(left()).map(drop),
                // Another thread is unloading it and receives the result.
                None if actor.stopped().wait(left()) => Ok(()),
                None => Err(CallError::CallerTimeout { timeout, unstarted: None }),
            };
            match outcome {
                Err(CallError::CallerTimeout { .. }) => unfinished += 1,
                Err(CallError::EngineStopped) => first_failure = Err(EngineError::Stopped),
                outcome => first_failure = first_failure.and(self.shutdown_outcome(actor, outcome)),
            }
        }
        self.stop();
        if unfinished > 0 {
            return Err(EngineError::ShutdownTimeout { unfinished, timeout });
        }
        first_failure
    }

    fn actors(&self) -> Vec<Arc<Actor>> {
        self.components.all().iter().flat_map(|pool| pool.actors().to_vec()).collect()
    }

    /// Waits until no component has mail or a pending request, `deadline` passes, or the engine is
    /// freed.
    fn wait_until_quiet(&self, actors: &[Arc<Actor>], deadline: Instant) {
        let accepted =
            || actors.iter().map(|actor| actor.mailbox().traffic().accepted).sum::<u64>();
        let idle = || {
            self.messaging.pending_requests.is_empty()
                && actors.iter().all(|actor| actor.mailbox().is_idle())
        };
        while !self.stop_signal.is_given() && Instant::now() < deadline {
            // A component may send to one already checked, so the engine is idle only if two checks
            // in a row agree.
            let before = accepted();
            if idle() && idle() && accepted() == before {
                return;
            }
            // Work ends on many threads; polling costs less than a notification from each.
            std::thread::sleep(QUIET_POLL);
        }
    }
}
