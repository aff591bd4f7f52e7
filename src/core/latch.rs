//! A one-shot event that any number of threads may wait for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Opens a latch on drop, so also on a panic.
pub struct OpenOnDrop<'a>(pub &'a Latch);

impl Drop for OpenOnDrop<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Starts closed; stays open once opened.
#[derive(Default)]
pub struct Latch {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Latch {
    /// Opens the latch and wakes all waiters.
    pub fn open(&self) {
        *self.lock() = true;
        self.opened.notify_all();
    }

    /// Blocks until the latch is open or `timeout` passes; returns whether it is open.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let open = self.lock();
        let closed = |open: &mut bool| !*open;
        let open = match timeout {
            None => self.opened.wait_while(open, closed).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                let waited = self.opened.wait_timeout_while(open, timeout, closed);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        *open
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
