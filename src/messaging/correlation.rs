//! Requests under way, and their one outcome.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use crate::core::error::CallError;
use crate::core::id::{ComponentHandle, ComponentId, CorrelationId};
use crate::core::message::{ERROR_CONTENT_TYPE, Message, Outcome, Timestamp};
use crate::messaging::mailbox::{Mail, Mailbox};

/// The table of requests under way.
///
/// Whoever takes a request out of the table (its reply, its deadline, its cancellation) decides
/// its outcome; the others find nothing.
#[derive(Default)]
pub struct Correlations {
    table: Mutex<Table>,
    /// Wakes [`watch_deadlines`]: an earlier deadline, or the end of the table.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Table {
    last: u64,
    pending: HashMap<CorrelationId, Pending>,
    /// The deadlines of all armed requests in `pending`, and no others.
    deadlines: BTreeSet<(Instant, CorrelationId)>,
}

struct Pending {
    owner: ComponentHandle,
    requester: Weak<Mailbox>,
    target: Arc<ComponentId>,
    deadline: Option<Instant>,
}

impl Table {
    fn take(&mut self, id: CorrelationId) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        if let Some(deadline) = pending.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        Some(pending)
    }
}

impl Correlations {
    /// Enters a request of `requester`; it has no deadline yet.
    pub fn open(&self, requester: &Arc<Mailbox>, target: Arc<ComponentId>) -> CorrelationId {
        let mut table = self.lock();
        table.last += 1;
        let id = CorrelationId(table.last);
        let pending = Pending {
            owner: requester.handle(),
            requester: Arc::downgrade(requester),
            target,
            deadline: None,
        };
        table.pending.insert(id, pending);
        id
    }

    /// Sets the deadline, unless the outcome is there already.
    pub fn arm(&self, id: CorrelationId, deadline: Instant) {
        let mut table = self.lock();
        let Some(pending) = table.pending.get_mut(&id) else { return };
        pending.deadline = Some(deadline);
        table.deadlines.insert((deadline, id));
        let earliest = table.deadlines.first().is_some_and(|(_, first)| *first == id);
        drop(table);
        if earliest {
            self.changed.notify_one();
        }
    }

    /// Takes a request out without an outcome, because it was never accepted.
    pub fn discard(&self, id: CorrelationId) {
        self.lock().take(id);
    }

    /// Takes a request of `owner` out; false if it has none of that id.
    pub fn cancel(&self, owner: ComponentHandle, id: CorrelationId) -> bool {
        let mut table = self.lock();
        match table.pending.get(&id) {
            Some(pending) if pending.owner == owner => table.take(id).is_some(),
            _ => false,
        }
    }

    /// Delivers the outcome to the requester, if it still waits for one.
    pub fn complete(&self, id: CorrelationId, outcome: Outcome) {
        let taken = self.lock().take(id);
        if let Some(pending) = taken {
            call_back(id, pending, outcome);
        }
    }

    /// Whether no request waits for its outcome.
    pub fn is_empty(&self) -> bool {
        self.lock().pending.is_empty()
    }

    /// Ends all requests whose deadline has passed; returns the next deadline.
    fn expire(&self, now: Instant) -> Option<Instant> {
        loop {
            let mut table = self.lock();
            let (deadline, id) = *table.deadlines.first()?;
            if deadline > now {
                return Some(deadline);
            }
            let taken = table.take(id);
            drop(table);
            if let Some(pending) = taken {
                call_back(id, pending, Err(CallError::CorrelationTimeout { correlation: id }));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No code under the lock can panic half-way through a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Correlations {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

fn call_back(id: CorrelationId, pending: Pending, outcome: Outcome) {
    let Some(requester) = pending.requester.upgrade() else { return };
    let (payload, content_type) = match outcome {
        Ok(reply) => (reply.unwrap_or_default(), None),
        Err(error) => (error_document(&error), Some(ERROR_CONTENT_TYPE.into())),
    };
    let message = Message {
        sender: pending.target,
        payload: Arc::new(payload),
        content_type,
        correlation: Some(id),
        reply_to: None,
        accepted: Timestamp::now(),
    };
    // A requester that is going away has nobody left to tell.
    let _ = requester.deliver(Mail::Callback(message));
}

fn error_document(error: &CallError) -> Vec<u8> {
    serde_json::json!({ "code": error.code(), "message": error.to_string() })
        .to_string()
        .into_bytes()
}

/// Ends requests at their deadlines for as long as the table lives.
pub fn watch_deadlines(table: &Arc<Correlations>) -> impl Future<Output = ()> + Send + 'static {
    let changed = Arc::clone(&table.changed);
    let table = Arc::downgrade(table);
    async move {
        loop {
            let next = match table.upgrade() {
                Some(table) => table.expire(Instant::now()),
                None => return,
            };
            match next {
                Some(deadline) => {
                    let _ = tokio::time::timeout_at(deadline.into(), changed.notified()).await;
                }
                None => changed.notified().await,
            }
        }
    }
}
