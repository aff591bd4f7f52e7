//! A component's view of storage: its own namespace, with checked keys.

use std::sync::Arc;

use crate::core::id::{ComponentId, shorten};
use crate::storage::backend::{Backend, StorageError, Usage};

/// The most bytes that a key may have.
pub const MAX_KEY_BYTES: usize = 1024;

/// The storage of one component; its namespace is its id.
#[derive(Clone)]
pub struct NamespacedStorage {
    backend: Arc<dyn Backend>,
    namespace: Arc<ComponentId>,
}

/// What the WIT record `storage-usage` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageUsage {
    /// What is stored.
    pub used: Usage,
    /// How many bytes may be stored; `u64::MAX` is unlimited.
    pub quota_bytes: u64,
}

impl NamespacedStorage {
    /// The storage of the component `namespace`.
    pub fn new(backend: Arc<dyn Backend>, namespace: Arc<ComponentId>) -> Self {
        Self { backend, namespace }
    }

    /// `None` if there is no such key.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.backend.get(self.namespace.as_str(), checked(key)?)
    }

    /// Stores a value, in place of an older one.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), StorageError> {
        self.backend.set(self.namespace.as_str(), checked(key)?, value)
    }

    /// Removes a key; a missing one is no error.
    pub fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.backend.delete(self.namespace.as_str(), checked(key)?)
    }

    /// Whether there is such a key.
    pub fn exists(&self, key: &str) -> Result<bool, StorageError> {
        self.backend.exists(self.namespace.as_str(), checked(key)?)
    }

    /// The keys that begin with `prefix`, ascending by bytes, each once.
    pub fn list_keys(&self, prefix: Option<&str>) -> Result<Vec<String>, StorageError> {
        let prefix = prefix.unwrap_or_default();
        if prefix.contains('\0') {
            return Err(StorageError::InvalidKey("a prefix must not contain NUL".into()));
        }
        let mut keys = self.backend.list(self.namespace.as_str(), prefix)?;
        // A host's backend may be careless about the prefix and about order.
        keys.retain(|key| key.starts_with(prefix));
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// How much is stored, and how much may be.
    pub fn usage(&self) -> Result<StorageUsage, StorageError> {
        let used = self.backend.usage(self.namespace.as_str())?;
        Ok(StorageUsage { used, quota_bytes: u64::MAX })
    }
}

fn checked(key: &str) -> Result<&str, StorageError> {
    if key.is_empty() {
        return Err(StorageError::InvalidKey("a key must not be empty".into()));
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(StorageError::InvalidKey(format!(
            "{:?} has {} bytes, at most {MAX_KEY_BYTES} are allowed",
            shorten(key),
            key.len()
        )));
    }
    if key.contains('\0') {
        return Err(StorageError::InvalidKey(format!("{:?} contains NUL", shorten(key))));
    }
    Ok(key)
}
