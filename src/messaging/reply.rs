//! Delivers the outcome of a message, exactly once.

use std::sync::Arc;
use std::time::Duration;

use crate::core::error::CallError;
use crate::core::message::Outcome;
use crate::core::oneshot::{NotGiven, Oneshot, TimedOut};
use crate::messaging::correlation::{Correlations, Ticket};

/// The right and the duty to report the outcome of a message.
///
/// A reply dropped unanswered answers for itself. That happens when the engine stops its workers in
/// the middle of a message, and when a handler panics.
pub struct Reply(Destination);

enum Destination {
    Nobody,
    Waiter(Arc<Oneshot<Outcome>>),
    Request { table: Arc<Correlations>, request: Ticket },
}

impl Reply {
    /// Creates a reply that drops the outcome, for fire-and-forget messages.
    pub fn nobody() -> Self {
        Self(Destination::Nobody)
    }

    /// Creates the reply to a component's request.
    pub fn to_request(table: Arc<Correlations>, request: Ticket) -> Self {
        Self(Destination::Request { table, request })
    }

    /// Returns whether the outcome would be dropped.
    pub fn is_nobody(&self) -> bool {
        matches!(self.0, Destination::Nobody)
    }

    /// Takes over the duty; leaves a reply that drops its outcome.
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::nobody())
    }

    /// Delivers the outcome.
    pub fn answer(mut self, outcome: Outcome) {
        self.give(outcome);
    }

    /// Gives up the duty: the message was not accepted.
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

/// A blocked thread's end of a oneshot for an outcome.
pub struct Waiter(Arc<Oneshot<Outcome>>);

impl Waiter {
    /// Creates a waiter and the reply that wakes it.
    pub fn with_reply() -> (Self, Reply) {
        let meeting = Arc::new(Oneshot::default());
        (Self(Arc::clone(&meeting)), Reply(Destination::Waiter(meeting)))
    }

    /// As [`Waiter::wait`], but also ends when a watched caller gives up.
    pub fn wait_watched(&self, timeout: Option<Duration>) -> Outcome {
        self.0.wait_watched(timeout).unwrap_or_else(|missed| match missed {
            NotGiven::TimedOut(timeout) => {
                Err(CallError::CallerTimeout { timeout, unstarted: None })
            }
            NotGiven::GivenUp => Err(CallError::Interrupted),
        })
    }

    /// Blocks until the outcome arrives or `timeout` passes.
    pub fn wait(&self, timeout: Option<Duration>) -> Outcome {
        self.0.wait(timeout).unwrap_or_else(|TimedOut(timeout)| {
            Err(CallError::CallerTimeout { timeout, unstarted: None })
        })
    }
}
