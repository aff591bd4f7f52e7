//! Interrupts, told to a guest that waits.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::core::interrupts::{InterruptCount, Seen};

/// The interrupts of one component.
pub struct Interrupts {
    count: Arc<InterruptCount>,
    wake: Notify,
}

impl Interrupts {
    /// Those that are counted there.
    pub fn new(count: Arc<InterruptCount>) -> Self {
        Self { count, wake: Notify::new() }
    }

    /// Ends the call that runs now at its next turn.
    pub fn interrupt(&self) {
        self.count.add();
        self.wake.notify_waiters();
    }

    /// For a call that begins now.
    pub fn seen(&self) -> Seen {
        self.count.seen()
    }

    /// Whether there was one since.
    pub fn since(&self, seen: Seen) -> bool {
        self.count.since(seen)
    }

    /// Becomes ready with the next one.
    pub fn next(&self) -> Notified<'_> {
        self.wake.notified()
    }
}
