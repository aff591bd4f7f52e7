//! Inspection of an engine and its components.

use std::ffi::c_char;

use crate::core::id::ComponentHandle;
use crate::ffi::arguments::arguments;
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::on_engine::airssys_engine_t;
use crate::ffi::on_engine::{answer, document};
use crate::ffi::status::airssys_status_t;

/// Finds the component with an id. If there are several, it finds the least busy.
///
/// `engine`: borrowed. `id`: borrowed text, `namespace/name/instance`. `out_handle`: receives the
/// handle. `error`: may be NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_ID`,
/// `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_find(
    engine: *mut airssys_engine_t,
    id: *const c_char,
    out_handle: *mut u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, id: Text, out_handle: Out, error: Out });
    answer(engine, out_handle, error, |engine| {
        let handle = engine.find(id.required()?)?;
        Ok(handle.0)
    })
}

/// Lists the components in the order of loading.
///
///     [{ "handle": 1, "id": "app/echo/0", "state": "running", "instances": 1,
///        "version": 1, "sha256": "..." }]
///
/// A state is one of those of `airssys_engine_wait`. The state of a pool is that of an instance that
/// is not running, if there is one.
///
/// `engine`: borrowed. `out_json`: receives the document, which the caller owns. `error`: may be
/// NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
/// `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_list(
    engine: *mut airssys_engine_t,
    out_json: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, out_json: Out, error: Out });
    document(engine, out_json, error, |engine| Ok(engine.list()))
}

/// Describes a component, without asking it.
///
///     {
///       "handle": 1, "id": "app/echo/0", "instances": 1, "state": "running", "health": "healthy",
///       "version": 1, "canary": null,       see airssys_engine_status
///       "lifecycle": true,                  whether it exports component-lifecycle
///       "metadata": { "name", "version", "description", "author", "license",
///                     "supported-operations": [], "stateful": false } or null,
///       "limits": { ... }, "quotas": { ... },   as in the options of its load
///       "grants": [{ "action": "messaging.send", "pattern": "app/db/0",
///                    "guest-path": null, "expires-at-ms": null }],
///       "mailbox": { "capacity": 1024, "max-bytes": 67108864, "when-full": "reject",
///                    "depth": 0, "bytes": 0, "waiting": 0 },
///       "host-bytes": 1024,                 host memory that it occupies, mail included
///       "storage-namespace": "app/echo/0",  or "app/echo", which it shares
///       "codecs": [],
///       "messages": { ... },                as in airssys_engine_stats
///       "fuel": 0, "time-ns": 0,
///       "memory-bytes": 1114112,            after its last call, that of a canary included
///       "restarts": 0,                      new instances after crashes
///       "binary": { "blake3": "...", "sha256": "...", "bytes": 12345,
///                   "code-bytes": 67890,    compiled, with the initial contents of memories
///                   "signer": null }        or the key that signed it, as 64 hexadecimal digits
///     }
///
/// `health` is the component's last answer. The engine asks at load and in `airssys_engine_health`.
///
/// `engine`: borrowed. `handle`: the component. `out_json`: receives the document, which the caller
/// owns. `error`: may be NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_ARGUMENT`,
/// `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_describe(
    engine: *mut airssys_engine_t,
    handle: u64,
    out_json: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, out_json: Out, error: Out });
    document(engine, out_json, error, |engine| Ok(engine.describe(ComponentHandle(handle))?))
}

/// Asks a component for its health, after the mail that it already has.
///
///     { "handle": 1, "id": "app/echo/0", "health": "healthy" }
///
/// A health is `healthy`, `degraded`, `unhealthy` or `unknown`. Without `component-lifecycle` it is
/// always `unknown`.
///
/// With `AIRSSYS_ALL_COMPONENTS` it asks no component, and tells whether the whole engine works:
///
///     { "live": true, "ready": false, "components": 2, "not-ready": [
///       { "handle": 1, "id": "app/echo/0", "state": "failed", "health": "unhealthy" } ] }
///
/// `live`: the workers take a new job within a second. `ready`: they do, and every component is
/// `running`, `passive` or `stopped`, and was not unhealthy when it was last asked. `not-ready`
/// lists the first 1,000 others.
///
/// `engine`: borrowed. `handle`: the component, or `AIRSSYS_ALL_COMPONENTS`. `out_json`: receives
/// the document, which the caller owns. `error`: may be NULL. Any thread; callable from callbacks.
/// Blocks until the component has answered.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_TRAP`,
/// `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`, `AIRSSYS_ERROR_TIMEOUT`,
/// `AIRSSYS_ERROR_INSTANTIATION_FAILED`, `AIRSSYS_ERROR_WOULD_DEADLOCK`,
/// `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
/// `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_health(
    engine: *mut airssys_engine_t,
    handle: u64,
    out_json: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, out_json: Out, error: Out });
    document(engine, out_json, error, |engine| Ok(engine.health(ComponentHandle(handle))?))
}

/// Counts what the loaded components have done, in total and each.
///
///     {
///       "components": 1,
///       "binaries": 1,                      compiled and kept
///       "code-bytes": 67890,                of these
///       "cache": { "hits": 0, "misses": 0,  of cache-dir; null without one
///                  "bytes": 0 },            of its entries, at the last look
///       "messages": {
///         "accepted": 0, "refused": 0,      by the mailbox
///         "dropped": 0,                     accepted and never handled
///         "handled": 0, "failed": 0,        callbacks included
///         "sent": 0                         by the component
///       },
///       "mailbox": { "depth": 0, "bytes": 0,
///                    "waiting": 0 },        senders that wait for room
///       "fuel": 0,                          consumed, about one unit per instruction
///       "time-ns": 0,                       handling mail, with host functions and waits. The clock
///                                           advances every few milliseconds: only the sum over many
///                                           messages is meaningful
///       "memory-bytes": 1114112,            after the last call
///       "host-bytes": 1024,                 host memory that components occupy
///       "restarts": 0,
///       "per-component": [{ "handle": 1, "id": "app/echo/0", "instances": 1,
///                           and "messages" to "restarts" of this one }],
///       "requests": { "outstanding": 0, "late-replies": 0 },
///       "dead-letters": 0, "events-lost": 0,
///       "audit-lost": { "allowed": 0, "denied": 0 },
///       "storage": { "live-bytes": 0,       of keys and values in the file of storage.path;
///                    "total-bytes": 0 }     of the file; null without one
///     }
///
/// `engine`: borrowed. `out_json`: receives the document, which the caller owns. `error`: may be
/// NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
/// `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_stats(
    engine: *mut airssys_engine_t,
    out_json: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, out_json: Out, error: Out });
    document(engine, out_json, error, |engine| Ok(engine.stats()))
}
