//! What the host does with the stored data of components, loaded or not.

use serde_json::json;

use crate::core::id::{InvalidId, shorten};
use crate::runtime::off_fiber::{current_component, run_host_code};
use crate::storage::backend::{
    Backend, Change, Entry, Listing, Placement, StorageError, UnixMillis, Usage, Value,
};
use crate::storage::component_storage::checked;
use crate::storage::export_format::MAX_VALUE_BYTES;
use crate::storage::namespace::Namespace;
use crate::system::engine::Engine;
use crate::system::error::EngineError;

impl Engine {
    /// Returns the value of a key, or `None` if it is missing.
    pub fn stored(&self, namespace: &str, key: &str) -> Result<Option<Value>, EngineError> {
        let namespace = self::namespace(namespace)?;
        self.on_storage(&namespace, |backend| {
            backend.get(namespace.as_str(), checked(key)?, u64::MAX)
        })
    }

    /// Stores a value.
    pub fn store(
        &self,
        namespace: &str,
        key: &str,
        value: &[u8],
        expires: Option<UnixMillis>,
    ) -> Result<(), EngineError> {
        let namespace = self::namespace(namespace)?;
        check_value(key, value.len())?;
        self.on_storage(&namespace, |backend| {
            let (namespace, key) = (namespace.as_str(), checked(key)?);
            match expires {
                None => backend.set(namespace, key, value.to_vec()),
                Some(_) => {
                    let to = Some(Entry { value: value.to_vec(), expires });
                    backend.apply(namespace, vec![Change { key: key.into(), to }])
                }
            }
        })
    }

    /// Removes a key; a missing key is no error.
    pub fn remove_stored(&self, namespace: &str, key: &str) -> Result<(), EngineError> {
        let namespace = self::namespace(namespace)?;
        self.on_storage(&namespace, |backend| backend.delete(namespace.as_str(), checked(key)?))
    }

    /// Makes all changes, or none.
    pub fn change_stored(&self, namespace: &str, changes: Vec<Change>) -> Result<(), EngineError> {
        let namespace = self::namespace(namespace)?;
        for change in &changes {
            check_value(&change.key, change.to.as_ref().map_or(0, |entry| entry.value.len()))?;
        }
        let mut keys: Vec<_> = changes.iter().map(|change| &*change.key).collect();
        keys.sort_unstable();
        if let Some([twice, _]) = keys.array_windows().find(|[a, b]| a == b) {
            return Err(EngineError::KeyTwice { key: shorten(twice) });
        }
        self.on_storage(&namespace, |backend| {
            for change in &changes {
                checked(&change.key)?;
            }
            match changes.is_empty() {
                true => Ok(()),
                false => backend.apply(namespace.as_str(), changes),
            }
        })
    }

    /// Returns the keys with a prefix as JSON, in the order of their bytes: at most `limit` of them,
    /// and only those after `after`.
    pub fn list_stored(
        &self,
        namespace: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<String, EngineError> {
        let namespace = self::namespace(namespace)?;
        let mut keys: Vec<String> = Vec::new();
        let mut cursor = after.map(str::to_owned);
        let more = loop {
            let page = self.on_storage(&namespace, |backend| {
                let after = cursor.as_deref();
                let listing = Listing { prefix, after, most_bytes: u64::MAX };
                backend.list(namespace.as_str(), &listing)
            })?;
            let is_last = page.is_last;
            // The host's storage may ignore the prefix, the order and the cursor.
            let wanted = page.keys.iter().filter(|key| {
                key.starts_with(prefix) && cursor.as_deref().is_none_or(|after| &***key > after)
            });
            keys.extend(wanted.map(|key| String::from(&**key)));
            if is_last {
                keys.sort_unstable();
                keys.dedup();
            }
            if is_last || keys.len() > limit {
                break keys.len() > limit;
            }
            cursor = keys.last().cloned().or(cursor);
        };
        keys.truncate(limit);
        Ok(json!({ "keys": keys, "more": more }).to_string())
    }

    /// Returns the contents of a namespace in numbers.
    pub fn stored_usage(&self, namespace: &str) -> Result<Usage, EngineError> {
        let namespace = self::namespace(namespace)?;
        self.on_storage(&namespace, |backend| backend.usage(namespace.as_str()))
    }

    /// Makes what was stored as durable as the storage can.
    pub(super) fn flush_storage(&self) -> Result<(), EngineError> {
        let flushed = self.run_on_storage(|backend| backend.flush());
        flushed.map_err(|error| EngineError::Storage { namespace: None, error })
    }

    /// Runs an operation on a namespace.
    pub(super) fn on_storage<T>(
        &self,
        namespace: &Namespace,
        operation: impl FnOnce(&dyn Backend) -> Result<T, StorageError>,
    ) -> Result<T, EngineError> {
        self.run_on_storage(operation)
            .map_err(|error| EngineError::Storage { namespace: Some(namespace.clone()), error })
    }

    /// Runs an operation on this thread. A callback of the host that it makes is one for the graph
    /// that finds deadlocks, as is one that a component makes.
    pub(super) fn run_on_storage<T>(
        &self,
        operation: impl FnOnce(&dyn Backend) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        match self.storage.placement() {
            Placement::OnFiber => operation(&*self.storage),
            Placement::OffFiber => {
                let caller = current_component().unwrap_or_default();
                run_host_code(&caller, || operation(&*self.storage))
            }
        }
    }
}

fn namespace(text: &str) -> Result<Namespace, InvalidId> {
    Namespace::parse(text)
}

fn check_value(key: &str, bytes: usize) -> Result<(), EngineError> {
    match bytes {
        ..=MAX_VALUE_BYTES => Ok(()),
        _ => Err(EngineError::ValueTooLarge { key: shorten(key), bytes }),
    }
}
