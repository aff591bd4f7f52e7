//! Functions that answer with a JSON document.

use crate::ffi::arguments::{object, output, write_output};
use crate::ffi::boundary::boundary;
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::engine::airssys_engine_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::status::airssys_status_t;
use crate::system::engine::Engine;

/// Runs a function that writes a JSON document.
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
    let body = || {
        // SAFETY: this function's contract.
        let engine = unsafe { object(engine, "engine") }?.enter()?;
        let out = output(out_json, "out_json")?;
        let document = make(&engine)?;
        // SAFETY: not NULL, and this function's contract.
        unsafe { write_output(out, airssys_bytes_t::document(document)) };
        Ok(())
    };
    // SAFETY: this function's contract.
    unsafe { boundary(error, body) }
}
