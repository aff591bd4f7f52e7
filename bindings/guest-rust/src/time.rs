//! The time, and waits.

use std::time::Duration;

use crate::Timestamp;
use crate::bindings::airssys::core::host_services;

/// Returns the time.
pub fn now() -> Timestamp {
    host_services::current_time()
}

/// Waits. Messages to this component wait too, and its time limit goes on.
pub fn sleep(duration: Duration) {
    host_services::sleep_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
}
