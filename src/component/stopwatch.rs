//! Time that is counted over many calls.

use crate::runtime::ticker::{Moment, Ticks};

/// Measures in ticks.
///
/// A span is off by up to one tick, but the sum over many spans is not: as often as one is measured
/// too short, another is measured too long.
#[derive(Clone, Copy)]
pub struct Stopwatch(Moment);

impl Stopwatch {
    /// Begins to measure.
    pub fn start(ticks: &Ticks) -> Self {
        Self(ticks.now())
    }

    /// Nanoseconds since the start.
    pub fn nanos(self, ticks: &Ticks) -> u64 {
        u64::try_from(ticks.time_since(self.0).as_nanos()).unwrap_or(u64::MAX)
    }
}
