//! A budget of restarts in a sliding window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The most restarts in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartLimit {
    /// The most restarts in `window`; `None` is unlimited.
    pub most: Option<usize>,
    /// The length of the sliding window.
    pub window: Duration,
}

/// The restarts of a window.
#[derive(Default)]
pub struct RestartBudget {
    /// In order; no more than the most allowed.
    recent: VecDeque<Instant>,
}

impl RestartBudget {
    /// Takes one restart off the budget; returns false if none is left.
    pub fn take(&mut self, limit: RestartLimit, now: Instant) -> bool {
        let Some(most) = limit.most else { return true };
        let is_left = self.used(limit, now) < most;
        if is_left {
            self.recent.push_back(now);
        }
        is_left
    }

    /// Returns the number of restarts in the current window.
    pub fn used(&mut self, limit: RestartLimit, now: Instant) -> usize {
        let is_old = |at: &mut Instant| now.saturating_duration_since(*at) >= limit.window;
        while self.recent.pop_front_if(is_old).is_some() {}
        self.recent.len()
    }

    /// Forgets all restarts.
    pub fn reset(&mut self) {
        self.recent.clear();
    }
}
