//! When keys expire.
//!
//! A time is one of the system's clock. If that is set back, keys that were not yet removed live
//! longer; if it is set forward, keys expire early. A removed key does not come back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::core::clock::coarse_wall;
use crate::storage::backend::{Key, UnixMillis};

/// Returns the time.
pub fn now() -> UnixMillis {
    millis(coarse_wall())
}

/// Returns the time at which a key expires that is to live for `millis` milliseconds.
pub fn after(millis: u64) -> UnixMillis {
    now().saturating_add(millis)
}

/// Returns whether a key that expires at `expires` has done so.
pub fn is_over(expires: Option<UnixMillis>, now: UnixMillis) -> bool {
    expires.is_some_and(|expires| expires <= now)
}

fn millis(time: Duration) -> UnixMillis {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The keys of a namespace that expire.
#[derive(Default)]
pub struct Expiries {
    by_key: BTreeMap<Key, UnixMillis>,
    /// The same, in the order of time.
    by_time: BTreeSet<(UnixMillis, Key)>,
}

impl Expiries {
    /// The memory for a key, besides the key itself.
    pub const KEY_BYTES: u64 = 160;

    /// Returns the number of keys that expire.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Returns whether no key expires.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Returns the time at which a key expires.
    pub fn at(&self, key: &str) -> Option<UnixMillis> {
        self.by_key.get(key).copied()
    }

    /// Sets the time at which a key expires; `None` is never.
    pub fn set(&mut self, key: &Key, expires: Option<UnixMillis>) {
        self.forget(key);
        if let Some(expires) = expires {
            self.by_key.insert(key.clone(), expires);
            self.by_time.insert((expires, key.clone()));
        }
    }

    /// Removes a key.
    pub fn forget(&mut self, key: &str) {
        if let Some((key, expires)) = self.by_key.remove_entry(key) {
            self.by_time.remove(&(expires, key));
        }
    }

    /// Removes a key that has expired, and returns it.
    pub fn take_due(&mut self, now: UnixMillis) -> Option<Key> {
        let due = self.by_time.first().is_some_and(|(expires, _)| is_over(Some(*expires), now));
        let (_, key) = due.then(|| self.by_time.pop_first()).flatten()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_due_in_the_order_of_time() {
        let mut expiries = Expiries::default();
        for (key, at) in [("b", 20), ("a", 30), ("c", 10), ("d", 20)] {
            expiries.set(&key.into(), Some(at));
        }
        expiries.set(&"d".into(), None);
        expiries.set(&"b".into(), Some(15));
        expiries.forget("unknown");
        assert_eq!((expiries.len(), expiries.at("b"), expiries.at("d")), (3, Some(15), None));
        assert_eq!(expiries.take_due(9), None);
        let due: Vec<_> = std::iter::from_fn(|| expiries.take_due(29)).collect();
        assert_eq!(due, ["c".into(), "b".into()] as [Key; 2]);
        assert_eq!(expiries.take_due(30).as_deref(), Some("a"));
        assert!(expiries.is_empty() && expiries.by_time.is_empty());
    }
}
