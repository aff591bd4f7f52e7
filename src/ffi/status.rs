//! Status codes. A published value never gets another meaning.

use std::ffi::{CStr, c_char};

/// The result of a function: `AIRSSYS_OK` or an `AIRSSYS_ERROR_...` value.
///
/// Values never change, and values of retired errors are not reused. A newer library may return
/// values that this header does not name.
pub type airssys_status_t = i32;

/// Success. Outputs are written.
pub const AIRSSYS_OK: airssys_status_t = 0;
/// An argument is NULL where NULL is not allowed, a text is not UTF-8, or a struct has an
/// impossible size.
pub const AIRSSYS_ERROR_INVALID_ARGUMENT: airssys_status_t = 1;
/// A component id is not `namespace/name/instance`.
pub const AIRSSYS_ERROR_INVALID_ID: airssys_status_t = 2;
/// A JSON document has a syntax error, an unknown key, a wrong type, or a value out of range.
pub const AIRSSYS_ERROR_INVALID_OPTIONS: airssys_status_t = 3;
/// The binary is not a component, does not match `airssys:core@1.0.0`, or exceeds a limit on its
/// shape (`compile` in OPTIONS below).
pub const AIRSSYS_ERROR_INVALID_COMPONENT: airssys_status_t = 4;
/// The component could not be instantiated, or not be restarted or started.
pub const AIRSSYS_ERROR_INSTANTIATION_FAILED: airssys_status_t = 5;
/// The component's `initialize` returned an error. The message holds its text.
pub const AIRSSYS_ERROR_INITIALIZATION_FAILED: airssys_status_t = 6;
/// No component has this handle or id, or the component is gone.
pub const AIRSSYS_ERROR_COMPONENT_NOT_FOUND: airssys_status_t = 7;
/// The component does not export `component-lifecycle`, so it handles no messages.
pub const AIRSSYS_ERROR_EXPORT_NOT_FOUND: airssys_status_t = 8;
/// The caller's `timeout_ms` or the component's `max-execution-time-ms` is over. The message names
/// which, with its value, as do `limit` and `value` in the details. After `max-execution-time-ms`
/// the instance is gone, and the next message gets a new one; after `timeout_ms` it lives.
///
/// The details' `started` tells whether the message had begun when its caller's time was over.
/// If not, it never begins: `waited-ms` is how long it waited, and `behind` is the number of
/// messages that were still ahead of it then, including the running one.
pub const AIRSSYS_ERROR_TIMEOUT: airssys_status_t = 9;
/// The component reached a limit: memory, fuel, stack, tables, instances, message size, host-call
/// data. The message names the limit and its value. If the component had begun the call, its
/// instance is gone, and the next message gets a new one.
pub const AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED: airssys_status_t = 10;
/// The component returned an error. The message holds its text.
pub const AIRSSYS_ERROR_RUNTIME: airssys_status_t = 11;
/// The component trapped or exited. Its instance is gone; the next message gets a new one.
pub const AIRSSYS_ERROR_TRAP: airssys_status_t = 12;
/// The component's mailbox is full. Nothing was queued.
pub const AIRSSYS_ERROR_QUEUE_FULL: airssys_status_t = 13;
/// A callback made a blocking call that would have waited for the component that it serves.
pub const AIRSSYS_ERROR_WOULD_DEADLOCK: airssys_status_t = 14;
/// The component's `shutdown` failed. The component is unloaded or stopped nevertheless.
pub const AIRSSYS_ERROR_SHUTDOWN_FAILED: airssys_status_t = 15;
/// The engine was shut down or freed.
pub const AIRSSYS_ERROR_ENGINE_STOPPED: airssys_status_t = 16;
/// The engine was made before a `fork` and used in the child.
pub const AIRSSYS_ERROR_FORKED: airssys_status_t = 17;
/// A bug in this library. Please report it. The engine stays usable.
pub const AIRSSYS_ERROR_PANIC: airssys_status_t = 18;
/// The operating system refused a file, a directory, a thread, memory or a descriptor.
pub const AIRSSYS_ERROR_IO: airssys_status_t = 19;
/// The payload begins with a multicodec that is not among the receiver's `codecs`, or begins with
/// none where one is required.
pub const AIRSSYS_ERROR_INVALID_MESSAGE: airssys_status_t = 20;
/// The host has no request with this id, or the request already has its outcome.
pub const AIRSSYS_ERROR_REQUEST_NOT_FOUND: airssys_status_t = 21;
/// The request was ended by `airssys_engine_cancel`.
pub const AIRSSYS_ERROR_CANCELLED: airssys_status_t = 22;
/// A message was not delivered: to some targets of a broadcast, or by the router.
pub const AIRSSYS_ERROR_DELIVERY_FAILED: airssys_status_t = 23;
/// `airssys_engine_interrupt`, or the `progress` callback of a call, ended the message. The
/// instance is gone; the next message gets a new one. Or `progress` ended the wait of
/// `airssys_engine_precompile`.
pub const AIRSSYS_ERROR_INTERRUPTED: airssys_status_t = 24;
/// The component is stopped, or was stopped before it answered. `airssys_engine_start` starts it.
pub const AIRSSYS_ERROR_COMPONENT_STOPPED: airssys_status_t = 25;
/// The component has failed: its `supervision` allows no further restart, or it could not be
/// started. `airssys_engine_status` says why, and `airssys_engine_start` starts it.
pub const AIRSSYS_ERROR_COMPONENT_FAILED: airssys_status_t = 26;
/// The storage has no such operation.
pub const AIRSSYS_ERROR_UNSUPPORTED: airssys_status_t = 27;
/// The storage does not do what a storage must. The message lists the broken rules.
pub const AIRSSYS_ERROR_NOT_CONFORMING: airssys_status_t = 28;
/// The component has a canary, see `airssys_engine_replace`: another version can take over after
/// `airssys_engine_promote` or `airssys_engine_abort`.
pub const AIRSSYS_ERROR_CANARY_UNDER_WAY: airssys_status_t = 29;

/// Returns the name of a status, for example `"AIRSSYS_ERROR_TIMEOUT"`.
///
/// The name of a value that this library does not know is `"AIRSSYS_ERROR_UNKNOWN"`. The text is
/// static and must not be freed. Any thread; callable from callbacks.
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
        AIRSSYS_ERROR_COMPONENT_STOPPED => c"AIRSSYS_ERROR_COMPONENT_STOPPED",
        AIRSSYS_ERROR_COMPONENT_FAILED => c"AIRSSYS_ERROR_COMPONENT_FAILED",
        AIRSSYS_ERROR_UNSUPPORTED => c"AIRSSYS_ERROR_UNSUPPORTED",
        AIRSSYS_ERROR_NOT_CONFORMING => c"AIRSSYS_ERROR_NOT_CONFORMING",
        AIRSSYS_ERROR_CANARY_UNDER_WAY => c"AIRSSYS_ERROR_CANARY_UNDER_WAY",
        _ => c"AIRSSYS_ERROR_UNKNOWN",
    }
}
