//! From a time allowed to a point in time.

use std::time::{Duration, Instant};

/// What stands for "never", which a clock can not express.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// When `time` from now is over; a time that is longer than the clock reaches ends beyond all lives.
pub fn deadline_in(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now + FOREVER)
}
