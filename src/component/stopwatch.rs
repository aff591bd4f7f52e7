//! Time that is counted over many calls.

use std::time::Duration;

use crate::core::clock::coarse_monotonic;

/// Measures with a coarse clock.
///
/// A span is off by up to one advance of that clock, but the sum over many spans is not: as often
/// as one is measured too short, another is measured too long.
#[derive(Clone, Copy)]
pub struct Stopwatch(Duration);

impl Stopwatch {
    /// Begins to measure.
    pub fn start() -> Self {
        Self(coarse_monotonic())
    }

    /// Nanoseconds since the start.
    pub fn nanos(self) -> u64 {
        let spent = coarse_monotonic().saturating_sub(self.0);
        u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX)
    }
}
