//! What stores bytes for components.

use thiserror::Error;

/// The WIT variant `storage-error`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StorageError {
    #[error("not-found: {0}")]
    NotFound(String),
    #[error("quota-exceeded")]
    QuotaExceeded,
    #[error("invalid-key: {0}")]
    InvalidKey(String),
    #[error("io-error: {0}")]
    Io(String),
    /// `invalid-key`, in words of the host's own.
    #[error("invalid-key: {0}")]
    HostInvalidKey(String),
    /// `io-error`, in words of the host's own.
    #[error("io-error: {0}")]
    HostIo(String),
}

impl StorageError {
    /// The error without words of the host's own, and those.
    pub fn without_host_text(self) -> (Self, Option<String>) {
        match self {
            Self::HostInvalidKey(text) => {
                (Self::InvalidKey("the host's storage does not take it".into()), Some(text))
            }
            Self::HostIo(text) => (Self::Io("the host's storage failed".into()), Some(text)),
            other => (other, None),
        }
    }
}

/// How much a namespace holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of keys and values.
    pub bytes: u64,
    /// How many keys.
    pub keys: u64,
}

/// A store of (namespace, key) → value.
///
/// Namespaces are component ids, keys have been checked: a backend sees neither an empty key nor
/// a NUL. Calls come from several threads at once.
pub trait Backend: Send + Sync {
    /// The value, or `None` if there is no such key.
    fn get(&self, namespace: &str, key: &str) -> Result<Option<Vec<u8>>, StorageError>;

    /// Stores a value, in place of an older one.
    fn set(&self, namespace: &str, key: &str, value: &[u8]) -> Result<(), StorageError>;

    /// Removes a key; a missing one is no error.
    fn delete(&self, namespace: &str, key: &str) -> Result<(), StorageError>;

    /// Whether there is such a key.
    fn exists(&self, namespace: &str, key: &str) -> Result<bool, StorageError>;

    /// The keys that begin with `prefix`, in any order.
    fn list(&self, namespace: &str, prefix: &str) -> Result<Vec<String>, StorageError>;

    /// How much the namespace holds.
    fn usage(&self, namespace: &str) -> Result<Usage, StorageError>;

    /// Whether these functions run code of the host, which needs a native stack.
    fn runs_host_code(&self) -> bool;
}
