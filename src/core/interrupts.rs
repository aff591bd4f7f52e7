//! Interrupts of one component by the host.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts interrupts. An interrupt ends only the message in progress.
#[derive(Default)]
pub struct Interrupts {
    count: AtomicU64,
    /// The count when the mailbox handed out the message in progress.
    seen: AtomicU64,
    /// Notified of each interrupt.
    listener: OnceLock<Listener>,
}

type Listener = Box<dyn Fn(&Interrupts) + Send + Sync>;

/// The interrupt count at some earlier moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen(pub u64);

impl Interrupts {
    /// Sets the listener. Called once.
    pub fn tell(&self, listener: impl Fn(&Self) + Send + Sync + 'static) {
        let first = self.listener.set(Box::new(listener)).is_ok();
        debug_assert!(first, "a component has one listener");
    }

    /// Interrupts the message in progress.
    pub fn interrupt(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        if let Some(told) = self.listener.get() {
            told(self);
        }
    }

    /// Marks the start of a new message. Called under the mailbox's lock.
    pub fn begin(&self) {
        self.seen.store(self.count.load(Ordering::SeqCst), Ordering::Relaxed);
    }

    /// Returns the count at the start of the message in progress. Called by its handler.
    pub fn seen(&self) -> Seen {
        Seen(self.seen.load(Ordering::Relaxed))
    }

    /// Returns whether an interrupt arrived after `seen`.
    pub fn since(&self, seen: Seen) -> bool {
        self.count.load(Ordering::SeqCst) != seen.0
    }
}
