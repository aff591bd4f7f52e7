//! Writes in progress, not yet in the totals of their namespaces.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::storage::backend::Usage;
use crate::storage::namespace::Namespace;

/// The writes in progress, by namespace, so that concurrent writes do not each claim the same free
/// room. No lock is held while a backend works, which may be host code.
#[derive(Clone, Default)]
pub struct Reservations {
    under_way: Arc<Mutex<HashMap<Namespace, Usage>>>,
}

/// A write in progress, ended on drop.
pub struct Reservation<'a> {
    all: &'a Reservations,
    namespace: Namespace,
    written: Usage,
}

impl Reservations {
    /// Enters a write; returns the total of the writes entered before. A caller that reads the
    /// namespace's totals afterwards finds each earlier write there, here, or in both.
    pub fn reserve(&self, namespace: &Namespace, written: Usage) -> (Usage, Reservation<'_>) {
        let mut under_way = self.lock();
        let sum = under_way.entry(namespace.clone()).or_default();
        let others = *sum;
        sum.bytes = sum.bytes.saturating_add(written.bytes);
        sum.keys += written.keys;
        (others, Reservation { all: self, namespace: namespace.clone(), written })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Namespace, Usage>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut under_way = self.all.lock();
        let Some(sum) = under_way.get_mut(&self.namespace) else { return };
        sum.bytes -= self.written.bytes;
        sum.keys -= self.written.keys;
        if sum.keys == 0 {
            under_way.remove(&self.namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_sees_those_that_began_before_it_and_no_others() {
        let all = Reservations::default();
        let namespace = |text| Namespace::parse(text).unwrap();
        let (a, b) = (namespace("a/b/c"), namespace("a/b/d"));
        let of = |bytes| Usage { bytes, keys: 1 };
        let (others, first) = all.reserve(&a, of(10));
        assert_eq!(others, Usage::default());
        let (others, _elsewhere) = all.reserve(&b, of(7));
        assert_eq!(others, Usage::default());
        let (others, second) = all.reserve(&a, of(5));
        assert_eq!(others, Usage { bytes: 10, keys: 1 });
        drop(first);
        let (others, third) = all.reserve(&a, of(1));
        assert_eq!(others, Usage { bytes: 5, keys: 1 });
        drop((second, third));
        assert_eq!(all.lock().len(), 1);
    }
}
