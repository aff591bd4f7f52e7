//! The default backend: nothing outlives the engine.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::storage::backend::{Backend, StorageError, Usage};

/// Values in memory, by namespace and key.
#[derive(Default)]
pub struct MemoryBackend {
    namespaces: Mutex<HashMap<String, Namespace>>,
}

#[derive(Default)]
struct Namespace {
    values: BTreeMap<String, Vec<u8>>,
    /// Sum over `values` of key and value bytes.
    bytes: u64,
}

impl MemoryBackend {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Namespace>> {
        // No code that runs under the lock leaves a namespace half-changed.
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

impl Backend for MemoryBackend {
    fn get(&self, namespace: &str, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.lock().get(namespace).and_then(|ns| ns.values.get(key).cloned()))
    }

    fn set(&self, namespace: &str, key: &str, value: &[u8]) -> Result<(), StorageError> {
        let mut namespaces = self.lock();
        let ns = match namespaces.get_mut(namespace) {
            Some(ns) => ns,
            None => namespaces.entry(namespace.to_owned()).or_default(),
        };
        if let Some(old) = ns.values.insert(key.to_owned(), value.to_owned()) {
            ns.bytes -= size(key, &old);
        }
        ns.bytes += size(key, value);
        Ok(())
    }

    fn delete(&self, namespace: &str, key: &str) -> Result<(), StorageError> {
        let mut namespaces = self.lock();
        if let Some(ns) = namespaces.get_mut(namespace) {
            if let Some(old) = ns.values.remove(key) {
                ns.bytes -= size(key, &old);
            }
            if ns.values.is_empty() {
                namespaces.remove(namespace);
            }
        }
        Ok(())
    }

    fn exists(&self, namespace: &str, key: &str) -> Result<bool, StorageError> {
        Ok(self.lock().get(namespace).is_some_and(|ns| ns.values.contains_key(key)))
    }

    fn list(&self, namespace: &str, prefix: &str) -> Result<Vec<String>, StorageError> {
        let namespaces = self.lock();
        let Some(ns) = namespaces.get(namespace) else { return Ok(Vec::new()) };
        let from = (Bound::Included(prefix), Bound::Unbounded);
        Ok(ns
            .values
            .range::<str, _>(from)
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix))
            .cloned()
            .collect())
    }

    fn usage(&self, namespace: &str) -> Result<Usage, StorageError> {
        Ok(self
            .lock()
            .get(namespace)
            .map(|ns| Usage { bytes: ns.bytes, keys: ns.values.len() as u64 })
            .unwrap_or_default())
    }

    fn runs_host_code(&self) -> bool {
        false
    }
}
