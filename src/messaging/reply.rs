//! Where the outcome of a message goes. Every outcome is given exactly once.

use std::sync::Arc;
use std::time::Duration;

use crate::core::error::CallError;
use crate::core::message::Outcome;
use crate::core::rendezvous::{NotGiven, Rendezvous, TimedOut};
use crate::messaging::correlation::{Correlations, Ticket};

/// The right, and the duty, to say how a message ended.
///
/// Dropped unanswered, it answers for itself: that happens when the engine's workers are stopped
/// under a message, and when handling it panics.
pub struct Reply(Destination);

enum Destination {
    Nobody,
    Waiter(Arc<Rendezvous<Outcome>>),
    Request { table: Arc<Correlations>, request: Ticket },
}

impl Reply {
    /// For a fire-and-forget message: the outcome is dropped.
    pub fn nobody() -> Self {
        Self(Destination::Nobody)
    }

    /// For a component's request.
    pub fn to_request(table: Arc<Correlations>, request: Ticket) -> Self {
        Self(Destination::Request { table, request })
    }

    /// Whether the outcome would be dropped.
    pub fn is_nobody(&self) -> bool {
        matches!(self.0, Destination::Nobody)
    }

    /// Takes the duty over; what stays behind is for nobody.
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::nobody())
    }

    /// Gives the outcome.
    pub fn answer(mut self, outcome: Outcome) {
        self.give(outcome);
    }

    /// Gives no outcome: the message was not accepted.
    pub fn withdraw(mut self) {
        self.0 = Destination::Nobody;
    }

    fn give(&mut self, outcome: Outcome) {
        match std::mem::replace(&mut self.0, Destination::Nobody) {
            Destination::Nobody => {}
            Destination::Waiter(meeting) => meeting.give(outcome),
            Destination::Request { table, request } => table.complete(request, outcome),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.is_nobody() {
            let panicking = std::thread::panicking();
            let error = match panicking {
                true => CallError::Internal { panic: None },
                false => CallError::EngineStopped,
            };
            self.give(Err(error));
        }
    }
}

/// A thread's place to wait for one outcome.
pub struct Waiter(Arc<Rendezvous<Outcome>>);

impl Waiter {
    /// A waiter, and the reply that wakes it.
    pub fn with_reply() -> (Self, Reply) {
        let meeting = Arc::new(Rendezvous::default());
        (Self(Arc::clone(&meeting)), Reply(Destination::Waiter(meeting)))
    }

    /// As [`Waiter::wait`], and no longer than a caller that is watched has patience.
    pub fn wait_watched(&self, timeout: Option<Duration>) -> Outcome {
        self.0.wait_watched(timeout).unwrap_or_else(|missed| match missed {
            NotGiven::TimedOut(timeout) => {
                Err(CallError::CallerTimeout { timeout, unstarted: None })
            }
            NotGiven::GivenUp => Err(CallError::Interrupted),
        })
    }

    /// Blocks until the outcome is there; with a timeout, no longer than that.
    pub fn wait(&self, timeout: Option<Duration>) -> Outcome {
        self.0.wait(timeout).unwrap_or_else(|TimedOut(timeout)| {
            Err(CallError::CallerTimeout { timeout, unstarted: None })
        })
    }
}
