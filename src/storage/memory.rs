//! The default backend: in memory, gone with the engine.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::storage::backend::{Backend, Key, Listing, Page, Placement, StorageError, Usage, Value};

/// The overhead of an entry besides key and value: its nodes in the tree, and two allocations.
const ENTRY_BYTES: u64 = 176;

/// The number of keys per page.
const PAGE_KEYS: usize = 1024;

/// Below this number of namespaces, empty ones are kept.
const FEW_NAMESPACES: usize = 64;

/// Values in memory, by namespace and key. Each namespace has its own lock.
#[derive(Default)]
pub struct MemoryBackend {
    namespaces: RwLock<Namespaces>,
}

#[derive(Default)]
struct Namespaces {
    by_id: HashMap<Box<str>, Arc<Namespace>>,
    /// At this number of namespaces, those empty and unused are removed.
    sweep_at: usize,
}

#[derive(Default)]
struct Namespace {
    entries: Mutex<Entries>,
    /// Bytes of this process's memory.
    held: Arc<AtomicU64>,
}

#[derive(Default)]
struct Entries {
    values: BTreeMap<Key, Value>,
    /// The sum of key and value bytes over `values`.
    bytes: u64,
}

impl MemoryBackend {
    fn find(&self, namespace: &str) -> Option<Arc<Namespace>> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        namespaces.by_id.get(namespace).cloned()
    }

    fn open(&self, namespace: &str) -> Arc<Namespace> {
        if let Some(found) = self.find(namespace) {
            return found;
        }
        let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        if namespaces.by_id.len() >= namespaces.sweep_at {
            namespaces.by_id.retain(|_, namespace| namespace.is_in_use());
            namespaces.sweep_at = (namespaces.by_id.len() * 2).max(FEW_NAMESPACES);
        }
        Arc::clone(namespaces.by_id.entry(namespace.into()).or_default())
    }
}

impl Namespace {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        // No code under the lock leaves entries half-changed.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether anyone refers to the namespace. The caller holds the lock under which such
    /// references are made.
    fn is_in_use(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
            || Arc::strong_count(&self.held) > 1
            || !self.lock().values.is_empty()
    }

    fn note_held(&self, entries: &Entries) {
        let held = entries.bytes + entries.values.len() as u64 * ENTRY_BYTES;
        self.held.store(held, Ordering::Relaxed);
    }
}

fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

impl Backend for MemoryBackend {
    fn get(&self, namespace: &str, key: &str, _: u64) -> Result<Option<Value>, StorageError> {
        Ok(self.find(namespace).and_then(|found| found.lock().values.get(key).cloned()))
    }

    fn set(&self, namespace: &str, key: &str, mut value: Vec<u8>) -> Result<(), StorageError> {
        value.shrink_to_fit();
        let namespace = self.open(namespace);
        let mut entries = namespace.lock();
        entries.bytes += size(key, &value);
        if let Some(place) = entries.values.get_mut(key) {
            let old = std::mem::replace(place, Arc::new(value));
            entries.bytes -= size(key, &old);
        } else {
            entries.values.insert(key.into(), Arc::new(value));
        }
        namespace.note_held(&entries);
        Ok(())
    }

    fn delete(&self, namespace: &str, key: &str) -> Result<(), StorageError> {
        let Some(namespace) = self.find(namespace) else { return Ok(()) };
        let mut entries = namespace.lock();
        if let Some(old) = entries.values.remove(key) {
            entries.bytes -= size(key, &old);
            namespace.note_held(&entries);
        }
        Ok(())
    }

    fn exists(&self, namespace: &str, key: &str) -> Result<bool, StorageError> {
        Ok(self.find(namespace).is_some_and(|found| found.lock().values.contains_key(key)))
    }

    fn list(&self, namespace: &str, listing: &Listing<'_>) -> Result<Page, StorageError> {
        let Some(namespace) = self.find(namespace) else {
            return Ok(Page { keys: Vec::new(), is_last: true });
        };
        let from = match listing.after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(listing.prefix),
        };
        let entries = namespace.lock();
        let mut keys = entries
            .values
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(listing.prefix));
        let page: Vec<_> = keys.by_ref().take(PAGE_KEYS).cloned().collect();
        Ok(Page { keys: page, is_last: keys.next().is_none() })
    }

    fn usage(&self, namespace: &str) -> Result<Usage, StorageError> {
        let Some(found) = self.find(namespace) else { return Ok(Usage::default()) };
        let entries = found.lock();
        Ok(Usage { bytes: entries.bytes, keys: entries.values.len() as u64 })
    }

    fn held(&self, namespace: &str) -> Arc<AtomicU64> {
        Arc::clone(&self.open(namespace).held)
    }

    fn cost(&self, key: &str, value_bytes: u64) -> u64 {
        key.len() as u64 + value_bytes + ENTRY_BYTES
    }

    fn placement(&self) -> Placement {
        Placement::OnFiber
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_every_key_once_and_in_order() {
        let store = MemoryBackend::default();
        let keys: Vec<_> = (0..PAGE_KEYS * 2 + 1).map(|n| format!("k{n:08}")).collect();
        for key in keys.iter().rev() {
            store.set("a/b/c", key, Vec::new()).unwrap();
        }
        store.set("a/b/c", "other", Vec::new()).unwrap();
        let (mut listed, mut pages) = (Vec::<Key>::new(), 0);
        loop {
            let after = listed.last().map(|key| &**key);
            let page = store.list("a/b/c", &Listing { prefix: "k", after, most_bytes: 0 }).unwrap();
            pages += 1;
            let is_last = page.is_last;
            listed.extend(page.keys);
            if is_last {
                break;
            }
        }
        assert!(listed.iter().map(|key| &**key).eq(keys.iter().map(String::as_str)));
        assert_eq!(pages, 3);
    }

    #[test]
    fn held_bytes_are_current_and_empty_namespaces_are_removed() {
        let store = MemoryBackend::default();
        let held = store.held("a/b/c");
        let now = || held.load(Ordering::Relaxed);
        store.set("a/b/c", "key", vec![0; 100]).unwrap();
        assert_eq!(now(), store.cost("key", 100));
        store.set("a/b/c", "key", vec![0; 10]).unwrap();
        store.set("a/b/c", "other", vec![]).unwrap();
        assert_eq!(now(), store.cost("key", 10) + store.cost("other", 0));
        store.delete("a/b/c", "key").unwrap();
        store.delete("a/b/c", "other").unwrap();
        assert_eq!(now(), 0);
        for n in 0..FEW_NAMESPACES * 10 {
            drop(store.held(&format!("a/b/{n}")));
        }
        let namespaces = store.namespaces.read().unwrap();
        assert!(namespaces.by_id.len() <= FEW_NAMESPACES * 2, "{}", namespaces.by_id.len());
        assert!(namespaces.by_id.contains_key("a/b/c"), "its counter is in use");
    }
}
