//! Events, for the host's callback.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use crate::core::ports::EventSink;
use crate::ffi::arguments::{Sized0, Versioned, arguments};
use crate::ffi::config::{airssys_config_t, replace};
use crate::ffi::error::{airssys_error_t, c_text};
use crate::ffi::failure::Failure;
use crate::ffi::host_call::HostFn;
use crate::ffi::status::airssys_status_t;
use crate::ffi::user_data::UserData;

/// One event. All pointers are valid until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_event_t {
    /// `sizeof(airssys_event_t)` in the library.
    pub size: usize,
    /// `dead-letter`, `state`, `health`, `group`, `canary` or `events-lost`. A newer library may send
    /// kinds that this header does not name.
    pub kind: *const c_char,
    /// The event as a JSON object, NUL-terminated.
    pub json: *const c_char,
    /// Payload of a dead letter; NULL if there is none.
    pub payload: *const u8,
    /// Its length in bytes.
    pub payload_len: usize,
}

/// The host's callback for events.
///
/// It is called on a thread of the library, one call at a time, in the order of the events. Nothing
/// waits for it. Up to 10,000 events or 64 MiB wait for a slow host, at most a quarter of that for
/// one receiver. The rest is counted, and `events-lost` reports the number.
///
/// `dead-letter`: an accepted message will never be handled. Its receiver was unloaded or stopped,
/// or has failed, or it made room for a newer message (`drop-oldest`), or its sender's time was
/// over before its turn, or its engine was stopped:
///
///     { "event": "dead-letter", "time": { "seconds": 0, "nanoseconds": 0 },
///       "component": "app/echo/0", "source": "host/engine/0", "correlation": null,
///       "content-type": null, "payload-bytes": 2,
///       "code": "target-not-found", "reason": "it was unloaded before it answered" }
///
/// A `reason` has at most 4 KiB.
///
/// `state`: a component's instance has another state, see `airssys_engine_wait`:
///
///     { "event": "state", "time": { "seconds": 0, "nanoseconds": 0 },
///       "component": "app/echo/0", "handle": 1, "instance": 0,
///       "from": "running", "to": "crashed", "cause": "crash",
///       "code": "trap", "version": 1, "restarts": 0 }
///
/// `instance` is the number within a pool. `code` names the error that ended the instance, or is
/// null. `version` is the number of the version, and `restarts` counts new instances so far. Events
/// of one instance come in the order of its changes. `cause` is one of:
///
///     loaded        a load or a start has succeeded
///     registered    a load has, and the first message makes the first instance
///     idle          the component has become passive
///     activated     the instance for the message that waits is initialized
///     crash         the instance is lost, or a new one could not be made
///     exit          the component has ended by itself, see supervision in OPTIONS
///     mail          a message waits for a crashed or passive component
///     supervisor    the supervision wants a new instance
///     give-up       the supervision allows no further restart
///     restart       airssys_engine_restart wants a new instance
///     group         the group of the component restarts it, or gives up
///     recycle       a new instance is to take the place of this one, see OPTIONS
///     restarted     the new instance is initialized
///     replace       an instance of another version is ready
///     replaced      it has taken over
///     kept          it has not, or was not recycled; the old instance goes on
///     stop          airssys_engine_stop
///     stopped       the component is stopped
///     start         airssys_engine_start
///     close         the component is unloaded, or its engine shut down
///     end           it is gone
///
/// `health`: a component reports another health than before, see `health` in OPTIONS and
/// `airssys_engine_health`:
///
///     { "event": "health", "time": { "seconds": 0, "nanoseconds": 0 },
///       "component": "app/echo/0", "handle": 1, "instance": 0,
///       "from": "healthy", "to": "degraded" }
///
/// `group`: a group has another state, see `airssys_engine_groups`. `component` is the one whose
/// loss made the group act, or null:
///
///     { "event": "group", "time": { "seconds": 0, "nanoseconds": 0 },
///       "group": "pipeline", "handle": 1, "from": "running", "to": "restarting",
///       "component": "app/reader/0", "restarts": 1 }
///
/// `canary`: a version is tried beside the one before, or has been, see `airssys_engine_replace`:
///
///     { "event": "canary", "time": { "seconds": 0, "nanoseconds": 0 },
///       "component": "app/echo/0", "handle": 1,
///       "change": "promoted", "reason": "messages",
///       "version": 2, "messages": 100, "errors": 0,
///       "stable": { "version": 1, "messages": 900, "errors": 1 } }
///
/// `change` is `begun`, `promoted` or `aborted`. `reason` is null, or one of `call`, `messages` and
/// `time` (the terms of its options), `errors` (it had too many), `stop`, `restart` and `close`
/// (the component was stopped or has failed, was restarted, was unloaded). `messages` counts
/// messages and callbacks that the new version has handled, `errors` those that failed.
///
/// `events-lost`: `{ "event": "events-lost", "count": 1 }`.
///
/// The callback may call any function except `airssys_engine_shutdown` of its own engine, and must
/// not unwind into the library.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_events_t {
    /// `sizeof(airssys_events_t)`.
    pub size: usize,
    /// Passed to the callback.
    pub user_data: *mut c_void,
    /// Called once, after the last use of `user_data`; may be NULL.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// Receives one event. Required.
    pub event: Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const airssys_event_t)>,
}

// SAFETY: `repr(C)`, `size` comes first, pointers and optional functions may be zero.
unsafe impl Sized0 for airssys_events_t {
    const FIRST_SIZE: usize = 4 * size_of::<usize>();
}

/// Sets the host's callback for events.
///
/// `events`: borrowed, copied; see `airssys_events_t`. On success the library owns its
/// `user_data`: it calls `drop(user_data)` once, when neither the configuration nor an engine
/// made from it uses it any more: after they are freed, or after another callback replaces this
/// one in the configuration. On an error it does not call `drop`. `error`: may be NULL. Any
/// thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (NULL, a missing `event`, a wrong `size`)
/// or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_config_set_events(
    config: *mut airssys_config_t,
    events: *const airssys_events_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { config: Object, events: Versioned, error: Out });
    let callbacks = || Ok(Arc::new(HostEvents::new(&events)?) as Arc<dyn EventSink>);
    replace(config, error, callbacks, |config| &mut config.events)
}

/// The host's callback as a sink.
pub struct HostEvents {
    user_data: UserData,
    event: unsafe extern "C" fn(*mut c_void, *const airssys_event_t),
}

impl HostEvents {
    /// Takes over the host's callback, with its `user_data`.
    pub fn new(events: &Versioned<'_, airssys_events_t>) -> Result<Self, Failure> {
        let events = events.required()?;
        let event = events.event.ok_or_else(|| Failure::argument("events.event", "is NULL"))?;
        Ok(Self { event, user_data: UserData::new(events.user_data, events.drop) })
    }
}

impl EventSink for HostEvents {
    fn event(&self, kind: &str, document: &str, payload: &[u8]) {
        let (kind, document) = (c_text(kind.to_owned()), c_text(document.to_owned()));
        let event = airssys_event_t {
            size: size_of::<airssys_event_t>(),
            kind: kind.as_ptr(),
            json: document.as_ptr(),
            payload: if payload.is_empty() { std::ptr::null() } else { payload.as_ptr() },
            payload_len: payload.len(),
        };
        // SAFETY: the host's own function and data, with an event whose pointers live until it
        // returns.
        unsafe { self.event.call((self.user_data.pointer(), &raw const event)) }
    }
}
