//! The host's storage as a backend.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::Arc;

use crate::ffi::arguments::Versioned;
use crate::ffi::failure::Failure;
use crate::ffi::host_call::HostFn;
use crate::ffi::key_turns::KeyTurns;
use crate::ffi::serialized::Serialized;
use crate::ffi::storage::*;
use crate::ffi::user_data::UserData;
use crate::ffi::writer::{airssys_writer_t, max_answer_bytes};
use crate::storage::backend::{
    Backend, Change, Key, Listing, Page, Placement, StorageError, Usage, Value,
};

type DropFn = unsafe extern "C" fn(*mut c_void);

/// The host's callbacks as a backend.
pub struct HostStorage {
    user_data: UserData,
    get: GetFn,
    set: SetFn,
    del: GetFn,
    list: ListFn,
    exists: Option<ExistsFn>,
    usage: Option<UsageFn>,
    batch: Option<BatchFn>,
    flush: Option<FlushFn>,
    namespaces: Option<NamespacesFn>,
    /// `None` lets changes of a key meet.
    turns: Option<KeyTurns>,
}

type Out = *mut airssys_writer_t;
type GetFn = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, Out);
type SetFn = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, *const u8, usize, Out);
type ListFn =
    unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, *mut airssys_keys_t, Out);
type ExistsFn = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, *mut bool, Out);
type UsageFn = unsafe extern "C" fn(*mut c_void, *const c_char, *mut u64, *mut u64, Out);
type BatchFn =
    unsafe extern "C" fn(*mut c_void, *const c_char, *const airssys_storage_batch_t, Out);
type FlushFn = unsafe extern "C" fn(*mut c_void, Out);
type NamespacesFn = unsafe extern "C" fn(*mut c_void, *mut airssys_keys_t, Out);

/// Returns the host's storage, which takes over `user_data`.
pub fn owned(storage: &Versioned<'_, airssys_storage_t>) -> Result<Arc<dyn Backend>, Failure> {
    let storage = storage.required()?;
    backend(&storage, storage.drop, Some(KeyTurns::default()))
}

/// Returns the host's storage, which leaves `user_data` to the host. What its callbacks do is not
/// made better than it is: they meet at a key.
pub fn lent(storage: &airssys_storage_t) -> Result<Arc<dyn Backend>, Failure> {
    backend(storage, None, None)
}

fn backend(
    storage: &airssys_storage_t,
    drop: Option<DropFn>,
    turns: Option<KeyTurns>,
) -> Result<Arc<dyn Backend>, Failure> {
    let unknown = storage.flags & !AIRSSYS_STORAGE_SERIALIZE;
    if unknown != 0 {
        let problem = format!("has unknown bits {unknown:#x}");
        return Err(Failure::argument("storage.flags", &problem));
    }
    let host = HostStorage::new(storage, drop, turns)?;
    Ok(match storage.flags {
        AIRSSYS_STORAGE_SERIALIZE => Arc::new(Serialized::new(host)),
        _ => Arc::new(host),
    })
}

impl HostStorage {
    fn new(
        storage: &airssys_storage_t,
        drop: Option<DropFn>,
        turns: Option<KeyTurns>,
    ) -> Result<Self, Failure> {
        let missing = |name| move || Failure::argument(name, "is NULL");
        Ok(Self {
            get: storage.get.ok_or_else(missing("storage.get"))?,
            set: storage.set.ok_or_else(missing("storage.set"))?,
            del: storage.del.ok_or_else(missing("storage.del"))?,
            list: storage.list.ok_or_else(missing("storage.list"))?,
            exists: storage.exists,
            usage: storage.usage,
            batch: storage.batch,
            flush: storage.flush,
            namespaces: storage.namespaces,
            turns,
            // Last, so that after a refusal the host still owns `user_data`.
            user_data: UserData::new(storage.user_data, drop),
        })
    }
}

/// Runs one callback and returns its answer or its error.
fn ask(operation: &str, callback: impl FnOnce(Out)) -> Result<Option<Vec<u8>>, StorageError> {
    ask_within(operation, u64::MAX, callback)
}

/// Returns the most bytes of an answer, for a component that may hold `most_bytes`.
fn within(most_bytes: u64) -> usize {
    usize::try_from(most_bytes).unwrap_or(usize::MAX).min(max_answer_bytes())
}

/// As [`ask`], for an answer of at most `most_bytes`.
fn ask_within(
    operation: &str,
    most_bytes: u64,
    callback: impl FnOnce(Out),
) -> Result<Option<Vec<u8>>, StorageError> {
    let answer = airssys_writer_t::ask(operation, within(most_bytes), callback);
    let answer = answer.map_err(StorageError::Io)?;
    match answer.result {
        AIRSSYS_STORAGE_OK => Ok(Some(answer.bytes)),
        AIRSSYS_STORAGE_NOT_FOUND => Ok(None),
        AIRSSYS_STORAGE_QUOTA_EXCEEDED => Err(StorageError::QuotaExceeded),
        AIRSSYS_STORAGE_INVALID_KEY => {
            Err(answer.error(operation, StorageError::HostInvalidKey, StorageError::InvalidKey))
        }
        AIRSSYS_STORAGE_IO_ERROR => {
            Err(answer.error(operation, StorageError::HostIo, StorageError::Io))
        }
        other => Err(StorageError::Io(format!("the host's {operation} answered {other}"))),
    }
}

fn impossible(operation: &str) -> StorageError {
    StorageError::Io(format!("the host's {operation} answered AIRSSYS_STORAGE_NOT_FOUND"))
}

/// Runs one callback that pushes texts, and returns them.
fn texts(
    operation: &str,
    most_bytes: usize,
    callback: impl FnOnce(*mut airssys_keys_t, Out),
) -> Result<Vec<Key>, StorageError> {
    let mut keys = airssys_keys_t { keys: Vec::new(), bytes: 0, most_bytes, refused: None };
    let list = &raw mut keys;
    ask(operation, |out| callback(list, out))?;
    if let Some(refused) = keys.refused {
        return Err(StorageError::Io(format!("the host's {operation} gave {refused}")));
    }
    Ok(keys.keys.into_iter().map(Into::into).collect())
}

/// Returns a change that the host can read while `change` and `key` live.
fn lent_change(change: &Change, key: &CStr) -> airssys_storage_change_t {
    let value = change.to.as_ref().map(|entry| &*entry.value);
    airssys_storage_change_t {
        size: size_of::<airssys_storage_change_t>(),
        key: key.as_ptr(),
        value: value.map_or(ptr::null(), <[u8]>::as_ptr),
        value_len: value.map_or(0, <[u8]>::len),
        expires_ms: 0,
    }
}

/// Converts a namespace, key or prefix, all of which were checked to contain no NUL.
fn c_string(text: &str) -> Result<CString, StorageError> {
    CString::new(text).map_err(|_| StorageError::InvalidKey("NUL".into()))
}

impl Backend for HostStorage {
    fn get(
        &self,
        namespace: &str,
        key: &str,
        most_bytes: u64,
    ) -> Result<Option<Value>, StorageError> {
        let (ns, key) = (c_string(namespace)?, c_string(key)?);
        let answer = ask_within("get", most_bytes, |out| {
            // SAFETY: the host's own function and data, with texts that live until it returns.
            unsafe { self.get.call((self.user_data.pointer(), ns.as_ptr(), key.as_ptr(), out)) }
        })?;
        Ok(answer.map(Arc::new))
    }

    fn set(&self, namespace: &str, key: &str, value: Vec<u8>) -> Result<(), StorageError> {
        self.in_turn(namespace, [key].into_iter(), || self.ask_to_set(namespace, key, &value))
    }

    fn delete(&self, namespace: &str, key: &str) -> Result<(), StorageError> {
        self.in_turn(namespace, [key].into_iter(), || self.ask_to_delete(namespace, key))
    }

    fn exists(&self, namespace: &str, key: &str) -> Result<bool, StorageError> {
        let Some(exists) = self.exists else {
            return Ok(self.get(namespace, key, u64::MAX)?.is_some());
        };
        let (ns, key) = (c_string(namespace)?, c_string(key)?);
        let mut found = false;
        let answer = ask("exists", |out| {
            let data = self.user_data.pointer();
            // SAFETY: the host's own function and data, with texts and a place for the answer that
            // live until it returns.
            unsafe { exists.call((data, ns.as_ptr(), key.as_ptr(), &raw mut found, out)) }
        })?;
        Ok(answer.is_some() && found)
    }

    fn list(&self, namespace: &str, listing: &Listing<'_>) -> Result<Page, StorageError> {
        let (ns, prefix) = (c_string(namespace)?, c_string(listing.prefix)?);
        let most_bytes = within(listing.most_bytes);
        let keys = texts("list", most_bytes, |keys, out| {
            let data = self.user_data.pointer();
            // SAFETY: the host's own function and data, with texts and a list that live until it
            // returns.
            unsafe { self.list.call((data, ns.as_ptr(), prefix.as_ptr(), keys, out)) }
        })?;
        Ok(Page { keys, is_last: true })
    }

    fn usage(&self, namespace: &str) -> Result<Usage, StorageError> {
        let Some(usage) = self.usage else { return self.usage_by_listing(namespace) };
        let ns = c_string(namespace)?;
        let mut used = Usage::default();
        let answer = ask("usage", |out| {
            let (data, bytes, keys) =
                (self.user_data.pointer(), &raw mut used.bytes, &raw mut used.keys);
            // SAFETY: the host's own function and data, with a text and places for the answer that
            // live until it returns.
            unsafe { usage.call((data, ns.as_ptr(), bytes, keys, out)) }
        })?;
        // An unknown namespace is empty.
        Ok(answer.map(|_| used).unwrap_or_default())
    }

    fn apply(&self, namespace: &str, changes: Vec<Change>) -> Result<(), StorageError> {
        if changes.iter().any(|change| change.to.as_ref().is_some_and(|to| to.expires.is_some())) {
            return Err(StorageError::Unsupported("store a key that expires: it is the host's"));
        }
        if changes.is_empty() && self.batch.is_some() {
            return Ok(());
        }
        if let ([change], None) = (&*changes, self.batch) {
            let keys = [&*change.key].into_iter();
            return self.in_turn(namespace, keys, || self.ask_to_change(namespace, change));
        }
        let Some(batch) = self.batch else {
            return Err(StorageError::Unsupported("change several keys at once: it has no batch"));
        };
        let ns = c_string(namespace)?;
        let keys: Vec<_> = changes.iter().map(|change| c_string(&change.key)).collect();
        let keys = keys.into_iter().collect::<Result<Vec<_>, _>>()?;
        let lent: Vec<_> =
            changes.iter().zip(&keys).map(|(change, key)| lent_change(change, key)).collect();
        let pointers: Vec<*const airssys_storage_change_t> =
            lent.iter().map(|change| &raw const *change).collect();
        let all = airssys_storage_batch_t {
            size: size_of::<airssys_storage_batch_t>(),
            changes: pointers.as_ptr(),
            count: pointers.len(),
        };
        self.in_turn(namespace, changes.iter().map(|change| &*change.key), || {
            ask("batch", |out| {
                let data = self.user_data.pointer();
                // SAFETY: the host's own function and data, with a text and changes that live until
                // it returns.
                unsafe { batch.call((data, ns.as_ptr(), &raw const all, out)) }
            })?
            .map(drop)
            .ok_or_else(|| impossible("batch"))
        })
    }

    fn makes_several(&self) -> bool {
        self.batch.is_some()
    }

    fn exchange(
        &self,
        namespace: &str,
        from: Option<&Value>,
        change: Change,
    ) -> Result<bool, StorageError> {
        self.in_turn(namespace, [&*change.key].into_iter(), || {
            let now = self.get(namespace, &change.key, u64::MAX)?;
            if now.as_ref() != from {
                return Ok(false);
            }
            self.ask_to_change(namespace, &change).map(|()| true)
        })
    }

    fn namespaces(&self, after: Option<&str>) -> Result<Page, StorageError> {
        let Some(namespaces) = self.namespaces else {
            return Err(StorageError::Unsupported("list its namespaces: name those that you mean"));
        };
        let mut names = texts("namespaces", within(u64::MAX), |names, out| {
            // SAFETY: the host's own function and data, with a list that lives until it returns.
            unsafe { namespaces.call((self.user_data.pointer(), names, out)) }
        })?;
        names.retain(|name| after.is_none_or(|after| **name > *after));
        names.sort_unstable();
        Ok(Page { keys: names, is_last: true })
    }

    fn flush(&self) -> Result<(), StorageError> {
        let Some(flush) = self.flush else { return Ok(()) };
        ask("flush", |out| {
            // SAFETY: the host's own function and data.
            unsafe { flush.call((self.user_data.pointer(), out)) }
        })?
        .map(drop)
        .ok_or_else(|| impossible("flush"))
    }

    fn placement(&self) -> Placement {
        Placement::OffFiber
    }
}

impl HostStorage {
    fn in_turn<'k, T>(
        &self,
        namespace: &str,
        keys: impl Iterator<Item = &'k str>,
        change: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        match &self.turns {
            Some(turns) => turns.in_turn(namespace, keys, change),
            None => change(),
        }
    }

    fn ask_to_set(&self, namespace: &str, key: &str, value: &[u8]) -> Result<(), StorageError> {
        let (ns, key) = (c_string(namespace)?, c_string(key)?);
        ask("set", |out| {
            let (data, value, len) = (self.user_data.pointer(), value.as_ptr(), value.len());
            // SAFETY: the host's own function and data, with texts and bytes that live until it
            // returns.
            unsafe { self.set.call((data, ns.as_ptr(), key.as_ptr(), value, len, out)) }
        })?
        .map(drop)
        .ok_or_else(|| impossible("set"))
    }

    fn ask_to_delete(&self, namespace: &str, key: &str) -> Result<(), StorageError> {
        let (ns, key) = (c_string(namespace)?, c_string(key)?);
        ask("del", |out| {
            // SAFETY: the host's own function and data, with texts that live until it returns.
            unsafe { self.del.call((self.user_data.pointer(), ns.as_ptr(), key.as_ptr(), out)) }
        })
        .map(drop)
    }

    fn ask_to_change(&self, namespace: &str, change: &Change) -> Result<(), StorageError> {
        match &change.to {
            Some(entry) => self.ask_to_set(namespace, &change.key, &entry.value),
            None => self.ask_to_delete(namespace, &change.key),
        }
    }

    fn usage_by_listing(&self, namespace: &str) -> Result<Usage, StorageError> {
        let mut used = Usage::default();
        let all = Listing { prefix: "", after: None, most_bytes: u64::MAX };
        let keys: BTreeSet<Key> = self.list(namespace, &all)?.keys.into_iter().collect();
        for key in keys {
            // Another call can have removed the key meanwhile.
            if let Some(value) = self.get(namespace, &key, u64::MAX)? {
                used.keys += 1;
                used.bytes += (key.len() + value.len()) as u64;
            }
        }
        Ok(used)
    }
}
