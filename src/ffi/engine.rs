//! Engines: making, loading, unloading, ending.

use std::ffi::c_char;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::core::id::ComponentHandle;
use crate::ffi::arguments::arguments;
use crate::ffi::boundary::{boundary, quietly};
use crate::ffi::config::airssys_config_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::fork;
use crate::ffi::on_engine::{airssys_engine_t, answer, on_engine};
use crate::ffi::rundown::Owned;
use crate::ffi::stack;
use crate::ffi::status::airssys_status_t;
use crate::runtime::off_fiber::current_component;
use crate::system::config::EngineConfig;
use crate::system::engine::Engine;

/// Makes an engine. Its workers start with the first load.
///
/// `config`: borrowed, copied; NULL: defaults. `out`: receives the engine, which the caller owns.
/// `error`: may be NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_INVALID_OPTIONS`: this machine cannot run the combination of options; or the
///   configuration has a `storage` and one of `airssys_config_set_storage`.
/// - `AIRSSYS_ERROR_IO`: the system refused `cache-dir`, a thread, or a descriptor for the log; or
///   the file of `storage` is in use by another engine, damaged, or not a storage (STORAGE in
///   OPTIONS below). The message says what to do, `problem` in the details names the problem.
/// - `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_new(
    config: *const airssys_config_t,
    out: *mut *mut airssys_engine_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { config: Object, out: Out, error: Out });
    boundary(error, || {
        let out = out.required()?;
        let config = config.optional();
        let config = config.map_or_else(EngineConfig::default, airssys_config_t::snapshot);
        let engine = Engine::new(&config)?;
        let rundown = Arc::default();
        let handle = Box::new(airssys_engine_t { engine, rundown, made_at: fork::generation() });
        out.write(Box::into_raw(handle));
        Ok(())
    })
}

/// Ends an engine gracefully. The engine must still be freed.
///
/// The engine accepts nothing more from the host. The components handle their mail and the mail
/// that results from it. Components that keep sending to each other are cut off after half of the
/// time, at most 10 seconds; they finish the waiting mail. Then the engine calls `shutdown` of each:
/// of the one that was loaded last first, and of the others when it has returned or taken more than
/// its share of the time. After `timeout_ms` the rest is stopped at once. Requests that are open
/// then end with `AIRSSYS_ERROR_ENGINE_STOPPED`. At last the storage is flushed.
///
/// `airssys_engine_complete` and `airssys_engine_cancel` are accepted meanwhile, so that a router
/// can still answer. Callbacks can come until `airssys_engine_free` has returned.
///
/// `engine`: borrowed; a second shutdown has nothing left to do. `timeout_ms`: milliseconds; 0: no
/// time, `UINT64_MAX`: no limit. `error`: may be NULL. Any thread; must not be called from
/// callbacks of the engine's components. Blocks for at most `timeout_ms`, and then until the storage
/// is flushed: nothing cuts that off, as what was stored would be lost.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_TIMEOUT`: not all components had finished; the details list them.
/// - `AIRSSYS_ERROR_SHUTDOWN_FAILED`: the error of the first component whose `shutdown` failed.
/// - `AIRSSYS_ERROR_IO`: the storage could not be flushed.
/// - `AIRSSYS_ERROR_ENGINE_STOPPED`: the engine was freed meanwhile.
/// - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback.
/// - `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_shutdown(
    engine: *mut airssys_engine_t,
    timeout_ms: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, error: Out });
    let timeout = Duration::from_millis(timeout_ms);
    on_engine(engine, error, |engine| Ok(engine.shutdown(timeout)?))
}

/// Releases an engine and its components, in any state, without calling their `shutdown`; NULL does
/// nothing.
///
/// No function may be entered with the engine after this one. Exception: callbacks that run
/// during this function (completions of open requests, dead letters) may enter functions. Those
/// that need a running engine return `AIRSSYS_ERROR_ENGINE_STOPPED`.
///
/// Functions under way on other threads end with `AIRSSYS_ERROR_ENGINE_STOPPED`, and guests at
/// their next turn; this function returns after them. It waits up to 10 seconds for callbacks under
/// way on the library's threads, and runs those that still wait itself. When it returns, the
/// completion of every accepted request has been called, and no callback starts any more. The file
/// of `storage` is written and closed, so that another engine can open it. What a
/// callback uses, `user_data` included, is in every case released after it returns.
///
/// Any thread. Called from a callback, it returns at once. The engine is then released when the
/// last function that uses it has returned, and callbacks on other threads must not enter a
/// function with it either. In a child of `fork` it releases nothing, because the resources belong
/// to threads that the child does not have.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_free(engine: *mut airssys_engine_t) {
    quietly(|| {
        // SAFETY: by this function's contract NULL, or an engine that is not used again.
        let Some(handle) = (unsafe { Owned::new(engine) }) else { return };
        if handle.is_from_before_a_fork() {
            std::mem::forget(handle);
            return;
        }
        let rundown = Arc::clone(&handle.rundown);
        rundown.close();
        handle.engine.stop();
        if current_component().is_none() {
            rundown.wait_empty();
            // Callbacks that this runs or waits for can still use the handle.
            handle.engine.finish();
            rundown.wait_empty();
        }
        rundown.drop_when_empty(handle);
    });
}

/// Loads a component: compiles, instantiates and initializes it, and publishes its id.
///
/// Each distinct binary is compiled once. Loading calls the component's `initialize`. Several
/// components may have the same id; each has its own handle, and a message to the id goes to the
/// least busy.
///
/// - `engine`: borrowed.
/// - `id`: borrowed text, `namespace/name/instance`. Each part has 1 to 255 bytes, contains no `/`,
///   `*` or control characters, and is not `.` or `..`. The namespace `host` is reserved for hosts,
///   as senders of messages.
/// - `wasm`: borrowed, the binary of a component (not of a core module, not text), `len` bytes, at
///   most `max-component-bytes` of the configuration.
/// - `options_json`: borrowed text, see LOAD in OPTIONS below; NULL: `{}`.
/// - `out_handle`: receives the handle. It is never 0 and is not reused for another component.
/// - `error`: may be NULL.
///
/// Any thread; callable from callbacks. Blocks while it compiles and initializes.
///
/// Compilation has limits, see `compile` in OPTIONS below. The limits on the shape of a binary are
/// checked before compilation, and the error names the place in the binary. A compilation cannot be
/// interrupted: when its time is over, or the engine stops, the load returns, and the compilation
/// continues in the background, at lower priority than all other threads. While two such
/// compilations of an engine run, the engine compiles nothing else.
///
/// The library reserves system resources for running components: a sixteenth of the mappings that
/// the system allows the process (`vm.max_map_count`), and a stack for each component that has none
/// yet.
///
/// Returns `AIRSSYS_OK` or the following; then nothing is loaded and nothing is left behind:
///
/// - `AIRSSYS_ERROR_INVALID_ID`, `AIRSSYS_ERROR_INVALID_OPTIONS`.
/// - `AIRSSYS_ERROR_INVALID_COMPONENT`: not a component, or beyond a limit of `compile`.
/// - `AIRSSYS_ERROR_INSTANTIATION_FAILED`.
/// - `AIRSSYS_ERROR_INITIALIZATION_FAILED`: `initialize` returned an error.
/// - `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`, `AIRSSYS_ERROR_TIMEOUT`: of compilation,
///   instantiation, `initialize`, `metadata` or `health`.
/// - `AIRSSYS_ERROR_TRAP`: in instantiation, `initialize`, `metadata` or `health`.
/// - `AIRSSYS_ERROR_IO`: the system has no thread, mapping, memory or descriptor left. The message
///   names the limit and the remedy, and `"resource"` in the details is `"threads"`, `"mappings"`,
///   `"memory"` or `"descriptors"`. A later load works once the resource is available.
/// - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
///   `AIRSSYS_ERROR_PANIC`.
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
    arguments!(unsafe {
        engine: Object,
        id: Text,
        wasm[len]: Slice,
        options_json: Text,
        out_handle: Out,
        error: Out,
    });
    answer(engine, out_handle, error, |engine| {
        let (id, wasm, options) = (id.required()?, wasm.get()?, options_json.optional()?);
        let handle = engine.load(id, wasm, options, stack::left())?;
        Ok(handle.0)
    })
}

/// Loads a component from a file; otherwise as `airssys_engine_load`.
///
/// `path`: borrowed text, UTF-8, of a regular file; no more than its size is read. An unreadable
/// file, a device or a pipe is `AIRSSYS_ERROR_IO`. If a path is not UTF-8, read the file and use
/// `airssys_engine_load`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_load_file(
    engine: *mut airssys_engine_t,
    id: *const c_char,
    path: *const c_char,
    options_json: *const c_char,
    out_handle: *mut u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe {
        engine: Object,
        id: Text,
        path: Text,
        options_json: Text,
        out_handle: Out,
        error: Out,
    });
    answer(engine, out_handle, error, |engine| {
        let (id, path, options) = (id.required()?, path.required()?, options_json.optional()?);
        let handle = engine.load_file(id, Path::new(path), options, stack::left())?;
        Ok(handle.0)
    })
}

/// Unloads a component. Its stored data remains.
///
/// The component accepts nothing more. The current message ends, waiting messages fail with
/// `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, and the component's `shutdown` is called.
///
/// `engine`: borrowed. `handle`: of a component or a group, see `airssys_engine_add_group`; an
/// unknown, stale or zero handle does nothing, so that a second unload is harmless. `error`: may be
/// NULL. Any thread; callable from callbacks. Blocks until the component is gone: for the current
/// message and for `shutdown`, each at most the component's `max-execution-time-ms`.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_SHUTDOWN_FAILED`: `shutdown` failed, trapped or took too long. The component is
///   gone nevertheless.
/// - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component waits for.
/// - `AIRSSYS_ERROR_INVALID_ARGUMENT`: also for `AIRSSYS_ALL_COMPONENTS`; `airssys_engine_shutdown`
///   ends all.
/// - `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_unload(
    engine: *mut airssys_engine_t,
    handle: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, error: Out });
    on_engine(engine, error, |engine| {
        Ok(engine.unload(ComponentHandle(handle), stack::left(), None)?)
    })
}

/// Unloads a component as `airssys_engine_unload`, and interrupts what it still runs after
/// `timeout_ms`.
///
/// `engine`, `handle`, `error`: as for `airssys_engine_unload`. `timeout_ms`: milliseconds, for
/// the current message and `shutdown` together; 0: interrupts at once. It interrupts the current
/// message or `shutdown`, but not a callback of the host: it waits for that up to two seconds
/// longer. Any thread; callable from callbacks.
///
/// Returns what `airssys_engine_unload` returns, and:
///
/// - `AIRSSYS_ERROR_SHUTDOWN_FAILED`: something was interrupted, so that `shutdown` did not
///   complete.
/// - `AIRSSYS_ERROR_TIMEOUT`: a callback of the host has not returned. The component is unloaded,
///   and its memory is released when the callback returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_unload_within(
    engine: *mut airssys_engine_t,
    handle: u64,
    timeout_ms: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, error: Out });
    let timeout = Duration::from_millis(timeout_ms);
    on_engine(engine, error, |engine| {
        Ok(engine.unload(ComponentHandle(handle), stack::left(), Some(timeout))?)
    })
}

/// Interrupts what a component runs now.
///
/// The current message, callback or lifecycle function ends with `AIRSSYS_ERROR_INTERRUPTED`, for
/// whoever waits for its outcome. A guest that waits ends at once, and one that computes within
/// milliseconds; a callback of the host that runs for it returns first. The instance is then gone,
/// and a new one handles the waiting messages. A component that runs nothing is not affected.
///
/// `engine`: borrowed. `handle`: of a pool, all instances are interrupted. `error`: may be NULL.
/// Any thread; callable from callbacks, but not from signal handlers. Does not block.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
/// `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_interrupt(
    engine: *mut airssys_engine_t,
    handle: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, error: Out });
    on_engine(engine, error, |engine| Ok(engine.interrupt(ComponentHandle(handle))?))
}
