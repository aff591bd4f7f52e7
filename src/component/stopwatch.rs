//! Time that is counted over many calls.

/// Nanoseconds of a clock that advances every few milliseconds and costs next to nothing to read.
///
/// A span of it is off by up to one advance, but the sum over many spans is not: as often as one
/// is measured too short, another is measured too long.
#[derive(Clone, Copy)]
pub struct Stopwatch(u64);

impl Stopwatch {
    /// Begins to measure.
    pub fn start() -> Self {
        Self(now())
    }

    /// Nanoseconds since the start, or since the last lap.
    pub fn lap(&mut self) -> u64 {
        let now = now();
        let spent = now.saturating_sub(self.0);
        self.0 = now;
        spent
    }
}

#[cfg(target_os = "linux")]
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    time.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000) + time.tv_nsec.cast_unsigned()
}

#[cfg(not(target_os = "linux"))]
fn now() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;

    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}
