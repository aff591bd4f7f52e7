//! Calls of host functions that the host answers later.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use crate::core::ports::FunctionOutcome;

/// The calls that wait for an answer, by token. Tokens are never reused.
#[derive(Default)]
pub struct PendingAnswers {
    last: AtomicU64,
    waiting: Mutex<FxHashMap<u64, oneshot::Sender<FunctionOutcome>>>,
}

/// A call that may wait for an answer. Dropped with the call; an answer then comes too late.
pub struct PendingAnswer {
    pending: Arc<PendingAnswers>,
    token: u64,
    answer: oneshot::Receiver<FunctionOutcome>,
}

impl PendingAnswers {
    /// Adds a call, before the host learns of it: its answer may come from another thread at once.
    pub fn open(self: &Arc<Self>) -> PendingAnswer {
        let token = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (answer, answered) = oneshot::channel();
        self.lock().insert(token, answer);
        PendingAnswer { pending: Arc::clone(self), token, answer: answered }
    }

    /// Answers a call; returns whether it still waits.
    pub fn answer(&self, token: u64, outcome: FunctionOutcome) -> bool {
        let waiting = self.lock().remove(&token);
        waiting.is_some_and(|waiting| waiting.send(outcome).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<u64, oneshot::Sender<FunctionOutcome>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingAnswer {
    /// Returns the token of the call.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Waits for the answer.
    pub async fn wait(mut self) -> FunctionOutcome {
        let lost = Err("the host dropped the call".to_owned());
        (&mut self.answer).await.unwrap_or(lost)
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.token);
    }
}
