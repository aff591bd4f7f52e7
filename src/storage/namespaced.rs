//! A component's view of storage: its own namespace, with checked keys, rights and quotas.

use std::sync::Arc;

use crate::core::id::{ComponentId, shorten};
use crate::security::action::Action;
use crate::security::audit::Basis;
use crate::security::guard::Guard;
use crate::security::quota::QuotaBreach;
use crate::security::resource::Resource;
use crate::storage::backend::{Backend, StorageError, Usage};
use crate::storage::reservations::Reservations;

/// The most bytes that a key may have.
pub const MAX_KEY_BYTES: usize = 1024;

/// The storage of one component; its namespace is its id.
#[derive(Clone)]
pub struct NamespacedStorage {
    backend: Arc<dyn Backend>,
    namespace: Arc<ComponentId>,
    guard: Arc<Guard>,
    reservations: Reservations,
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
    /// The storage of the component `namespace`. `reservations` are those of the backend.
    pub fn new(
        backend: Arc<dyn Backend>,
        namespace: Arc<ComponentId>,
        guard: Arc<Guard>,
        reservations: Reservations,
    ) -> Self {
        Self { backend, namespace, guard, reservations }
    }

    /// `None` if there is no such key.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.backend.get(self.permitted(Action::StorageRead)?, checked(key)?)
    }

    /// Stores a value, in place of an older one.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), StorageError> {
        let namespace = self.permitted(Action::StorageWrite)?;
        let key = checked(key)?;
        let quotas = self.guard.quotas();
        if quotas.storage_bytes.is_none() && quotas.storage_keys.is_none() {
            return self.backend.set(namespace, key, value);
        }
        let size = (key.len() + value.len()) as u64;
        let (others, _reservation) = self.reservations.reserve(&self.namespace, size);
        self.check_quotas(key, size, others)?;
        self.backend.set(namespace, key, value)
    }

    /// Whether a value fits, with all that others are about to store.
    fn check_quotas(&self, key: &str, size: u64, others: Usage) -> Result<(), StorageError> {
        let (namespace, quotas) = (self.namespace.as_str(), self.guard.quotas());
        let old = match quotas.storage_bytes {
            Some(_) => self.backend.get(namespace, key)?.map(|old| (key.len() + old.len()) as u64),
            None => self.backend.exists(namespace, key)?.then_some(0),
        };
        let used = self.backend.usage(namespace)?;
        let keys = used.keys.saturating_add(others.keys).saturating_add(1);
        if let (Some(value), None) = (quotas.storage_keys, old)
            && keys > value
        {
            return Err(self.breach(QuotaBreach { name: "storage-keys", value }));
        }
        // What takes no more room than before is stored, unless others may be about to take that room.
        let freed = if others.keys == 0 { old.unwrap_or(0) } else { 0 };
        let more = size.saturating_sub(freed);
        let bytes = used.bytes.saturating_add(others.bytes).saturating_add(more);
        if let Some(value) = quotas.storage_bytes
            && more > 0
            && bytes > value
        {
            return Err(self.breach(QuotaBreach { name: "storage-bytes", value }));
        }
        Ok(())
    }

    fn breach(&self, breach: QuotaBreach) -> StorageError {
        let resource = Resource::Text(self.namespace.as_str());
        self.guard.refuse(Action::StorageWrite, resource, Basis::Quota(breach));
        StorageError::QuotaExceeded
    }

    /// Removes a key; a missing one is no error.
    pub fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.backend.delete(self.permitted(Action::StorageDelete)?, checked(key)?)
    }

    /// Whether there is such a key.
    pub fn exists(&self, key: &str) -> Result<bool, StorageError> {
        self.backend.exists(self.permitted(Action::StorageRead)?, checked(key)?)
    }

    /// The keys that begin with `prefix`, ascending by bytes, each once.
    pub fn list_keys(&self, prefix: Option<&str>) -> Result<Vec<String>, StorageError> {
        let namespace = self.permitted(Action::StorageRead)?;
        let prefix = prefix.unwrap_or_default();
        if prefix.contains('\0') {
            return Err(StorageError::InvalidKey("a prefix must not contain NUL".into()));
        }
        let mut keys = self.backend.list(namespace, prefix)?;
        // A host's backend may be careless about the prefix and about order.
        keys.retain(|key| key.starts_with(prefix));
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// How much is stored, and how much may be.
    pub fn usage(&self) -> Result<StorageUsage, StorageError> {
        let used = self.backend.usage(self.permitted(Action::StorageRead)?)?;
        Ok(StorageUsage {
            used,
            quota_bytes: self.guard.quotas().storage_bytes.unwrap_or(u64::MAX),
        })
    }

    /// The namespace, if the component may do this with it.
    fn permitted(&self, action: Action) -> Result<&str, StorageError> {
        let namespace = self.namespace.as_str();
        let permitted = self.guard.check_own(action, Some(namespace));
        permitted.map(|()| namespace).map_err(|refused| StorageError::Io(refused.to_string()))
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
