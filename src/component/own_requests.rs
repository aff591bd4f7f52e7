//! The requests of one instance, told apart from those of another that shares its mailbox.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustc_hash::FxHashSet;

use crate::core::error::MessagingError;
use crate::core::id::{CorrelationId, RawId};
use crate::core::payload::Payload;
use crate::core::ports::{Handover, Messenger, Sending};

/// The ids of requests without an outcome. No more than the component has requests under way, each
/// of which is charged to it.
pub type Requests = FxHashSet<CorrelationId>;

/// Sends for one instance, and notes its requests.
pub struct OwnRequests {
    messenger: Arc<dyn Messenger>,
    open: Arc<Mutex<Requests>>,
}

impl OwnRequests {
    /// Creates a sender that has sent nothing.
    pub fn new(messenger: Arc<dyn Messenger>) -> Self {
        Self { messenger, open: Arc::default() }
    }

    /// Notes the outcome of a request; returns whether it is one of these.
    pub fn take(&self, request: CorrelationId) -> bool {
        lock(&self.open).remove(&request)
    }

    /// Forgets and returns all requests.
    pub fn take_all(&self) -> Requests {
        std::mem::take(&mut *lock(&self.open))
    }
}

fn lock(open: &Mutex<Requests>) -> MutexGuard<'_, Requests> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Messenger for OwnRequests {
    fn send(&self, target: RawId<'_>, payload: Payload, sending: Sending) -> Handover<()> {
        self.messenger.send(target, payload, sending)
    }

    fn request(
        &self,
        target: RawId<'_>,
        payload: Payload,
        deadline: Instant,
    ) -> Handover<CorrelationId> {
        // The outcome is handled after the call that makes the request, so it finds it noted.
        match self.messenger.request(target, payload, deadline) {
            Handover::Done(Ok(request)) => {
                lock(&self.open).insert(request);
                Handover::Done(Ok(request))
            }
            Handover::AskHost(ask) => {
                let open = Arc::clone(&self.open);
                Handover::AskHost(Box::new(move || {
                    ask().inspect(|request| _ = lock(&open).insert(*request))
                }))
            }
            other => other,
        }
    }

    fn cancel_request(&self, request: &str) -> Result<(), MessagingError> {
        self.messenger.cancel_request(request)?;
        if let Some(request) = CorrelationId::parse(request) {
            self.take(request);
        }
        Ok(())
    }
}
