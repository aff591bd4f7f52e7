//! The default backend: in memory, gone with the engine.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::storage::backend::{
    Backend, Change, Entry, Key, Listing, Page, Placement, StorageError, UnixMillis, Usage, Value,
};
use crate::storage::expiry::{self, Expiries};

/// The overhead of an entry besides key and value: its nodes in the tree, and two allocations.
const ENTRY_BYTES: u64 = 176;

/// The number of keys per page.
const PAGE_KEYS: usize = 1024;

/// The most expired keys that one operation removes: the rest is left to those that follow.
const REMOVED_AT_ONCE: usize = 256;

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
    /// Of `values`, those that expire.
    expiries: Expiries,
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

    /// Locks the entries, and removes what has expired.
    fn current(&self) -> (MutexGuard<'_, Entries>, UnixMillis) {
        let mut entries = self.lock();
        if entries.expiries.is_empty() {
            return (entries, 0);
        }
        let now = expiry::now();
        let mut removed = false;
        for _ in 0..REMOVED_AT_ONCE {
            let Some(key) = entries.expiries.take_due(now) else { break };
            entries.remove(&key);
            removed = true;
        }
        if removed {
            self.note_held(&entries);
        }
        (entries, now)
    }

    fn note_held(&self, entries: &Entries) {
        let held = entries.bytes
            + entries.values.len() as u64 * ENTRY_BYTES
            + entries.expiries.len() as u64 * Expiries::KEY_BYTES;
        self.held.store(held, Ordering::Relaxed);
    }
}

impl Entries {
    fn set(&mut self, key: &str, Entry { mut value, expires }: Entry) {
        value.shrink_to_fit();
        self.bytes += size(key, &value);
        let value = Arc::new(value);
        if let Some(place) = self.values.get_mut(key) {
            let old = std::mem::replace(place, value);
            self.bytes -= size(key, &old);
        } else {
            self.values.insert(key.into(), value);
        }
        match expires {
            None if self.expiries.is_empty() => {}
            None => self.expiries.forget(key),
            Some(_) => {
                // The key in the tree, which the two share.
                let stored = self.values.get_key_value(key).map(|(stored, _)| stored.clone());
                if let Some(stored) = stored {
                    self.expiries.set(&stored, expires);
                }
            }
        }
    }

    fn remove(&mut self, key: &str) -> bool {
        let old = self.values.remove(key);
        if let Some(old) = &old {
            self.bytes -= size(key, old);
            self.expiries.forget(key);
        }
        old.is_some()
    }

    /// Returns the value of a key that has not expired.
    fn get(&self, key: &str, now: UnixMillis) -> Option<&Value> {
        self.values.get(key).filter(|_| self.is_live(key, now))
    }

    fn is_live(&self, key: &str, now: UnixMillis) -> bool {
        self.expiries.is_empty() || !expiry::is_over(self.expiries.at(key), now)
    }
}

fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

impl Backend for MemoryBackend {
    fn get(&self, namespace: &str, key: &str, _: u64) -> Result<Option<Value>, StorageError> {
        let Some(found) = self.find(namespace) else { return Ok(None) };
        let (entries, now) = found.current();
        Ok(entries.get(key, now).cloned())
    }

    fn set(&self, namespace: &str, key: &str, value: Vec<u8>) -> Result<(), StorageError> {
        let namespace = self.open(namespace);
        let (mut entries, _) = namespace.current();
        entries.set(key, Entry { value, expires: None });
        namespace.note_held(&entries);
        Ok(())
    }

    fn delete(&self, namespace: &str, key: &str) -> Result<(), StorageError> {
        let Some(namespace) = self.find(namespace) else { return Ok(()) };
        let (mut entries, _) = namespace.current();
        if entries.remove(key) {
            namespace.note_held(&entries);
        }
        Ok(())
    }

    fn exists(&self, namespace: &str, key: &str) -> Result<bool, StorageError> {
        let Some(found) = self.find(namespace) else { return Ok(false) };
        let (entries, now) = found.current();
        Ok(entries.get(key, now).is_some())
    }

    fn list(&self, namespace: &str, listing: &Listing<'_>) -> Result<Page, StorageError> {
        let Some(namespace) = self.find(namespace) else {
            return Ok(Page { keys: Vec::new(), is_last: true });
        };
        let from = match listing.after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(listing.prefix),
        };
        let (entries, now) = namespace.current();
        let mut keys = entries
            .values
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(listing.prefix))
            .filter(|key| entries.is_live(key, now));
        let page: Vec<_> = keys.by_ref().take(PAGE_KEYS).cloned().collect();
        Ok(Page { keys: page, is_last: keys.next().is_none() })
    }

    fn usage(&self, namespace: &str) -> Result<Usage, StorageError> {
        let Some(found) = self.find(namespace) else { return Ok(Usage::default()) };
        let (entries, _) = found.current();
        Ok(Usage { bytes: entries.bytes, keys: entries.values.len() as u64 })
    }

    fn apply(&self, namespace: &str, changes: Vec<Change>) -> Result<(), StorageError> {
        let namespace = self.open(namespace);
        let (mut entries, _) = namespace.current();
        for Change { key, to } in changes {
            match to {
                Some(entry) => entries.set(&key, entry),
                None => _ = entries.remove(&key),
            }
        }
        namespace.note_held(&entries);
        Ok(())
    }

    fn exchange(
        &self,
        namespace: &str,
        from: Option<&Value>,
        Change { key, to }: Change,
    ) -> Result<bool, StorageError> {
        let namespace = self.open(namespace);
        let (mut entries, now) = namespace.current();
        let same = match (entries.get(&key, now), from) {
            (Some(now), Some(from)) => Arc::ptr_eq(now, from) || now == from,
            (now, from) => now.is_none() && from.is_none(),
        };
        if same {
            match to {
                Some(entry) => entries.set(&key, entry),
                None => _ = entries.remove(&key),
            }
            namespace.note_held(&entries);
        }
        Ok(same)
    }

    fn expires(&self, namespace: &str, key: &str) -> Result<Option<UnixMillis>, StorageError> {
        let Some(found) = self.find(namespace) else { return Ok(None) };
        let (entries, now) = found.current();
        Ok(entries.expiries.at(key).filter(|expires| *expires > now))
    }

    fn namespaces(&self, after: Option<&str>) -> Result<Page, StorageError> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        let later =
            namespaces.by_id.iter().filter(|(name, _)| after.is_none_or(|after| ***name > *after));
        let used = later.filter(|(_, namespace)| !namespace.current().0.values.is_empty());
        let mut keys: Vec<Key> = used.map(|(name, _)| (&**name).into()).collect();
        keys.sort_unstable();
        Ok(Page { keys, is_last: true })
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
    use crate::storage::model::obeys_the_model;

    #[test]
    fn random_operations_do_what_they_do_to_a_map() {
        obeys_the_model(256, MemoryBackend::default, |store| store, |store| store, |_| ());
    }

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
        let expires = Some(expiry::after(1_000_000));
        let entry = Entry { value: vec![0; 10], expires };
        store.apply("a/b/c", vec![Change { key: "key".into(), to: Some(entry) }]).unwrap();
        assert_eq!(now(), store.cost("key", 10) + Expiries::KEY_BYTES);
        store.set("a/b/c", "key", vec![0; 10]).unwrap();
        assert_eq!(now(), store.cost("key", 10), "a key that was set anew does not expire");
        store.delete("a/b/c", "key").unwrap();
        for n in 0..FEW_NAMESPACES * 10 {
            drop(store.held(&format!("a/b/{n}")));
        }
        let namespaces = store.namespaces.read().unwrap();
        assert!(namespaces.by_id.len() <= FEW_NAMESPACES * 2, "{}", namespaces.by_id.len());
        assert!(namespaces.by_id.contains_key("a/b/c"), "its counter is in use");
    }

    fn set(key: &str, expires: Option<UnixMillis>) -> Change {
        Change { key: key.into(), to: Some(Entry { value: vec![1, 2], expires }) }
    }

    #[test]
    fn an_expired_key_is_missing_and_is_removed_little_by_little() {
        let (store, later) = (MemoryBackend::default(), Some(expiry::after(1_000_000)));
        let count = REMOVED_AT_ONCE * 2;
        let mut changes: Vec<_> = (0..count).map(|n| set(&format!("e{n:04}"), Some(1))).collect();
        changes.extend([set("k", None), set("t", later)]);
        store.apply("a/b/c", changes).unwrap();
        // The one that expires last of all that have expired: the others are removed before it.
        let last = format!("e{:04}", count - 1);
        assert_eq!(store.get("a/b/c", &last, 0), Ok(None));
        assert_eq!(store.exists("a/b/c", &last), Ok(false));
        let all = Listing { prefix: "", after: None, most_bytes: 0 };
        let keys = store.list("a/b/c", &all).unwrap().keys;
        assert_eq!(keys, ["k".into(), "t".into()] as [Key; 2]);
        assert_eq!(store.usage("a/b/c"), Ok(Usage { bytes: 6, keys: 2 }));
        assert_eq!(store.held("a/b/c").load(Ordering::Relaxed), {
            store.cost("k", 2) + store.cost("t", 2) + Expiries::KEY_BYTES
        });
        assert_eq!(store.expires("a/b/c", "t"), Ok(later));
        assert_eq!(store.expires("a/b/c", "k"), Ok(None));
        store
            .apply("a/b/c", vec![set("t", Some(1)), Change { key: "k".into(), to: None }])
            .unwrap();
        assert_eq!(store.usage("a/b/c"), Ok(Usage::default()));
        assert_eq!(store.namespaces(None).unwrap().keys, [] as [Key; 0]);
    }

    #[test]
    fn namespaces_that_hold_keys_are_listed_in_order() {
        let store = MemoryBackend::default();
        for name in ["b/b/b", "a/b", "c/c/c"] {
            store.set(name, "key", Vec::new()).unwrap();
        }
        drop(store.held("d/d/d"));
        let names = |after| store.namespaces(after).unwrap().keys;
        assert_eq!(names(None), ["a/b".into(), "b/b/b".into(), "c/c/c".into()] as [Key; 3]);
        assert_eq!(names(Some("b/b/b")), ["c/c/c".into()] as [Key; 1]);
    }
}
