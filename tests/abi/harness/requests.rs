//! Requests of the host, mail for other engines, and the inbox for their completions.

use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::{Condvar, Mutex};

use airssys_wasm::*;

use crate::harness::callback::{bytes, on_native_stack, text};
use crate::harness::engine::{Engine, Failure, Outcome, PATIENCE, With, c, check, with_options};
use crate::harness::router::Letter;

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

/// Receives completions. It is never freed, so that a late completion is counted instead of a
/// crash.
#[derive(Clone, Copy)]
pub struct Inbox(&'static Came);

impl Inbox {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// An inbox that runs `on_completion` on each completion before it counts.
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

    /// Waits for `count` of them.
    pub fn wait(&self, count: usize) -> Vec<Completed> {
        let all = self.0.all.lock().unwrap();
        let (all, waited) =
            self.0.more.wait_timeout_while(all, PATIENCE, |all| all.len() < count).unwrap();
        assert!(!waited.timed_out(), "{} of {count} completions came", all.len());
        all.clone()
    }

    /// Waits for exactly `count` and removes them.
    pub fn take(&self, count: usize) {
        let came = self.wait(count).len();
        assert_eq!(came, count);
        self.0.all.lock().unwrap().clear();
    }

    /// Waits for the only completion.
    pub fn only(&self) -> Completed {
        let mut all = self.wait(1);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// Waits for exactly one completion per request.
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

    pub fn user_data(&self) -> *mut c_void {
        ptr::from_ref(self.0).cast_mut().cast()
    }
}

pub unsafe extern "C" fn completed(user_data: *mut c_void, completion: *const airssys_completion_t) {
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

    /// Returns the id of the request, 0 for a message.
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
