//! Bounds on the threads of callbacks.

use std::collections::BTreeSet;

use airssys_wasm::*;
use serde_json::json;

use crate::harness::child::named;
use crate::harness::engine::{Config, eventually};
use crate::harness::gates::Gate;
use crate::harness::log::set_logger;
use crate::harness::requests::Inbox;
use crate::harness::store::Store;

fn with_threads(count: usize) -> Config {
    Config::new().with(&json!({ "callback-threads": count }).to_string())
}

#[test]
fn blocking_callbacks_get_no_more_threads_than_configured() {
    const COMPONENTS: usize = 60;
    let (gate, config) = (Gate::default(), with_threads(7));
    let journal = gate.attach(&config);
    let engine = config.engine();
    for number in 0..COMPONENTS {
        let chatty = engine.load(&format!("app/chatty/{number}"), "chatty");
        engine.send(chatty, "log info gate").unwrap();
    }
    eventually("all threads are there", || (named("airssys-calls") == 7).then_some(()));
    let mut names = BTreeSet::new();
    gate.open();
    eventually("all have logged", || {
        names.insert(named("airssys-calls"));
        (journal.messages().len() == COMPONENTS).then_some(())
    });
    assert!(names.iter().all(|count| *count <= 7), "{names:?}");
}

#[test]
fn completions_get_no_more_threads_than_configured() {
    let gate = Gate::default();
    let engine = with_threads(3).engine();
    let echo = engine.load("app/echo/0", "echo");
    let held = Inbox::with({
        let gate = gate.clone();
        move |_| gate.pass()
    });
    let ids: Vec<u64> = (0..100).map(|_| engine.request(echo, "x", held).unwrap()).collect();
    gate.reached();
    eventually("all threads are there", || (named("airssys-events") == 3).then_some(()));
    gate.open();
    held.exactly(&ids);
    assert!(named("airssys-events") <= 3);
}

#[test]
fn a_callback_that_gets_no_thread_in_time_never_runs() {
    let (gate, config) = (Gate::default(), with_threads(1));
    let waits = gate.clone();
    let store = Store::scripted(move |_, _, key| {
        if key == "gate" {
            waits.pass();
        }
        None
    });
    store.attach(&config);
    let (engine, inbox) = (config.engine(), Inbox::new());
    let slow = engine.load("app/slow/0", "storage-user");
    let limits = r#"{"limits": {"max-execution-time-ms": 50}}"#;
    let late = engine.load_with("app/late/0", "storage-user", limits);
    engine.send(slow, "get gate").unwrap();
    gate.reached();
    let id = engine.request(late, "set k old", inbox).unwrap();
    let failure = inbox.exactly(&[id])[&id].outcome.clone().unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
    assert_eq!(failure.detail["limit"], "max-execution-time-ms", "{failure}");
    let messages = &engine.describe(late).unwrap()["messages"];
    assert_eq!((&messages["failed"], &messages["handled"]), (&json!(1), &json!(0)), "{messages}");
    gate.open();
    // Would run after the callback, if that ran.
    let id = engine.request(late, "get other", inbox).unwrap();
    eventually("the later request has its outcome", || {
        inbox.all().iter().find(|it| it.request == id).map(drop)
    });
    let calls = store.calls.lock().unwrap().clone();
    assert!(calls.iter().all(|call| !call.starts_with("set ")), "{calls:?}");
}

#[test]
fn a_record_without_a_thread_is_logged_later_and_delays_no_outcome() {
    let (gate, config) = (Gate::default(), with_threads(1));
    let journal = gate.attach(&config);
    let (engine, inbox) = (config.engine(), Inbox::new());
    let slow = engine.load("app/slow/0", "chatty");
    let trapper = engine.load("app/trapper/0", "trapper");
    engine.send(slow, "log info gate").unwrap();
    gate.reached();
    // The crash is logged, but there is no thread for the record.
    let id = engine.request(trapper, "unreachable", inbox).unwrap();
    inbox.exactly(&[id])[&id].outcome.clone().unwrap_err();
    assert!(journal.of("app/trapper/0").is_empty());
    gate.open();
    eventually("it is written", || (!journal.of("app/trapper/0").is_empty()).then_some(()));
}

#[test]
fn the_thread_of_a_log_callback_is_reused() {
    let config = with_threads(1);
    set_logger(&config, AIRSSYS_LOG_TRACE, |_| ());
    let engine = config.engine();
    let (chatty, inbox) = (engine.load("app/chatty/0", "chatty"), Inbox::new());
    let ids: Vec<u64> =
        (0..200).map(|_| engine.request(chatty, "log info x", inbox).unwrap()).collect();
    inbox.exactly(&ids);
}
