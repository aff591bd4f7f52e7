//! Checks a host's storage.

use std::time::Duration;

use crate::ffi::arguments::arguments;
use crate::ffi::boundary::boundary;
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::host_storage;
use crate::ffi::status::airssys_status_t;
use crate::ffi::storage::airssys_storage_t;
use crate::storage::conformance;

/// The time for one rule, unless the host names one.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Checks that a storage does what a storage must, without an engine.
///
/// It stores keys in namespaces of its own, which begin with `airssys-selftest-`, and removes
/// them again. It takes about 10,000 calls, from up to 8 threads at once, and values of up to 16
/// MiB.
///
///     { "conforms": true, "rules": [
///       { "rule": "empty-value", "text": "An empty value is a value, not a missing key.",
///         "result": "held" } ] }
///
/// A result is `held`, `skipped` (with a `reason`: the storage lacks what the rule is about) or
/// `broken` (with what it `did`, what was `expected`, and what was `found`).
///
/// - `storage`: borrowed. `drop` is not called.
/// - `timeout_ms`: milliseconds for one rule; 0: 60,000.
/// - `out_report`: receives the document, which the caller owns. If rules are broken, the error
///   has it as its details, and its message lists them.
/// - `error`: may be NULL.
///
/// Any thread; callable from callbacks. Blocks until all rules are checked.
///
/// Returns `AIRSSYS_OK` if no rule is broken, or:
///
/// - `AIRSSYS_ERROR_NOT_CONFORMING`: rules are broken.
/// - `AIRSSYS_ERROR_TIMEOUT`: a rule took longer. Its calls still run on threads of the library,
///   so the storage and `user_data` must stay valid until the process ends.
/// - `AIRSSYS_ERROR_INVALID_ARGUMENT`: as for `airssys_config_set_storage`.
/// - `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_storage_selftest(
    storage: *const airssys_storage_t,
    timeout_ms: u64,
    out_report: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { storage: Versioned, out_report: Out, error: Out });
    boundary(error, || {
        let backend = host_storage::lent(&storage.required()?)?;
        let out_report = out_report.required()?;
        let limit = if timeout_ms == 0 { TIMEOUT } else { Duration::from_millis(timeout_ms) };
        let report = conformance::check(backend, limit);
        if !report.conforms() {
            return Err(Failure::not_conforming(&report));
        }
        out_report.write(airssys_bytes_t::document(report.json().to_string()));
        Ok(())
    })
}
