//! State that moves to the next instance: at a replacement and when an instance is recycled.

use airssys_wasm::*;
use airssys_wasm_guests::bytes;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::events::Events;
use crate::harness::requests::Inbox;

const FOREVER: u64 = u64::MAX;
const ID: &str = "app/ledger/0";

fn ledger(engine: &Engine, options: &Value) -> u64 {
    engine.load_with(ID, "ledger", &options.to_string())
}

#[test]
fn a_replacement_and_a_rollback_keep_the_state() {
    let engine = Engine::new();
    let it = ledger(&engine, &json!({}));
    engine.text(it, "add 40");
    engine.replace(it, &bytes("ledger"), None).unwrap();
    assert_eq!(engine.text(it, "add 2"), "42");
    assert_eq!(engine.text(it, "history"), "8 bytes from 0.1.0");
    engine.roll_back(it).unwrap();
    assert_eq!(engine.text(it, "sum"), "42");
    // A version without the interface takes over without it.
    engine.replace(it, &bytes("counter"), None).unwrap();
    assert_eq!(engine.text(it, "inc"), "1");
    engine.roll_back(it).unwrap();
    assert_eq!(engine.text(it, "sum"), "0");
}

#[test]
fn nothing_is_saved_of_a_crash_and_by_a_restart() {
    let engine = Engine::new();
    let it = ledger(&engine, &json!({}));
    engine.text(it, "add 1");
    engine.restart(it, FOREVER).unwrap();
    assert_eq!(engine.text(it, "sum"), "0");
    engine.text(it, "add 1");
    engine.failure(it, "unreachable");
    engine.replace(it, &bytes("ledger"), None).unwrap();
    assert_eq!(engine.text(it, "sum"), "0");
    assert_eq!(engine.text(it, "history"), "");
}

#[test]
fn a_handover_that_fails_leaves_the_old_instance_with_its_state() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let it = ledger(&engine, &json!({ "limits": { "max-execution-time-ms": 300 } }));
    engine.text(it, "add 42");
    engine.text(it, "at-save refuse");
    let failure = engine.replace(it, &bytes("ledger"), None).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_RUNTIME);
    assert!(failure.message.contains("keeps version 1: replacement: save failed"), "{failure}");
    assert!(failure.message.contains("not now"), "{failure}");
    engine.text(it, "at-save -");
    for (how, status) in [
        ("refuse", AIRSSYS_ERROR_RUNTIME),
        ("trap", AIRSSYS_ERROR_TRAP),
        ("loop", AIRSSYS_ERROR_TIMEOUT),
    ] {
        let options = json!({ "env": { "AT_RESTORE": how } }).to_string();
        let failure = engine.replace(it, &bytes("ledger"), Some(&options)).unwrap_err();
        assert_eq!(failure.status, status, "{failure}");
        assert_eq!(engine.text(it, "sum"), "42", "after {how}");
    }
    let status = engine.status(it).unwrap();
    assert_eq!(
        (&status["state"], &status["instances"][0]["version"]),
        (&"running".into(), &1.into())
    );
    let kept = || {
        let told = events.states(ID);
        told.iter().filter(|change| *change == "replacing running kept").count()
    };
    eventually("the failures are told", || (kept() == 4).then_some(()));
    engine.replace(it, &bytes("ledger"), None).unwrap();
    assert_eq!(engine.text(it, "sum"), "42");
}

#[test]
fn an_instance_that_traps_in_save_has_crashed() {
    let engine = Engine::new();
    let it = ledger(&engine, &json!({}));
    engine.text(it, "at-save trap");
    let failure = engine.replace(it, &bytes("ledger"), None).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{failure}");
    assert_eq!(engine.status(it).unwrap()["state"], "crashed");
    engine.replace(it, &bytes("ledger"), None).unwrap();
    assert_eq!(engine.text(it, "sum"), "0");
}

#[test]
fn a_large_state_is_handed_over_within_the_component_s_host_memory() {
    let engine = Engine::new();
    let options =
        json!({ "limits": { "max-host-bytes": 1 << 20 }, "mailbox": { "max-bytes": 4096 } });
    let it = ledger(&engine, &options);
    engine.text(it, "add 7");
    engine.text(it, "fill-state 500000");
    engine.replace(it, &bytes("ledger"), None).unwrap();
    assert_eq!(engine.text(it, "history"), "500008 bytes from 0.1.0");
    let held = engine.describe(it).unwrap()["host-bytes"].as_u64().unwrap();
    assert!(held < 100_000, "{held} bytes are still held");
    engine.text(it, "fill-state 2000000");
    let failure = engine.replace(it, &bytes("ledger"), None).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
    assert_eq!(
        (&failure.detail["limit"], &failure.detail["value"]),
        (&"max-host-bytes".into(), &(1 << 20).into())
    );
    assert_eq!(engine.text(it, "sum"), "7");
}

#[test]
fn a_pool_hands_over_instance_by_instance() {
    let engine = Engine::new();
    let it = ledger(&engine, &json!({ "instances": 2 }));
    let inbox = Inbox::new();
    let requests: Vec<_> = (0..100).map(|_| engine.request(it, "add 1", inbox).unwrap()).collect();
    inbox.exactly(&requests);
    engine.replace(it, &bytes("ledger"), None).unwrap();
    let sums = || -> u64 {
        // Equally busy instances take turns.
        (0..2).map(|_| engine.text(it, "sum").parse::<u64>().unwrap()).sum()
    };
    assert_eq!(sums(), 100);
}

#[test]
fn an_instance_is_recycled_after_its_messages() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let it = ledger(&engine, &json!({ "recycle-after-messages": 10 }));
    for n in 1..=45_u64 {
        assert_eq!(engine.text(it, "add 1"), n.to_string());
    }
    assert_eq!(engine.text(it, "history"), "8 bytes from 0.1.0");
    assert_eq!(engine.describe(it).unwrap()["restarts"], 4);
    let recycled = || {
        let told = events.states(ID);
        told.iter().filter(|change| *change == "running restarting recycle").count()
    };
    eventually("the changes are told", || (recycled() == 4).then_some(()));
}

#[test]
fn an_instance_is_recycled_above_its_memory() {
    let engine = Engine::new();
    let it = ledger(&engine, &json!({ "recycle-above-bytes": 4 << 20 }));
    let memory = || engine.describe(it).unwrap()["memory-bytes"].as_u64().unwrap();
    engine.text(it, "add 5");
    let small = memory();
    for _ in 0..3 {
        engine.text(it, "grow 8000000");
        eventually("it is recycled", || (memory() <= small + (1 << 20)).then_some(()));
        assert_eq!(engine.text(it, "sum"), "5");
    }
    assert_eq!(engine.describe(it).unwrap()["restarts"], 3);
}

#[test]
fn a_bound_below_what_an_instance_needs_does_not_recycle_it_for_each_message() {
    let engine = Engine::new();
    let it = ledger(&engine, &json!({ "recycle-above-bytes": 1 }));
    for _ in 0..100 {
        engine.text(it, "add 1");
    }
    assert_eq!(engine.text(it, "sum"), "100");
    assert_eq!(engine.describe(it).unwrap()["restarts"], 1);
}

#[test]
fn an_instance_that_can_not_be_recycled_goes_on() {
    let engine = Engine::new();
    let it =
        ledger(&engine, &json!({ "recycle-after-messages": 5, "env": { "AT_RESTORE": "refuse" } }));
    for n in 1..=100_u64 {
        assert_eq!(engine.text(it, "add 1"), n.to_string());
    }
    assert_eq!(engine.describe(it).unwrap()["restarts"], 0);
}

#[test]
fn a_component_with_a_loop_is_recycled_between_two_messages() {
    let engine = Engine::new();
    let options = json!({
        "recycle-after-messages": 10,
        "capabilities": { "messaging": { "send": ["app/**"] } },
    });
    let requester = engine.load_with("app/requester/0", "requester", &options.to_string());
    let echo = engine.load("app/echo/0", "echo");
    let inbox = Inbox::new();
    let requests: Vec<_> = (0..100)
        .map(|_| engine.request(requester, "send app/echo/0 hello", inbox).unwrap())
        .collect();
    let outcomes = inbox.exactly(&requests);
    assert!(outcomes.values().all(|it| it.status() == AIRSSYS_OK));
    eventually("it is recycled", || {
        (engine.describe(requester).unwrap()["restarts"].as_u64() >= Some(9)).then_some(())
    });
    eventually("all arrive", || {
        (engine.describe(echo).unwrap()["messages"]["handled"] == 100).then_some(())
    });
}
