//! Functions that take an engine.

use crate::ffi::arguments::{object, output, write_output};
use crate::ffi::boundary::boundary;
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::engine::airssys_engine_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::status::airssys_status_t;
use crate::system::engine::Engine;

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
