//! Coarse clocks, cheap to read, with a resolution of a few milliseconds; and the trait of a clock
//! with a timer.

use std::future::Future;
use std::time::{Duration, Instant};

/// A clock with a timer.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Instant;

    /// Waits until `at`.
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> + Send;
}

/// Returns the wall-clock time since the Unix epoch. Never ahead of the precise clock.
pub fn coarse_wall() -> Duration {
    system::wall()
}

/// Returns monotonic time since an arbitrary origin.
pub fn coarse_monotonic() -> Duration {
    system::monotonic()
}

#[cfg(target_os = "linux")]
mod system {
    use std::time::Duration;

    // From the C library: the raw system call does not run under valgrind.
    use nix::time::{ClockId, clock_gettime};

    pub fn wall() -> Duration {
        read(ClockId::CLOCK_REALTIME_COARSE)
    }

    pub fn monotonic() -> Duration {
        read(ClockId::CLOCK_MONOTONIC_COARSE)
    }

    fn read(clock: ClockId) -> Duration {
        // Linux always has these clocks. A time before 1970 reads as the epoch.
        let Ok(time) = clock_gettime(clock) else { return Duration::ZERO };
        let (seconds, nanos) = (u64::try_from(time.tv_sec()), u32::try_from(time.tv_nsec()));
        Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    pub fn wall() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    pub fn monotonic() -> Duration {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        ORIGIN.get_or_init(Instant::now).elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn the_coarse_clocks_tell_the_time_and_go_forward() {
        let precise = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let before = precise();
        let (wall, monotonic) = (coarse_wall(), coarse_monotonic());
        assert!(wall <= precise());
        assert!(before - wall.min(before) < Duration::from_secs(1), "{wall:?} against {before:?}");
        while coarse_monotonic() == monotonic {
            std::hint::spin_loop();
        }
        assert!(coarse_monotonic() > monotonic);
    }
}
