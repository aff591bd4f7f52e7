//! Delivers the outcome of a message, exactly once.

use std::sync::Arc;
use std::time::Duration;

use crate::core::caller_watch;
use crate::core::error::CallError;
use crate::core::message::Outcome;
use crate::messaging::pending_requests::{PendingRequests, Ticket};

/// The right and the duty to report the outcome of a message.
///
/// A reply dropped unanswered answers for itself. That happens when the engine stops its workers in
/// the middle of a message, and when a handler panics.
pub struct Reply(Destination);

enum Destination {
    Nobody,
    Waiter(oneshot::Sender<Outcome>),
    Request { table: Arc<PendingRequests>, request: Ticket },
}

impl Reply {
    /// Creates a reply that drops the outcome, for fire-and-forget messages.
    pub fn nobody() -> Self {
        Self(Destination::Nobody)
    }

    /// Creates the reply to a component's request.
    pub fn to_request(table: Arc<PendingRequests>, request: Ticket) -> Self {
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
            // A caller that stopped waiting needs no outcome.
            Destination::Waiter(caller) => _ = caller.send(outcome),
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

/// A blocked thread's end of a oneshot channel for an outcome.
pub struct Waiter(oneshot::Receiver<Outcome>);

impl Waiter {
    /// Creates a waiter and the reply that wakes it.
    pub fn with_reply() -> (Self, Reply) {
        let (sender, receiver) = oneshot::channel();
        (Self(receiver), Reply(Destination::Waiter(sender)))
    }

    /// Blocks until the outcome arrives, `timeout` passes, or a watched caller gives up.
    pub fn wait_watched(&self, timeout: Option<Duration>) -> Outcome {
        caller_watch::receive(&self.0, timeout).unwrap_or_else(|missed| Err(missed.into()))
    }

    /// Blocks until the outcome arrives or `timeout` passes.
    pub fn wait(&self, timeout: Option<Duration>) -> Outcome {
        caller_watch::watched(None, || self.wait_watched(timeout))
    }
}
