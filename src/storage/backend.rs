//! What stores bytes for components.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use thiserror::Error;

use crate::core::error::InHostWords;

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

impl InHostWords for StorageError {
    fn shown(self) -> Self {
        match self {
            Self::HostInvalidKey(text) => Self::InvalidKey(text),
            Self::HostIo(text) => Self::Io(text),
            other => other,
        }
    }

    fn withheld(self) -> (Self, Option<String>) {
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

/// A stored value; shared, so that reading it copies nothing.
pub type Value = Arc<Vec<u8>>;

/// A stored key, shared as well.
pub type Key = Arc<str>;

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The keys; in any order if it is the last page.
    pub keys: Vec<Key>,
    /// Whether no key comes after these.
    pub is_last: bool,
}

/// Which keys are listed.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'a> {
    /// They begin with this.
    pub prefix: &'a str,
    /// They come after this one, which was the last of the page before.
    pub after: Option<&'a str>,
    /// They take no more than so many bytes, or the listing fails.
    pub most_bytes: u64,
}

/// A store of (namespace, key) → value.
///
/// Namespaces are component ids, keys have been checked: a backend sees neither an empty key nor
/// a NUL. Calls come from several threads at once, and those about one namespace delay none about
/// another.
pub trait Backend: Send + Sync {
    /// The value, or `None` if there is no such key; fails for one of more than `most_bytes` that the
    /// process does not hold already.
    fn get(
        &self,
        namespace: &str,
        key: &str,
        most_bytes: u64,
    ) -> Result<Option<Value>, StorageError>;

    /// Stores a value, in place of an older one.
    fn set(&self, namespace: &str, key: &str, value: Vec<u8>) -> Result<(), StorageError>;

    /// Removes a key; a missing one is no error.
    fn delete(&self, namespace: &str, key: &str) -> Result<(), StorageError>;

    /// Whether there is such a key.
    fn exists(&self, namespace: &str, key: &str) -> Result<bool, StorageError>;

    /// A page of keys. There is one after it, unless it says otherwise.
    fn list(&self, namespace: &str, listing: &Listing<'_>) -> Result<Page, StorageError>;

    /// How much the namespace holds.
    fn usage(&self, namespace: &str) -> Result<Usage, StorageError>;

    /// The size of a value in a namespace, `None` if there is no such key.
    fn size(&self, namespace: &str, key: &str) -> Result<Option<u64>, StorageError> {
        let value = self.get(namespace, key, u64::MAX)?;
        Ok(value.map(|value| value.len() as u64))
    }

    /// How much of this process's memory a namespace takes, kept up to date.
    fn held(&self, _namespace: &str) -> Arc<AtomicU64> {
        Arc::default()
    }

    /// How much of this process's memory an entry will take.
    fn cost(&self, _key: &str, _value_bytes: u64) -> u64 {
        0
    }

    /// Whether these functions run code of the host, which needs a native stack.
    fn runs_host_code(&self) -> bool;
}
