//! The interface of key-value stores.

use std::path::Path;
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
    /// The component lacks the right.
    #[error("io-error: {0}")]
    Denied(String),
    /// `invalid-key`, with a text from the host.
    #[error("invalid-key: {0}")]
    HostInvalidKey(String),
    /// `io-error`, with a text from the host.
    #[error("io-error: {0}")]
    HostIo(String),
    /// `io-error` of the file. Components do not learn its path.
    #[error("io-error: {}: {problem}", path.display())]
    File {
        /// The file.
        path: Arc<Path>,
        /// What failed.
        problem: String,
    },
    /// The backend has no such operation.
    #[error("the storage cannot {0}")]
    Unsupported(&'static str),
    /// The store serves one call at a time, and the call that it serves waits for this one.
    #[error("the storage serves one call at a time, and that call waits for this one")]
    WouldDeadlock,
}

impl StorageError {
    /// Returns the name of its kind, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not-found",
            Self::QuotaExceeded => "quota-exceeded",
            Self::InvalidKey(_) | Self::HostInvalidKey(_) => "invalid-key",
            Self::Io(_) | Self::Denied(_) | Self::HostIo(_) | Self::File { .. } => "io-error",
            Self::Unsupported(_) => "unsupported",
            Self::WouldDeadlock => "would-deadlock",
        }
    }
}

impl InHostWords for StorageError {
    fn shown(self) -> Self {
        match self {
            Self::HostInvalidKey(text) => Self::InvalidKey(text),
            Self::HostIo(text) => Self::Io(text),
            Self::File { path, problem } => Self::Io(format!("{}: {problem}", path.display())),
            other => other,
        }
    }

    fn withheld(self) -> (Self, Option<String>) {
        match self {
            Self::HostInvalidKey(text) => {
                (Self::InvalidKey("the host's storage refused it".into()), Some(text))
            }
            Self::HostIo(text) => (Self::Io("the host's storage failed".into()), Some(text)),
            Self::File { path, problem } => {
                let text = format!("{}: {problem}", path.display());
                (Self::Io(problem), Some(text))
            }
            other => (other, None),
        }
    }
}

/// The contents of a namespace in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of keys and values.
    pub bytes: u64,
    /// The number of keys.
    pub keys: u64,
}

/// A stored value, shared so that reading it copies nothing.
pub type Value = Arc<Vec<u8>>;

/// A stored key, shared likewise.
pub type Key = Arc<str>;

/// A point in time, in milliseconds since the Unix epoch.
pub type UnixMillis = u64;

/// What a key is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// From this time on the key is missing.
    pub expires: Option<UnixMillis>,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Box<str>,
    /// What it is set to; `None` removes it.
    pub to: Option<Entry>,
}

/// The namespace of the engine's own data. No component id is equal to it.
pub const ENGINE_NAMESPACE: &str = "airssys.engine";

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The keys; unordered if this is the last page.
    pub keys: Vec<Key>,
    /// Whether this is the last page.
    pub is_last: bool,
}

/// Selects the keys of a listing.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'a> {
    /// The prefix of the keys.
    pub prefix: &'a str,
    /// The last key of the previous page.
    pub after: Option<&'a str>,
    /// The most bytes that the keys may occupy; a longer listing fails.
    pub most_bytes: u64,
}

/// The size of a backend's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of keys and values in the file.
    pub live_bytes: u64,
    /// Bytes of the file.
    pub total_bytes: u64,
}

/// Where the functions of a backend may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Within the guest's call. They neither wait nor run host code.
    OnFiber,
    /// On a native thread, while the guest is suspended. They wait for a device, or run host code,
    /// which needs a native stack.
    OffFiber,
}

/// A store of (namespace, key) → value.
///
/// Namespaces are those of [`Namespace`](crate::storage::namespace::Namespace), and keys are already
/// validated: a backend sees neither an empty key nor a NUL. Calls come from several threads at
/// once; calls on one namespace do not delay calls on another. A key that has expired is missing.
pub trait Backend: Send + Sync {
    /// Returns the value, or `None` if the key is missing. Fails if the value is larger than
    /// `most_bytes` and not yet in this process's memory.
    fn get(
        &self,
        namespace: &str,
        key: &str,
        most_bytes: u64,
    ) -> Result<Option<Value>, StorageError>;

    /// Stores a value, replacing an older one. It never expires.
    fn set(&self, namespace: &str, key: &str, value: Vec<u8>) -> Result<(), StorageError>;

    /// Removes a key; a missing key is no error.
    fn delete(&self, namespace: &str, key: &str) -> Result<(), StorageError>;

    /// Returns whether the key exists.
    fn exists(&self, namespace: &str, key: &str) -> Result<bool, StorageError>;

    /// Returns a page of keys. Another page follows unless this one is marked as the last.
    fn list(&self, namespace: &str, listing: &Listing<'_>) -> Result<Page, StorageError>;

    /// Returns the contents of a namespace in numbers. Expired keys may still count.
    fn usage(&self, namespace: &str) -> Result<Usage, StorageError>;

    /// Makes all changes, or none. Each key occurs once. No changes are accepted by a backend that
    /// accepts several.
    fn apply(&self, _namespace: &str, _changes: Vec<Change>) -> Result<(), StorageError> {
        Err(StorageError::Unsupported("change several keys at once, or set one that expires"))
    }

    /// Returns whether [`Backend::apply`] takes several changes.
    fn makes_several(&self) -> bool {
        true
    }

    /// Makes a change if the key has the value `from`; `None`: if it is missing. Returns whether it
    /// was made. Nothing else changes the key between the comparison and the change.
    fn exchange(
        &self,
        _namespace: &str,
        _from: Option<&Value>,
        _change: Change,
    ) -> Result<bool, StorageError> {
        Err(StorageError::Unsupported("compare a value and change it at once"))
    }

    /// Returns the time at which a key expires; `None` is never, or that the key is missing.
    fn expires(&self, _namespace: &str, _key: &str) -> Result<Option<UnixMillis>, StorageError> {
        Ok(None)
    }

    /// Returns a page of the namespaces that hold keys, after `after` if given.
    fn namespaces(&self, _after: Option<&str>) -> Result<Page, StorageError> {
        Err(StorageError::Unsupported("list its namespaces"))
    }

    /// Returns when everything acknowledged so far is as durable as the backend makes it.
    fn flush(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Returns the size of a value, or `None` if the key is missing.
    fn size(&self, namespace: &str, key: &str) -> Result<Option<u64>, StorageError> {
        let value = self.get(namespace, key, u64::MAX)?;
        Ok(value.map(|value| value.len() as u64))
    }

    /// Returns a live counter of this process's memory held by a namespace.
    fn held(&self, _namespace: &str) -> Arc<AtomicU64> {
        Arc::default()
    }

    /// Returns the memory of this process that an entry will occupy.
    fn cost(&self, _key: &str, _value_bytes: u64) -> u64 {
        0
    }

    /// Returns to the system what the backend's file, if it has one, no longer needs.
    fn compact(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Returns the size of the backend's file, if it has one.
    fn footprint(&self) -> Option<Footprint> {
        None
    }

    /// Writes everything and releases the backend's file. Later calls fail.
    fn close(&self) {}

    /// Returns where these functions may run.
    fn placement(&self) -> Placement;
}
