//! Floods and oversized values.

use guest_kit::types::LogLevel;
use guest_kit::{ComponentId, Render, Reply, host_services, text};

/// Makes all attempts and returns how many succeeded, and the first error.
pub fn tally<T, E: Render>(
    items: impl IntoIterator<Item = T>,
    mut attempt: impl FnMut(T) -> Result<(), E>,
) -> Reply {
    let (mut succeeded, mut first_error) = (0_u64, String::new());
    for item in items {
        match attempt(item) {
            Ok(()) => succeeded += 1,
            Err(error) if first_error.is_empty() => {
                first_error = format!(" error: {}", error.render());
            }
            Err(_) => {}
        }
    }
    text(format!("{succeeded}{first_error}"))
}

/// An id whose three parts have `size` bytes each.
pub fn wide_id(size: usize) -> ComponentId {
    let part = "x".repeat(size);
    ComponentId { namespace: part.clone(), name: part.clone(), instance: part }
}

pub fn log_many(count: u64, size: usize) {
    let record = "x".repeat(size);
    for _ in 0..count {
        host_services::log(LogLevel::Info, &record, None);
    }
}

/// One record with many pairs. Each name and each value has `size` bytes.
pub fn long_log_context(count: usize, size: usize) {
    let part = "x".repeat(size);
    let pairs = vec![(part.clone(), part); count];
    host_services::log(LogLevel::Info, "long context", Some(&pairs));
}
