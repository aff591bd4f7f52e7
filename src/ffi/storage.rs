//! Storage of the host.

use std::collections::BTreeSet;
use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

use crate::ffi::arguments::{Sized0, Versioned, arguments};
use crate::ffi::boundary::quietly;
use crate::ffi::config::{airssys_config_t, replace};
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::host_call::HostFn;
use crate::ffi::status::airssys_status_t;
use crate::ffi::user_data::UserData;
use crate::ffi::writer::{Refused, airssys_writer_t, max_answer_bytes};
use crate::storage::backend::{Backend, Key, Listing, Page, Placement, StorageError, Usage, Value};

/// The result of a storage callback, for `airssys_writer_finish`. Any other value counts as
/// `AIRSSYS_STORAGE_IO_ERROR`.
pub type airssys_storage_result_t = i32;

/// Done.
pub const AIRSSYS_STORAGE_OK: airssys_storage_result_t = 0;
/// `get`, `exists`: the key does not exist. `del`: the same as `AIRSSYS_STORAGE_OK`.
pub const AIRSSYS_STORAGE_NOT_FOUND: airssys_storage_result_t = 1;
/// `set`: there is no room.
pub const AIRSSYS_STORAGE_QUOTA_EXCEEDED: airssys_storage_result_t = 2;
/// The backend does not accept this key. The text written to `out` is the reason.
pub const AIRSSYS_STORAGE_INVALID_KEY: airssys_storage_result_t = 3;
/// The operation failed. The text written to `out` is the reason.
pub const AIRSSYS_STORAGE_IO_ERROR: airssys_storage_result_t = 4;

/// The list of keys that a `list` callback fills. It is valid only until the callback returns, and
/// only on its thread.
pub struct airssys_keys_t {
    keys: Vec<String>,
    bytes: usize,
    most_bytes: usize,
    refused: Option<Refused>,
}

/// The host's storage: a map from (namespace, key) to value.
///
/// `ns` is the id of the calling component, `namespace/name/instance`. The backend must keep
/// namespaces apart. `key` is UTF-8 of 1 to 1,024 bytes without NUL. All pointers are valid until
/// the callback returns. Only components with a right to `storage` cause calls. The library enforces
/// their quotas; it asks `usage` at each `set`.
///
/// A callback answers through `out`. `airssys_writer_write` appends bytes.
/// `airssys_writer_finish` sets the result, and must be called on every path: a callback that
/// returns without a result has failed. This way a binding whose callback never ran (an
/// interrupt, an exception) does not report success.
///
/// The meaning of the bytes depends on the result. With `AIRSSYS_STORAGE_OK` they are the value in
/// `get` (no bytes are an empty value), and are ignored in other callbacks. With any other result
/// they are the text of the error, so write a value only once it is complete. The text goes to
/// the log. The component receives it only if `"host-error-texts"` is true in the configuration.
///
/// Callbacks run on any thread, several at once, also for one `ns` if components share an id, and
/// always on a native stack. A slow callback delays only the component that called. Callbacks may
/// call any function except `airssys_engine_shutdown` of their own engine, and must not unwind into
/// the library (no C++ exception, no longjmp).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_storage_t {
    /// `sizeof(airssys_storage_t)`.
    pub size: usize,
    /// Passed to every callback.
    pub user_data: *mut c_void,
    /// Called once, after the last use of `user_data`; may be NULL.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// Writes the value of a key to `out`. Required.
    pub get: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            ns: *const c_char,
            key: *const c_char,
            out: *mut airssys_writer_t,
        ),
    >,
    /// Stores a value, or replaces it. `value` is never NULL. Required.
    pub set: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            ns: *const c_char,
            key: *const c_char,
            value: *const u8,
            len: usize,
            out: *mut airssys_writer_t,
        ),
    >,
    /// Removes a key. A missing key is not an error. Required.
    pub del: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            ns: *const c_char,
            key: *const c_char,
            out: *mut airssys_writer_t,
        ),
    >,
    /// Pushes all keys of a namespace that begin with `prefix`, in any order. Required.
    pub list: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            ns: *const c_char,
            prefix: *const c_char,
            keys: *mut airssys_keys_t,
            out: *mut airssys_writer_t,
        ),
    >,
    /// Tells whether a key exists: sets `*exists`, which is false at first, or finishes with
    /// `AIRSSYS_STORAGE_NOT_FOUND`. If NULL, the library calls `get`.
    pub exists: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            ns: *const c_char,
            key: *const c_char,
            exists: *mut bool,
            out: *mut airssys_writer_t,
        ),
    >,
    /// Counts the bytes (keys and values) and the keys of a namespace. If NULL, the library sums
    /// over `list` and `get`.
    pub usage: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            ns: *const c_char,
            bytes: *mut u64,
            keys: *mut u64,
            out: *mut airssys_writer_t,
        ),
    >,
}

// SAFETY: `repr(C)`, `size` comes first, pointers and optional functions may be zero.
unsafe impl Sized0 for airssys_storage_t {
    const FIRST_SIZE: usize = 9 * size_of::<usize>();
}

/// Adds a key to the answer of a `list` callback.
///
/// `keys`: from the callback. `key`: borrowed text. On the callback's thread only; does not block.
///
/// Returns false and adds nothing if an argument is NULL, if the key is not UTF-8, or if the keys
/// would exceed 256 MiB or what the component's `max-host-bytes` leaves; each key counts 24 bytes
/// more than its length. The component then gets an error, whatever follows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_keys_push(keys: *mut airssys_keys_t, key: *const c_char) -> bool {
    arguments!(unsafe { key: Text });
    quietly(|| {
        // SAFETY: by this function's contract NULL, or the callback's own list, which only the
        // callback's thread uses meanwhile.
        let Some(keys) = (unsafe { keys.as_mut() }) else { return false };
        match key.required() {
            Ok(key) if key.len() + size_of::<String>() <= keys.most_bytes - keys.bytes => {
                keys.bytes += key.len() + size_of::<String>();
                keys.keys.push(key.to_owned());
            }
            Ok(_) => {
                let most_bytes = keys.most_bytes;
                keys.refused.get_or_insert(Refused::TooMuch { most_bytes });
            }
            Err(_) => _ = keys.refused.get_or_insert(Refused::Impossible("key")),
        }
        keys.refused.is_none()
    })
}

/// Sets the storage of the host, in place of the one in memory.
///
/// `storage`: borrowed, copied; see `airssys_storage_t`. On success the library owns its
/// `user_data`: it calls `drop(user_data)` once, when neither the configuration nor an engine
/// made from it uses it any more: after they are freed, or after another storage replaces this
/// one in the configuration. On an error it does not call `drop`. `error`: may be NULL. Any
/// thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (NULL, a missing required callback, a
/// wrong `size`) or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_config_set_storage(
    config: *mut airssys_config_t,
    storage: *const airssys_storage_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { config: Object, storage: Versioned, error: Out });
    let callbacks = || Ok(Arc::new(HostStorage::new(&storage)?) as Arc<dyn Backend>);
    replace(config, error, callbacks, |config| &mut config.storage)
}

/// The host's callbacks as a backend.
pub struct HostStorage {
    user_data: UserData,
    get: GetFn,
    set: SetFn,
    del: GetFn,
    list: ListFn,
    exists: Option<ExistsFn>,
    usage: Option<UsageFn>,
}

type Out = *mut airssys_writer_t;
type GetFn = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, Out);
type SetFn = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, *const u8, usize, Out);
type ListFn =
    unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, *mut airssys_keys_t, Out);
type ExistsFn = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, *mut bool, Out);
type UsageFn = unsafe extern "C" fn(*mut c_void, *const c_char, *mut u64, *mut u64, Out);

impl HostStorage {
    /// Takes over the host's callbacks, with their `user_data`.
    pub fn new(storage: &Versioned<'_, airssys_storage_t>) -> Result<Self, Failure> {
        let storage = storage.required()?;
        let missing = |name| move || Failure::argument(name, "is NULL");
        Ok(Self {
            get: storage.get.ok_or_else(missing("storage.get"))?,
            set: storage.set.ok_or_else(missing("storage.set"))?,
            del: storage.del.ok_or_else(missing("storage.del"))?,
            list: storage.list.ok_or_else(missing("storage.list"))?,
            exists: storage.exists,
            usage: storage.usage,
            // Last, so that after a refusal the host still owns `user_data`.
            user_data: UserData::new(storage.user_data, storage.drop),
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
        let (ns, key) = (c_string(namespace)?, c_string(key)?);
        ask("set", |out| {
            let (data, value, len) = (self.user_data.pointer(), value.as_ptr(), value.len());
            // SAFETY: the host's own function and data, with texts and bytes that live until it
            // returns.
            unsafe { self.set.call((data, ns.as_ptr(), key.as_ptr(), value, len, out)) }
        })?
        .map(drop)
        .ok_or_else(|| StorageError::Io("the host's set answered AIRSSYS_STORAGE_NOT_FOUND".into()))
    }

    fn delete(&self, namespace: &str, key: &str) -> Result<(), StorageError> {
        let (ns, key) = (c_string(namespace)?, c_string(key)?);
        ask("del", |out| {
            // SAFETY: the host's own function and data, with texts that live until it returns.
            unsafe { self.del.call((self.user_data.pointer(), ns.as_ptr(), key.as_ptr(), out)) }
        })
        .map(drop)
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
        let mut keys = airssys_keys_t { keys: Vec::new(), bytes: 0, most_bytes, refused: None };
        let list = &raw mut keys;
        ask("list", |out| {
            let data = self.user_data.pointer();
            // SAFETY: the host's own function and data, with texts and a list that live until it
            // returns.
            unsafe { self.list.call((data, ns.as_ptr(), prefix.as_ptr(), list, out)) }
        })?;
        if let Some(refused) = keys.refused {
            return Err(StorageError::Io(format!("the host's list gave {refused}")));
        }
        let keys = keys.keys.into_iter().map(Into::into).collect();
        Ok(Page { keys, is_last: true })
    }

    fn usage(&self, namespace: &str) -> Result<Usage, StorageError> {
        let Some(usage) = self.usage else { return self.usage_by_listing(namespace) };
        let ns = c_string(namespace)?;
        let mut used = Usage::default();
        ask("usage", |out| {
            let (data, bytes, keys) =
                (self.user_data.pointer(), &raw mut used.bytes, &raw mut used.keys);
            // SAFETY: the host's own function and data, with a text and places for the answer that
            // live until it returns.
            unsafe { usage.call((data, ns.as_ptr(), bytes, keys, out)) }
        })?;
        Ok(used)
    }

    fn placement(&self) -> Placement {
        Placement::OffFiber
    }
}

impl HostStorage {
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
