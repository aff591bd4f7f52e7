//! Requests of the host. Their outcome goes to a callback.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use crate::core::id::{ComponentHandle, ComponentId, CorrelationId};
use crate::core::message::Outcome;
use crate::ffi::arguments::arguments;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::{Failure, of_request};
use crate::ffi::host_call::HostFn;
use crate::ffi::message::{airssys_message_options_t, message};
use crate::ffi::on_engine::airssys_engine_t;
use crate::ffi::on_engine::{answer, on_engine};
use crate::ffi::status::{AIRSSYS_OK, airssys_status_t};
use crate::messaging::pending_requests::Completion;
use crate::system::error::EngineError;

/// The outcome of a request. All pointers are valid until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_completion_t {
    /// `sizeof(airssys_completion_t)` in the library.
    pub size: usize,
    /// Id of the request, from `airssys_engine_request` or `airssys_engine_deliver`. Components and
    /// events show it as 16 hexadecimal digits.
    pub request: u64,
    /// `AIRSSYS_OK`, or why there is no reply: the status of `airssys_engine_call` for the same
    /// reason, `AIRSSYS_ERROR_TIMEOUT` for the request's deadline, `AIRSSYS_ERROR_CANCELLED`,
    /// `AIRSSYS_ERROR_QUEUE_FULL` if the message made room for a newer one, or
    /// `AIRSSYS_ERROR_ENGINE_STOPPED`.
    pub status: airssys_status_t,
    /// The reply; NULL if there is none.
    pub reply: *const u8,
    /// Its length in bytes.
    pub reply_len: usize,
    /// The error; NULL with `AIRSSYS_OK`. The library owns it.
    pub error: *const airssys_error_t,
}

/// Receives the outcome of a request. It is called exactly once for each accepted request.
///
/// It runs on a thread of the library, or, for requests that are open when an engine is freed,
/// on the thread that frees it. Several run at once for different requests. It may block. While
/// eight completions block, each further one may be delayed by 20 milliseconds, until a thread
/// is added. It may call any function except `airssys_engine_shutdown` of its own engine, and
/// must not unwind into the library.
pub type airssys_reply_fn_t =
    Option<unsafe extern "C" fn(user_data: *mut c_void, completion: *const airssys_completion_t)>;

/// The host's data for an outcome. The library never drops it.
struct CompletionData(*mut c_void);

// SAFETY: the header states that the callback runs on any thread. A host that makes a request with
// this data accepts this.
unsafe impl Send for CompletionData {}

impl CompletionData {
    fn get(&self) -> *mut c_void {
        self.0
    }
}

/// The host's callback as a completion. A million of them can wait, so they share the target's id.
pub fn completion(
    reply_fn: airssys_reply_fn_t,
    user_data: *mut c_void,
    target: impl FnOnce() -> Result<Arc<ComponentId>, EngineError>,
) -> Result<Completion, Failure> {
    let reply_fn = reply_fn.ok_or_else(|| Failure::argument("reply_fn", "is NULL"))?;
    let user_data = CompletionData(user_data);
    let target = target()?;
    Ok(Box::new(move |id: CorrelationId, outcome: Outcome| {
        let mut completion = airssys_completion_t {
            size: size_of::<airssys_completion_t>(),
            request: id.0.get(),
            status: AIRSSYS_OK,
            reply: ptr::null(),
            reply_len: 0,
            error: ptr::null(),
        };
        let error = match &outcome {
            Ok(reply) => {
                // An empty reply has a pointer; no reply is NULL.
                completion.reply = reply.as_ref().map_or(ptr::null(), |reply| reply.as_ptr());
                completion.reply_len = reply.as_ref().map_or(0, Vec::len);
                None
            }
            Err(error) => Some(airssys_error_t::from(of_request(target.as_str(), error))),
        };
        if let Some(error) = &error {
            completion.status = error.status();
            completion.error = error;
        }
        // SAFETY: the host's own function and data, with a completion whose pointers live until
        // it returns.
        unsafe { reply_fn.call((user_data.get(), &raw const completion)) }
    }))
}

/// Sends a message to a component. The outcome goes to a callback, exactly once.
///
/// - `engine`: borrowed. `handle`: the receiver.
/// - `payload`, `len`: borrowed, copied; (NULL, 0) is empty.
/// - `options`: borrowed, may be NULL. `timeout_ms` is the deadline of the request, the wait for
///   room in a blocking mailbox included; 0: only the component's own limits. A message that has
///   begun at the deadline runs to its end, unless it has `AIRSSYS_MESSAGE_ENDS_WITH_SENDER`;
///   its reply is dropped and counted in `airssys_engine_stats`. A message that has not begun is
///   never handled, see `AIRSSYS_ERROR_TIMEOUT`.
/// - `reply_fn`: see `airssys_reply_fn_t`. On an error it is not called.
/// - `user_data`: passed to `reply_fn`. The library does not use it otherwise.
/// - `out_id`: receives the id of the request; must not be NULL. The id is never 0 and is not
///   reused. The callback can run before it is written, and receives the id too.
/// - `error`: may be NULL.
///
/// Any thread; callable from callbacks. Blocks as `airssys_engine_send` does. If the receiver
/// handles no messages, the completion reports `AIRSSYS_ERROR_EXPORT_NOT_FOUND`.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_QUEUE_FULL`: no room, no room in time, or too many open requests.
/// - `AIRSSYS_ERROR_COMPONENT_STOPPED`, `AIRSSYS_ERROR_COMPONENT_FAILED`: see
///   `airssys_engine_start`.
/// - `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`: beyond the receiver's `max-message-bytes`.
/// - `AIRSSYS_ERROR_INVALID_MESSAGE`: begins with a multicodec that is not among the receiver's
///   `codecs`.
/// - `AIRSSYS_ERROR_WOULD_DEADLOCK`: a callback would wait for room in the mailbox of the component
///   that waits for the callback.
/// - `AIRSSYS_ERROR_INVALID_ID`: `options.sender`.
/// - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
///   `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_request(
    engine: *mut airssys_engine_t,
    handle: u64,
    payload: *const u8,
    len: usize,
    options: *const airssys_message_options_t,
    reply_fn: airssys_reply_fn_t,
    user_data: *mut c_void,
    out_id: *mut u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe {
        engine: Object,
        payload[len]: Slice,
        options: Versioned,
        out_id: Out,
        error: Out,
    });
    answer(engine, out_id, error, |engine| {
        let (message, patience) = message(&payload, &options)?;
        let handle = ComponentHandle(handle);
        let completion = completion(reply_fn, user_data, || engine.id_of(handle))?;
        let id = engine.request(handle, message, patience, completion)?;
        Ok(id.0.get())
    })
}

/// Ends a request of `airssys_engine_request` or `airssys_engine_deliver` with
/// `AIRSSYS_ERROR_CANCELLED`.
///
/// The message is still handled, unless it has `AIRSSYS_MESSAGE_ENDS_WITH_SENDER`. The
/// completion may run before this function returns.
///
/// `engine`: borrowed. `id`: the request. `error`: may be NULL. Any thread; callable from
/// callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_REQUEST_NOT_FOUND` (it has its outcome already, although its
/// completion may still be to come, or is not
/// the host's), `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_cancel(
    engine: *mut airssys_engine_t,
    id: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, error: Out });
    on_engine(engine, error, |engine| Ok(engine.cancel(id)?))
}
