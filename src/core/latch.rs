//! Something that happens once, and that any number of threads may wait for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Closed at first, open for ever after.
#[derive(Default)]
pub struct Latch {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Latch {
    /// Lets all through.
    pub fn open(&self) {
        *self.lock() = true;
        self.opened.notify_all();
    }

    /// Blocks until it is open.
    pub fn wait(&self) {
        let mut open = self.lock();
        while !*open {
            open = self.opened.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
