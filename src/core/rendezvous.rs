//! One value from one thread to another that waits for it.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A place for one value.
pub struct Rendezvous<T> {
    value: Mutex<Option<T>>,
    given: Condvar,
}

/// The value did not come within this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut(pub Duration);

impl<T> Default for Rendezvous<T> {
    fn default() -> Self {
        Self { value: Mutex::new(None), given: Condvar::new() }
    }
}

impl<T> Rendezvous<T> {
    /// Puts the value there and wakes who waits.
    pub fn give(&self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        self.given.notify_one();
    }

    /// Blocks until the value is there; with a timeout, no longer than that.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<T, TimedOut> {
        // A timeout too long for the clock is none.
        let limit =
            timeout.and_then(|timeout| Some((Instant::now().checked_add(timeout)?, timeout)));
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(value) = value.take() {
                return Ok(value);
            }
            value = match limit {
                None => self.given.wait(value).unwrap_or_else(PoisonError::into_inner),
                Some((deadline, timeout)) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(TimedOut(timeout));
                    }
                    let waited = self.given.wait_timeout(value, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}
