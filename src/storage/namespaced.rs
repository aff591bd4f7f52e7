//! A component's view of storage: its own namespace, with checked keys, rights and quotas.

use std::sync::Arc;

use crate::core::account::{Account, Charge, HostBytesExceeded};
use crate::core::id::{ComponentId, shorten};
use crate::security::action::Action;
use crate::security::audit::Basis;
use crate::security::guard::Guard;
use crate::security::quota::QuotaBreach;
use crate::security::resource::Resource;
use crate::storage::backend::{Backend, Listing, Page, StorageError, Usage, Value};
use crate::storage::reservations::Reservations;

/// The most bytes that a key may have.
pub const MAX_KEY_BYTES: usize = 1024;

/// The storage of one component; its namespace is its id.
#[derive(Clone)]
pub struct NamespacedStorage {
    backend: Arc<dyn Backend>,
    namespace: Arc<ComponentId>,
    guard: Arc<Guard>,
    account: Arc<Account>,
    reservations: Reservations,
}

/// A value on its way into the store.
pub struct NewValue {
    /// The value.
    pub bytes: Vec<u8>,
    /// What it costs until it is stored.
    pub charge: Charge,
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
        account: Arc<Account>,
        reservations: Reservations,
    ) -> Self {
        Self { backend, namespace, guard, account, reservations }
    }

    /// `None` if there is no such key.
    pub fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        let namespace = self.permitted(Action::StorageRead)?;
        self.backend.get(namespace, checked(key)?, self.account.room())
    }

    /// Makes room for a value of so many bytes.
    pub fn charge(&self, key: &str, value_bytes: u64) -> Result<Charge, StorageError> {
        let cost = self.backend.cost(key, value_bytes).max(value_bytes);
        self.account.charge(cost).map_err(|HostBytesExceeded { limit, .. }| {
            self.breach(QuotaBreach { name: "max-host-bytes", value: limit })
        })
    }

    /// Stores a value, in place of an older one.
    pub fn set(&self, key: &str, value: NewValue) -> Result<(), StorageError> {
        let NewValue { bytes: value, charge: _charge } = value;
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
            Some(_) => self.backend.size(namespace, key)?.map(|old| key.len() as u64 + old),
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

    /// The next page of the keys that begin with a prefix; each is there once and in its place,
    /// ascending by bytes.
    pub fn list_keys(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        let namespace = self.permitted(Action::StorageRead)?;
        if prefix.contains('\0') {
            return Err(StorageError::InvalidKey("a prefix must not contain NUL".into()));
        }
        let listing = Listing { prefix, after, most_bytes: self.account.room() };
        let mut page = self.backend.list(namespace, &listing)?;
        if page.is_last {
            // A host's backend may be careless about the prefix and about order.
            page.keys.retain(|key| key.starts_with(prefix));
            page.keys.sort_unstable();
            page.keys.dedup();
        }
        Ok(page)
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

/// What is said of a key of so many bytes, which nobody looks at.
pub fn too_long(bytes: usize) -> StorageError {
    StorageError::InvalidKey(format!("{bytes} bytes, at most {MAX_KEY_BYTES} are allowed"))
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
