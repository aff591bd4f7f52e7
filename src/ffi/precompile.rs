//! Compiling ahead of a load, and how a host ends a wait.

use std::ffi::c_void;

use crate::ffi::arguments::arguments;
use crate::ffi::error::airssys_error_t;
use crate::ffi::on_engine::{airssys_engine_t, on_engine};
use crate::ffi::status::airssys_status_t;

/// Decides whether a function continues to wait: 0 continues, any other value ends the function with
/// `AIRSSYS_ERROR_INTERRUPTED`. For hosts that check signals, a terminal or a cancel button
/// meanwhile.
///
/// A waiting message is then withdrawn, and a running one is interrupted, as by
/// `airssys_engine_interrupt`. A compilation continues in the background.
///
/// `user_data`: `progress_data` of the function or its options. The callback must return soon and
/// must not unwind into the library. It must call no function of this library except
/// `airssys_engine_interrupt` and `airssys_engine_cancel`. It is not called while a callback of the
/// host runs on the calling thread.
pub type airssys_progress_fn_t = Option<unsafe extern "C" fn(user_data: *mut c_void) -> i32>;

/// Compiles a component without loading it. A later load of the same binary compiles nothing: the
/// engine keeps the code (see `max-unused-code-bytes`), and with `cache-dir` so does that directory,
/// also for later processes.
///
/// - `engine`: borrowed.
/// - `wasm`, `len`: borrowed, the binary.
/// - `progress`: called about every 50 ms while the function waits, on the calling thread; may be
///   NULL. If it returns another value than 0, the function returns `AIRSSYS_ERROR_INTERRUPTED`; the
///   compilation continues in the background, at lower priority than all other threads.
/// - `progress_data`: passed to `progress`.
/// - `error`: may be NULL.
///
/// Any thread, several at once; callable from callbacks. Blocks while it compiles.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INTERRUPTED`, or as of `airssys_engine_load`:
/// `AIRSSYS_ERROR_INVALID_COMPONENT`, `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`,
/// `AIRSSYS_ERROR_TIMEOUT`, `AIRSSYS_ERROR_IO`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
/// `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_precompile(
    engine: *mut airssys_engine_t,
    wasm: *const u8,
    len: usize,
    progress: airssys_progress_fn_t,
    progress_data: *mut c_void,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, wasm[len]: Slice, error: Out });
    on_engine(engine, error, |engine| {
        let wasm = wasm.get()?;
        let gives_up = gives_up(progress, progress_data);
        Ok(engine.precompile(wasm, gives_up)?)
    })
}

/// Returns the host's `progress` callback as a question.
pub(super) fn gives_up(
    progress: airssys_progress_fn_t,
    data: *mut c_void,
) -> Option<Box<dyn Fn() -> bool>> {
    progress.map(|progress| -> Box<dyn Fn() -> bool> {
        // SAFETY: the host's own function and data, on the calling thread.
        Box::new(move || unsafe { progress(data) } != 0)
    })
}
