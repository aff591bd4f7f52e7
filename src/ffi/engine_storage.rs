//! The stored data of components, for the host.

use std::ffi::c_char;

use crate::ffi::arguments::{Slice, Text, arguments};
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::on_engine::{airssys_engine_t, answer, document, on_engine};
use crate::ffi::status::airssys_status_t;
use crate::ffi::storage::airssys_storage_change_t;
use crate::storage::backend::{Change, Entry};
use crate::storage::expiry;

/// Reads a value that a component has stored.
///
/// The functions of this section take the id of a component, whether one with this id is loaded,
/// was loaded, or never was; or the `namespace/name` that components share (`"scope"` in LOAD).
/// They need no grant, and leave no record in the audit trail. They see and change at once what
/// the components see, and work also after `airssys_engine_shutdown`.
///
/// What the host stores counts against the quotas of the component, and with the storage in
/// memory against its `max-host-bytes`. The host itself is not refused: a component that is
/// beyond a quota can store nothing more until there is room.
///
/// With a storage of the host, its callbacks run on the calling thread.
///
/// `engine`: borrowed. `id`: borrowed text. `key`: borrowed text, 1 to 1,024 bytes. `out_value`:
/// receives the value, which the caller owns. Its `data` is NULL if the key is missing, and is
/// not NULL for an empty value. `error`: may be NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_INVALID_ID`
/// - `AIRSSYS_ERROR_IO`: the storage failed; the message has its words.
/// - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback of the same storage, which serves
///   one call at a time (`AIRSSYS_STORAGE_SERIALIZE`).
/// - `AIRSSYS_ERROR_INVALID_ARGUMENT`: also a key that the storage does not accept.
/// - `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_storage_get(
    engine: *mut airssys_engine_t,
    id: *const c_char,
    key: *const c_char,
    out_value: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, id: Text, key: Text, out_value: Out, error: Out });
    answer(engine, out_value, error, |engine| {
        let value = engine.stored(id.required()?, key.required()?)?;
        Ok(airssys_bytes_t::new(value.map(std::sync::Arc::unwrap_or_clone)))
    })
}

/// Stores a value, in place of an older one.
///
/// `engine`: borrowed. `id`: borrowed text; see `airssys_engine_storage_get`. `key`: borrowed
/// text, 1 to 1,024 bytes. `value`, `len`: borrowed, copied, at most 256 MiB; (NULL, 0) is an
/// empty value. `ttl_ms`: milliseconds after which the key is missing; 0: never. A component
/// that stores the key anew removes the time. `error`: may be NULL. Any thread; callable from
/// callbacks.
///
/// The time is one of the system's clock: if that is set forward, keys expire early. Expired
/// keys are removed when their namespace is used. Until then they may count in its usage.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_UNSUPPORTED`: a `ttl_ms` with a storage of the host.
/// - `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`: the storage has no room.
/// - As for `airssys_engine_storage_get`: `AIRSSYS_ERROR_INVALID_ID`, `AIRSSYS_ERROR_IO`,
///   `AIRSSYS_ERROR_WOULD_DEADLOCK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
///   `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_storage_set(
    engine: *mut airssys_engine_t,
    id: *const c_char,
    key: *const c_char,
    value: *const u8,
    len: usize,
    ttl_ms: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, id: Text, key: Text, value[len]: Slice, error: Out });
    on_engine(engine, error, |engine| {
        let expires = (ttl_ms > 0).then(|| expiry::after(ttl_ms));
        Ok(engine.store(id.required()?, key.required()?, value.get()?, expires)?)
    })
}

/// Removes a key. A missing key is not an error.
///
/// `engine`: borrowed. `id`: borrowed text; see `airssys_engine_storage_get`. `key`: borrowed
/// text. `error`: may be NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK` or, as for `airssys_engine_storage_get`, `AIRSSYS_ERROR_INVALID_ID`,
/// `AIRSSYS_ERROR_IO`, `AIRSSYS_ERROR_WOULD_DEADLOCK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`,
/// `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_storage_delete(
    engine: *mut airssys_engine_t,
    id: *const c_char,
    key: *const c_char,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, id: Text, key: Text, error: Out });
    on_engine(engine, error, |engine| Ok(engine.remove_stored(id.required()?, key.required()?)?))
}

/// Lists keys, in the order of their bytes.
///
///     { "keys": ["a", "b"], "more": false }
///
/// - `engine`: borrowed.
/// - `id`: borrowed text; see `airssys_engine_storage_get`.
/// - `prefix`: borrowed text with which the keys begin; NULL: all keys.
/// - `after`: borrowed text; only keys after this one are listed. NULL: from the first. To go on
///   after `more`, pass the last key of the list.
/// - `limit`: the most keys in the list; 0: no limit.
/// - `out_json`: receives the document, which the caller owns.
/// - `error`: may be NULL.
///
/// Any thread; callable from callbacks. Keys that are stored or removed meanwhile may be in the
/// list or not.
///
/// Returns `AIRSSYS_OK` or, as for `airssys_engine_storage_get`, `AIRSSYS_ERROR_INVALID_ID`,
/// `AIRSSYS_ERROR_IO`, `AIRSSYS_ERROR_WOULD_DEADLOCK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`,
/// `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_storage_list(
    engine: *mut airssys_engine_t,
    id: *const c_char,
    prefix: *const c_char,
    after: *const c_char,
    limit: usize,
    out_json: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe {
        engine: Object, id: Text, prefix: Text, after: Text, out_json: Out, error: Out
    });
    document(engine, out_json, error, |engine| {
        let (prefix, after) = (prefix.optional()?.unwrap_or_default(), after.optional()?);
        let limit = if limit == 0 { usize::MAX } else { limit };
        Ok(engine.list_stored(id.required()?, prefix, after, limit)?)
    })
}

/// Counts the stored bytes and keys, as the component's quotas do.
///
/// `engine`: borrowed. `id`: borrowed text; see `airssys_engine_storage_get`. `out_bytes`:
/// receives the bytes of all keys and values. `out_keys`: receives the number of keys. `error`:
/// may be NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK` or, as for `airssys_engine_storage_get`, `AIRSSYS_ERROR_INVALID_ID`,
/// `AIRSSYS_ERROR_IO`, `AIRSSYS_ERROR_WOULD_DEADLOCK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`,
/// `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_storage_usage(
    engine: *mut airssys_engine_t,
    id: *const c_char,
    out_bytes: *mut u64,
    out_keys: *mut u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, id: Text, out_bytes: Out, out_keys: Out, error: Out });
    on_engine(engine, error, |engine| {
        let (out_bytes, out_keys) = (out_bytes.required()?, out_keys.required()?);
        let used = engine.stored_usage(id.required()?)?;
        out_bytes.write(used.bytes);
        out_keys.write(used.keys);
        Ok(())
    })
}

/// Changes several keys at once: all, or none. No component sees some of the changes.
///
/// `engine`: borrowed. `id`: borrowed text; see `airssys_engine_storage_get`. `changes`,
/// `count`: borrowed; each element has the same `size`, and each key occurs once. (NULL, 0)
/// changes nothing. `error`: may be NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_UNSUPPORTED`: the host's storage has no `batch`, or a key is to expire in
///   it.
/// - As for `airssys_engine_storage_set`: `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`,
///   `AIRSSYS_ERROR_INVALID_ID`, `AIRSSYS_ERROR_IO`, `AIRSSYS_ERROR_WOULD_DEADLOCK`,
///   `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_storage_batch(
    engine: *mut airssys_engine_t,
    id: *const c_char,
    changes: *const airssys_storage_change_t,
    count: usize,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, id: Text, changes[count]: VersionedArray, error: Out });
    on_engine(engine, error, |engine| {
        let mut read = Vec::new();
        for change in changes.get()? {
            // SAFETY: the fields of a struct in a `VersionedArray` are as the header states: a text
            // and bytes.
            let (key, value) = unsafe {
                (
                    Text::new(change.key, "changes.key", changes.call),
                    Slice::new(change.value, change.value_len, "changes.value", changes.call),
                )
            };
            read.push(changed(&key, &value, change.expires_ms)?);
        }
        Ok(engine.change_stored(id.required()?, read)?)
    })
}

fn changed(key: &Text<'_>, value: &Slice<'_, u8>, expires: u64) -> Result<Change, Failure> {
    let expires = (expires > 0).then_some(expires);
    let to = value.optional()?.map(|value| Entry { value: value.to_vec(), expires });
    Ok(Change { key: key.required()?.into(), to })
}
