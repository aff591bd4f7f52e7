//! Buckets: the whole of a component's storage, or named parts of it.

use crate::core::account::Charge;
use crate::storage::backend::{Key, Page, StorageError};
use crate::storage::component_storage::ComponentStorage;

/// What the keys of named buckets begin with in the component's storage: `bucket:NAME/KEY`.
const NAMED: &str = "bucket:";

/// Behind nearly all keys of named buckets.
const BEHIND_NAMED: &str = "bucket:\u{10ffff}";

/// The longest name of a bucket, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// The most cursors that a bucket remembers.
const MAX_CURSORS: usize = 4;

/// A bucket that a component has opened.
pub struct Bucket {
    prefix: Prefix,
    /// The last keys of pages, by number, oldest first. For the version whose cursors are numbers.
    cursors: Vec<Cursor>,
    last_cursor: u64,
}

struct Cursor {
    number: u64,
    after: Key,
    _charge: Charge,
}

/// What the keys of a bucket begin with in the component's storage. Empty for the default bucket, which
/// holds all keys but those of named buckets.
#[derive(Clone)]
pub struct Prefix(Box<str>);

impl Bucket {
    /// Returns the bucket with this name; `None` if there can be none.
    pub fn named(name: &str) -> Option<Self> {
        let prefix = match name {
            "" | "default" => "".into(),
            name if name.len() > MAX_NAME_BYTES || name.contains('/') => return None,
            name if name.chars().any(char::is_control) => return None,
            name => format!("{NAMED}{name}/").into(),
        };
        Some(Self { prefix: Prefix(prefix), cursors: Vec::new(), last_cursor: 0 })
    }

    /// Returns the prefix of its keys.
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Remembers the last key of a page and returns a number for it. Those of earlier pages are
    /// forgotten some pages later.
    pub fn remember(&mut self, after: Key, charge: Charge) -> u64 {
        if self.cursors.len() >= MAX_CURSORS {
            self.cursors.remove(0);
        }
        self.last_cursor += 1;
        self.cursors.push(Cursor { number: self.last_cursor, after, _charge: charge });
        self.last_cursor
    }

    /// Returns the last key of the page with this number.
    pub fn recall(&self, number: u64) -> Result<Key, StorageError> {
        let cursor = self.cursors.iter().find(|cursor| cursor.number == number);
        cursor.map(|cursor| Key::clone(&cursor.after)).ok_or_else(|| {
            StorageError::Io(format!(
                "the cursor {number} is none of the last {MAX_CURSORS} of this bucket; list again \
                 from the start"
            ))
        })
    }
}

impl Prefix {
    /// Returns its length.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Returns the key in the component's storage.
    pub fn within(&self, key: &str) -> Result<String, StorageError> {
        if self.0.is_empty() && key.starts_with(NAMED) {
            let reason = format!("a key that begins with {NAMED:?} is one of a named bucket");
            return Err(StorageError::InvalidKey(reason));
        }
        if key.is_empty() {
            return Err(StorageError::InvalidKey("a key must not be empty".into()));
        }
        Ok(format!("{}{key}", self.0))
    }

    /// Returns a page of the keys after `after`, both without the prefix.
    pub fn page(
        &self,
        storage: &ComponentStorage,
        after: Option<&str>,
    ) -> Result<Page, StorageError> {
        if after.is_some_and(|after| after.contains('\0')) {
            return Err(StorageError::InvalidKey("a cursor must not contain NUL".into()));
        }
        if !self.0.is_empty() {
            let after = after.map(|after| format!("{}{after}", self.0));
            let Page { keys, is_last } = storage.list_after(&self.0, after.as_deref())?;
            let keys = keys.iter().map(|key| Key::from(&key[self.0.len()..])).collect();
            return Ok(Page { keys, is_last });
        }
        let mut after = after.map(Key::from);
        loop {
            let Page { mut keys, is_last } = storage.list_after("", after.as_deref())?;
            let last = keys.last().cloned();
            keys.retain(|key| !key.starts_with(NAMED));
            if is_last || !keys.is_empty() {
                return Ok(Page { keys, is_last });
            }
            after = last.map(|last| last.max(BEHIND_NAMED.into()));
        }
    }
}
