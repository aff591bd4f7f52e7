//! The component's own storage: keys and values that outlive its instances.

use crate::StorageError;
use crate::bindings::airssys::core::storage;
pub use crate::bindings::airssys::core::storage::StorageUsage as Usage;

/// Returns a value; `None` if there is none.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, StorageError> {
    storage::get(key)
}

/// Stores a value in place of an earlier one.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<(), StorageError> {
    storage::set(key, value.as_ref())
}

/// Removes a value; a missing one is no error.
pub fn delete(key: &str) -> Result<(), StorageError> {
    storage::delete(key)
}

/// Returns whether there is a value.
pub fn exists(key: &str) -> Result<bool, StorageError> {
    storage::exists(key)
}

/// Returns the keys that begin with `prefix`; `""` is all.
pub fn keys(prefix: &str) -> Result<Vec<String>, StorageError> {
    storage::list_keys((!prefix.is_empty()).then_some(prefix))
}

/// Returns how much is stored, and how much may be.
pub fn usage() -> Result<Usage, StorageError> {
    storage::usage()
}
