//! Crashes: the next message gets a new instance, and nobody else notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::gates::Gate;
use crate::harness::log::Journal;
use crate::harness::published::needs_storage;
use crate::harness::store::Store;

#[test]
fn a_trap_ends_an_instance_and_the_next_message_gets_a_new_one() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    let trapper = engine.load("app/trapper/0", "trapper");
    for (n, command) in ["unreachable", "panic lost", "oob", "div0"].into_iter().enumerate() {
        let failure = engine.failure(trapper, command);
        assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{failure}");
        assert_eq!(failure.detail["component"], "app/trapper/0");
        assert!(failure.detail["backtrace"].is_string(), "{failure}");
        let crashed = engine.describe(trapper).unwrap();
        assert_eq!(crashed["state"], "crashed");
        assert_eq!(crashed["health"], "unhealthy");
        assert_eq!(crashed["memory-bytes"], 0);
        assert_eq!(crashed["restarts"], n);
        assert_eq!(engine.text(trapper, "ok"), "ok");
        assert_eq!(engine.describe(trapper).unwrap()["state"], "running");
    }
    let crashes = journal.of("app/trapper/0");
    assert_eq!(crashes.len(), 4);
    assert!(crashes[3].contains("divide by zero"), "{crashes:?}");
    engine.failure(trapper, "unreachable");
    engine.unload(trapper).unwrap();
}

#[test]
fn health_of_a_crashed_component_is_that_of_its_next_instance() {
    let engine = Engine::new();
    let trapper = engine.load("app/trapper/0", "trapper");
    engine.failure(trapper, "unreachable");
    assert_eq!(engine.health(trapper).unwrap()["health"], "healthy");
    assert_eq!(engine.describe(trapper).unwrap()["restarts"], 1);
}

#[test]
fn mail_behind_a_crash_is_handled_by_the_next_instance() {
    let (gate, config) = (Gate::default(), Config::new());
    let journal = gate.attach(&config);
    let engine = config.engine();
    let wasi = engine.load("app/wasi/0", "wasi");
    engine.send(wasi, "print gate").unwrap();
    gate.reached();
    engine.send(wasi, "exit 7").unwrap();
    engine.send(wasi, "print survived").unwrap();
    gate.open();
    eventually("the message behind the crash is handled", || {
        journal.messages().contains(&"survived".to_owned()).then_some(())
    });
    let crash = journal.records().into_iter().find(|record| record.level == AIRSSYS_LOG_ERROR);
    assert!(crash.unwrap().message.contains("exited with code"));
    assert_eq!(engine.describe(wasi).unwrap()["restarts"], 1);
}

#[test]
fn other_components_do_not_notice_a_crash() {
    let engine = Engine::new();
    let counter = engine.load("app/counter/0", "counter");
    let options = r#"{"limits": {"max-execution-time-ms": 60}}"#;
    let trapper = engine.load_with("app/trapper/0", "trapper", options);
    for (n, command) in
        ["unreachable", "loop", "recurse", "alloc", "sleep 600000", "oob"].into_iter().enumerate()
    {
        engine.failure(trapper, command);
        assert_eq!(engine.text(counter, "inc"), (n + 1).to_string(), "after {command}");
    }
    assert_eq!(engine.describe(counter).unwrap()["restarts"], 0);
}

/// A component that needs storage, and a switch that makes the storage fail.
fn depends_on_storage() -> (Engine, u64, Arc<AtomicBool>) {
    let broken = Arc::<AtomicBool>::default();
    let (config, fails) = (Config::new(), Arc::clone(&broken));
    Store::scripted(move |operation, _, _| {
        let fails = operation == "set" && fails.load(Ordering::SeqCst);
        fails.then(|| (AIRSSYS_STORAGE_IO_ERROR, b"broken".to_vec()))
    })
    .attach(&config);
    let engine = config.engine();
    let handle = engine.try_load("bad/guest/0", &needs_storage(), None).unwrap();
    (engine, handle, broken)
}

#[test]
fn a_restart_that_fails_is_reported_and_tried_again() {
    let (engine, handle, broken) = depends_on_storage();
    assert_eq!(engine.text(handle, "works"), "works");
    broken.store(true, Ordering::SeqCst);
    assert_eq!(engine.failure(handle, "traps").status, AIRSSYS_ERROR_TRAP);
    for _ in 0..2 {
        let failure = engine.failure(handle, "x");
        assert_eq!(failure.status, AIRSSYS_ERROR_INSTANTIATION_FAILED, "{failure}");
        assert!(failure.message.contains("initialize"), "{failure}");
        assert_eq!(engine.health(handle).unwrap_err().status, AIRSSYS_ERROR_INSTANTIATION_FAILED);
    }
    let described = engine.describe(handle).unwrap();
    assert_eq!((&described["state"], &described["restarts"]), (&json!("crashed"), &json!(0)));

    let asker = engine.load("app/asker/0", "requester");
    engine.text(asker, "request bad/guest/0 60000 x");
    let callback = engine.callbacks(asker, 1).remove(0);
    assert!(callback["payload"].as_str().unwrap().contains("\"instantiation-failed\""));

    broken.store(false, Ordering::SeqCst);
    assert_eq!(engine.text(handle, "works again"), "works again");
    assert_eq!(engine.describe(handle).unwrap()["restarts"], 1);
}

#[test]
fn a_component_that_cannot_be_restarted_can_be_unloaded() {
    let (engine, handle, broken) = depends_on_storage();
    broken.store(true, Ordering::SeqCst);
    engine.failure(handle, "traps");
    engine.failure(handle, "can not be restarted");
    engine.unload(handle).unwrap();
    assert_eq!(engine.list(), json!([]));
}
