//! The life cycle of components.

use std::ffi::c_char;
use std::path::Path;
use std::time::Duration;

use crate::component::lifecycle::State;
use crate::core::id::{ComponentHandle, shorten};
use crate::ffi::arguments::arguments;
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::on_engine::{airssys_engine_t, document, on_engine};
use crate::ffi::stack;
use crate::ffi::status::airssys_status_t;

/// Every component of an engine: a handle for functions whose documentation allows it.
pub const AIRSSYS_ALL_COMPONENTS: u64 = u64::MAX;

/// Stops a component, which stays loaded.
///
/// New messages are refused from now on. Those that wait are handled, and then `shutdown` is called
/// and the instance released. Id, handle, rights and storage stay; `airssys_engine_start` makes a
/// new instance. Outcomes of the component's own requests that arrive after `shutdown` are dropped.
///
/// - `engine`: borrowed.
/// - `handle`: of a pool, all instances stop. `AIRSSYS_ALL_COMPONENTS`, or of a group: all
///   components at a time, beginning with the one that was loaded last.
/// - `timeout_ms`: milliseconds, after which the messages that still wait become dead letters, with
///   `AIRSSYS_ERROR_COMPONENT_STOPPED` for whoever waits for an outcome, and the current one is
///   interrupted; 0: at once, `UINT64_MAX`: never. `shutdown` then has one second. A callback of the
///   host is not cut short.
/// - `error`: may be NULL. For several components the details' `failed` lists those that could not
///   be stopped, with `handle`, `status` and `message`; the status is that of the
///   first.
///
/// Any thread; callable from callbacks. Blocks until the component is stopped. A component that is
/// stopped, or has failed, stays as it is.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: also if it is unloaded meanwhile.
/// - `AIRSSYS_ERROR_SHUTDOWN_FAILED`: its `shutdown` failed, or was not called because something was
///   interrupted; it is stopped nevertheless.
/// - `AIRSSYS_ERROR_TIMEOUT`: a callback of the host has not returned. The stop follows it.
/// - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component waits for. Nothing is
///   stopped.
/// - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
///   `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_stop(
    engine: *mut airssys_engine_t,
    handle: u64,
    timeout_ms: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, error: Out });
    let timeout = Duration::from_millis(timeout_ms);
    on_engine(engine, error, |engine| Ok(engine.stop_components(ComponentHandle(handle), timeout)?))
}

/// Starts a component that is stopped or has failed.
///
/// A new instance is made from the compiled binary, and its `initialize` is called; then messages
/// are accepted. Its supervision forgets earlier restarts.
///
/// - `engine`: borrowed.
/// - `handle`: of a pool, all instances that are stopped or failed start. `AIRSSYS_ALL_COMPONENTS`,
///   or of a group: all components, in the order of loading. The group forgets restarts as well.
/// - `error`: may be NULL; as for `airssys_engine_stop`.
///
/// Any thread; callable from callbacks. Blocks until the instances are initialized, a stop under way
/// included. A component that is neither stopped nor failed stays as it is.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: also if it is unloaded meanwhile.
/// - `AIRSSYS_ERROR_INSTANTIATION_FAILED`: the new instance could not be made or initialized. The
///   component is `failed`.
/// - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component waits for. Nothing is
///   started.
/// - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
///   `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_start(
    engine: *mut airssys_engine_t,
    handle: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, error: Out });
    on_engine(engine, error, |engine| Ok(engine.start_components(ComponentHandle(handle))?))
}

/// Returns the state of a component as JSON, as known without asking it.
///
///     {
///       "handle": 1, "id": "app/counter/0", "state": "running", "health": "healthy",
///       "supervision": {
///         "restart": "permanent", "max-restarts": 10, "window-ms": 60000,
///         "backoff": { "growth": "exponential", "first-ms": 100, "max-ms": 30000,
///                      "jitter-percent": 20, "quiet-ms": 60000 }
///       },
///       "group": null,
///       "canary": { "version": 2, "sha256": "...", "share-percent": 10, "messages": 10,
///                   "errors": 0, "stable": { "messages": 90, "errors": 0 } },
///       "instances": [
///         { "instance": 0, "state": "running", "health": "healthy", "version": 1,
///           "restarts": 1, "restarts-in-window": 1,
///           "last-failure": { "code": "trap", "message": "wasm `unreachable`...",
///                             "time": { "seconds": 1767225600, "nanoseconds": 0 } } }
///       ]
///     }
///
/// `canary` is what the new version and the `stable` one have handled since the new one is tried, or
/// null if none is.
/// `version` counts from 1, and grows with each replacement; a rollback returns to an earlier
/// number.
/// `state` is one of those of `airssys_engine_wait`; for several instances, that of one which does
/// not run. `supervision` and `restarts-in-window` are null without supervision, and `last-failure`
/// is null before the first. Its `message` is null if the component's `max-host-bytes` left no room
/// for it.
///
/// `engine`: borrowed. `handle`: with `AIRSSYS_ALL_COMPONENTS` the result is an array of all, in the
/// order of loading; for a group see `airssys_engine_groups`. `out_json`: written on success;
/// release it with `airssys_bytes_free`. `error`: may be NULL. Any thread; callable from callbacks.
/// Does not block.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
/// `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_status(
    engine: *mut airssys_engine_t,
    handle: u64,
    out_json: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, out_json: Out, error: Out });
    document(engine, out_json, error, |engine| Ok(engine.status(ComponentHandle(handle))?))
}

/// Gives a component a new instance.
///
/// The old instance finishes its current message, and its `shutdown` is called. A new instance is
/// made from the compiled binary, and its `initialize` is called. It handles the waiting messages,
/// in order. Id, handle, rights, storage and open requests stay. A failure of the old instance's
/// `shutdown` goes to the log.
///
/// - `engine`: borrowed.
/// - `handle`: of a pool, one instance at a time is replaced. `AIRSSYS_ALL_COMPONENTS`: all
///   components, in the order of loading.
/// - `timeout_ms`: milliseconds, after which the old instance's current message is interrupted; 0:
///   at once, `UINT64_MAX`: never. A callback of the host is not cut short.
/// - `error`: may be NULL; as for `airssys_engine_stop`.
///
/// Any thread; callable from callbacks. Blocks until the new instances are initialized.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: also if it is unloaded meanwhile.
/// - `AIRSSYS_ERROR_INSTANTIATION_FAILED`: the new instance could not be made or initialized. The
///   component is `crashed`; its `supervision` or the next message tries once more.
/// - `AIRSSYS_ERROR_COMPONENT_STOPPED`, `AIRSSYS_ERROR_COMPONENT_FAILED`: `airssys_engine_start`
///   starts it.
/// - `AIRSSYS_ERROR_TIMEOUT`: a callback of the host has not returned. The restart follows it.
/// - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component waits for.
/// - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
///   `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_restart(
    engine: *mut airssys_engine_t,
    handle: u64,
    timeout_ms: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, error: Out });
    let timeout = Duration::from_millis(timeout_ms);
    on_engine(engine, error, |engine| Ok(engine.restart(ComponentHandle(handle), timeout)?))
}

/// Waits until a component is in a state; of a pool, until all instances are.
///
/// - `engine`: borrowed.
/// - `state`: borrowed text: `initializing` (an instance is being made by a start), `running` (it
///   handles messages), `passive` (it has no instance; the next message makes one), `activating`
///   (that instance is being made), `crashed` (it has no instance; the next message or its
///   supervision makes a new one), `restarting` (a new instance is being made), `replacing` (a new
///   version takes over),
///   `stopping` (it takes no new messages, and handles those that wait), `stopped` (it takes no
///   messages, until it is started), `failed` (likewise, after too many restarts or a start that
///   failed), `unloading` (it is closed, and `shutdown` is called) or `unloaded`.
/// - `timeout_ms`: milliseconds; 0: looks once, `UINT64_MAX`: no limit.
/// - `error`: may be NULL.
///
/// Any thread; callable from callbacks. Short states can pass unseen: `state` events, see
/// `airssys_events_t`, name them all.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_TIMEOUT`: it is in another state, which the message names.
/// - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: it is unloaded, before or during the call, and `state` is
///   not `unloaded`.
/// - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component waits for.
/// - `AIRSSYS_ERROR_INVALID_ARGUMENT`: also if there is no such state.
/// - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_wait(
    engine: *mut airssys_engine_t,
    handle: u64,
    state: *const c_char,
    timeout_ms: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, state: Text, error: Out });
    on_engine(engine, error, |engine| {
        let name = state.required()?;
        let state = State::from_name(name).ok_or_else(|| no_such_state(name))?;
        let timeout = Duration::from_millis(timeout_ms);
        Ok(engine.wait_for_state(ComponentHandle(handle), state, timeout)?)
    })
}

fn no_such_state(name: &str) -> Failure {
    let known = State::ALL.map(State::name);
    let name = shorten(name);
    Failure::argument(
        "state",
        &format!("there is no state {name:?}; states are {}", known.join(", ")),
    )
}

/// Gives a running component another binary, another configuration, or both.
///
/// The binary is compiled, and a new instance is made and initialized beside the old one. Between
/// two messages the new instance takes over; then `shutdown` of the old one is called. If both
/// export `component-state`, `save` of the old one and `restore` of the new one are called. Id,
/// handle, rights, limits, storage, mailbox and open requests stay. If anything fails until then,
/// the old instance stays as it was. A component that is stopped, has crashed or has failed runs
/// again with the new version, and its supervision forgets earlier restarts.
///
/// - `engine`: borrowed.
/// - `handle`: of a pool, one instance at a time is replaced. After a failure, those that were
///   replaced get the old version back.
/// - `wasm`, `len`: borrowed bytes; with (NULL, 0) the binary stays.
/// - `options_json`: borrowed text, NULL for none; see `replace-options` in `docs/options.md`.
/// - `error`: may be NULL. The details' `version` is the number of the version that stays.
///
/// With `canary` in the options the new version handles a share of the messages, beside the old one,
/// until it is promoted or aborted: by its error rate, or by `airssys_engine_promote` and
/// `airssys_engine_abort`. The call returns as soon as the messages are shared.
///
/// Any thread; callable from callbacks. Blocks until the new version runs. Replacements of the same
/// component take turns.
///
/// Returns `AIRSSYS_OK`, or for a binary that is unusable or an instance that cannot be made or
/// initialized what `airssys_engine_load` returns, or:
///
/// - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: also if it is unloaded meanwhile.
/// - `AIRSSYS_ERROR_INVALID_COMPONENT`: also if only one of the versions exports
///   `component-lifecycle`, or it is not the expected one.
/// - `AIRSSYS_ERROR_RUNTIME`: also if `save` or `restore` returned an error.
/// - `AIRSSYS_ERROR_TIMEOUT`: also if the new instance was not healthy within `health-gate-ms`, or
///   the message in progress did not end within `timeout-ms`.
/// - `AIRSSYS_ERROR_CANARY_UNDER_WAY`: the component has a canary.
/// - `AIRSSYS_ERROR_COMPONENT_STOPPED`, `AIRSSYS_ERROR_COMPONENT_FAILED`: with `canary` only.
/// - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component, or a replacement of
///   it, waits for.
/// - `AIRSSYS_ERROR_INVALID_OPTIONS`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
///   `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_replace(
    engine: *mut airssys_engine_t,
    handle: u64,
    wasm: *const u8,
    len: usize,
    options_json: *const c_char,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, wasm[len]: Slice, options_json: Text, error: Out });
    on_engine(engine, error, |engine| {
        let (binary, options) = (wasm.optional()?, options_json.optional()?);
        Ok(engine.replace(ComponentHandle(handle), binary, options, stack::left())?)
    })
}

/// Replaces a component with a binary from a file; otherwise as `airssys_engine_replace`.
///
/// `engine`: borrowed. `handle`: as for `airssys_engine_replace`. `path`: borrowed text.
/// `options_json`: borrowed text, NULL for none. `error`: may be NULL. Any thread; callable from
/// callbacks.
///
/// Returns `AIRSSYS_OK`, what `airssys_engine_replace` returns, or `AIRSSYS_ERROR_IO` if the file
/// cannot be read. Also: `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
/// `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_replace_file(
    engine: *mut airssys_engine_t,
    handle: u64,
    path: *const c_char,
    options_json: *const c_char,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, path: Text, options_json: Text, error: Out });
    on_engine(engine, error, |engine| {
        let (path, options) = (Path::new(path.required()?), options_json.optional()?);
        Ok(engine.replace_file(ComponentHandle(handle), path, options, stack::left())?)
    })
}

/// Returns a component to the version before its current one, as `airssys_engine_replace` does.
///
/// The current version is forgotten: the next rollback returns to the version before that. How many
/// versions are kept is the load option `kept-versions`.
///
/// `engine`: borrowed. `handle`: as for `airssys_engine_replace`. `error`: may be NULL. Any thread;
/// callable from callbacks. Blocks until the version before runs.
///
/// Returns `AIRSSYS_OK`, what `airssys_engine_replace` returns, or `AIRSSYS_ERROR_INVALID_ARGUMENT`
/// if no version before the current one is kept. Also: `AIRSSYS_ERROR_FORKED`,
/// `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_rollback(
    engine: *mut airssys_engine_t,
    handle: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, error: Out });
    on_engine(engine, error, |engine| Ok(engine.roll_back(ComponentHandle(handle), stack::left())?))
}
