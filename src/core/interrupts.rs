//! Interrupts of one component by its host.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts interrupts. Each ends what is handled at its moment, and nothing later.
#[derive(Default)]
pub struct Interrupts {
    count: AtomicU64,
    /// The count when what is handled now was taken from the mailbox.
    seen: AtomicU64,
    /// Told of each.
    listener: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// How many there had been when something began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen(pub u64);

impl Interrupts {
    /// Has `listener` told of each, once.
    pub fn tell(&self, listener: impl Fn() + Send + Sync + 'static) {
        let first = self.listener.set(Box::new(listener)).is_ok();
        debug_assert!(first, "a component has one listener");
    }

    /// Ends what is handled now.
    pub fn interrupt(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        if let Some(told) = self.listener.get() {
            told();
        }
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
