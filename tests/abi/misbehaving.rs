//! Components that break the rules of the component model, or fail where it is least expected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::{Config, Engine, Outcome, With};
use crate::hosts::{Gate, Store};
use crate::published::{CODE, WIT, component, component_of};

/// The published component with a piece of its code changed.
fn with_code(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(CODE.matches(from).count(), 1, "{from}");
    component_of(WIT, &CODE.replace(from, to))
}

fn load(engine: &Engine, wasm: &[u8]) -> Outcome<u64> {
    engine.try_load("bad/guest/0", wasm, None)
}

#[test]
fn a_lie_at_load_is_a_trap_of_the_step_that_told_it() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    let health = "#health\") (result i32)\n    (i32.const 1))";
    let health_that = |body: &str| health.replace("(i32.const 1)", body);
    for (from, to, during) in [
        (health, health_that("(i32.const 9)"), "health"),
        (health, health_that("unreachable"), "health"),
        // Texts that are no UTF-8, or outside of the memory.
        ("\"handmade", "\"\\ff\\fendmade".into(), "metadata"),
        ("0x800000030", "0x8fffffff0".into(), "metadata"),
        ("0x300000046", "0x7fffffff00000046".into(), "metadata"),
        ("\"ready\"", "\"\\ff\\ffady\"".into(), "initialize"),
        ("(i32.const 16) (i32.const 5)", "(i32.const -1) (i32.const 5)".into(), "initialize"),
    ] {
        let failure = load(&engine, &with_code(from, &to)).expect_err(from);
        assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{from}: {failure}");
        assert_eq!(failure.detail["during"], during, "{from}: {failure}");
        assert_eq!(engine.text(echo, "unmoved"), "unmoved");
    }
    assert_eq!(engine.stats()["components"], 1);
}

#[test]
fn a_reply_outside_of_the_guest_s_memory_is_its_trap() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    let result = "(i32.const 780) (i32.const 4))))))\n    (i32.const 768))";
    let returns = |pointer: &str| result.replace("(i32.const 768))", pointer);
    for (from, to) in [
        (result, returns("(i32.const 769))")),
        (result, returns("(i32.const -16))")),
        ("(i64.const 0x100000000))", "(i64.const 0x500000000))".into()),
        ("(i64.const 0x100000000))", "(i64.const 0x700000001))".into()),
        (
            "(i32.store (i32.const 776) (local.get $at))",
            "(i32.store (i32.const 776) (i32.const -1))".into(),
        ),
        (
            "(i32.store (i32.const 780) (local.get $len))",
            "(i32.store (i32.const 780) (i32.const -1))".into(),
        ),
    ] {
        let guest = load(&engine, &with_code(from, &to)).unwrap();
        let failure = engine.failure(guest, "a message");
        assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{to}: {failure}");
        assert_eq!(engine.text(echo, "unmoved"), "unmoved");
        engine.unload(guest).unwrap();
    }
}

#[test]
fn an_allocator_that_lies_is_a_trap_of_the_guest() {
    let engine = Engine::new();
    let body = "(local.get $at))\n\n  ;; env-vars";
    for pointer in ["(i32.const 1))", "(i32.const -64))", "unreachable)"] {
        let to = body.replace("(local.get $at))", pointer);
        let wasm = with_code(body, &to);
        let options = r#"{"env": {"A": "1"}}"#;
        let failure = engine.try_load("bad/guest/0", &wasm, Some(options)).expect_err(pointer);
        assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{pointer}: {failure}");
    }
}

/// A component that traps when its storage fails, in `initialize` too.
pub fn needs_storage() -> Vec<u8> {
    let start = "(i64.store (i32.const 1024) (local.get 5))";
    let set =
        "(call $set (i32.const 32) (i32.const 4) (i32.const 16) (i32.const 5) (i32.const 512))
        (if (i32.load8_u (i32.const 512)) (then unreachable))";
    with_code(start, &format!("{start} {set}"))
}

/// It, in a storage that can be broken.
fn depends_on_storage() -> (Engine, u64, Arc<AtomicBool>) {
    let broken = Arc::<AtomicBool>::default();
    let (config, fails) = (Config::new(), Arc::clone(&broken));
    Store::scripted(move |operation, _, _| {
        let fails = operation == "set" && fails.load(Ordering::SeqCst);
        fails.then(|| (AIRSSYS_STORAGE_IO_ERROR, b"broken".to_vec()))
    })
    .attach(&config);
    let engine = config.engine();
    let handle = load(&engine, &needs_storage()).unwrap();
    (engine, handle, broken)
}

#[test]
fn a_component_that_can_not_be_restarted_says_so_and_is_tried_again() {
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
fn a_component_that_can_not_be_restarted_can_be_unloaded() {
    let (engine, handle, broken) = depends_on_storage();
    broken.store(true, Ordering::SeqCst);
    engine.failure(handle, "traps");
    engine.failure(handle, "can not be restarted");
    engine.unload(handle).unwrap();
    assert_eq!(engine.list(), json!([]));
}

#[test]
fn a_component_is_not_to_be_found_before_its_initialize_is_done() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let asker = engine.load("app/asker/0", "requester");
    let wasm = component(WIT);
    std::thread::scope(|scope| {
        let loading =
            scope.spawn(|| engine.try_load("app/late/0", &wasm, Some(r#"{"config": "gate"}"#)));
        gate.reached();
        assert_eq!(
            engine.find("app/late/0").unwrap_err().status,
            AIRSSYS_ERROR_COMPONENT_NOT_FOUND
        );
        assert_eq!(engine.list().as_array().unwrap().len(), 1);
        assert_eq!(engine.text(asker, "list"), "app/asker/0");
        let sent = engine.text(asker, "send app/late/0 x");
        assert_eq!(sent, "error: target-not-found(app/late/0)");
        gate.open();
        let handle = loading.join().unwrap().unwrap();
        assert_eq!(engine.find("app/late/0"), Ok(handle));
        assert_eq!(engine.text(asker, "send app/late/0 x"), "ok");
    });
}

#[test]
fn a_load_that_is_under_way_when_the_engine_stops_is_not_loaded() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let wasm = component(WIT);
    std::thread::scope(|scope| {
        let loading =
            scope.spawn(|| engine.try_load("app/late/0", &wasm, Some(r#"{"config": "gate"}"#)));
        gate.reached();
        engine.shutdown(60_000).unwrap();
        gate.open();
        let failure = loading.join().unwrap().unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_ENGINE_STOPPED, "{failure}");
    });
    assert_eq!(engine.list(), json!([]));
}

#[test]
fn a_call_that_was_given_up_counts_once_and_its_component_goes_on() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-execution-time-ms": 100}}"#;
    let trapper = engine.load_with("app/trapper/0", "trapper", options);
    let with = With { timeout_ms: 10, ..With::default() };
    let failure = engine.call_with(trapper, "loop", with).unwrap_err();
    assert_eq!(failure.detail["limit"], "timeout_ms", "{failure}");
    // Behind the loop, which its own limit ends.
    assert_eq!(engine.text(trapper, "ok"), "ok");
    let counts = json!({
        "accepted": 2, "refused": 0, "dropped": 0, "handled": 1, "failed": 1, "sent": 0,
    });
    assert_eq!(engine.describe(trapper).unwrap()["messages"], counts);
}
