//! What a host answers and is told, as callbacks in Rust: outcomes of requests, events, mail for
//! other engines.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use airssys_wasm::*;
use serde_json::Value;

use crate::harness::{Config, Engine, Failure, Outcome, PATIENCE, With, c, check, with_options};
use crate::hosts::on_native_stack;

fn text(text: *const c_char) -> String {
    // SAFETY: every text of a callback is NUL-terminated and lives until it returns.
    unsafe { CStr::from_ptr(text) }.to_str().expect("UTF-8").to_owned()
}

fn bytes(data: *const u8, len: usize) -> Option<Vec<u8>> {
    // SAFETY: what is not NULL has `len` bytes.
    (!data.is_null()).then(|| unsafe { std::slice::from_raw_parts(data, len) }.to_vec())
}

/// The outcome of one request.
#[derive(Debug, Clone)]
pub struct Completed {
    pub request: u64,
    pub outcome: Outcome<Option<Vec<u8>>>,
    pub native_stack: bool,
}

impl Completed {
    pub fn status(&self) -> airssys_status_t {
        self.outcome.as_ref().map_or_else(|failure| failure.status, |_| AIRSSYS_OK)
    }
}

type OnCompletion = Box<dyn Fn(&Completed) + Send + Sync>;

struct Came {
    all: Mutex<Vec<Completed>>,
    more: Condvar,
    on_completion: OnCompletion,
}

/// Takes completions. It is never freed, so that one that comes too late is counted and no crash.
#[derive(Clone, Copy)]
pub struct Inbox(&'static Came);

impl Inbox {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// Runs `on_completion` for each, before it counts as come.
    pub fn with(on_completion: impl Fn(&Completed) + Send + Sync + 'static) -> Self {
        Self(Box::leak(Box::new(Came {
            all: Mutex::default(),
            more: Condvar::new(),
            on_completion: Box::new(on_completion),
        })))
    }

    pub fn all(&self) -> Vec<Completed> {
        self.0.all.lock().unwrap().clone()
    }

    /// Waits until there are `count`.
    pub fn wait(&self, count: usize) -> Vec<Completed> {
        let all = self.0.all.lock().unwrap();
        let (all, waited) =
            self.0.more.wait_timeout_while(all, PATIENCE, |all| all.len() < count).unwrap();
        assert!(!waited.timed_out(), "{} of {count} completions came", all.len());
        all.clone()
    }

    /// Waits for exactly `count`, and forgets them.
    pub fn take(&self, count: usize) {
        let came = self.wait(count).len();
        assert_eq!(came, count);
        self.0.all.lock().unwrap().clear();
    }

    /// Waits for the only completion there is.
    pub fn only(&self) -> Completed {
        let mut all = self.wait(1);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// Waits for one outcome of each of these, no more and no less, and gives them by request.
    pub fn exactly(&self, requests: &[u64]) -> BTreeMap<u64, Completed> {
        let all = self.wait(requests.len());
        let by_request: BTreeMap<_, _> = all.iter().map(|one| (one.request, one.clone())).collect();
        let mut wanted = requests.to_vec();
        wanted.sort_unstable();
        let mut came: Vec<_> = all.iter().map(|one| one.request).collect();
        came.sort_unstable();
        assert_eq!(came, wanted, "one outcome for each request");
        by_request
    }

    fn user_data(&self) -> *mut c_void {
        ptr::from_ref(self.0).cast_mut().cast()
    }
}

unsafe extern "C" fn completed(user_data: *mut c_void, completion: *const airssys_completion_t) {
    // SAFETY: an inbox, which lives forever, and a completion that is valid until we return.
    let (came, completion) = unsafe { (&*user_data.cast::<Came>(), &*completion) };
    assert_eq!(completion.size, size_of::<airssys_completion_t>());
    let outcome = if completion.status == AIRSSYS_OK {
        assert!(completion.error.is_null(), "an error with AIRSSYS_OK");
        Ok(bytes(completion.reply, completion.reply_len))
    } else {
        assert!(completion.reply.is_null(), "a reply with an error");
        // SAFETY: with every other status there is an error, borrowed until we return.
        let failure = unsafe {
            Failure {
                status: airssys_error_status(completion.error),
                message: text(airssys_error_message(completion.error)),
                detail: serde_json::from_str(&text(airssys_error_detail_json(completion.error)))
                    .expect("JSON"),
            }
        };
        assert_eq!(failure.status, completion.status);
        Err(failure)
    };
    let request = completion.request;
    let completed = Completed { request, outcome, native_stack: on_native_stack() };
    (came.on_completion)(&completed);
    came.all.lock().unwrap().push(completed);
    came.more.notify_all();
}

/// Mail between engines.
#[derive(Debug, Clone, Default)]
pub struct Letter {
    pub source: String,
    pub target: String,
    pub request: bool,
    pub correlation: u64,
    pub token: u64,
    pub deadline_ms: u64,
    pub content_type: Option<String>,
    pub payload: Vec<u8>,
}

/// What a router says to mail.
pub enum Answer {
    Taken,
    Refused(airssys_status_t, &'static str),
    /// It returns without a result.
    Nothing,
}

impl Engine {
    pub fn request(&self, handle: u64, payload: impl AsRef<[u8]>, inbox: Inbox) -> Outcome<u64> {
        self.request_with(handle, payload, With::default(), inbox)
    }

    pub fn request_with(
        &self,
        handle: u64,
        payload: impl AsRef<[u8]>,
        with: With<'_>,
        inbox: Inbox,
    ) -> Outcome<u64> {
        let (payload, mut id) = (payload.as_ref(), 0);
        with_options(with, |options| {
            let (data, len, reply_fn) = (payload.as_ptr(), payload.len(), Some(completed as _));
            let (user_data, id) = (inbox.user_data(), &raw mut id);
            // SAFETY: a live engine, bytes, options, a function that fits its data, and outputs
            // that are valid for writing.
            check(|error| unsafe {
                let engine = self.raw();
                airssys_engine_request(
                    engine, handle, data, len, options, reply_fn, user_data, id, error,
                )
            })
        })
        .inspect_err(|_| assert_eq!(id, 0, "written on failure"))?;
        assert_ne!(id, 0, "0 is no request");
        Ok(id)
    }

    pub fn cancel(&self, request: u64) -> Outcome {
        // SAFETY: a live engine.
        check(|error| unsafe { airssys_engine_cancel(self.raw(), request, error) })
    }

    pub fn broadcast(&self, handles: &[u64], payload: impl AsRef<[u8]>, with: With<'_>) -> Outcome {
        let payload = payload.as_ref();
        with_options(with, |options| {
            let (handles, count) = (handles.as_ptr(), handles.len());
            let (data, len) = (payload.as_ptr(), payload.len());
            // SAFETY: a live engine, handles, bytes and options.
            check(|error| unsafe {
                airssys_engine_broadcast(self.raw(), handles, count, data, len, options, error)
            })
        })
    }

    /// The id of the request; 0 for a message.
    pub fn deliver(&self, letter: &Letter, inbox: Option<Inbox>) -> Outcome<u64> {
        let (source, target) = (c(&letter.source), c(&letter.target));
        let content_type = letter.content_type.as_deref().map(c);
        let envelope = airssys_envelope_t {
            size: size_of::<airssys_envelope_t>(),
            source: source.as_ptr(),
            target: target.as_ptr(),
            kind: if letter.request { AIRSSYS_KIND_REQUEST } else { AIRSSYS_KIND_MESSAGE },
            correlation: letter.correlation,
            token: 0,
            deadline_ms: letter.deadline_ms,
            content_type: content_type.as_ref().map_or(ptr::null(), |text| text.as_ptr()),
            payload: letter.payload.as_ptr(),
            payload_len: letter.payload.len(),
        };
        let mut id = 0;
        let user_data = inbox.as_ref().map_or(ptr::null_mut(), Inbox::user_data);
        // SAFETY: a live engine, an envelope of live texts and bytes, a function that fits its
        // data, and outputs that are valid for writing.
        check(|error| unsafe {
            let (envelope, id) = (&raw const envelope, &raw mut id);
            let reply_fn = inbox.map(|_| completed as _);
            airssys_engine_deliver(self.raw(), envelope, reply_fn, user_data, id, error)
        })?;
        Ok(id)
    }

    pub fn complete(&self, token: u64, reply: Option<&[u8]>) -> Outcome {
        let (data, len) = reply.map_or((ptr::null(), 0), |reply| (reply.as_ptr(), reply.len()));
        // SAFETY: a live engine and bytes.
        check(|error| unsafe {
            let (engine, none) = (self.raw(), ptr::null());
            airssys_engine_complete(engine, token, AIRSSYS_OK, data, len, none, error)
        })
    }

    pub fn complete_failed(
        &self,
        token: u64,
        status: airssys_status_t,
        message: Option<&str>,
    ) -> Outcome {
        let message = message.map(c);
        let message = message.as_ref().map_or(ptr::null(), |text: &CString| text.as_ptr());
        // SAFETY: a live engine and text.
        check(|error| unsafe {
            airssys_engine_complete(self.raw(), token, status, ptr::null(), 0, message, error)
        })
    }
}

/// A host's router: what it does with mail, and with the tokens of requests that nobody waits for.
pub struct Router {
    on_route: Box<dyn Fn(&Letter) -> Answer + Send + Sync>,
    on_cancel: Box<dyn Fn(u64) + Send + Sync>,
    pub dropped: AtomicUsize,
    pub off_native_stack: AtomicUsize,
}

impl Router {
    /// Registers a router. It is never freed, so that a second `drop` is counted and no crash.
    pub fn attach(
        config: &Config,
        on_route: impl Fn(&Letter) -> Answer + Send + Sync + 'static,
        on_cancel: impl Fn(u64) + Send + Sync + 'static,
    ) -> &'static Self {
        let router: &'static Self = Box::leak(Box::new(Self {
            on_route: Box::new(on_route),
            on_cancel: Box::new(on_cancel),
            dropped: AtomicUsize::new(0),
            off_native_stack: AtomicUsize::new(0),
        }));
        let vtable = airssys_router_t {
            size: size_of::<airssys_router_t>(),
            user_data: ptr::from_ref(router).cast_mut().cast(),
            drop: Some(drop_router),
            route: Some(route),
            cancel: Some(cancel),
        };
        // SAFETY: a live configuration, and functions that fit `user_data`.
        check(|error| unsafe { airssys_config_set_router(config.raw(), &raw const vtable, error) })
            .expect("a valid router");
        router
    }

    fn note_stack(&self) {
        self.off_native_stack.fetch_add(usize::from(!on_native_stack()), Ordering::SeqCst);
    }
}

fn router<'a>(user_data: *mut c_void) -> &'a Router {
    // SAFETY: made by `Router::attach`, and never freed.
    unsafe { &*user_data.cast::<Router>() }
}

unsafe extern "C" fn drop_router(user_data: *mut c_void) {
    router(user_data).dropped.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn route(
    user_data: *mut c_void,
    envelope: *const airssys_envelope_t,
    answer: *mut airssys_writer_t,
) {
    // SAFETY: an envelope that is valid until we return.
    let (router, envelope) = (router(user_data), unsafe { &*envelope });
    router.note_stack();
    assert_eq!(envelope.size, size_of::<airssys_envelope_t>());
    let letter = Letter {
        source: text(envelope.source),
        target: text(envelope.target),
        request: envelope.kind == AIRSSYS_KIND_REQUEST,
        correlation: envelope.correlation,
        token: envelope.token,
        deadline_ms: envelope.deadline_ms,
        content_type: (!envelope.content_type.is_null()).then(|| text(envelope.content_type)),
        payload: bytes(envelope.payload, envelope.payload_len).unwrap_or_default(),
    };
    let (status, reason) = match (router.on_route)(&letter) {
        Answer::Taken => (AIRSSYS_OK, ""),
        Answer::Refused(status, reason) => (status, reason),
        Answer::Nothing => return,
    };
    // SAFETY: the callback's own writer.
    unsafe {
        assert!(airssys_writer_write(answer, reason.as_ptr(), reason.len()));
        airssys_writer_finish(answer, status);
    }
}

unsafe extern "C" fn cancel(user_data: *mut c_void, token: u64) {
    let router = router(user_data);
    router.note_stack();
    (router.on_cancel)(token);
}

/// An event, copied.
#[derive(Debug, Clone)]
pub struct Event {
    pub kind: String,
    pub json: Value,
    pub payload: Option<Vec<u8>>,
}

type OnEvent = Box<dyn Fn(&Event) + Send + Sync>;

/// Takes events, and is never freed.
pub struct Events {
    all: Mutex<Vec<Event>>,
    more: Condvar,
    on_event: OnEvent,
    pub dropped: AtomicUsize,
    /// How many callbacks ran at the same time, at most.
    running: AtomicUsize,
    pub overlapped: AtomicUsize,
}

impl Events {
    pub fn attach(
        config: &Config,
        on_event: impl Fn(&Event) + Send + Sync + 'static,
    ) -> &'static Self {
        let events: &'static Self = Box::leak(Box::new(Self {
            all: Mutex::default(),
            more: Condvar::new(),
            on_event: Box::new(on_event),
            dropped: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            overlapped: AtomicUsize::new(0),
        }));
        let vtable = airssys_events_t {
            size: size_of::<airssys_events_t>(),
            user_data: ptr::from_ref(events).cast_mut().cast(),
            drop: Some(drop_events),
            event: Some(event),
        };
        // SAFETY: a live configuration, and functions that fit `user_data`.
        check(|error| unsafe { airssys_config_set_events(config.raw(), &raw const vtable, error) })
            .expect("valid events");
        events
    }

    pub fn all(&self) -> Vec<Event> {
        self.all.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.all.lock().unwrap().clear();
    }

    /// Waits until there are `count`.
    pub fn wait(&self, count: usize) -> Vec<Event> {
        let all = self.all.lock().unwrap();
        let (all, waited) =
            self.more.wait_timeout_while(all, PATIENCE, |all| all.len() < count).unwrap();
        assert!(!waited.timed_out(), "{} of {count} events came", all.len());
        all.clone()
    }
}

fn events<'a>(user_data: *mut c_void) -> &'a Events {
    // SAFETY: made by `Events::attach`, and never freed.
    unsafe { &*user_data.cast::<Events>() }
}

unsafe extern "C" fn drop_events(user_data: *mut c_void) {
    events(user_data).dropped.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn event(user_data: *mut c_void, event: *const airssys_event_t) {
    // SAFETY: an event that is valid until we return.
    let (events, event) = (events(user_data), unsafe { &*event });
    assert_eq!(event.size, size_of::<airssys_event_t>());
    let at_once = events.running.fetch_add(1, Ordering::SeqCst);
    events.overlapped.fetch_max(at_once, Ordering::SeqCst);
    let event = Event {
        kind: text(event.kind),
        json: serde_json::from_str(&text(event.json)).expect("JSON"),
        payload: bytes(event.payload, event.payload_len),
    };
    (events.on_event)(&event);
    events.running.fetch_sub(1, Ordering::SeqCst);
    events.all.lock().unwrap().push(event);
    events.more.notify_all();
}
