//! Quotas: limits on rates and on concurrent use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;

use crate::core::clock::coarse_monotonic;

/// The quotas of a component; `None` is unlimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Messages and requests sent per second.
    pub messages_per_second: Option<u64>,
    /// Pending requests.
    pub outstanding_requests: Option<u64>,
    /// Bytes of stored keys and values.
    pub storage_bytes: Option<u64>,
    /// Stored keys.
    pub storage_keys: Option<u64>,
    /// Bytes of log records and output per second.
    pub log_bytes_per_second: Option<u64>,
    /// Random bytes per second.
    pub random_bytes_per_second: Option<u64>,
    /// Calls of functions of the host per second.
    pub host_functions_per_second: Option<u64>,
    /// Bytes passed to the host in one call.
    pub host_call_bytes: u64,
    /// Open files, sockets, timers and streams per instance.
    pub wasi_resources: u64,
}

/// The highest value of `host_call_bytes`.
pub const MAX_HOST_CALL_BYTES: u64 = 128 << 20;

/// The default of `host_call_bytes`: two messages of the default maximum size.
const DEFAULT_HOST_CALL_BYTES: u64 = 32 << 20;

impl Default for Quotas {
    fn default() -> Self {
        Self {
            messages_per_second: None,
            outstanding_requests: None,
            storage_bytes: None,
            storage_keys: None,
            log_bytes_per_second: None,
            random_bytes_per_second: None,
            host_functions_per_second: None,
            host_call_bytes: DEFAULT_HOST_CALL_BYTES,
            wasi_resources: 256,
        }
    }
}

/// A quota that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("quota exceeded: {name} {value}")]
pub struct QuotaBreach {
    /// The quota's name in the options.
    pub name: &'static str,
    /// The quota's value.
    pub value: u64,
}

/// A token bucket with a capacity of one second's worth of units, kept as in ATM's generic cell
/// rate algorithm: a single number says when the bucket will be full again.
#[derive(Debug)]
pub struct Rate {
    name: &'static str,
    per_second: u64,
    full_at: AtomicU64,
}

const SECOND: u64 = 1_000_000_000;

impl Rate {
    /// Creates a full bucket for the quota `name`.
    pub fn new(name: &'static str, per_second: u64) -> Self {
        Self { name, per_second, full_at: AtomicU64::new(0) }
    }

    /// Takes units, or fails if the bucket holds too few. More units than the capacity pass when
    /// the bucket is full, and leave it in debt.
    pub fn take(&self, units: u64) -> Result<(), QuotaBreach> {
        self.take_at(units, nanos(coarse_monotonic()))
    }

    fn take_at(&self, units: u64, now: u64) -> Result<(), QuotaBreach> {
        let cost = self.cost(units);
        let taken = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let full_at = full_at.max(now);
            let room = full_at - now <= SECOND.saturating_sub(cost.min(SECOND));
            room.then(|| full_at.saturating_add(cost))
        });
        taken.map(drop).map_err(|_| QuotaBreach { name: self.name, value: self.per_second })
    }

    /// Returns unused units.
    pub fn give_back(&self, units: u64) {
        let cost = self.cost(units);
        // A time before now counts as now.
        let _ = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            Some(full_at.saturating_sub(cost))
        });
    }

    /// Returns when the bucket will be full again; 0 if it is full now.
    pub fn full_at(&self) -> u64 {
        let full_at = self.full_at.load(Ordering::Relaxed);
        if full_at > nanos(coarse_monotonic()) { full_at } else { 0 }
    }

    /// Goes on from what [`Rate::full_at`] returned.
    pub fn go_on(&self, full_at: u64) {
        self.full_at.store(full_at, Ordering::Relaxed);
    }

    fn cost(&self, units: u64) -> u64 {
        let cost = u128::from(units) * u128::from(SECOND) / u128::from(self.per_second.max(1));
        u64::try_from(cost).unwrap_or(u64::MAX / 4)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

/// A limit on concurrent use.
#[derive(Debug)]
pub struct Count {
    name: &'static str,
    limit: u64,
    held: Arc<AtomicU64>,
}

/// One unit of a [`Count`], returned on drop.
#[derive(Debug)]
pub struct Permit(Arc<AtomicU64>);

impl Count {
    /// Creates an unused count for the quota `name`.
    pub fn new(name: &'static str, limit: u64) -> Self {
        Self { name, limit, held: Arc::default() }
    }

    /// Returns the number of units taken.
    pub fn taken(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Takes one unit, if one is left.
    pub fn take(&self) -> Result<Permit, QuotaBreach> {
        let more = |held| (held < self.limit).then_some(held + 1);
        match self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Permit(Arc::clone(&self.held))),
            Err(_) => Err(QuotaBreach { name: self.name, value: self.limit }),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_empties_at_once_and_refills_over_time() {
        let rate = Rate::new("messages-per-second", 10);
        let now = 5 * SECOND;
        for _ in 0..10 {
            rate.take_at(1, now).unwrap();
        }
        let breach = QuotaBreach { name: "messages-per-second", value: 10 };
        assert_eq!(rate.take_at(1, now), Err(breach));
        assert_eq!(breach.to_string(), "quota exceeded: messages-per-second 10");
        assert_eq!(rate.take_at(1, now + SECOND / 10 - 1), Err(breach));
        rate.take_at(1, now + SECOND / 10).unwrap();
        assert_eq!(rate.take_at(1, now + SECOND / 10), Err(breach));
        // A long pause fills the bucket once.
        for _ in 0..10 {
            rate.take_at(1, now + 100 * SECOND).unwrap();
        }
        assert_eq!(rate.take_at(1, now + 100 * SECOND), Err(breach));
    }

    #[test]
    fn more_than_the_capacity_passes_a_full_bucket_and_leaves_a_debt() {
        let rate = Rate::new("log-bytes-per-second", 100);
        rate.take_at(300, SECOND).unwrap();
        assert!(rate.take_at(1, 3 * SECOND).is_err());
        rate.take_at(1, 4 * SECOND).unwrap();
    }

    #[test]
    fn unused_units_can_be_returned() {
        let rate = Rate::new("messages-per-second", 1);
        rate.take_at(1, SECOND).unwrap();
        rate.give_back(1);
        rate.take_at(1, SECOND).unwrap();
        assert!(rate.take_at(1, SECOND).is_err());
    }

    #[test]
    fn dropped_permits_return_to_the_count() {
        let count = Count::new("outstanding-requests", 2);
        let (first, _second) = (count.take().unwrap(), count.take().unwrap());
        assert_eq!(count.take().unwrap_err().to_string(), "quota exceeded: outstanding-requests 2");
        drop(first);
        count.take().unwrap();
    }
}
