//! The graceful shutdown of an engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::component::actor::Actor;
use crate::core::error::CallError;
use crate::messaging::mail::Mail;
use crate::messaging::reply::Waiter;
use crate::system::engine::Engine;
use crate::system::error::EngineError;
use crate::system::snapshot;

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
        self.components.stay_awake();
        let deadline = Instant::now().checked_add(timeout);
        let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let quiet = Instant::now() + (timeout / 2).min(MAX_QUIET_WAIT);
        let actors = loop {
            // Read only now: a load could still finish until the lines above.
            let actors = self.actors();
            self.wait_until_quiet(&actors, quiet);
            // Some may have ended the dormancy of others.
            if self.actors().len() <= actors.len() || Instant::now() >= quiet {
                break actors;
            }
        };
        // They have no `shutdown` to call.
        self.components.remove_all_dormant();

        // The one that was loaded last ends first, and the next after it, unless it takes longer
        // than its share of the time.
        let (mut first_failure, mut slow) = (Ok(()), Vec::new());
        for (before, actor) in actors.iter().enumerate().rev() {
            let share = left().map(|left| left / u32::try_from(before + 1).unwrap_or(u32::MAX));
            let (waiter, reply) = Waiter::with_reply();
            let ours = actor.mailbox().close(Mail::Shutdown(reply), true).is_some();
            let ending = Ending { actor, waiter: ours.then_some(waiter) };
            if !note(&mut first_failure, self.has_ended(&ending, share, timeout)) {
                slow.push(ending);
            }
        }
        let mut unfinished = Vec::new();
        for ending in slow {
            if !note(&mut first_failure, self.has_ended(&ending, left(), timeout)) {
                unfinished.push(snapshot::unfinished(ending.actor));
            }
        }
        self.stop();
        self.flush_storage();
        match first_failure {
            Err(EngineError::Stopped) => Err(EngineError::Stopped),
            _ if !unfinished.is_empty() => {
                Err(EngineError::ShutdownTimeout { unfinished, timeout })
            }
            outcome => outcome,
        }
    }

    /// Waits for the end of a component; returns false if it does not come in time.
    fn has_ended(
        &self,
        Ending { actor, waiter }: &Ending<'_>,
        limit: Option<Duration>,
        timeout: Duration,
    ) -> Result<bool, EngineError> {
        // An actor that waits for the component whose callback makes this call would never end.
        let _wait = self.wait_for(actor)?;
        let outcome = match waiter {
            Some(waiter) => waiter.wait(limit).map(drop),
            // Another thread is unloading it and receives the result.
            None if actor.stopped().wait(limit) => Ok(()),
            None => Err(CallError::CallerTimeout { timeout, unstarted: None }),
        };
        match outcome {
            Err(CallError::CallerTimeout { .. }) => Ok(false),
            Err(CallError::EngineStopped) => Err(EngineError::Stopped),
            outcome => self.shutdown_outcome(actor, outcome).map(|()| true),
        }
    }

    fn actors(&self) -> Vec<Arc<Actor>> {
        self.in_order().iter().flat_map(|pool| pool.actors().to_vec()).collect()
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

/// A component that is told to end.
struct Ending<'a> {
    actor: &'a Arc<Actor>,
    /// `None` if another thread ends it.
    waiter: Option<Waiter>,
}

/// Keeps the first failure, or that the engine was stopped meanwhile; returns whether the component
/// has ended.
fn note(first: &mut Result<(), EngineError>, ended: Result<bool, EngineError>) -> bool {
    match ended {
        Ok(ended) => return ended,
        Err(EngineError::Stopped) => *first = Err(EngineError::Stopped),
        Err(error) if first.is_ok() => *first = Err(error),
        Err(_) => {}
    }
    true
}
