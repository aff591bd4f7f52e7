//! A component's view of storage: its own namespace, with validated keys, rights and quotas.

use std::sync::Arc;

use crate::core::account::{Account, Charge, HostBytesExceeded};
use crate::core::id::shorten;
use crate::security::action::Action;
use crate::security::audit::Basis;
use crate::security::guard::Guard;
use crate::security::quota::QuotaBreach;
use crate::security::resource::Resource;
use crate::storage::backend::{Backend, Listing, Page, StorageError, Usage, Value};
use crate::storage::namespace::Namespace;
use crate::storage::reservations::Reservations;

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// The storage of one component: its own namespace, or one that it shares.
#[derive(Clone)]
pub struct ComponentStorage {
    pub(super) backend: Arc<dyn Backend>,
    namespace: Namespace,
    guard: Arc<Guard>,
    account: Arc<Account>,
    reservations: Reservations,
}

/// A value about to be stored.
pub struct NewValue {
    /// The value.
    pub bytes: Vec<u8>,
    /// The charge until it is stored.
    pub charge: Charge,
}

/// The contents of the WIT record `storage-usage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageUsage {
    /// The stored bytes and keys.
    pub used: Usage,
    /// The quota in bytes; `u64::MAX` is unlimited.
    pub quota_bytes: u64,
}

impl ComponentStorage {
    /// Creates the storage of a component that uses `namespace`. `reservations` belong to the backend.
    pub fn new(
        backend: Arc<dyn Backend>,
        namespace: Namespace,
        guard: Arc<Guard>,
        account: Arc<Account>,
        reservations: Reservations,
    ) -> Self {
        Self { backend, namespace, guard, account, reservations }
    }

    /// Returns the namespace.
    pub fn namespace(&self) -> &str {
        self.namespace.as_str()
    }

    /// Returns the value, or `None` if the key is missing.
    pub fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        let namespace = self.permitted(Action::StorageRead)?;
        self.backend.get(namespace, checked(key)?, self.account.room())
    }

    /// Charges the account for a value of `value_bytes` bytes.
    pub fn charge(&self, key: &str, value_bytes: u64) -> Result<Charge, StorageError> {
        let cost = self.backend.cost(key, value_bytes).max(value_bytes);
        self.account.charge(cost).map_err(|HostBytesExceeded { limit, .. }| {
            self.breach(QuotaBreach { name: "max-host-bytes", value: limit })
        })
    }

    /// Stores a value, replacing an older one.
    pub fn set(&self, key: &str, value: NewValue) -> Result<(), StorageError> {
        let NewValue { bytes: value, charge: _charge } = value;
        let namespace = self.permitted(Action::StorageWrite)?;
        let key = checked(key)?;
        let size = (key.len() + value.len()) as u64;
        self.within_quotas(&[(key, size)], || self.backend.set(namespace, key, value))
    }

    /// Stores values if the quotas leave room. Each key comes with the bytes of key and value.
    pub(super) fn within_quotas<T>(
        &self,
        stored: &[(&str, u64)],
        store: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let quotas = self.guard.quotas();
        if quotas.storage_bytes.is_none() && quotas.storage_keys.is_none() {
            return store();
        }
        let size = stored.iter().map(|(_, size)| size).sum();
        let more = Usage { bytes: size, keys: stored.len() as u64 };
        let (others, _reservation) = self.reservations.reserve(&self.namespace, more);
        self.check_quotas(stored, size, others)?;
        store()
    }

    /// Checks values of `size` bytes against the quotas, together with the `others` being stored.
    fn check_quotas(
        &self,
        stored: &[(&str, u64)],
        size: u64,
        others: Usage,
    ) -> Result<(), StorageError> {
        let (namespace, quotas) = (self.namespace.as_str(), self.guard.quotas());
        let (mut new_keys, mut old_bytes) = (0, 0_u64);
        for (key, _) in stored {
            let old = match quotas.storage_bytes {
                Some(_) => self.backend.size(namespace, key)?.map(|old| key.len() as u64 + old),
                None => self.backend.exists(namespace, key)?.then_some(0),
            };
            match old {
                Some(old) => old_bytes = old_bytes.saturating_add(old),
                None => new_keys += 1,
            }
        }
        let used = self.backend.usage(namespace)?;
        let keys = used.keys.saturating_add(others.keys).saturating_add(new_keys);
        if let Some(value) = quotas.storage_keys
            && new_keys > 0
            && keys > value
        {
            return Err(self.breach(QuotaBreach { name: "storage-keys", value }));
        }
        // A value that needs no more room than the old one is accepted, unless other writes are in
        // progress: those may be about to take that room.
        let freed = if others.keys == 0 { old_bytes } else { 0 };
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

    /// Removes a key; a missing key is no error.
    pub fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.backend.delete(self.permitted(Action::StorageDelete)?, checked(key)?)
    }

    /// Returns whether the key exists.
    pub fn exists(&self, key: &str) -> Result<bool, StorageError> {
        self.backend.exists(self.permitted(Action::StorageRead)?, checked(key)?)
    }

    /// Returns the next page of the keys with a prefix, ascending by bytes and without duplicates.
    pub fn list_keys(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        let namespace = self.permitted(Action::StorageRead)?;
        self.page(namespace, prefix, after)
    }

    /// As [`ComponentStorage::list_keys`], of a namespace that the component may read.
    pub(super) fn page(
        &self,
        namespace: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Page, StorageError> {
        if prefix.contains('\0') {
            return Err(StorageError::InvalidKey("a prefix must not contain NUL".into()));
        }
        let listing = Listing { prefix, after, most_bytes: self.account.room() };
        let mut page = self.backend.list(namespace, &listing)?;
        if page.is_last {
            // The host's backend may ignore the prefix and the order.
            page.keys.retain(|key| key.starts_with(prefix));
            page.keys.sort_unstable();
            page.keys.dedup();
        }
        Ok(page)
    }

    /// Returns the usage and the quota.
    pub fn usage(&self) -> Result<StorageUsage, StorageError> {
        let used = self.backend.usage(self.permitted(Action::StorageRead)?)?;
        Ok(StorageUsage {
            used,
            quota_bytes: self.guard.quotas().storage_bytes.unwrap_or(u64::MAX),
        })
    }

    /// Returns the bytes that the component may still hold.
    pub(super) fn room(&self) -> u64 {
        self.account.room()
    }

    /// Returns the namespace if the component may perform `action` on it.
    pub(super) fn permitted(&self, action: Action) -> Result<&str, StorageError> {
        let namespace = self.namespace.as_str();
        let permitted = self.guard.check_own(action, Some(namespace));
        permitted.map(|()| namespace).map_err(|refused| StorageError::Denied(refused.to_string()))
    }
}

/// Returns the error for a key whose length alone rules it out.
pub fn too_long(bytes: usize) -> StorageError {
    StorageError::InvalidKey(format!(
        "the key has {bytes} bytes, at most {MAX_KEY_BYTES} are allowed"
    ))
}

/// Returns the key if it is valid.
pub fn checked(key: &str) -> Result<&str, StorageError> {
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
