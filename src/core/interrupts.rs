//! Interrupts of one component by its host.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts interrupts. Each ends what is handled at its moment, and nothing later.
#[derive(Debug, Default)]
pub struct InterruptCount {
    count: AtomicU64,
    /// The count when what is handled now was taken from the mailbox.
    seen: AtomicU64,
}

/// How many there had been when something began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen(pub u64);

impl InterruptCount {
    /// One more.
    pub fn add(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// Something new is handled from now on; called under the mailbox's lock.
    pub fn begin(&self) {
        self.seen.store(self.count.load(Ordering::SeqCst), Ordering::Relaxed);
    }

    /// For what is handled now; called by whoever handles it.
    pub fn seen(&self) -> Seen {
        Seen(self.seen.load(Ordering::Relaxed))
    }

    /// Whether there was one since.
    pub fn since(&self, seen: Seen) -> bool {
        self.count.load(Ordering::SeqCst) != seen.0
    }
}
