//! Where the outcome of a message goes. Every outcome is given exactly once.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::core::error::CallError;
use crate::core::id::CorrelationId;
use crate::core::message::Outcome;
use crate::messaging::correlation::Correlations;

/// The right, and the duty, to say how a message ended.
///
/// Dropped unanswered, it answers for itself: that happens when the engine's workers are stopped
/// under a message.
pub struct Reply(Destination);

enum Destination {
    Nobody,
    Waiter(Arc<Waiter>),
    Request { table: Arc<Correlations>, id: CorrelationId },
}

impl Reply {
    /// For a fire-and-forget message: the outcome is dropped.
    pub fn nobody() -> Self {
        Self(Destination::Nobody)
    }

    /// For a thread that waits.
    pub fn to_waiter(waiter: Arc<Waiter>) -> Self {
        Self(Destination::Waiter(waiter))
    }

    /// For a component's request.
    pub fn to_request(table: Arc<Correlations>, id: CorrelationId) -> Self {
        Self(Destination::Request { table, id })
    }

    /// Whether the outcome would be dropped.
    pub fn is_nobody(&self) -> bool {
        matches!(self.0, Destination::Nobody)
    }

    /// Gives the outcome.
    pub fn answer(mut self, outcome: Outcome) {
        self.give(outcome);
    }

    fn give(&mut self, outcome: Outcome) {
        match std::mem::replace(&mut self.0, Destination::Nobody) {
            Destination::Nobody => {}
            Destination::Waiter(waiter) => waiter.give(outcome),
            Destination::Request { table, id } => table.complete(id, outcome),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.is_nobody() {
            self.give(Err(CallError::EngineStopped));
        }
    }
}

/// A thread's place to wait for one outcome.
#[derive(Default)]
pub struct Waiter {
    outcome: Mutex<Option<Outcome>>,
    given: Condvar,
}

impl Waiter {
    /// A waiter, and the reply that wakes it.
    pub fn with_reply() -> (Arc<Self>, Reply) {
        let waiter = Arc::new(Self::default());
        (Arc::clone(&waiter), Reply::to_waiter(waiter))
    }

    fn give(&self, outcome: Outcome) {
        let mut slot = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(outcome);
        drop(slot);
        self.given.notify_one();
    }

    /// Blocks until the outcome is there; with a timeout, no longer than that.
    pub fn wait(&self, timeout: Option<Duration>) -> Outcome {
        // A timeout too long for the clock is none.
        let deadline =
            timeout.and_then(|timeout| Some((Instant::now().checked_add(timeout)?, timeout)));
        let mut slot = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(outcome) = slot.take() {
                return outcome;
            }
            slot = match deadline {
                None => self.given.wait(slot).unwrap_or_else(PoisonError::into_inner),
                Some((deadline, timeout)) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(CallError::CallerTimeout { timeout });
                    }
                    let waited = self.given.wait_timeout(slot, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}
