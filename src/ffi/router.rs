//! Mail from and to other engines.

use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::core::error::{CallError, MessagingError};
use crate::core::id::{ComponentId, CorrelationId};
use crate::core::ports::{Envelope, Router};
use crate::ffi::arguments::{Sized0, Slice, Text, Versioned, arguments};
use crate::ffi::config::{airssys_config_t, replace};
use crate::ffi::error::{airssys_error_t, c_text};
use crate::ffi::failure::{Failure, without_last_words};
use crate::ffi::host_call::HostFn;
use crate::ffi::on_engine::airssys_engine_t;
use crate::ffi::on_engine::on_engine;
use crate::ffi::request::{airssys_reply_fn_t, completion};
use crate::ffi::status::*;
use crate::ffi::user_data::UserData;
use crate::ffi::writer::{airssys_writer_t, max_answer_bytes};
use crate::system::error::EngineError;
use crate::system::sending::Inbound;

/// Kind of an envelope: `AIRSSYS_KIND_MESSAGE` or `AIRSSYS_KIND_REQUEST`.
pub type airssys_kind_t = i32;

/// A message without an outcome.
pub const AIRSSYS_KIND_MESSAGE: airssys_kind_t = 0;
/// A request. `airssys_engine_complete` answers it.
pub const AIRSSYS_KIND_REQUEST: airssys_kind_t = 1;

/// Mail from one engine to another.
///
/// In `route`, all pointers are valid until the callback returns; until then the envelope may be
/// passed to `airssys_engine_deliver` of another engine as it is. Otherwise zero the struct, set
/// `size`, then set what the mail has.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_envelope_t {
    /// `sizeof(airssys_envelope_t)`.
    pub size: usize,
    /// The sender, `namespace/name/instance`.
    pub source: *const c_char,
    /// The receiver, `namespace/name/instance`.
    pub target: *const c_char,
    /// Message or request.
    pub kind: airssys_kind_t,
    /// Of a request: the `correlation-id` that components see; 0: none. In `route` the same
    /// number as `token`.
    pub correlation: u64,
    /// Of a request, in `route`: its name for `airssys_engine_complete` and `cancel`, in the engine
    /// that it comes from. `airssys_engine_deliver` does not read it.
    pub token: u64,
    /// Of a request: an answer after this time is useless, in milliseconds since the Unix epoch; 0:
    /// no limit.
    pub deadline_ms: u64,
    /// Type of the payload, for example `application/json`; NULL: unspecified.
    pub content_type: *const c_char,
    /// The payload; (NULL, 0) is empty.
    pub payload: *const u8,
    /// Its length in bytes.
    pub payload_len: usize,
}

// SAFETY: `repr(C)`, `size` comes first, pointers and integers may be zero.
unsafe impl Sized0 for airssys_envelope_t {
    const FIRST_SIZE: usize = size_of::<airssys_envelope_t>();
}

/// The host's transport to components that are not loaded in this engine: in another engine of the
/// process, in another process, or on another machine. The library opens no connection itself.
///
/// Callbacks run on any thread, several at once, and always on a native stack. Only the sending
/// component waits for `route`. Callbacks may call any function except `airssys_engine_shutdown` of
/// their own engine, and must not unwind into the library.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_router_t {
    /// `sizeof(airssys_router_t)`.
    pub size: usize,
    /// Passed to every callback.
    pub user_data: *mut c_void,
    /// Called once, after the last use of `user_data`; may be NULL.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// Receives mail for an id that is not loaded here, in the order of sending of each component.
    /// Required.
    ///
    /// It must set its result with `airssys_writer_finish`; without a result the mail is not
    /// delivered:
    ///
    /// - `AIRSSYS_OK`: the router takes the mail over. It completes a request with
    ///   `airssys_engine_complete`, now or later, on any thread. Otherwise the request ends at its
    ///   deadline.
    /// - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: nobody has this id.
    /// - `AIRSSYS_ERROR_QUEUE_FULL`: the receiver has no room.
    /// - `AIRSSYS_ERROR_INVALID_MESSAGE`: the receiver does not accept the message.
    /// - Any other status: not delivered.
    ///
    /// `airssys_writer_write` appends to the reason, which goes to the log. The sender receives it
    /// only if `"host-error-texts"` is true in the configuration.
    pub route: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            envelope: *const airssys_envelope_t,
            answer: *mut airssys_writer_t,
        ),
    >,
    /// Reports that nobody waits for the answer of a request any more: its sender has cancelled it,
    /// or its deadline has passed. Called at most once for a token, after `route` took the request
    /// over, and not after its completion; not called when the engine stops. May be NULL.
    pub cancel: Option<unsafe extern "C" fn(user_data: *mut c_void, token: u64)>,
}

// SAFETY: `repr(C)`, `size` comes first, pointers and optional functions may be zero.
unsafe impl Sized0 for airssys_router_t {
    const FIRST_SIZE: usize = 5 * size_of::<usize>();
}

/// Sets the router of the host, which receives mail for components that are not loaded. `route`
/// does not receive the engine: a host with several engines must make a configuration for each,
/// whose `user_data` leads to the engine.
///
/// `router`: borrowed, copied; see `airssys_router_t`. On success the library owns its
/// `user_data`: it calls `drop(user_data)` once, when neither the configuration nor an engine
/// made from it uses it any more: after they are freed, or after another router replaces this
/// one in the configuration. On an error it does not call `drop`. `error`: may be NULL. Any
/// thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (NULL, a missing `route`, a wrong `size`)
/// or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_config_set_router(
    config: *mut airssys_config_t,
    router: *const airssys_router_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { config: Object, router: Versioned, error: Out });
    let callbacks = || Ok(Arc::new(HostRouter::new(&router)?) as Arc<dyn Router>);
    replace(config, error, callbacks, |config| &mut config.router)
}

/// The host's callbacks as a router.
pub struct HostRouter {
    user_data: UserData,
    route: unsafe extern "C" fn(*mut c_void, *const airssys_envelope_t, *mut airssys_writer_t),
    cancel: Option<unsafe extern "C" fn(*mut c_void, u64)>,
}

impl HostRouter {
    /// Takes over the host's callbacks, with their `user_data`.
    pub fn new(router: &Versioned<'_, airssys_router_t>) -> Result<Self, Failure> {
        let router = router.required()?;
        let route = router.route.ok_or_else(|| Failure::argument("router.route", "is NULL"))?;
        Ok(Self {
            route,
            cancel: router.cancel,
            user_data: UserData::new(router.user_data, router.drop),
        })
    }
}

fn id_text(id: &ComponentId) -> CString {
    c_text(id.as_str().to_owned())
}

fn number(id: Option<CorrelationId>) -> u64 {
    id.map_or(0, |id| id.0.get())
}

fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    // Rounded up, so that the receiver does not give up before the sender.
    u64::try_from(since.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

impl Router for HostRouter {
    fn route(&self, envelope: &Envelope) -> Result<(), MessagingError> {
        let (source, target) = (id_text(&envelope.source), id_text(&envelope.target));
        let content_type = envelope.content_type.as_ref().map(|text| c_text(text.to_string()));
        let payload = &envelope.payload;
        let kind = if envelope.correlation.is_some() {
            AIRSSYS_KIND_REQUEST
        } else {
            AIRSSYS_KIND_MESSAGE
        };
        let c_envelope = airssys_envelope_t {
            size: size_of::<airssys_envelope_t>(),
            source: source.as_ptr(),
            target: target.as_ptr(),
            kind,
            correlation: number(envelope.correlation),
            token: number(envelope.correlation),
            deadline_ms: envelope.deadline.map_or(0, unix_millis),
            content_type: content_type.as_ref().map_or(std::ptr::null(), |text| text.as_ptr()),
            payload: if payload.is_empty() { std::ptr::null() } else { payload.as_ptr() },
            payload_len: payload.len(),
        };
        let answer = airssys_writer_t::ask("router", max_answer_bytes(), |answer| {
            // SAFETY: the host's own function and data, with an envelope and a writer that live
            // until it returns.
            unsafe { self.route.call((self.user_data.pointer(), &raw const c_envelope, answer)) }
        })
        .map_err(MessagingError::DeliveryFailed)?;
        let id = &envelope.target;
        match answer.result {
            AIRSSYS_OK => Ok(()),
            AIRSSYS_ERROR_COMPONENT_NOT_FOUND => Err(MessagingError::TargetNotFound(
                [id.namespace(), id.name(), id.instance()].map(str::to_owned),
            )),
            AIRSSYS_ERROR_QUEUE_FULL => Err(MessagingError::RemoteQueueFull(Arc::clone(id))),
            AIRSSYS_ERROR_INVALID_MESSAGE => Err(answer.error(
                "router",
                MessagingError::HostInvalidMessage,
                MessagingError::InvalidMessage,
            )),
            _ => Err(answer.error(
                "router",
                MessagingError::HostDeliveryFailed,
                MessagingError::DeliveryFailed,
            )),
        }
    }

    fn cancel(&self, request: CorrelationId) {
        if let Some(cancel) = self.cancel {
            // SAFETY: the host's own function and data.
            unsafe { cancel.call((self.user_data.pointer(), request.0.get())) }
        }
    }
}

/// Delivers mail that the router of another engine took over.
///
/// If the target is not loaded here, the mail does not go to this engine's own router.
///
/// - `engine`: borrowed.
/// - `envelope`: borrowed, its payload copied; see `airssys_envelope_t`. At its deadline a request
///   ends with `AIRSSYS_ERROR_TIMEOUT`.
/// - `reply_fn`: receives the outcome of a request, see `airssys_reply_fn_t`. Required for
///   `AIRSSYS_KIND_REQUEST`, ignored for `AIRSSYS_KIND_MESSAGE`.
/// - `user_data`: passed to `reply_fn`.
/// - `out_id`: receives the id of the request for `airssys_engine_cancel`, 0 for a message; may be
///   NULL.
/// - `error`: may be NULL.
///
/// Any thread; callable from callbacks. Blocks as `airssys_engine_send` does, at most until the
/// deadline.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: the target is not loaded here.
/// - `AIRSSYS_ERROR_COMPONENT_STOPPED`, `AIRSSYS_ERROR_COMPONENT_FAILED`: see
///   `airssys_engine_start`.
/// - `AIRSSYS_ERROR_EXPORT_NOT_FOUND`: the target handles no messages. Of a request, this is the
///   outcome.
/// - `AIRSSYS_ERROR_INVALID_ID`: a malformed source or target.
/// - `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`, `AIRSSYS_ERROR_QUEUE_FULL`,
///   `AIRSSYS_ERROR_INVALID_MESSAGE`, `AIRSSYS_ERROR_WOULD_DEADLOCK`,
///   `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
///   `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_deliver(
    engine: *mut airssys_engine_t,
    envelope: *const airssys_envelope_t,
    reply_fn: airssys_reply_fn_t,
    user_data: *mut c_void,
    out_id: *mut u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, envelope: Versioned, out_id: Out, error: Out });
    on_engine(engine, error, |engine| {
        let call = envelope.call;
        let envelope = envelope.required()?;
        // SAFETY: the fields of a `Versioned` are as the header states: texts, and `payload_len`
        // bytes.
        let (source, target, content_type, payload) = unsafe {
            (
                Text::new(envelope.source, "envelope.source", call),
                Text::new(envelope.target, "envelope.target", call),
                Text::new(envelope.content_type, "envelope.content_type", call),
                Slice::new(envelope.payload, envelope.payload_len, "envelope.payload", call),
            )
        };
        let (source, target) = (source.required()?, target.required()?);
        let (content_type, payload) = (content_type.content_type()?, payload.get()?);
        let completion = match envelope.kind {
            AIRSSYS_KIND_MESSAGE => None,
            AIRSSYS_KIND_REQUEST => {
                let id = || Ok(Arc::new(ComponentId::parse(target)?));
                Some(completion(reply_fn, user_data, id)?)
            }
            other => return Err(Failure::argument("envelope.kind", &format!("is {other}"))),
        };
        let deadline = (envelope.deadline_ms > 0)
            .then(|| UNIX_EPOCH.checked_add(Duration::from_millis(envelope.deadline_ms)))
            .flatten();
        let mail = Inbound {
            source: ComponentId::parse(source).map_err(EngineError::from)?,
            target,
            correlation: CorrelationId::from_u64(envelope.correlation),
            deadline,
            content_type,
            payload,
        };
        let id = engine.deliver(mail, completion)?;
        if let Some(out_id) = out_id.optional() {
            out_id.write(number(id));
        }
        Ok(())
    })
}

/// Answers a request that this engine's router took over. The requesting component gets its
/// callback.
///
/// - `engine`: borrowed, the engine that the request comes from.
/// - `token`: from the envelope of the request.
/// - `status`: `AIRSSYS_OK`, or why there is no reply, for example from `airssys_completion_t` of
///   the other engine.
/// - `reply`, `reply_len`: borrowed, copied; NULL: no reply. Read only if `status` is `AIRSSYS_OK`.
/// - `message`: borrowed text, the error, which the component receives; may be NULL. Used only if
///   `status` is not `AIRSSYS_OK`.
/// - `error`: may be NULL.
///
/// Any thread; callable from callbacks, `route` included.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_REQUEST_NOT_FOUND` (too late, cancelled, already answered,
/// or an unknown token), `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
/// `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_complete(
    engine: *mut airssys_engine_t,
    token: u64,
    status: airssys_status_t,
    reply: *const u8,
    reply_len: usize,
    message: *const c_char,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, reply[reply_len]: Slice, message: Text, error: Out });
    on_engine(engine, error, |engine| {
        let message = message.optional()?;
        let outcome = if status == AIRSSYS_OK {
            Ok(reply.optional()?.map(<[u8]>::to_vec))
        } else {
            Err(CallError::Remote {
                code: code(status),
                status,
                // Most hosts pass on the message that their engine gave them.
                message: without_last_words(message.unwrap_or("the receiver gave no reason"))
                    .to_owned(),
            })
        };
        Ok(engine.complete(token, outcome)?)
    })
}

/// Returns the WIT case name for a status, for the callback of a failed request.
fn code(status: airssys_status_t) -> &'static str {
    match status {
        AIRSSYS_ERROR_COMPONENT_NOT_FOUND => "target-not-found",
        AIRSSYS_ERROR_INSTANTIATION_FAILED => "instantiation-failed",
        AIRSSYS_ERROR_EXPORT_NOT_FOUND => "export-not-found",
        AIRSSYS_ERROR_TIMEOUT => "timeout",
        AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED => "resource-limit-exceeded",
        AIRSSYS_ERROR_INVALID_COMPONENT => "invalid-component",
        AIRSSYS_ERROR_RUNTIME => "runtime-error",
        AIRSSYS_ERROR_TRAP => "trap",
        AIRSSYS_ERROR_QUEUE_FULL => "queue-full",
        AIRSSYS_ERROR_INVALID_MESSAGE => "invalid-message",
        _ => "delivery-failed",
    }
}
