//! One value from one thread to another that waits for it.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::core::watch;

/// A place for one value.
pub struct Rendezvous<T> {
    value: Mutex<Option<T>>,
    given: Condvar,
}

/// The value did not come within this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut(pub Duration);

/// Why a value did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotGiven {
    /// It did not come within this time.
    TimedOut(Duration),
    /// The caller has given up.
    GivenUp,
}

impl From<TimedOut> for NotGiven {
    fn from(TimedOut(timeout): TimedOut) -> Self {
        Self::TimedOut(timeout)
    }
}

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

    /// As [`Rendezvous::wait`], and no longer than a caller that is watched has patience.
    pub fn wait_watched(&self, timeout: Option<Duration>) -> Result<T, NotGiven> {
        if !watch::is_watched() {
            return self.wait(timeout).map_err(NotGiven::from);
        }
        let began = Instant::now();
        loop {
            let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
            let piece = left.map_or(watch::PERIOD, |left| left.min(watch::PERIOD));
            match self.wait(Some(piece)) {
                Ok(value) => return Ok(value),
                Err(_) if watch::check() == watch::State::GivenUp => return Err(NotGiven::GivenUp),
                Err(_) => {}
            }
            if let Some(timeout) = timeout
                && began.elapsed() >= timeout
            {
                return Err(NotGiven::TimedOut(timeout));
            }
        }
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
