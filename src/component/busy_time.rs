//! Measures short spans whose sum matters.

use crate::runtime::ticker::{Moment, Ticks};

/// Measures in ticks.
///
/// One span is off by up to a tick, but the errors cancel over many: spans measured too short are
/// as frequent as spans measured too long.
#[derive(Clone, Copy)]
pub struct BusyTime(Moment);

impl BusyTime {
    /// Starts measuring.
    pub fn start(ticks: &Ticks) -> Self {
        Self(ticks.now())
    }

    /// Returns the nanoseconds since the start.
    pub fn nanos(self, ticks: &Ticks) -> u64 {
        u64::try_from(ticks.time_since(self.0).as_nanos()).unwrap_or(u64::MAX)
    }
}
