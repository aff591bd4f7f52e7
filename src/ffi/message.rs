//! Messages from the host.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use crate::core::id::{ComponentHandle, ComponentId};
use crate::ffi::arguments::{Sized0, Slice, Text, Versioned, arguments};
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::on_engine::airssys_engine_t;
use crate::ffi::on_engine::{answer, on_engine};
use crate::ffi::precompile::{airssys_progress_fn_t, gives_up};
use crate::ffi::stack;
use crate::ffi::status::airssys_status_t;
use crate::system::error::EngineError;
use crate::system::sending::HostMessage;
use crate::system::sending::Patience;

/// What a message carries besides its payload. Zero the struct, set `size`, then set the other
/// fields.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_message_options_t {
    /// `sizeof(airssys_message_options_t)`.
    pub size: usize,
    /// The sender, `namespace/name/instance`; NULL: `host/<engine name>/0`. Any id is accepted: the
    /// host vouches for it.
    pub sender: *const c_char,
    /// Type of the payload, for example `application/json`, at most 1,024 bytes; NULL: unspecified.
    pub content_type: *const c_char,
    /// Milliseconds, the wait in the mailbox included; 0: no limit except the component's own.
    ///
    /// Of a call: the longest wait. Of a request: its deadline. A message that has begun by then
    /// runs to its end on a thread of the library, and its reply is dropped, unless it has
    /// `AIRSSYS_MESSAGE_ENDS_WITH_SENDER`. A message that has not begun is never handled and
    /// becomes a dead letter. A host callback that runs on the calling thread is not cut short.
    ///
    /// Of a send: the longest wait for room, if the mailbox blocks its senders; 0: no limit.
    pub timeout_ms: u64,
    /// `AIRSSYS_MESSAGE_...` flags, or 0.
    pub flags: u64,
    /// Of a call: called about every 50 ms while the call waits, on the calling thread and its
    /// native stack; may be NULL.
    pub progress: airssys_progress_fn_t,
    /// Passed to `progress`. The library does not use it otherwise.
    pub progress_data: *mut c_void,
}

/// Ends the message when its sender stops waiting.
///
/// When the call's timeout or the request's deadline passes, or the request is cancelled, a running
/// message is interrupted, as by `airssys_engine_interrupt`, and a waiting one is withdrawn.
pub const AIRSSYS_MESSAGE_ENDS_WITH_SENDER: u64 = 1;

/// Of a typed call: every list of numbers or bools in the result is base64, see
/// `airssys_engine_invoke`.
pub const AIRSSYS_MESSAGE_PACKED_LISTS: u64 = 2;

// SAFETY: `repr(C)`, `size` comes first; pointers, integers and an optional function may be zero.
unsafe impl Sized0 for airssys_message_options_t {
    const FIRST_SIZE: usize = 3 * size_of::<usize>() + size_of::<u64>();
}

/// Returns a message and its timeout.
pub fn message<'a>(
    payload: &Slice<'a, u8>,
    options: &Versioned<'a, airssys_message_options_t>,
) -> Result<(HostMessage<'a>, Patience), Failure> {
    let known = AIRSSYS_MESSAGE_ENDS_WITH_SENDER;
    let (message, patience, _) = message_of(payload.get()?, options, known)?;
    Ok((message, patience))
}

/// Returns a message, its timeout, and its flags, all of them among `known`.
pub fn message_of<'a>(
    payload: &'a [u8],
    options: &Versioned<'a, airssys_message_options_t>,
    known: u64,
) -> Result<(HostMessage<'a>, Patience, u64), Failure> {
    let call = options.call;
    let Some(options) = options.optional()? else {
        let message = HostMessage { payload, sender: None, content_type: None, invocation: None };
        return Ok((message, Patience::default(), 0));
    };
    // SAFETY: the fields of a `Versioned` are as the header states: texts.
    let (sender, content_type) = unsafe {
        (
            Text::new(options.sender, "options.sender", call),
            Text::new(options.content_type, "options.content_type", call),
        )
    };
    let (sender, content_type) = (sender.optional()?, content_type.content_type()?);
    let sender = sender.map(ComponentId::parse).transpose().map_err(EngineError::from)?;
    let timeout = (options.timeout_ms > 0).then(|| Duration::from_millis(options.timeout_ms));
    let unknown = options.flags & !known;
    if unknown != 0 {
        let problem = format!("has flags that this function does not know: {unknown:#x}");
        return Err(Failure::argument("options.flags", &problem));
    }
    let ends_message = options.flags & AIRSSYS_MESSAGE_ENDS_WITH_SENDER != 0;
    let gives_up = gives_up(options.progress, options.progress_data);
    Ok((
        HostMessage { payload, sender, content_type, invocation: None },
        Patience { timeout, ends_message, gives_up },
        options.flags,
    ))
}

/// Queues a message without waiting for an outcome. If its handling fails, the log records it.
///
/// `engine`: borrowed. `handle`: the receiver. `payload`, `len`: borrowed, copied; (NULL, 0) is
/// empty. `options`: borrowed, may be NULL. `error`: may be NULL. Any thread; callable from
/// callbacks. Blocks only while it waits for room in a mailbox that blocks its senders.
///
/// Messages from one thread to one component are handled in the order of sending. The instances of
/// a pool share the messages, and only each instance keeps the order.
///
/// Returns `AIRSSYS_OK` once the message is queued, or:
///
/// - `AIRSSYS_ERROR_QUEUE_FULL`: no room, or no room in time.
/// - `AIRSSYS_ERROR_COMPONENT_STOPPED`, `AIRSSYS_ERROR_COMPONENT_FAILED`: see
///   `airssys_engine_start`.
/// - `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`: beyond the receiver's `max-message-bytes`.
/// - `AIRSSYS_ERROR_EXPORT_NOT_FOUND`: the receiver handles no messages.
/// - `AIRSSYS_ERROR_INVALID_MESSAGE`: begins with a multicodec that is not among the receiver's
///   `codecs`.
/// - `AIRSSYS_ERROR_WOULD_DEADLOCK`: a callback would wait for room in the mailbox of the component
///   that waits for the callback.
/// - `AIRSSYS_ERROR_INVALID_ID`: `options.sender`.
/// - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
///   `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_send(
    engine: *mut airssys_engine_t,
    handle: u64,
    payload: *const u8,
    len: usize,
    options: *const airssys_message_options_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, payload[len]: Slice, options: Versioned, error: Out });
    on_engine(engine, error, |engine| {
        let (message, patience) = message(&payload, &options)?;
        Ok(engine.send(ComponentHandle(handle), message, patience.timeout)?)
    })
}

/// Queues one message for several components. It tries all of them; they share the payload.
///
/// `engine`: borrowed. `handles`: borrowed, `count` of them; (NULL, 0) is none. `payload`, `len`:
/// borrowed, copied once; (NULL, 0) is empty. `options`: borrowed, may be NULL; `timeout_ms` is for
/// all targets together. `error`: may be NULL. Any thread; callable from callbacks. Blocks as
/// `airssys_engine_send` does.
///
/// Returns `AIRSSYS_OK` if all have accepted it, or:
///
/// - `AIRSSYS_ERROR_DELIVERY_FAILED`: some have not. The details' `failed` lists each with its
///   status and message.
/// - `AIRSSYS_ERROR_INVALID_ID`: `options.sender`.
/// - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
///   `AIRSSYS_ERROR_PANIC`.
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
    arguments!(unsafe {
        engine: Object,
        handles[count]: Slice,
        payload[len]: Slice,
        options: Versioned,
        error: Out,
    });
    on_engine(engine, error, |engine| {
        let handles: Vec<_> = handles.get()?.iter().copied().map(ComponentHandle).collect();
        let (message, patience) = message(&payload, &options)?;
        Ok(engine.broadcast(&handles, message, patience.timeout)?)
    })
}

/// Sends a message to a component and waits for the reply.
///
/// - `engine`: borrowed. `handle`: the receiver.
/// - `payload`, `len`: borrowed; (NULL, 0) is empty. Nobody may change the bytes during the call.
/// - `options`: borrowed, may be NULL.
/// - `out_reply`: receives the reply, which the caller owns. Its `data` is NULL if the component
///   handled the message without a reply.
/// - `error`: may be NULL.
///
/// Any thread, several at once; callable from callbacks. Blocks until the component has replied.
/// Calls to one instance wait for each other; calls to different instances, also of a pool, do not.
///
/// An idle component runs on the calling thread. The call needs at most 64 KiB of its stack, plus
/// what the host's callbacks use: guests have their own stacks. A component without imports in
/// which it can wait runs on the thread's stack if 768 KiB are left there.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_RUNTIME`, or the status of another `wasm-error` case: the component returned an
///   error.
/// - `AIRSSYS_ERROR_TRAP`, `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`, `AIRSSYS_ERROR_TIMEOUT`,
///   `AIRSSYS_ERROR_INTERRUPTED`.
/// - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: no such handle, or unloaded before it replied.
/// - `AIRSSYS_ERROR_EXPORT_NOT_FOUND`: the receiver handles no messages.
/// - `AIRSSYS_ERROR_INVALID_MESSAGE`: begins with a multicodec that is not among the receiver's
///   `codecs`.
/// - `AIRSSYS_ERROR_COMPONENT_STOPPED`, `AIRSSYS_ERROR_COMPONENT_FAILED`: see
///   `airssys_engine_start`.
/// - `AIRSSYS_ERROR_INSTANTIATION_FAILED`: no new instance after a crash.
/// - `AIRSSYS_ERROR_IO`: no memory for the guest's stack. The message has not begun.
/// - `AIRSSYS_ERROR_INVALID_ID`: `options.sender`.
/// - `AIRSSYS_ERROR_QUEUE_FULL`, `AIRSSYS_ERROR_WOULD_DEADLOCK`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
///   `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
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
    arguments!(unsafe {
        engine: Object,
        payload[len]: Slice,
        options: Versioned,
        out_reply: Out,
        error: Out,
    });
    answer(engine, out_reply, error, |engine| {
        let (message, patience) = message(&payload, &options)?;
        let reply = engine.call(ComponentHandle(handle), message, patience, stack::left())?;
        Ok(airssys_bytes_t::new(reply))
    })
}
