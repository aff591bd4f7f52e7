//! Errors as objects that the caller owns.

use std::ffi::{CString, c_char};

use crate::ffi::arguments::{free, reference};
use crate::ffi::failure::Failure;
use crate::ffi::status::{AIRSSYS_OK, airssys_status_t};

/// What went wrong, in words and in JSON. Owned by whoever got it from a function's `error`
/// parameter; released with `airssys_error_free`. Usable on any thread, after its engine too.
pub struct airssys_error_t {
    status: airssys_status_t,
    message: CString,
    detail: CString,
}

impl airssys_error_t {
    /// The status that it stands for.
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

/// Text for C, which ends at the first NUL: those within are shown, as guests choose some texts.
pub fn c_text(text: String) -> CString {
    let text = if text.contains('\0') { text.replace('\0', "\\0") } else { text };
    CString::new(text).unwrap_or_default()
}

/// The status that the failed function returned.
///
/// `error`: borrowed; NULL is answered with `AIRSSYS_OK`. Any thread; callable from callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_error_status(error: *const airssys_error_t) -> airssys_status_t {
    // SAFETY: by this function's contract `error` is NULL or a live error.
    unsafe { reference(error) }.map_or(AIRSSYS_OK, |error| error.status)
}

/// What went wrong, for people: which component, which limit and its value, what the guest said,
/// which key of which document. Words of a component or names from a binary may be in it, with line
/// breaks and control characters: escape them before you print it. At most 64 KiB.
///
/// `error`: borrowed; NULL is answered with `""`. The text belongs to the error and lives as long.
/// Any thread; callable from callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_error_message(error: *const airssys_error_t) -> *const c_char {
    // SAFETY: by this function's contract `error` is NULL or a live error.
    unsafe { reference(error) }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// What went wrong, for programs: a JSON object, `{}` if there is nothing to add. Members, where
/// they apply: `component`, `handle`, `argument`, `path`; `place`, `key`, `nearest`, `known` of a
/// JSON document; `limit` and `value`; `code` (a case name of the WIT variants `wasm-error` or
/// `messaging-error`), `origin` (`"guest"` if the component itself answered with the error),
/// `during` (a step of loading), `backtrace` (of a trap); `unfinished`; `codec` and `accepted` (of a
/// payload that the receiver does not take); `request`; `failed` (of a broadcast: an array of
/// objects with `handle`, `status` and `message`).
///
/// `error`: borrowed; NULL is answered with `"{}"`. The text belongs to the error and lives as
/// long. Any thread; callable from callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_error_detail_json(error: *const airssys_error_t) -> *const c_char {
    // SAFETY: by this function's contract `error` is NULL or a live error.
    unsafe { reference(error) }.map_or(c"{}".as_ptr(), |error| error.detail.as_ptr())
}

/// Releases an error; NULL does nothing. Any thread; callable from callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_error_free(error: *mut airssys_error_t) {
    // SAFETY: by this function's contract `error` is NULL, or an error that is not used again.
    drop(unsafe { free(error) });
}
