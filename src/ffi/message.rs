//! Messages from the host.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use crate::core::id::{ComponentHandle, ComponentId};
use crate::ffi::arguments::{
    Sized0, bytes, content_type, numbers, object, optional_text, output, versioned, write_output,
};
use crate::ffi::boundary::boundary;
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::engine::airssys_engine_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::stack;
use crate::ffi::status::airssys_status_t;
use crate::system::calling::Patience;
use crate::system::error::EngineError;
use crate::system::sending::HostMessage;

/// What a message carries besides its payload. Zero everything, set `size`, then what you need.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_message_options_t {
    /// `sizeof(airssys_message_options_t)`.
    pub size: usize,
    /// In whose name, `namespace/name/instance`; any will do, the host vouches for it. NULL:
    /// `host/<engine name>/0`.
    pub sender: *const c_char,
    /// What the payload is, for example `application/json`, at most 1,024 bytes; NULL: not said.
    pub content_type: *const c_char,
    /// How long a call waits, or a request is open, at most, in milliseconds, the wait in the
    /// mailbox included; 0: no limit but those of the component. A host callback that runs on the
    /// calling thread is not cut short. A message that has begun by then is handled to its end; one
    /// whose turn has not come never is, and becomes a dead letter. For a send: how long it waits
    /// for room in a mailbox that blocks its senders; 0: as long as it takes.
    pub timeout_ms: u64,
    /// Any of the `AIRSSYS_MESSAGE_...` flags, or 0.
    pub flags: u64,
    /// Of a call: asked about every 50 ms, on the calling thread and its native stack, while the call
    /// waits; NULL: nobody is asked.
    pub progress: airssys_progress_fn_t,
    /// Handed to `progress`; the library does nothing else with it.
    pub progress_data: *mut c_void,
}

/// Says whether a call goes on: 0 has it go on; anything else ends it with
/// `AIRSSYS_ERROR_INTERRUPTED`: its message is taken back if it waits, and interrupted, as by
/// `airssys_engine_interrupt`, if it is being handled. For hosts that look at signals, a terminal or a
/// cancel button while they wait.
///
/// `user_data`: `progress_data` of the options. It must return soon, must not unwind into the library,
/// and must call no function of this library but `airssys_engine_interrupt` and
/// `airssys_engine_cancel`. While a callback of the host runs on the calling thread, nobody is asked.
pub type airssys_progress_fn_t = Option<unsafe extern "C" fn(user_data: *mut c_void) -> i32>;

/// Has a message end with the patience of its sender: when a call's timeout or a request's deadline
/// passes, or the request is cancelled, a message that is being handled is interrupted, as by
/// `airssys_engine_interrupt`, and one that waits is taken back.
pub const AIRSSYS_MESSAGE_ENDS_WITH_SENDER: u64 = 1;

// SAFETY: `repr(C)`, `size` comes first; pointers, integers and an optional function may be zero.
unsafe impl Sized0 for airssys_message_options_t {
    const FIRST_SIZE: usize = 3 * size_of::<usize>() + size_of::<u64>();
}

/// A message and its timeout.
///
/// # Safety
///
/// `payload` is NULL or has `len` bytes; `options` is NULL or a live struct of the size it says,
/// with texts that are NULL or NUL-terminated; nobody changes them for as long as `'a`.
pub unsafe fn message<'a>(
    payload: *const u8,
    len: usize,
    options: *const airssys_message_options_t,
) -> Result<(HostMessage<'a>, Patience), Failure> {
    // SAFETY: this function's contract.
    let payload = unsafe { bytes(payload, len, "payload") }?;
    // SAFETY: this function's contract.
    let Some(options) = (unsafe { versioned(options, "options") })? else {
        let message = HostMessage { payload, sender: None, content_type: None };
        return Ok((message, Patience::default()));
    };
    // SAFETY: this function's contract.
    let sender = unsafe { optional_text(options.sender, "options.sender") }?;
    // SAFETY: this function's contract.
    let content_type = unsafe { content_type(options.content_type, "options.content_type") }?;
    let sender = sender.map(ComponentId::parse).transpose().map_err(EngineError::from)?;
    let timeout = (options.timeout_ms > 0).then(|| Duration::from_millis(options.timeout_ms));
    let unknown = options.flags & !AIRSSYS_MESSAGE_ENDS_WITH_SENDER;
    if unknown != 0 {
        let problem = format!("has bits that this library does not know: {unknown:#x}");
        return Err(Failure::argument("options.flags", &problem));
    }
    let ends_message = options.flags & AIRSSYS_MESSAGE_ENDS_WITH_SENDER != 0;
    let data = options.progress_data;
    let gives_up = options.progress.map(|progress| -> Box<dyn Fn() -> bool> {
        // SAFETY: the host's own function and data, on the thread that called.
        Box::new(move || unsafe { progress(data) } != 0)
    });
    Ok((
        HostMessage { payload, sender, content_type },
        Patience { timeout, ends_message, gives_up },
    ))
}

/// Queues a message whose outcome nobody waits for. If handling it fails, the log says so.
///
/// `engine`: borrowed. `payload`: borrowed, copied; (NULL, 0) is empty. `options`: borrowed, may be
/// NULL. `error`: may be NULL. Any thread; callable from callbacks. Messages that one thread sends
/// to one component are handled in that order; the instances of a pool share them, and only each
/// instance keeps the order.
///
/// Returns `AIRSSYS_OK` once the message is queued, `AIRSSYS_ERROR_QUEUE_FULL` (no room, or none in
/// time), `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED` (beyond the receiver's `max-message-bytes`),
/// `AIRSSYS_ERROR_EXPORT_NOT_FOUND` (it handles no messages), `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`,
/// `AIRSSYS_ERROR_INVALID_MESSAGE` (none of the receiver's `codecs`), `AIRSSYS_ERROR_WOULD_DEADLOCK` (a callback that would wait for room in the
/// mailbox of the component that waits for it), `AIRSSYS_ERROR_INVALID_ID` (`options.sender`),
/// `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
/// `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_send(
    engine: *mut airssys_engine_t,
    handle: u64,
    payload: *const u8,
    len: usize,
    options: *const airssys_message_options_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let body = || {
        // SAFETY: by this function's contract NULL or a live engine.
        let engine = unsafe { object(engine, "engine") }?.enter()?;
        // SAFETY: by this function's contract as `message` needs it.
        let (message, patience) = unsafe { message(payload, len, options) }?;
        Ok(engine.send(ComponentHandle(handle), message, patience.timeout)?)
    };
    // SAFETY: by this function's contract `error` is NULL or valid for writing.
    unsafe { boundary(error, body) }
}

/// Queues one message for several components; all are tried, and they share its payload.
///
/// `engine`: borrowed. `handles`: borrowed, `count` of them; (NULL, 0) is none. `payload`: borrowed,
/// copied once; (NULL, 0) is empty. `options`: borrowed, may be NULL; `timeout_ms` is for all of
/// them together. `error`: may be NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK` if all have accepted it, `AIRSSYS_ERROR_DELIVERY_FAILED` if some have not
/// (`failed` of the error's details names each with its status and reason),
/// `AIRSSYS_ERROR_INVALID_ID` (`options.sender`), `AIRSSYS_ERROR_ENGINE_STOPPED`,
/// `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_broadcast(
    engine: *mut airssys_engine_t,
    handles: *const u64,
    count: usize,
    payload: *const u8,
    len: usize,
    options: *const airssys_message_options_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let body = || {
        // SAFETY: by this function's contract NULL or a live engine.
        let engine = unsafe { object(engine, "engine") }?.enter()?;
        // SAFETY: by this function's contract NULL or `count` handles.
        let handles = unsafe { numbers(handles, count, "handles") }?;
        let handles: Vec<_> = handles.iter().copied().map(ComponentHandle).collect();
        // SAFETY: by this function's contract as `message` needs it.
        let (message, patience) = unsafe { message(payload, len, options) }?;
        Ok(engine.broadcast(&handles, message, patience.timeout)?)
    };
    // SAFETY: by this function's contract `error` is NULL or valid for writing.
    unsafe { boundary(error, body) }
}

/// Hands a message to a component and waits for the reply.
///
/// `engine`: borrowed. `payload`: borrowed, not to be changed by others meanwhile; (NULL, 0) is
/// empty. `options`: borrowed, may be NULL. `out_reply`: receives the reply, which the caller owns;
/// its `data` is NULL if the component handled the message and replied nothing. `error`: may be
/// NULL. Any thread, several at once: calls to one instance wait for each other, calls to different
/// ones, of a pool too, do not. Callable from callbacks.
///
/// An idle component is run on the calling thread, which needs no more than 64 KiB of stack for it
/// (and what the host's own callbacks use): guests have stacks of their own. One that imports
/// nothing in which it may have to wait uses the thread's, where that has 768 KiB left.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_RUNTIME` or the status of another `wasm-error` case (the
/// component answered with an error), `AIRSSYS_ERROR_TRAP`, `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`,
/// `AIRSSYS_ERROR_TIMEOUT`, `AIRSSYS_ERROR_EXPORT_NOT_FOUND`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`
/// (the handle, or unloaded before it answered), `AIRSSYS_ERROR_INTERRUPTED`,
/// `AIRSSYS_ERROR_INVALID_MESSAGE` (none of the receiver's `codecs`),
/// `AIRSSYS_ERROR_INSTANTIATION_FAILED` (no new instance after a crash), `AIRSSYS_ERROR_IO` (no memory
/// for its stack; it has not begun), `AIRSSYS_ERROR_QUEUE_FULL`, `AIRSSYS_ERROR_WOULD_DEADLOCK`,
/// `AIRSSYS_ERROR_INVALID_ID` (`options.sender`), `AIRSSYS_ERROR_ENGINE_STOPPED`,
/// `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_call(
    engine: *mut airssys_engine_t,
    handle: u64,
    payload: *const u8,
    len: usize,
    options: *const airssys_message_options_t,
    out_reply: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let body = || {
        // SAFETY: by this function's contract NULL or a live engine.
        let engine = unsafe { object(engine, "engine") }?.enter()?;
        let out = output(out_reply, "out_reply")?;
        // SAFETY: by this function's contract as `message` needs it.
        let (message, patience) = unsafe { message(payload, len, options) }?;
        let reply = engine.call(ComponentHandle(handle), message, patience, stack::left())?;
        // SAFETY: not NULL, and by this function's contract valid for writing.
        unsafe { write_output(out, airssys_bytes_t::new(reply)) };
        Ok(())
    };
    // SAFETY: by this function's contract `error` is NULL or valid for writing.
    unsafe { boundary(error, body) }
}
