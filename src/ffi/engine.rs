//! Engines: making, loading, unloading, ending.

use std::ffi::c_char;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::core::id::ComponentHandle;
use crate::ffi::arguments::{bytes, object, optional_text, output, reference, text, write_output};
use crate::ffi::boundary::{boundary, quietly};
use crate::ffi::config::airssys_config_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::fork;
use crate::ffi::gate::{Gate, Inside, Owned};
use crate::ffi::stack;
use crate::ffi::status::airssys_status_t;
use crate::runtime::off_fiber::current_component;
use crate::system::config::EngineConfig;
use crate::system::engine::Engine;

/// Components, their workers, storage and log; released with `airssys_engine_free`.
pub struct airssys_engine_t {
    engine: Engine,
    gate: Arc<Gate<airssys_engine_t>>,
    /// See `fork::generation`.
    made_at: u64,
}

/// A call that uses an engine, which is not freed meanwhile.
pub struct Entered<'a> {
    engine: &'a Engine,
    _inside: Inside<'a, airssys_engine_t>,
}

impl Deref for Entered<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        self.engine
    }
}

impl airssys_engine_t {
    /// The engine, unless this process is a child of the one that made it.
    pub fn enter(&self) -> Result<Entered<'_>, Failure> {
        if self.is_from_before_a_fork() {
            return Err(Failure::forked());
        }
        Ok(Entered { engine: &self.engine, _inside: self.gate.enter() })
    }

    fn is_from_before_a_fork(&self) -> bool {
        fork::generation() != self.made_at
    }
}

/// Makes an engine. Workers start with the first load.
///
/// `config`: borrowed, copied; NULL: defaults. `out`: receives the engine, which the caller owns.
/// `error`: may be NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_INVALID_OPTIONS` (a
/// combination that this machine can not run), `AIRSSYS_ERROR_IO` (`cache-dir`, a thread, a
/// descriptor for the log) or
/// `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_new(
    config: *const airssys_config_t,
    out: *mut *mut airssys_engine_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let body = || {
        let out = output(out, "out")?;
        // SAFETY: by this function's contract NULL or a live configuration.
        let config = unsafe { reference(config) };
        let config = config.map_or_else(EngineConfig::default, airssys_config_t::snapshot);
        let engine = Engine::new(&config)?;
        let gate = Arc::default();
        let handle = Box::new(airssys_engine_t { engine, gate, made_at: fork::generation() });
        // SAFETY: not NULL, and by this function's contract valid for writing.
        unsafe { write_output(out, Box::into_raw(handle)) };
        Ok(())
    };
    // SAFETY: by this function's contract `error` is NULL or valid for writing.
    unsafe { boundary(error, body) }
}

/// Ends an engine gracefully: it accepts nothing more from the host, the components handle the mail
/// that they have and what comes of it, then `shutdown` of each is called. Components that go on
/// writing to each other are cut off after half of the time, at the latest after 10 seconds, and
/// finish what waits. What has not finished after `timeout_ms` is stopped as it is. The engine still
/// has to be freed.
///
/// `engine`: borrowed; a second shutdown has nothing left to do. `timeout_ms`: milliseconds; 0 gives
/// no time at all, `UINT64_MAX` all the time that is needed. `error`: may be NULL. Any thread; not
/// from callbacks of the engine's own components. Blocks for `timeout_ms` at most.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_TIMEOUT` (how many had not finished),
/// `AIRSSYS_ERROR_ENGINE_STOPPED` (freed meanwhile), `AIRSSYS_ERROR_SHUTDOWN_FAILED` (the first component whose `shutdown` failed),
/// `AIRSSYS_ERROR_WOULD_DEADLOCK` (from a callback), `AIRSSYS_ERROR_INVALID_ARGUMENT`,
/// `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_shutdown(
    engine: *mut airssys_engine_t,
    timeout_ms: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let body = || {
        // SAFETY: by this function's contract NULL or a live engine.
        let engine = unsafe { object(engine, "engine") }?.enter()?;
        Ok(engine.shutdown(Duration::from_millis(timeout_ms))?)
    };
    // SAFETY: by this function's contract `error` is NULL or valid for writing.
    unsafe { boundary(error, body) }
}

/// Releases an engine and all its components, from any state and without calling their `shutdown`;
/// NULL does nothing.
///
/// No function may be entered with the handle after this one, except from callbacks while it runs,
/// which get `AIRSSYS_ERROR_ENGINE_STOPPED`: completions of requests that are open, dead letters.
/// Functions that are under way on other threads end with `AIRSSYS_ERROR_ENGINE_STOPPED`, guests at their next turn, and this one returns
/// after them. Host callbacks that workers are running are waited for, up to 10 seconds; what they
/// use, their `user_data` included, is released after them in every case.
///
/// Any thread. From a callback it returns at once, and the engine is released when the last
/// function that uses it has returned; then no callback on another thread may enter one either. In the child of a `fork` it releases nothing, because what
/// it would release belongs to threads that the child does not have.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_free(engine: *mut airssys_engine_t) {
    quietly(|| {
        // SAFETY: by this function's contract NULL, or an engine that is not used again.
        let Some(handle) = (unsafe { Owned::new(engine) }) else { return };
        if handle.is_from_before_a_fork() {
            std::mem::forget(handle);
            return;
        }
        let gate = Arc::clone(&handle.gate);
        gate.close();
        handle.engine.stop();
        if current_component().is_none() {
            gate.wait_empty();
            // Callbacks that this runs, or waits for, may still use the handle.
            handle.engine.finish();
            gate.wait_empty();
        }
        gate.drop_when_empty(handle);
    });
}

/// Loads a component: compiles it (once for each distinct binary), instantiates it, calls its
/// `initialize`, and makes it reachable under its id. Several components may have the same id;
/// each has its own handle, and a message to the id goes to the least busy.
///
/// `engine`: borrowed. `id`: borrowed text, `namespace/name/instance`, each part of 1 to 255 bytes
/// without `/`, `*` and control characters, and not `.` or `..`; the namespace `host` is that of
/// hosts, as senders of messages. `wasm`: borrowed, the binary of a component (no core
/// module, no text), at most `max-component-bytes` of the configuration. `options_json`: borrowed
/// text or NULL for `{}`; an object, all of it optional, shown with its defaults:
///
///     {
///       "env": { "KEY": "value" },           handed to initialize, and the environment of WASI
///       "config": "text" or any JSON,        handed to initialize: a string as its bytes, anything
///                                            else as JSON text
///       "limits": {
///         "max-memory-bytes": 67108864,      over all memories of the component
///         "max-host-bytes": 67108864,        memory of the host that it may occupy, 262144 or more: mail,
///                                            requests under way, metadata, what it stores in memory;
///                                            by default the "max-bytes" of the mailbox, if more
///         "max-message-bytes": 16777216,     payload of a message to it, a message from it, a reply;
///                                            at most 1073741824
///         "max-execution-time-ms": 5000,     for a message, host functions and sleeps included
///         "max-fuel": null,                  for a message, about one unit an instruction; null: no
///                                            limit
///         "max-instances": 1000,             core instances inside the component
///         "max-table-elements": 100000       over all its tables
///       },
///       "mailbox": {
///         "capacity": 1024,                  messages that may wait, 1 to 1048576
///         "max-bytes": 67108864,             bytes that may wait: payloads, content types, and 256 for
///                                            each message; a single message may exceed it
///         "when-full": "reject"              a message too many: "reject" tells its sender, "block"
///                                            has its sender wait for room, "drop-oldest" drops the
///                                            one that waits longest, which becomes a dead letter
///       },
///       "instances": 1,                      so many share the handle, the id, the storage and the
///                                            work, least busy first, 1 to 4096; each has a mailbox
///                                            and a memory of its own, and the limits
///       "codecs": []                         what self-describing payloads may be, see
///                                            airssys_codec_name: a payload that opens with the
///                                            multicodec of another is refused when it is sent;
///                                            empty: nobody looks
///       "capabilities": {},                  what the component may do, see below; null: nothing
///       "quotas": {                          how much of it; null: as much as it likes, in the last
///                                            two the default
///         "messages-per-second": null,       sends, requests and targets of broadcasts
///         "outstanding-requests": null,      requests without an outcome
///         "storage-bytes": null,             keys and values
///         "storage-keys": null,
///         "log-bytes-per-second": null,      records and output, with 64 for each record and pair;
///                                            more is dropped, and counted in a record when there is
///                                            room again
///         "random-bytes-per-second": null,
///         "host-call-data-bytes": 33554432,  from the component to the host in one call, of a host
///                                            function or of its own; at most 134217728; by default
///                                            twice "max-message-bytes" where that is more
///         "wasi-resources": 256              files, sockets, timers and streams open at a time
///       }
///     }
///
/// A message that its receiver's memory has no room for never enters the receiver: it fails with
/// `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`. The outcome of a component's own request that does not fit
/// is replaced by a small error. Texts of components have these bounds: 255 bytes for a part of an id,
/// 1,024 for a key, 4,096 for the text of an error (the rest is cut, and the length named), 65,536 for
/// a log record (cut) with 64 pairs of 4,096 bytes each (cut), 4,096 for each text of the metadata and
/// 256 operations of 256 bytes (more is `AIRSSYS_ERROR_INVALID_COMPONENT`), 10,000 targets for a
/// broadcast.
///
/// Rates are of seconds of which one's worth may come at once; something larger comes when nothing was
/// used, and is paid for afterwards. Instances that share a handle share quotas. Mail that waits is a
/// matter of the mailbox; what a full one refuses is recorded as a breach of quota by its sender. Not
/// to be changed: 512 KiB of stack, 100 memories, 1,000 tables.
///
/// A component may do what its capabilities grant, and nothing else. They are a set of grants or an
/// array of sets:
///
///     { "messaging": { "send": ["app/log/0"],           patterns over ids of receivers
///                      "request": ["app/db/r*"], "broadcast": ["**"] },
///       "storage": ["read", "write", "delete"],         its own namespace
///       "filesystem": { "/srv/in": ["read", "list-dir"],
///                       "/srv/out/log*.csv": { "actions": ["read", "write", "delete"],
///                                              "guest-path": "/out" } },
///       "network": { "outbound": ["api.example.com:443", "10.1.0.0/16:5432"],
///                    "inbound": ["127.0.0.1:8080"] },
///       "expires-in-ms": 60000 }                        from when this is read, by the clock of
///                                                       the system; or "expires-at-ms", since 1970
///
/// The longer forms of wit/core/capabilities.wit mean the same: "messaging": [{ "action": "send",
/// "target-pattern": "app/log/0" }], "storage": [{ "action", "namespace-pattern" }], "filesystem":
/// [{ "action" or "actions", "path-pattern", "guest-path" }], "network": [{ "action",
/// "host-pattern", "port", "private" }]. In a pattern, * stands for any characters of a segment, and a
/// segment ** for any number of segments, none included.
///
/// Files: a path is absolute, a directory with all that is in it, a file, or a directory and a name with
/// wildcards: those that are directly in it and have such a name. The directory must exist, and is
/// held open: what takes its place later is not reached, and neither is anything outside it, through
/// symbolic links or "..". Where a file or wildcards are named, symbolic links are not followed at
/// all. Components make no links of either kind.
/// "guest-path" is where the directory appears to the component, by default where it is.
///
/// Network: a host is a name, *.example.com, **.example.com, an address, addr/bits or *, each with
/// :port or for all ports. A name leads to public addresses only, as does *; with "private": true,
/// or if the address is granted as well, to any. Addresses that names were found to have are
/// remembered for an instance: others, found elsewhere, are not reached. Of inbound grants the host
/// is the address to listen on.
///
/// The JSON schema of options, configuration, grants and policies is airssys_wasm.schema.json, which
/// is installed in share/airssys-wasm.
///
/// `out_handle`: receives the handle: never 0, never used again for another component. `error`: may
/// be NULL. Any thread; callable from callbacks. Blocks while it compiles and initializes.
///
/// Where the system has no thread, no memory mapping, no memory or no descriptor for it, the load fails with
/// `AIRSSYS_ERROR_IO`, whose message names the limit and what to do, and whose details have it as
/// `"resource"`: `"threads"`, `"mappings"`, `"memory"` or `"descriptors"`. Nothing is left behind, and a later
/// load works once there is some. A sixteenth of the mappings that the system allows the process
/// (vm.max_map_count), and a stack for each component that has none yet, are left to what runs.
///
/// Compiling is under the limits of the configuration, `compile`. What exceeds them is refused before it
/// is compiled, with the place in the binary; a compile can not be interrupted: when its time is over, or
/// the engine stops, the load returns, and the compile goes on behind all other threads until it is done. While
/// two of an engine are left to themselves like that, it compiles nothing more.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ID`, `AIRSSYS_ERROR_INVALID_OPTIONS`,
/// `AIRSSYS_ERROR_INVALID_COMPONENT`, `AIRSSYS_ERROR_INSTANTIATION_FAILED`,
/// `AIRSSYS_ERROR_INITIALIZATION_FAILED`, `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`,
/// `AIRSSYS_ERROR_TIMEOUT` or `AIRSSYS_ERROR_TRAP` (while it is instantiated, in `initialize`,
/// `metadata` or `health`),
/// `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_IO` (the system is short of something, see above),
/// `AIRSSYS_ERROR_INVALID_ARGUMENT`,
/// `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`. On an error nothing is loaded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_load(
    engine: *mut airssys_engine_t,
    id: *const c_char,
    wasm: *const u8,
    len: usize,
    options_json: *const c_char,
    out_handle: *mut u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let body = || {
        // SAFETY: by this function's contract NULL or a live engine.
        let engine = unsafe { object(engine, "engine") }?.enter()?;
        // SAFETY: by this function's contract NULL or a NUL-terminated text.
        let id = unsafe { text(id, "id") }?;
        // SAFETY: by this function's contract NULL or `len` bytes.
        let wasm = unsafe { bytes(wasm, len, "wasm") }?;
        // SAFETY: by this function's contract NULL or a NUL-terminated text.
        let options = unsafe { optional_text(options_json, "options_json") }?;
        let out = output(out_handle, "out_handle")?;
        let handle = engine.load(id, wasm, options, stack::left())?;
        // SAFETY: not NULL, and by this function's contract valid for writing.
        unsafe { write_output(out, handle.0) };
        Ok(())
    };
    // SAFETY: by this function's contract `error` is NULL or valid for writing.
    unsafe { boundary(error, body) }
}

/// Loads a component from a file; as `airssys_engine_load` in everything else.
///
/// `path`: borrowed text, UTF-8, of a regular file, of which no more is read than its size. One that can
/// not be read, and a device, pipe or the like, is `AIRSSYS_ERROR_IO`;
/// for a path that is not UTF-8, read the file and use `airssys_engine_load`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_load_file(
    engine: *mut airssys_engine_t,
    id: *const c_char,
    path: *const c_char,
    options_json: *const c_char,
    out_handle: *mut u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let body = || {
        // SAFETY: by this function's contract NULL or a live engine.
        let engine = unsafe { object(engine, "engine") }?.enter()?;
        // SAFETY: by this function's contract NULL or a NUL-terminated text.
        let id = unsafe { text(id, "id") }?;
        // SAFETY: by this function's contract NULL or a NUL-terminated text.
        let path = unsafe { text(path, "path") }?;
        // SAFETY: by this function's contract NULL or a NUL-terminated text.
        let options = unsafe { optional_text(options_json, "options_json") }?;
        let out = output(out_handle, "out_handle")?;
        let handle = engine.load_file(id, Path::new(path), options, stack::left())?;
        // SAFETY: not NULL, and by this function's contract valid for writing.
        unsafe { write_output(out, handle.0) };
        Ok(())
    };
    // SAFETY: by this function's contract `error` is NULL or valid for writing.
    unsafe { boundary(error, body) }
}

/// Unloads a component: nothing more is accepted for it, the message under way ends, messages that
/// wait are answered with `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, its `shutdown` is called. What it
/// stored stays.
///
/// `engine`: borrowed. `handle`: an unknown, stale or zero one does nothing, so that unloading
/// twice is fine. `error`: may be NULL. Any thread; callable from callbacks. Blocks until the
/// component is gone: for the message under way and for `shutdown`, each within the component's
/// `max-execution-time-ms`.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_SHUTDOWN_FAILED` (the component's `shutdown` failed, trapped
/// or took too long; the component is gone all the same), `AIRSSYS_ERROR_WOULD_DEADLOCK` (from a
/// callback that the component waits for), `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`
/// or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_unload(
    engine: *mut airssys_engine_t,
    handle: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let body = || {
        // SAFETY: by this function's contract NULL or a live engine.
        let engine = unsafe { object(engine, "engine") }?.enter()?;
        Ok(engine.unload(ComponentHandle(handle), stack::left(), None)?)
    };
    // SAFETY: by this function's contract `error` is NULL or valid for writing.
    unsafe { boundary(error, body) }
}

/// Unloads a component as `airssys_engine_unload` does, and interrupts what it still runs after
/// `timeout_ms`: the message under way, or its `shutdown`.
///
/// `engine`, `handle`, `error`: as for `airssys_engine_unload`. `timeout_ms`: milliseconds; 0: at
/// once. A callback of the host that runs for the component is not interrupted; this waits up to two
/// seconds longer for it. Any thread; callable from callbacks.
///
/// Returns what `airssys_engine_unload` returns, and `AIRSSYS_ERROR_SHUTDOWN_FAILED` if something was
/// interrupted, so that `shutdown` did not run to its end; `AIRSSYS_ERROR_TIMEOUT` if a callback of the
/// host has not returned: the component is unloaded, and its memory is released when that returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_unload_within(
    engine: *mut airssys_engine_t,
    handle: u64,
    timeout_ms: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let body = || {
        // SAFETY: by this function's contract NULL or a live engine.
        let engine = unsafe { object(engine, "engine") }?.enter()?;
        let timeout = Duration::from_millis(timeout_ms);
        Ok(engine.unload(ComponentHandle(handle), stack::left(), Some(timeout))?)
    };
    // SAFETY: by this function's contract `error` is NULL or valid for writing.
    unsafe { boundary(error, body) }
}

/// Interrupts what a component runs now: the message, callback or life-cycle function under way ends
/// with `AIRSSYS_ERROR_INTERRUPTED`, for whoever waits for its outcome.
///
/// `engine`: borrowed. `handle`: of a pool, all instances are interrupted. `error`: may be NULL. Any
/// thread; callable from callbacks, not from signal handlers. Returns at once. A guest that waits ends
/// at once, one that computes within milliseconds; a callback of the host that runs for it returns
/// first. The instance is gone then, and messages that wait are handled by a new one. A component
/// that runs nothing is not changed.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
/// `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_interrupt(
    engine: *mut airssys_engine_t,
    handle: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let body = || {
        // SAFETY: by this function's contract NULL or a live engine.
        let engine = unsafe { object(engine, "engine") }?.enter()?;
        Ok(engine.interrupt(ComponentHandle(handle))?)
    };
    // SAFETY: by this function's contract `error` is NULL or valid for writing.
    unsafe { boundary(error, body) }
}
