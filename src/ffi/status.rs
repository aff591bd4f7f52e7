//! Status codes. A value, once published, is never reused for another meaning.

use std::ffi::{CStr, c_char};

/// What a function returns: `AIRSSYS_OK` or one of the `AIRSSYS_ERROR_...` values.
///
/// Values are pinned: they never change, and those of retired errors are not reused. Expect values
/// that this header does not name, from a newer library.
pub type airssys_status_t = i32;

/// Success; outputs are written.
pub const AIRSSYS_OK: airssys_status_t = 0;
/// A NULL where none is allowed, text that is not UTF-8, or a struct of an impossible size.
pub const AIRSSYS_ERROR_INVALID_ARGUMENT: airssys_status_t = 1;
/// A component id that is not `namespace/name/instance`.
pub const AIRSSYS_ERROR_INVALID_ID: airssys_status_t = 2;
/// A JSON document with a syntax error, an unknown key, a wrong type or a value out of range.
pub const AIRSSYS_ERROR_INVALID_OPTIONS: airssys_status_t = 3;
/// A binary that is no component, or one that does not fit `airssys:core@1.0.0`.
pub const AIRSSYS_ERROR_INVALID_COMPONENT: airssys_status_t = 4;
/// A component that could not be instantiated, or not be restarted after a crash.
pub const AIRSSYS_ERROR_INSTANTIATION_FAILED: airssys_status_t = 5;
/// The component's `initialize` refused; the message carries its words.
pub const AIRSSYS_ERROR_INITIALIZATION_FAILED: airssys_status_t = 6;
/// No component has this handle or id, or not any more.
pub const AIRSSYS_ERROR_COMPONENT_NOT_FOUND: airssys_status_t = 7;
/// The component exports no `component-lifecycle`, so it handles no messages.
pub const AIRSSYS_ERROR_EXPORT_NOT_FOUND: airssys_status_t = 8;
/// The caller's `timeout_ms` or the component's `max-execution-time-ms` is over; the message says
/// which, and its value. `started` of the details says whether a message was begun before its
/// caller's time was over. If it was not, it never will be: `waited-ms` says for how long it waited,
/// and `behind` how much mail was before it at last, the one being handled included.
pub const AIRSSYS_ERROR_TIMEOUT: airssys_status_t = 9;
/// The component ran into its memory, fuel, stack, table, instance or host-call data limit; the
/// message names limit and value.
pub const AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED: airssys_status_t = 10;
/// The component answered with an error of its own; the message carries its words.
pub const AIRSSYS_ERROR_RUNTIME: airssys_status_t = 11;
/// The component trapped or exited. Its instance is gone; the next message gets a new one.
pub const AIRSSYS_ERROR_TRAP: airssys_status_t = 12;
/// The component's mailbox is full; nothing was queued.
pub const AIRSSYS_ERROR_QUEUE_FULL: airssys_status_t = 13;
/// The call would have waited for the component whose callback made it.
pub const AIRSSYS_ERROR_WOULD_DEADLOCK: airssys_status_t = 14;
/// The component's `shutdown` failed; the component is unloaded all the same.
pub const AIRSSYS_ERROR_SHUTDOWN_FAILED: airssys_status_t = 15;
/// The engine was shut down or freed.
pub const AIRSSYS_ERROR_ENGINE_STOPPED: airssys_status_t = 16;
/// The engine was made before a `fork` and used in the child.
pub const AIRSSYS_ERROR_FORKED: airssys_status_t = 17;
/// A defect of this library; please report it. The engine stays usable.
pub const AIRSSYS_ERROR_PANIC: airssys_status_t = 18;
/// A file, directory or thread that the operating system refused.
pub const AIRSSYS_ERROR_IO: airssys_status_t = 19;
/// The receiver declared `codecs`, and the payload is none of them; or a payload that should be
/// self-describing is not.
pub const AIRSSYS_ERROR_INVALID_MESSAGE: airssys_status_t = 20;
/// No request of the host's has this id, or it has its outcome already.
pub const AIRSSYS_ERROR_REQUEST_NOT_FOUND: airssys_status_t = 21;
/// The outcome of a request that `airssys_engine_cancel` ended.
pub const AIRSSYS_ERROR_CANCELLED: airssys_status_t = 22;
/// A message was not handed over: some targets of a broadcast, a router that could not take it.
pub const AIRSSYS_ERROR_DELIVERY_FAILED: airssys_status_t = 23;
/// `airssys_engine_interrupt`, or the `progress` callback of a call, ended the message. The instance
/// is gone; the next message gets a new one.
pub const AIRSSYS_ERROR_INTERRUPTED: airssys_status_t = 24;

/// The name of a status, for example `"AIRSSYS_ERROR_TIMEOUT"`; `"AIRSSYS_ERROR_UNKNOWN"` for a
/// value that this library does not know.
///
/// The text is static and never freed. Any thread; callable from callbacks.
#[unsafe(no_mangle)]
pub extern "C" fn airssys_status_name(status: airssys_status_t) -> *const c_char {
    name(status).as_ptr()
}

fn name(status: airssys_status_t) -> &'static CStr {
    match status {
        AIRSSYS_OK => c"AIRSSYS_OK",
        AIRSSYS_ERROR_INVALID_ARGUMENT => c"AIRSSYS_ERROR_INVALID_ARGUMENT",
        AIRSSYS_ERROR_INVALID_ID => c"AIRSSYS_ERROR_INVALID_ID",
        AIRSSYS_ERROR_INVALID_OPTIONS => c"AIRSSYS_ERROR_INVALID_OPTIONS",
        AIRSSYS_ERROR_INVALID_COMPONENT => c"AIRSSYS_ERROR_INVALID_COMPONENT",
        AIRSSYS_ERROR_INSTANTIATION_FAILED => c"AIRSSYS_ERROR_INSTANTIATION_FAILED",
        AIRSSYS_ERROR_INITIALIZATION_FAILED => c"AIRSSYS_ERROR_INITIALIZATION_FAILED",
        AIRSSYS_ERROR_COMPONENT_NOT_FOUND => c"AIRSSYS_ERROR_COMPONENT_NOT_FOUND",
        AIRSSYS_ERROR_EXPORT_NOT_FOUND => c"AIRSSYS_ERROR_EXPORT_NOT_FOUND",
        AIRSSYS_ERROR_TIMEOUT => c"AIRSSYS_ERROR_TIMEOUT",
        AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED => c"AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED",
        AIRSSYS_ERROR_RUNTIME => c"AIRSSYS_ERROR_RUNTIME",
        AIRSSYS_ERROR_TRAP => c"AIRSSYS_ERROR_TRAP",
        AIRSSYS_ERROR_QUEUE_FULL => c"AIRSSYS_ERROR_QUEUE_FULL",
        AIRSSYS_ERROR_WOULD_DEADLOCK => c"AIRSSYS_ERROR_WOULD_DEADLOCK",
        AIRSSYS_ERROR_SHUTDOWN_FAILED => c"AIRSSYS_ERROR_SHUTDOWN_FAILED",
        AIRSSYS_ERROR_ENGINE_STOPPED => c"AIRSSYS_ERROR_ENGINE_STOPPED",
        AIRSSYS_ERROR_FORKED => c"AIRSSYS_ERROR_FORKED",
        AIRSSYS_ERROR_PANIC => c"AIRSSYS_ERROR_PANIC",
        AIRSSYS_ERROR_IO => c"AIRSSYS_ERROR_IO",
        AIRSSYS_ERROR_INVALID_MESSAGE => c"AIRSSYS_ERROR_INVALID_MESSAGE",
        AIRSSYS_ERROR_REQUEST_NOT_FOUND => c"AIRSSYS_ERROR_REQUEST_NOT_FOUND",
        AIRSSYS_ERROR_CANCELLED => c"AIRSSYS_ERROR_CANCELLED",
        AIRSSYS_ERROR_DELIVERY_FAILED => c"AIRSSYS_ERROR_DELIVERY_FAILED",
        AIRSSYS_ERROR_INTERRUPTED => c"AIRSSYS_ERROR_INTERRUPTED",
        _ => c"AIRSSYS_ERROR_UNKNOWN",
    }
}
