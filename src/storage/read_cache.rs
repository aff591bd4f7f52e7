//! Keeps in memory what was read from a slow backend.
//!
//! A value is kept only if no write of its key was under way at any time of the read. So whoever reads
//! after a write has returned reads what was written, or something later.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use crate::storage::backend::{
    Backend, Change, Listing, Page, Placement, StorageError, UnixMillis, Usage, Value,
};

/// The overhead of an entry: its place in the cache, and three allocations.
const ENTRY_BYTES: u64 = 200;

/// The number of parts into which keys are divided. Keys of one part disturb each other.
const STRIPES: usize = 256;

/// A backend whose values are kept in memory once they were read or written.
pub struct ReadCache {
    backend: Arc<dyn Backend>,
    /// `None`: the key is missing.
    entries: Cache<Place, Option<Value>, Bytes>,
    stripes: Box<[Mutex<Stripe>]>,
    hasher: RandomState,
    /// Larger values are not kept.
    max_value_bytes: usize,
}

/// The writes of some keys.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Stripe {
    /// Of those that began and of those that ended.
    count: u64,
    under_way: u32,
}

#[derive(Clone, PartialEq, Eq)]
struct Place {
    namespace: Box<str>,
    key: Box<str>,
}

#[derive(Clone, Copy)]
struct At<'a> {
    namespace: &'a str,
    key: &'a str,
}

#[derive(Clone)]
struct Bytes;

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        At { namespace: &self.namespace, key: &self.key }.hash(state);
    }
}

impl Hash for At<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.namespace.hash(state);
        self.key.hash(state);
    }
}

impl Equivalent<Place> for At<'_> {
    fn equivalent(&self, place: &Place) -> bool {
        *self.key == *place.key && *self.namespace == *place.namespace
    }
}

impl Weighter<Place, Option<Value>> for Bytes {
    fn weight(&self, place: &Place, value: &Option<Value>) -> u64 {
        let value = value.as_ref().map_or(0, |value| value.len());
        (place.namespace.len() + place.key.len() + value) as u64 + ENTRY_BYTES
    }
}

impl ReadCache {
    /// Puts a cache of at most `bytes` bytes in front of a backend.
    pub fn new(backend: Arc<dyn Backend>, bytes: u64) -> Self {
        let items = usize::try_from(bytes / 1024).unwrap_or(usize::MAX).clamp(1, 1 << 20);
        Self {
            backend,
            entries: Cache::with_weighter(items, bytes, Bytes),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            max_value_bytes: usize::try_from(bytes / 8).unwrap_or(usize::MAX),
        }
    }

    fn stripe(&self, at: At<'_>) -> MutexGuard<'_, Stripe> {
        let number = self.hasher.hash_one(at) as usize % STRIPES;
        self.stripes[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was read, unless a write was under way since `before`.
    fn keep(&self, at: At<'_>, before: Stripe, value: Option<&Value>) {
        let stripe = self.stripe(at);
        if *stripe == before && before.under_way == 0 {
            self.insert(at, value);
        }
    }

    fn insert(&self, at: At<'_>, value: Option<&Value>) {
        if value.is_none_or(|value| value.len() <= self.max_value_bytes) {
            let place = Place { namespace: at.namespace.into(), key: at.key.into() };
            self.entries.insert(place, value.cloned());
        }
    }

    /// Announces a write.
    fn begin_write(&self, at: At<'_>) -> Stripe {
        let mut stripe = self.stripe(at);
        stripe.count += 1;
        stripe.under_way += 1;
        self.entries.remove(&at);
        *stripe
    }

    /// Ends a write that began with `begun`, and keeps what was written if nothing else was written
    /// meanwhile. `written` is `None` if it failed: nobody knows what is stored now.
    fn end_write(&self, at: At<'_>, begun: Stripe, written: Option<Option<&Value>>) {
        let mut stripe = self.stripe(at);
        let alone = *stripe == begun && stripe.under_way == 1;
        stripe.count += 1;
        stripe.under_way -= 1;
        if let (true, Some(value)) = (alone, written) {
            self.insert(at, value);
        }
    }

    /// Makes a write of one key.
    fn write(
        &self,
        at: At<'_>,
        value: Option<Value>,
        write: impl FnOnce() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let begun = self.begin_write(at);
        let done = write();
        self.end_write(at, begun, done.is_ok().then_some(value.as_ref()));
        done
    }
}

impl Backend for ReadCache {
    fn get(
        &self,
        namespace: &str,
        key: &str,
        most_bytes: u64,
    ) -> Result<Option<Value>, StorageError> {
        let at = At { namespace, key };
        if let Some(kept) = self.entries.get(&at) {
            return Ok(kept);
        }
        let before = *self.stripe(at);
        let value = self.backend.get(namespace, key, most_bytes)?;
        self.keep(at, before, value.as_ref());
        Ok(value)
    }

    fn set(&self, namespace: &str, key: &str, value: Vec<u8>) -> Result<(), StorageError> {
        let at = At { namespace, key };
        if value.len() > self.max_value_bytes {
            let begun = self.begin_write(at);
            let done = self.backend.set(namespace, key, value);
            self.end_write(at, begun, None);
            return done;
        }
        let kept = Arc::new(value.clone());
        self.write(at, Some(kept), || self.backend.set(namespace, key, value))
    }

    fn delete(&self, namespace: &str, key: &str) -> Result<(), StorageError> {
        self.write(At { namespace, key }, None, || self.backend.delete(namespace, key))
    }

    fn exists(&self, namespace: &str, key: &str) -> Result<bool, StorageError> {
        let at = At { namespace, key };
        if let Some(kept) = self.entries.get(&at) {
            return Ok(kept.is_some());
        }
        let before = *self.stripe(at);
        let found = self.backend.exists(namespace, key)?;
        if !found {
            self.keep(at, before, None);
        }
        Ok(found)
    }

    fn list(&self, namespace: &str, listing: &Listing<'_>) -> Result<Page, StorageError> {
        self.backend.list(namespace, listing)
    }

    fn usage(&self, namespace: &str) -> Result<Usage, StorageError> {
        self.backend.usage(namespace)
    }

    fn apply(&self, namespace: &str, changes: Vec<Change>) -> Result<(), StorageError> {
        let keys: Vec<_> = changes.iter().map(|change| change.key.clone()).collect();
        let begun: Vec<_> =
            keys.iter().map(|key| self.begin_write(At { namespace, key })).collect();
        let done = self.backend.apply(namespace, changes);
        for (key, begun) in keys.iter().zip(begun) {
            self.end_write(At { namespace, key }, begun, None);
        }
        done
    }

    fn makes_several(&self) -> bool {
        self.backend.makes_several()
    }

    fn exchange(
        &self,
        namespace: &str,
        from: Option<&Value>,
        change: Change,
    ) -> Result<bool, StorageError> {
        let key = change.key.clone();
        let begun = self.begin_write(At { namespace, key: &key });
        let done = self.backend.exchange(namespace, from, change);
        self.end_write(At { namespace, key: &key }, begun, None);
        done
    }

    fn expires(&self, namespace: &str, key: &str) -> Result<Option<UnixMillis>, StorageError> {
        self.backend.expires(namespace, key)
    }

    fn namespaces(&self, after: Option<&str>) -> Result<Page, StorageError> {
        self.backend.namespaces(after)
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.backend.flush()
    }

    fn held(&self, namespace: &str) -> Arc<AtomicU64> {
        self.backend.held(namespace)
    }

    fn cost(&self, key: &str, value_bytes: u64) -> u64 {
        self.backend.cost(key, value_bytes)
    }

    fn placement(&self) -> Placement {
        self.backend.placement()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::storage::conformance;
    use crate::storage::memory::MemoryBackend;

    const NS: &str = "a/b/c";

    /// Called with the operation after it was done.
    type Hook = Box<dyn Fn(&Slow, &str) + Send + Sync>;

    /// A backend that counts reads, can fail, and lets a test act during its calls.
    struct Slow {
        values: MemoryBackend,
        reads: AtomicUsize,
        fails: AtomicBool,
        hook: Mutex<Option<Hook>>,
    }

    impl Slow {
        fn cached(bytes: u64) -> (Arc<Self>, Arc<ReadCache>) {
            let slow = Arc::new(Self {
                values: MemoryBackend::default(),
                reads: AtomicUsize::new(0),
                fails: AtomicBool::new(false),
                hook: Mutex::default(),
            });
            (Arc::clone(&slow), Arc::new(ReadCache::new(slow, bytes)))
        }

        fn during(&self, hook: impl Fn(&Self, &str) + Send + Sync + 'static) {
            *self.hook.lock().unwrap() = Some(Box::new(hook));
        }

        fn done(&self, operation: &str) -> Result<(), StorageError> {
            // Not under the lock: the hook uses the backend.
            let hook = self.hook.lock().unwrap().take();
            if let Some(hook) = hook {
                hook(self, operation);
            }
            let fails = self.fails.load(Ordering::Relaxed);
            if fails { Err(StorageError::Io("no".into())) } else { Ok(()) }
        }

        fn reads(&self) -> usize {
            self.reads.swap(0, Ordering::Relaxed)
        }
    }

    impl Backend for Slow {
        fn get(&self, ns: &str, key: &str, most: u64) -> Result<Option<Value>, StorageError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let value = self.values.get(ns, key, most);
            self.done("get").and(value)
        }

        fn set(&self, ns: &str, key: &str, value: Vec<u8>) -> Result<(), StorageError> {
            self.values.set(ns, key, value)?;
            self.done("set")
        }

        fn delete(&self, ns: &str, key: &str) -> Result<(), StorageError> {
            self.values.delete(ns, key)?;
            self.done("delete")
        }

        fn exists(&self, ns: &str, key: &str) -> Result<bool, StorageError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.values.exists(ns, key)
        }

        fn list(&self, ns: &str, listing: &Listing<'_>) -> Result<Page, StorageError> {
            self.values.list(ns, listing)
        }

        fn usage(&self, ns: &str) -> Result<Usage, StorageError> {
            self.values.usage(ns)
        }

        fn apply(&self, ns: &str, changes: Vec<Change>) -> Result<(), StorageError> {
            self.values.apply(ns, changes)?;
            self.done("apply")
        }

        fn placement(&self) -> Placement {
            Placement::OffFiber
        }
    }

    fn value(cache: &ReadCache, key: &str) -> Option<String> {
        let value = cache.get(NS, key, u64::MAX).unwrap();
        value.map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    #[test]
    fn each_key_is_read_once_and_a_missing_one_too() {
        let (slow, cache) = Slow::cached(1 << 20);
        slow.set(NS, "k", b"v".to_vec()).unwrap();
        for _ in 0..3 {
            assert_eq!(value(&cache, "k").as_deref(), Some("v"));
            assert_eq!(value(&cache, "missing"), None);
            assert_eq!(cache.exists(NS, "k"), Ok(true));
            assert_eq!(cache.exists(NS, "missing"), Ok(false));
            assert_eq!(cache.exists(NS, "missing too"), Ok(false));
        }
        assert_eq!(slow.reads(), 3);
        assert_eq!(cache.get("a/b", "k", u64::MAX), Ok(None), "namespaces differ");
    }

    #[test]
    fn writes_go_through_and_are_seen() {
        let (slow, cache) = Slow::cached(1 << 20);
        assert_eq!(value(&cache, "k"), None);
        cache.set(NS, "k", b"1".to_vec()).unwrap();
        assert_eq!(slow.values.get(NS, "k", 0).unwrap().unwrap().as_slice(), b"1");
        assert_eq!((value(&cache, "k").as_deref(), slow.reads()), (Some("1"), 1));
        cache.delete(NS, "k").unwrap();
        assert_eq!((value(&cache, "k"), slow.reads()), (None, 0));
        let to = Some(crate::storage::backend::Entry { value: b"2".to_vec(), expires: None });
        cache.apply(NS, vec![Change { key: "k".into(), to }]).unwrap();
        assert_eq!(value(&cache, "k").as_deref(), Some("2"));
    }

    #[test]
    fn after_a_failed_write_the_backend_is_asked() {
        let (slow, cache) = Slow::cached(1 << 20);
        cache.set(NS, "k", b"old".to_vec()).unwrap();
        slow.fails.store(true, Ordering::Relaxed);
        assert!(cache.set(NS, "k", b"new".to_vec()).is_err());
        slow.fails.store(false, Ordering::Relaxed);
        assert_eq!(value(&cache, "k").as_deref(), Some("new"), "it failed after it had stored");
    }

    #[test]
    fn a_read_that_a_write_overtook_is_not_kept() {
        let (slow, cache) = Slow::cached(1 << 20);
        cache.set(NS, "k", b"old".to_vec()).unwrap();
        cache.entries.clear();
        let writer = Arc::clone(&cache);
        // Between the read of the backend and its return.
        slow.during(move |_, _| writer.set(NS, "k", b"new".to_vec()).unwrap());
        assert_eq!(value(&cache, "k").as_deref(), Some("old"), "it began before the write");
        assert_eq!(value(&cache, "k").as_deref(), Some("new"));
    }

    #[test]
    fn a_read_during_a_write_is_not_kept() {
        let (slow, cache) = Slow::cached(1 << 20);
        cache.set(NS, "k", b"old".to_vec()).unwrap();
        let reader = Arc::clone(&cache);
        slow.during(move |slow, _| {
            assert_eq!(value(&reader, "k").as_deref(), Some("new"));
            // Another write, which the cache does not see, stands for an order of the two that it
            // cannot know.
            slow.values.set(NS, "k", b"newer".to_vec()).unwrap();
            reader.set(NS, "k", b"newest".to_vec()).unwrap();
        });
        cache.set(NS, "k", b"new".to_vec()).unwrap();
        slow.reads();
        assert_eq!(value(&cache, "k").as_deref(), Some("newest"));
        assert_eq!(slow.reads(), 1, "of two writes at once, neither is taken for the last");
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let bytes = 64 << 10;
        let (slow, cache) = Slow::cached(bytes);
        for n in 0..10_000 {
            assert_eq!(value(&cache, &format!("missing {n}")), None);
            cache.set(NS, &format!("k{n}"), vec![b'x'; n % 500]).unwrap();
        }
        assert!(cache.entries.weight() <= bytes, "{}", cache.entries.weight());
        assert!(cache.entries.len() > 10);
        cache.set(NS, "large", vec![b'x'; 60 << 10]).unwrap();
        slow.reads();
        assert_eq!(value(&cache, "large").unwrap().len(), 60 << 10);
        assert_eq!(value(&cache, "large").unwrap().len(), 60 << 10);
        assert_eq!(slow.reads(), 2, "too large to be kept");
    }

    #[test]
    fn it_conforms() {
        for bytes in [1, 10_000, 100 << 20] {
            let backend = ReadCache::new(Arc::new(MemoryBackend::default()), bytes);
            let report = conformance::check(Arc::new(backend), Duration::from_secs(60));
            assert!(report.conforms(), "{}", report.text());
        }
    }
}
