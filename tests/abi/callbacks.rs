//! What host callbacks may do, on which stack they run, and when their data is released.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use airssys_wasm::*;

use crate::harness::engine::{Config, Engine, Failure, eventually};
use crate::harness::gates::{Gate, Meeting};
use crate::harness::log::{Journal, own_handle, set_logger, with_callback};
use crate::harness::store::Store;

#[test]
fn callbacks_run_on_the_caller_s_native_stack() {
    let (config, journal, store) = (Config::new(), Journal::default(), Store::new());
    journal.attach(&config);
    store.attach(&config);
    let engine = config.engine();
    let chatty = engine.load("app/chatty/0", "chatty");
    let user = engine.load("app/user/0", "storage-user");
    let wasi = engine.load("app/wasi/0", "wasi");
    engine.text(chatty, "flood 20");
    engine.text(wasi, "print x");
    for command in ["get k", "set k v", "delete k", "exists k", "list", "usage"] {
        engine.call(user, command).unwrap();
    }
    let records = journal.records();
    assert_eq!(records.len(), 21);
    assert!(records.iter().all(|record| record.native_stack));
    let here = std::thread::current().id();
    assert!(
        records.iter().all(|record| record.thread == here),
        "an idle component runs on the caller's thread"
    );
    let stacks = store.native_stack.lock().unwrap();
    assert!(stacks.len() == 6 && stacks.iter().all(|native| *native));
}

#[test]
fn callbacks_on_workers_run_on_a_native_stack_too() {
    let (config, journal, store) = (Config::new(), Journal::default(), Store::new());
    journal.attach(&config);
    store.attach(&config);
    let engine = config.engine();
    for (guest, command) in
        [("chatty", "log info x"), ("storage-user", "set k v"), ("wasi", "print x")]
    {
        let handle = engine.load(&format!("app/{guest}/0"), guest);
        engine.send(handle, command).unwrap();
    }
    eventually("all three callbacks came", || {
        (journal.records().len() == 2 && !store.calls.lock().unwrap().is_empty()).then_some(())
    });
    let here = std::thread::current().id();
    assert!(journal.records().iter().all(|record| record.native_stack && record.thread != here));
    assert!(store.native_stack.lock().unwrap().iter().all(|native| *native));
}

#[test]
fn a_callback_may_use_the_engine() {
    let (engine, results) = with_callback(|engine, record| {
        if record.component.as_deref() != Some("app/chatty/0") {
            return None;
        }
        let echo = engine.find("app/echo/0").unwrap();
        assert_eq!(engine.text(echo, "from a callback"), "from a callback");
        assert_eq!(engine.health(echo).unwrap()["health"], "healthy");
        let own = own_handle(engine, record);
        assert_eq!(engine.describe(own).unwrap()["state"], "running");
        engine.send(own, "time").unwrap();
        assert_eq!(engine.stats()["components"], 2);
        assert_eq!(engine.list().as_array().unwrap().len(), 2);
        let extra = engine.load("app/extra/0", "counter");
        assert_eq!(engine.text(extra, "inc"), "1");
        engine.unload(extra).unwrap();
        let other = Engine::new();
        let counter = other.load("app/counter/0", "counter");
        assert_eq!(other.text(counter, "inc"), "1");
        Some(())
    });
    engine.load("app/echo/0", "echo");
    let chatty = engine.load("app/chatty/0", "chatty");
    assert_eq!(engine.text(chatty, "log info x"), "ok");
    engine.send(chatty, "log info x").unwrap();
    eventually("it works on a worker too", || (results.lock().unwrap().len() == 2).then_some(()));
}

#[test]
fn a_callback_of_one_engine_may_call_any_component_of_another() {
    let other = Engine::new();
    // Its handle is the same number as the caller's handle in the other engine.
    let counter = other.load("app/counter/0", "counter");
    let results: Arc<Mutex<Vec<Result<_, Failure>>>> = Arc::default();
    let (config, kept) = (Config::new(), Arc::clone(&results));
    set_logger(&config, AIRSSYS_LOG_TRACE, move |_| {
        kept.lock().unwrap().push(other.call(counter, "inc"));
    });
    let engine = config.engine();
    let chatty = engine.load("app/chatty/0", "chatty");
    assert_eq!(chatty, counter);
    engine.text(chatty, "log info x");
    assert_eq!(*results.lock().unwrap(), [Ok(Some(b"1".to_vec()))]);
}

#[test]
fn user_data_is_dropped_once_after_its_last_use() {
    let config = Config::new();
    let first = set_logger(&config, AIRSSYS_LOG_TRACE, |_| ());
    let second = set_logger(&config, AIRSSYS_LOG_TRACE, |_| ());
    let store = Store::new();
    store.attach(&config);
    let counts = || {
        [&first, &second]
            .map(|count| count.load(Ordering::SeqCst))
            .into_iter()
            .chain([store.dropped.load(Ordering::SeqCst)])
    };
    assert!(counts().eq([1, 0, 0]), "the second replaced the first");
    let engines = [config.engine(), config.engine()];
    drop(config);
    for engine in engines {
        assert!(counts().eq([1, 0, 0]), "an engine uses it");
        let chatty = engine.load("app/chatty/0", "chatty");
        engine.text(chatty, "log info x");
        drop(engine);
    }
    assert!(counts().eq([1, 1, 1]));
}

#[test]
fn callbacks_of_different_components_run_concurrently() {
    // With one worker: a callback that waits must not hold it.
    let (config, meeting) = (Config::new(), Meeting::default());
    meeting.attach(&config);
    let engine = config.with(r#"{"workers": 1}"#).engine();
    for id in ["app/a/0", "app/b/0"] {
        let handle = engine.load(id, "chatty");
        engine.send(handle, "log info x").unwrap();
    }
    meeting.assert_met();
}

/// Callbacks that wait for each other's components need one thread each.
#[test]
fn hundreds_of_callbacks_on_workers_run_concurrently() {
    const COMPONENTS: usize = 600;
    let (gate, config) = (Gate::default(), Config::new());
    let (waits, inside) = (gate.clone(), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&inside);
    set_logger(&config, AIRSSYS_LOG_TRACE, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        waits.pass();
    });
    let engine = config.engine();
    for number in 0..COMPONENTS {
        let chatty = engine.load(&format!("app/chatty/{number}"), "chatty");
        engine.send(chatty, "log info x").unwrap();
    }
    eventually("all are in their callbacks", || {
        (inside.load(Ordering::SeqCst) == COMPONENTS).then_some(())
    });
    gate.open();
    engine.shutdown(60_000).unwrap();
}

static REACHED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn ends_its_thread(_: *mut c_void, _: *const airssys_log_record_t) {
    REACHED.fetch_add(1, Ordering::SeqCst);
    // SAFETY: nothing on this thread's stack is used again, as the test shows.
    unsafe { libc::pthread_exit(ptr::null_mut()) }
}

#[test]
fn a_thread_that_exits_in_a_callback_affects_nobody_else() {
    let config = Config::new();
    let logger = airssys_logger_t {
        size: size_of::<airssys_logger_t>(),
        user_data: ptr::null_mut(),
        drop: None,
        log: Some(ends_its_thread),
        min_level: AIRSSYS_LOG_TRACE,
    };
    // SAFETY: a live configuration and a complete logger.
    let status = unsafe { airssys_config_set_logger(config.raw(), &logger, ptr::null_mut()) };
    assert_eq!(status, AIRSSYS_OK);
    // Leaked: a free would wait for the two calls that never return.
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
