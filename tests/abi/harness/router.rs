//! A host's router, and mail between engines.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use airssys_wasm::*;

use crate::harness::callback::{bytes, on_native_stack, text};
use crate::harness::engine::{Config, check};

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

/// A router's answer to mail.
pub enum Answer {
    Taken,
    Refused(airssys_status_t, &'static str),
    /// The callback returns without a result.
    Nothing,
}

/// A router of two closures: one takes mail, one the tokens of cancelled requests.
pub struct Router {
    on_route: Box<dyn Fn(&Letter) -> Answer + Send + Sync>,
    on_cancel: Box<dyn Fn(u64) + Send + Sync>,
    pub dropped: AtomicUsize,
    pub off_native_stack: AtomicUsize,
}

impl Router {
    /// Registers a router. It is never freed, so that a second `drop` is counted instead of a
    /// crash.
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
