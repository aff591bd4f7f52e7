//! The graceful end of an engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::component::actor::Actor;
use crate::core::error::CallError;
use crate::messaging::mail::Mail;
use crate::messaging::reply::Waiter;
use crate::system::engine::Engine;
use crate::system::error::EngineError;

/// How long a graceful stop lets components go on writing to each other; some never end.
const MAX_QUIET_WAIT: Duration = Duration::from_secs(10);

/// How often a graceful stop looks whether the components are done.
const QUIET_POLL: Duration = Duration::from_millis(1);

impl Engine {
    /// Accepts nothing more from the host, lets the components finish their mail and the mail that
    /// comes of it, and calls `shutdown` of each. When the time is over the rest is stopped as it is.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), EngineError> {
        for actor in self.actors() {
            self.wait_for(&actor)?;
        }
        self.stop_accepting();
        // Looked at again: until now one more could be loaded.
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
            // One that has come to wait for the component whose callback this is does not end.
            let _wait = match self.wait_for(actor) {
                Ok(wait) => wait,
                Err(would_deadlock) => {
                    first_failure = first_failure.and(Err(would_deadlock));
                    continue;
                }
            };
            let outcome = match waiter {
                Some(waiter) => waiter.wait(left()).map(drop),
                // Another thread unloads it, and is told how that goes.
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

    /// Waits until no component has mail or awaits an answer, or the time is over, or the engine
    /// is freed.
    fn wait_until_quiet(&self, actors: &[Arc<Actor>], deadline: Instant) {
        let accepted =
            || actors.iter().map(|actor| actor.mailbox().traffic().accepted).sum::<u64>();
        let idle = || {
            self.office.correlations.is_empty()
                && actors.iter().all(|actor| actor.mailbox().is_idle())
        };
        while !self.stop_signal.is_given() && Instant::now() < deadline {
            // A component may have written to one that was looked at before: only what is the
            // same twice is quiet.
            let before = accepted();
            if idle() && idle() && accepted() == before {
                return;
            }
            // Work ends on many threads; looking now and then costs less than being told.
            std::thread::sleep(QUIET_POLL);
        }
    }
}
