//! The mailboxes that share an id or a handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::messaging::mailbox::Mailbox;

/// Mailboxes of which any may take a message.
pub struct Members {
    mailboxes: Box<[Arc<Mailbox>]>,
    /// Where the next search begins, so that members that are equally busy take turns.
    next: AtomicUsize,
}

impl Members {
    /// A group; without mailboxes it picks none.
    pub fn new(mailboxes: impl IntoIterator<Item = Arc<Mailbox>>) -> Self {
        Self { mailboxes: mailboxes.into_iter().collect(), next: AtomicUsize::new(0) }
    }

    /// All, in the order they were made.
    pub fn all(&self) -> &[Arc<Mailbox>] {
        &self.mailboxes
    }

    /// The position of the least busy.
    pub fn least_busy(&self) -> Option<usize> {
        let count = self.mailboxes.len();
        if count <= 1 {
            return count.checked_sub(1);
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        (0..count)
            .map(|n| first.wrapping_add(n) % count)
            .min_by_key(|at| self.mailboxes[*at].load())
    }

    /// The least busy.
    pub fn pick(&self) -> Option<&Arc<Mailbox>> {
        self.least_busy().map(|at| &self.mailboxes[at])
    }
}
