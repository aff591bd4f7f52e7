//! The engine of the C ABI, and functions that take one.

use std::ops::Deref;
use std::sync::Arc;

use crate::ffi::arguments::{object, output, write_output};
use crate::ffi::boundary::boundary;
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::fork;
use crate::ffi::rundown::{Rundown, RundownGuard};
use crate::ffi::status::airssys_status_t;
use crate::system::engine::Engine;

/// An engine: components, their workers, storage and log. Release it with `airssys_engine_free`.
pub struct airssys_engine_t {
    pub(super) engine: Engine,
    pub(super) rundown: Arc<Rundown<airssys_engine_t>>,
    /// See `fork::generation`.
    pub(super) made_at: u64,
}

/// A call inside an engine, which is not freed during the call.
pub struct Entered<'a> {
    engine: &'a Engine,
    _guard: RundownGuard<'a, airssys_engine_t>,
}

impl Deref for Entered<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        self.engine
    }
}

impl airssys_engine_t {
    /// Enters the engine, unless this process is a child of the one that made it.
    pub fn enter(&self) -> Result<Entered<'_>, Failure> {
        if self.is_from_before_a_fork() {
            return Err(Failure::forked());
        }
        Ok(Entered { engine: &self.engine, _guard: self.rundown.protect() })
    }

    pub(super) fn is_from_before_a_fork(&self) -> bool {
        fork::generation() != self.made_at
    }
}

/// Runs the body of a function without an output.
///
/// # Safety
///
/// `engine` is NULL or live; `error` is NULL or valid for writing.
pub unsafe fn on_engine(
    engine: *const airssys_engine_t,
    error: *mut *mut airssys_error_t,
    body: impl FnOnce(&Engine) -> Result<(), Failure>,
) -> airssys_status_t {
    let body = || {
        // SAFETY: this function's contract.
        let engine = unsafe { object(engine, "engine") }?.enter()?;
        body(&engine)
    };
    // SAFETY: this function's contract.
    unsafe { boundary(error, body) }
}

/// Runs the body of a function with an output, the parameter `name`.
///
/// # Safety
///
/// `engine` is NULL or live; `out` and `error` are NULL or valid for writing.
pub unsafe fn answer<T>(
    engine: *const airssys_engine_t,
    (name, out): (&str, *mut T),
    error: *mut *mut airssys_error_t,
    body: impl FnOnce(&Engine) -> Result<T, Failure>,
) -> airssys_status_t {
    let body = |engine: &Engine| {
        let out = output(out, name)?;
        let answer = body(engine)?;
        // SAFETY: not NULL, and this function's contract.
        unsafe { write_output(out, answer) };
        Ok(())
    };
    // SAFETY: this function's contract.
    unsafe { on_engine(engine, error, body) }
}

/// Runs the body of a function whose output is a JSON document.
///
/// # Safety
///
/// `engine` is NULL or live; `out_json` and `error` are NULL or valid for writing.
pub unsafe fn document(
    engine: *const airssys_engine_t,
    out_json: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
    make: impl FnOnce(&Engine) -> Result<String, Failure>,
) -> airssys_status_t {
    let make = |engine: &Engine| Ok(airssys_bytes_t::document(make(engine)?));
    // SAFETY: this function's contract.
    unsafe { answer(engine, ("out_json", out_json), error, make) }
}
