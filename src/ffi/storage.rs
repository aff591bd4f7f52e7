//! Storage of the host.

use std::ffi::{c_char, c_void};

use crate::ffi::arguments::{Sized0, arguments};
use crate::ffi::boundary::quietly;
use crate::ffi::config::{airssys_config_t, replace};
use crate::ffi::error::airssys_error_t;
use crate::ffi::host_storage;
use crate::ffi::status::airssys_status_t;
use crate::ffi::writer::{Refused, airssys_writer_t};

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

/// The list of keys that a `list` callback fills. It is valid only until the callback returns,
/// and only on its thread.
pub struct airssys_keys_t {
    pub(super) keys: Vec<String>,
    pub(super) bytes: usize,
    pub(super) most_bytes: usize,
    pub(super) refused: Option<Refused>,
}

/// For `flags` of a storage: the library makes one call at a time, and the others wait their
/// turn, first come, first served. A callback that waits for another use of the same storage
/// gets an error for that use (`AIRSSYS_ERROR_WOULD_DEADLOCK` from a function of the library).
pub const AIRSSYS_STORAGE_SERIALIZE: u64 = 1;

/// A change of one key.
///
/// The host fills it for `airssys_engine_storage_batch`; the library fills it for `batch` of a
/// storage.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_storage_change_t {
    /// `sizeof(airssys_storage_change_t)`.
    pub size: usize,
    /// The key, 1 to 1,024 bytes of UTF-8.
    pub key: *const c_char,
    /// The value to store; NULL removes the key.
    pub value: *const u8,
    /// The bytes of `value`. An empty value is not NULL, and has a length of 0.
    pub value_len: usize,
    /// From this time on the key is missing, in milliseconds since 1970; 0: it never expires.
    /// Always 0 in `batch` of a storage.
    pub expires_ms: u64,
}

// SAFETY: `repr(C)`, `size` comes first, pointers may be zero.
unsafe impl Sized0 for airssys_storage_change_t {
    const FIRST_SIZE: usize = 4 * size_of::<usize>() + size_of::<u64>();
}

/// Changes of several keys of one namespace, each key once. Valid until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_storage_batch_t {
    /// `sizeof(airssys_storage_batch_t)`.
    pub size: usize,
    /// Pointers to the changes. The library's struct can be larger than the host's.
    pub changes: *const *const airssys_storage_change_t,
    /// The number of changes, at least 1.
    pub count: usize,
}

/// The host's storage: a map from (namespace, key) to value.
///
/// `ns` is a namespace: the id of the calling component, `namespace/name/instance`; or the
/// `namespace/name` that components share; or `airssys.engine` for the library's own data. The
/// backend must keep namespaces apart, whatever characters they contain. `key` is UTF-8 of 1 to
/// 1,024 bytes without NUL. All pointers are valid until the callback returns. Only components
/// with a right to `storage` cause calls. The library enforces their quotas; it asks `usage` at
/// each `set`.
///
/// A callback answers through `out`. `airssys_writer_write` appends bytes.
/// `airssys_writer_finish` sets the result, and must be called on every path: a callback that
/// returns without a result has failed. This way a binding whose callback never ran (an
/// interrupt, an exception) does not report success.
///
/// The meaning of the bytes depends on the result. With `AIRSSYS_STORAGE_OK` they are the value
/// in `get` (no bytes are an empty value), and are ignored in other callbacks. With any other
/// result they are the text of the error, so write a value only once it is complete. The text
/// goes to the log. The component receives it only if `"host-error-texts"` is true in the
/// configuration.
///
/// `airssys_storage_selftest` checks a storage against these rules.
///
/// Callbacks run on any thread, several at once unless `flags` say otherwise, also for one `ns`
/// if components share it, and always on a native stack. A slow callback delays only the
/// component that called. Callbacks may call any function except `airssys_engine_shutdown` of
/// their own engine, and must not unwind into the library (no C++ exception, no longjmp).
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
    /// 0 or `AIRSSYS_STORAGE_SERIALIZE`.
    pub flags: u64,
    /// Makes all changes, or none: no other call may see some of them. If NULL, the library
    /// cannot change several keys at once, and `airssys_engine_storage_batch` fails with
    /// `AIRSSYS_ERROR_UNSUPPORTED`.
    pub batch: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            ns: *const c_char,
            batch: *const airssys_storage_batch_t,
            out: *mut airssys_writer_t,
        ),
    >,
    /// Makes everything that was finished before durable. The library calls it at the end of a
    /// shutdown and of an import. May be NULL.
    pub flush: Option<unsafe extern "C" fn(user_data: *mut c_void, out: *mut airssys_writer_t)>,
    /// Pushes the names of all namespaces that hold keys, in any order. If NULL,
    /// `airssys_engine_storage_export` must be given the namespaces.
    pub namespaces: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            namespaces: *mut airssys_keys_t,
            out: *mut airssys_writer_t,
        ),
    >,
}

// SAFETY: `repr(C)`, `size` comes first, pointers and optional functions may be zero.
unsafe impl Sized0 for airssys_storage_t {
    const FIRST_SIZE: usize = 9 * size_of::<usize>();
}

/// Adds a key to the answer of a `list` callback, or a name to that of `namespaces`.
///
/// `keys`: from the callback. `key`: borrowed text. On the callback's thread only; does not
/// block.
///
/// Returns false and adds nothing if an argument is NULL, if the key is not UTF-8, or if the
/// keys would exceed 256 MiB or what the component's `max-host-bytes` leaves; each key counts 24
/// bytes more than its length. The component then gets an error, whatever follows.
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
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (NULL, a missing required callback, an
/// unknown flag, a wrong `size`) or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_config_set_storage(
    config: *mut airssys_config_t,
    storage: *const airssys_storage_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { config: Object, storage: Versioned, error: Out });
    replace(config, error, || host_storage::owned(&storage), |config| &mut config.storage)
}
