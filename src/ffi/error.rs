//! Error objects, owned by the caller.

use std::ffi::{CString, c_char};

use crate::ffi::arguments::{arguments, free};
use crate::ffi::failure::Failure;
use crate::ffi::status::{AIRSSYS_OK, airssys_status_t};

/// An error: a status, a text and JSON details.
///
/// The caller that received it through an `error` parameter owns it, and must release it with
/// `airssys_error_free`. It may be used on any thread, also after its engine is freed.
pub struct airssys_error_t {
    status: airssys_status_t,
    message: CString,
    detail: CString,
}

impl airssys_error_t {
    /// Returns the status of the failed function.
    pub fn status(&self) -> airssys_status_t {
        self.status
    }
}

impl From<Failure> for airssys_error_t {
    fn from(failure: Failure) -> Self {
        Self {
            status: failure.status,
            message: c_text(failure.message),
            detail: c_text(serde_json::Value::Object(failure.detail).to_string()),
        }
    }
}

/// Converts a text for C. NULs inside it, which guests can choose, become `\0`.
pub fn c_text(text: String) -> CString {
    let text = if text.contains('\0') { text.replace('\0', "\\0") } else { text };
    CString::new(text).unwrap_or_default()
}

/// Returns the status of the function that failed.
///
/// `error`: borrowed; the status of NULL is `AIRSSYS_OK`. Any thread; callable from callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_error_status(error: *const airssys_error_t) -> airssys_status_t {
    arguments!(unsafe { error: Object });
    error.optional().map_or(AIRSSYS_OK, |error| error.status)
}

/// Returns the text of an error, for people.
///
/// It names the component, the limit and its value, the guest's own words, or the key of the JSON
/// document. It can hold text of a component or names from a binary, with line breaks and control
/// characters: escape it before printing. It has at most 64 KiB.
///
/// `error`: borrowed; the text of NULL is `""`. The error owns the text, which is valid until the
/// error is freed. Any thread; callable from callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_error_message(error: *const airssys_error_t) -> *const c_char {
    arguments!(unsafe { error: Object });
    error.optional().map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// Returns the details of an error, for programs: a JSON object, `{}` if there are none.
///
/// Members, where they apply:
///
///     component, handle, argument, path, request, resource
///     place, key, nearest, known      of a JSON document
///     limit, value                    the limit that was reached
///     code                            case name of the WIT variant wasm-error or messaging-error,
///                                     or "trap" or "exit"
///     origin                          "guest" if the component itself returned the error
///     during                          the step of loading: "instantiation", "initialize",
///                                     "metadata", "health" or "replacement"
///     backtrace                       of a trap
///     exit-code                       of an exit; 0 or 1 unless the component uses exit-with-code
///                                     of wasi:cli/exit, which is new in WASI 0.2.12
///     stderr                          of a trap or an exit: the last lines that the component wrote
///                                     to standard error, at most 4 KiB; the message has three
///     state, wanted                   of a component that does not run, or not yet
///     version                         that a component keeps after a failed replacement
///     health                          of a version that did not become healthy in time
///     started, waited-ms, behind      of a timeout, see AIRSSYS_ERROR_TIMEOUT
///     unfinished, components          their number, and { handle, id, state, depth } of the first
///                                     1,000 components that a shutdown did not finish
///     codec, accepted                 of a payload that the receiver does not accept
///     failed                          of a broadcast, or a function for all components: array of
///                                     { handle, status, message }
///
/// `error`: borrowed; the details of NULL are `"{}"`. The error owns the text, which is valid until
/// the error is freed. Any thread; callable from callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_error_detail_json(error: *const airssys_error_t) -> *const c_char {
    arguments!(unsafe { error: Object });
    error.optional().map_or(c"{}".as_ptr(), |error| error.detail.as_ptr())
}

/// Releases an error; NULL does nothing. Set the variable to NULL afterwards if it is used again.
/// Any thread; callable from callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_error_free(error: *mut airssys_error_t) {
    // SAFETY: by this function's contract `error` is NULL, or an error that is not used again.
    drop(unsafe { free(error) });
}
