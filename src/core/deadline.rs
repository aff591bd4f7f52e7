//! Converts a timeout to a point in time.

use std::time::{Duration, Instant};

/// Stands for "never", which an [`Instant`] cannot express.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Returns the time `time` from now; a timeout beyond the clock's range ends in a hundred years.
pub fn deadline_in(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now + FOREVER)
}
