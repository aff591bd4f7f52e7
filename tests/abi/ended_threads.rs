//! Threads that end in a callback, as those of a language runtime that shuts down.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use airssys_wasm::*;

use crate::harness::{Config, eventually};

static REACHED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn ends_its_thread(_: *mut c_void, _: *const airssys_log_record_t) {
    REACHED.fetch_add(1, Ordering::SeqCst);
    // SAFETY: what this thread holds is not used again, which is what the test is about.
    unsafe { libc::pthread_exit(ptr::null_mut()) }
}

#[test]
fn a_thread_that_ends_in_a_callback_costs_nobody_else() {
    let config = Config::new();
    let logger = airssys_logger_t {
        size: size_of::<airssys_logger_t>(),
        user_data: ptr::null_mut(),
        drop: None,
        log: Some(ends_its_thread),
        min_level: AIRSSYS_LOG_TRACE,
    };
    // SAFETY: a live configuration and a logger that is all there.
    let status = unsafe { airssys_config_set_logger(config.raw(), &logger, ptr::null_mut()) };
    assert_eq!(status, AIRSSYS_OK);
    // Leaked: whoever freed it would wait for the threads that are in it.
    let engine: &'static _ = Box::leak(Box::new(config.engine()));
    let echo = engine.load("app/echo/0", "echo");
    let called = engine.load("app/chatty/0", "chatty");
    let mailed = engine.load("app/chatty/1", "chatty");
    std::thread::spawn(move || engine.call(called, "log info x"));
    engine.send(mailed, "log info x").unwrap();
    eventually("both are in the callback", || (REACHED.load(Ordering::SeqCst) == 2).then_some(()));
    for _ in 0..1000 {
        assert_eq!(engine.call(echo, "x").unwrap().as_deref(), Some(&b"x"[..]));
    }
}
