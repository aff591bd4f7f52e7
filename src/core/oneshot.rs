//! Hands one value to a thread blocked on it: a oneshot channel.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::core::watch;

/// A oneshot channel.
pub struct Oneshot<T> {
    value: Mutex<Option<T>>,
    given: Condvar,
}

/// No value arrived within this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut(pub Duration);

/// Why no value arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotGiven {
    /// The timeout passed.
    TimedOut(Duration),
    /// The caller gave up.
    GivenUp,
}

impl From<TimedOut> for NotGiven {
    fn from(TimedOut(timeout): TimedOut) -> Self {
        Self::TimedOut(timeout)
    }
}

impl<T> Default for Oneshot<T> {
    fn default() -> Self {
        Self { value: Mutex::new(None), given: Condvar::new() }
    }
}

impl<T> Oneshot<T> {
    /// Sends the value and wakes the waiter.
    pub fn give(&self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        self.given.notify_one();
    }

    /// As [`Oneshot::wait`], but also ends when a watched caller gives up.
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

    /// Blocks until the value arrives or `timeout` passes.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<T, TimedOut> {
        // A timeout beyond the clock's range is no timeout.
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
