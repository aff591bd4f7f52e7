//! The mailboxes that share an id or a handle.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use crate::core::waiting::{Wait, WaitNode};
use crate::messaging::mailbox::{Mail, Mailbox, Refusal};

/// Mail that nobody took.
pub struct Undelivered {
    /// Why the least busy did not.
    pub refusal: Refusal,
    /// The mail.
    pub mail: Mail,
    /// The position of the least busy.
    pub at: usize,
}

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

    /// Waits until one of them that had no room for mail of that size has some, or is closed.
    pub async fn room(&self, size: u64) {
        let mut rooms: Vec<_> =
            self.mailboxes.iter().map(|mailbox| Box::pin(mailbox.room(size))).collect();
        poll_fn(|cx| {
            let any = rooms.iter_mut().any(|room| room.as_mut().poll(cx).is_ready());
            if any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Begins to wait for any of them; `None` if each of them waits for `waiter`.
    pub fn wait_for_any(&self, waiter: Option<&Arc<WaitNode>>) -> Option<Wait> {
        self.mailboxes.iter().find_map(|mailbox| Wait::begin(waiter.cloned(), mailbox.node()))
    }

    /// Queues mail with the least busy, or else with another that has room; the position of who
    /// took it. A sender that waits does so because all are full.
    #[expect(clippy::result_large_err, reason = "refused mail goes back as it came")]
    pub fn deliver(&self, mail: Mail) -> Result<usize, Option<Undelivered>> {
        let Some(first) = self.least_busy() else {
            mail.withdraw();
            return Err(None);
        };
        let Err((refusal, mut mail)) = self.mailboxes[first].deliver(mail) else {
            return Ok(first);
        };
        if let Refusal::Full(_) | Refusal::NoRoom(_) = refusal {
            for at in (0..self.mailboxes.len()).filter(|at| *at != first) {
                mail = match self.mailboxes[at].deliver(mail) {
                    Ok(()) => return Ok(at),
                    Err((_, mail)) => mail,
                };
            }
        }
        Err(Some(Undelivered { refusal, mail, at: first }))
    }

    /// The least busy.
    pub fn pick(&self) -> Option<&Arc<Mailbox>> {
        self.least_busy().map(|at| &self.mailboxes[at])
    }
}
