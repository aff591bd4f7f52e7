//! State that outlives the process: when it is saved, restored, and forgotten.

use std::sync::Arc;

use airssys_wasm::*;
use airssys_wasm_guests::bytes;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::store::Store;

const FOREVER: u64 = u64::MAX;
const ID: &str = "app/ledger/0";
const KEY: &str = "state/app/ledger/0/0";

/// An engine that finds in `store` what those before it have left.
fn engine(store: &Arc<Store>) -> Engine {
    let config = Config::new();
    store.attach(&config);
    config.engine()
}

fn options(more: &Value) -> String {
    let mut options = json!({ "state": "durable" });
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    options.to_string()
}

fn load(engine: &Engine, more: &Value) -> u64 {
    engine.load_with(ID, "ledger", &options(more))
}

/// Whether the state in `store` belongs to an instance that has not ended in order.
fn is_in_use(store: &Store) -> bool {
    store.value("airssys.engine", "in-use/app/ledger/0/0").is_some()
}

fn is_saved(store: &Store) -> bool {
    store.value("airssys.engine", KEY).is_some()
}

#[test]
fn every_end_in_order_leaves_the_state_to_the_next_start() {
    type End = fn(&Engine, u64);
    let ends: [End; 5] = [
        |engine, it| engine.stop(it, FOREVER).unwrap(),
        |engine, it| engine.unload(it).unwrap(),
        |engine, it| engine.unload_within(it, FOREVER).unwrap(),
        |engine, _| engine.shutdown(60_000).unwrap(),
        |engine, it| engine.wait(it, "passive", FOREVER).unwrap(),
    ];
    for (number, end) in ends.iter().enumerate() {
        let store = Store::new();
        for round in 0..3 {
            let engine = engine(&store);
            let it = load(&engine, &json!({ "idle-timeout-ms": 1000 }));
            assert_eq!(engine.text(it, "sum"), (round * 7).to_string(), "after end {number}");
            engine.text(it, "add 7");
            end(&engine, it);
            assert!(!is_in_use(&store) && is_saved(&store), "end {number}");
        }
    }
}

#[test]
fn a_start_after_a_stop_and_an_activation_go_on() {
    let store = Store::new();
    let engine = engine(&store);
    let it = load(&engine, &json!({ "activation": "on-demand", "idle-timeout-ms": 20 }));
    for sum in 1..4 {
        assert_eq!(engine.text(it, "add 1"), sum.to_string());
        engine.wait(it, "passive", FOREVER).unwrap();
    }
    assert_eq!(
        engine.describe(it).unwrap()["host-bytes"].as_u64().map(|it| it < 10_000),
        Some(true)
    );
    engine.stop(it, FOREVER).unwrap();
    engine.start(it).unwrap();
    assert_eq!(engine.text(it, "sum"), "3");
    assert!(is_in_use(&store));
    engine.stop(it, FOREVER).unwrap();
    engine.replace(it, &bytes("ledger"), None).unwrap();
    assert_eq!(engine.text(it, "sum"), "3", "a replacement of a stopped component is a start");
}

#[test]
fn nothing_comes_back_after_a_crash_unless_the_options_say_so() {
    for restores in [false, true] {
        let store = Store::new();
        let more = json!({ "restore-after-crash": restores });
        let after_crash = if restores { "5" } else { "0" };
        let first = engine(&store);
        let it = load(&first, &more);
        first.text(it, "add 5");
        first.stop(it, FOREVER).unwrap();
        first.start(it).unwrap();
        first.text(it, "add 1");
        // A trap.
        first.failure(it, "unreachable");
        assert_eq!(first.text(it, "sum"), after_crash);
        // The end of the process, as far as the component can tell.
        first.free();
        assert!(is_in_use(&store));
        let second = engine(&store);
        let it = load(&second, &more);
        assert_eq!(second.text(it, "sum"), after_crash);
        // An end in order makes up for it.
        second.text(it, "add 1");
        second.stop(it, FOREVER).unwrap();
        assert!(!is_in_use(&store));
    }
}

#[test]
fn a_restart_by_the_host_forgets_the_state() {
    let store = Store::new();
    let engine = engine(&store);
    let it = load(&engine, &json!({ "restore-after-crash": true }));
    engine.text(it, "add 5");
    engine.stop(it, FOREVER).unwrap();
    engine.start(it).unwrap();
    engine.restart(it, FOREVER).unwrap();
    assert_eq!(engine.text(it, "sum"), "0");
    assert!(!is_saved(&store));
    engine.failure(it, "unreachable");
    assert_eq!(engine.text(it, "sum"), "0");
}

#[test]
fn a_running_component_is_saved_after_its_messages_and_in_intervals() {
    let store = Store::new();
    let more = json!({ "restore-after-crash": true, "save-every": { "messages": 3 } });
    let first = engine(&store);
    let it = load(&first, &more);
    for _ in 0..7 {
        first.text(it, "add 1");
    }
    // The save after six messages comes before the seventh.
    first.failure(it, "unreachable");
    assert_eq!(first.text(it, "sum"), "6");
    first.free();

    let second = engine(&store);
    let it = load(&second, &json!({ "restore-after-crash": true, "save-every": { "ms": 10 } }));
    assert_eq!(second.text(it, "add 10"), "16");
    let before = store.value("airssys.engine", KEY);
    second.text(it, "add 10");
    eventually("it is saved", || (store.value("airssys.engine", KEY) != before).then_some(()));
    second.free();
    let third = engine(&store);
    let it = load(&third, &json!({ "restore-after-crash": true }));
    let sum = third.text(it, "sum");
    assert!(["16", "26"].contains(&&*sum), "{sum}");
}

#[test]
fn the_instances_of_a_pool_have_states_of_their_own() {
    let store = Store::new();
    for round in 1..4 {
        let engine = engine(&store);
        let it = load(&engine, &json!({ "instances": 2 }));
        // Equally busy instances take turns.
        let sums: Vec<_> = (0..2).map(|_| engine.text(it, "add 1")).collect();
        assert_eq!(sums, [round.to_string(), round.to_string()]);
        engine.shutdown(60_000).unwrap();
    }
}

#[test]
fn a_state_that_is_not_taken_keeps_the_component_from_being_loaded() {
    let store = Store::new();
    let engine = engine(&store);
    let it = load(&engine, &json!({}));
    engine.text(it, "add 5");
    engine.unload(it).unwrap();
    for (how, status) in [("refuse", AIRSSYS_ERROR_RUNTIME), ("trap", AIRSSYS_ERROR_TRAP)] {
        let options = options(&json!({ "env": { "AT_RESTORE": how } }));
        let refused = engine.try_load(ID, &bytes("ledger"), Some(&options)).unwrap_err();
        assert_eq!(refused.status, status, "{refused}");
        assert!(refused.message.contains("its saved state: "), "{refused}");
    }
    store.put("airssys.engine", KEY, b"?".to_vec());
    let refused = engine.try_load(ID, &bytes("ledger"), Some(&options(&json!({})))).unwrap_err();
    assert_eq!(refused.status, AIRSSYS_ERROR_IO, "{refused}");
    assert!(refused.message.contains(KEY), "{refused}");
    // The way out.
    let volatile = engine.load(ID, "ledger");
    assert_eq!(engine.text(volatile, "sum"), "0");
}

#[test]
fn a_state_that_can_not_be_saved_is_told() {
    let store = Store::new();
    let engine = engine(&store);
    let it = load(&engine, &json!({}));
    engine.text(it, "at-save refuse");
    let failure = engine.stop(it, FOREVER).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_SHUTDOWN_FAILED, "{failure}");
    assert!(failure.message.contains("save failed"), "{failure}");
    assert_eq!(engine.status(it).unwrap()["state"], "stopped");
    engine.start(it).unwrap();
    engine.text(it, "at-save trap");
    let failure = engine.stop(it, FOREVER).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_SHUTDOWN_FAILED, "{failure}");
    engine.start(it).unwrap();
    assert_eq!(engine.text(it, "sum"), "0");
}

#[test]
fn one_component_saves_under_an_id() {
    let store = Store::new();
    let engine = engine(&store);
    let first = load(&engine, &json!({}));
    let refused = engine.try_load(ID, &bytes("ledger"), Some(&options(&json!({})))).unwrap_err();
    assert_eq!(refused.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{refused}");
    assert_eq!(refused.detail["handle"], first);
    engine.load(ID, "ledger");
    engine.unload(first).unwrap();
    let second = load(&engine, &json!({}));
    engine.unload(second).unwrap();
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let engine = Engine::new();
    for (options, place) in [
        (json!({ "restore-after-crash": true }), "options.restore-after-crash"),
        (json!({ "save-every": {} }), "options.save-every"),
        (json!({ "state": "volatile", "save-every": { "ms": 1 } }), "options.save-every"),
    ] {
        let refused =
            engine.try_load(ID, &bytes("ledger"), Some(&options.to_string())).unwrap_err();
        assert_eq!(refused.status, AIRSSYS_ERROR_INVALID_OPTIONS, "{refused}");
        assert!(refused.message.contains(place), "{refused}");
        assert!(refused.message.contains("durable"), "{refused}");
    }
    let options = options(&json!({}));
    let refused = engine.try_load("a/b/c", &bytes("counter"), Some(&options)).unwrap_err();
    assert_eq!(refused.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{refused}");
    assert!(refused.message.contains("component-state"), "{refused}");
}
