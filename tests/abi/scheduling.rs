//! Workers: a waiting guest holds none, and a computing guest lets others run.

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, eventually};
use crate::harness::process::threads;

#[test]
fn a_guest_that_sleeps_holds_no_worker() {
    // A sleep that held the only worker would block the others.
    let engine = Config::new().with(r#"{"workers": 1}"#).engine();
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    for n in 0..4 {
        let sleeper = engine.load_with(&format!("app/sleeper/{n}"), "chatty", options);
        engine.send(sleeper, "sleep 600000").unwrap();
        engine.until_busy(sleeper, 1, 0);
    }
    engine.load("app/echo/0", "echo");
    let asker = engine.load("app/asker/0", "requester");
    engine.text(asker, "request app/echo/0 600000 awake");
    assert_eq!(engine.callbacks(asker, 1)[0]["payload"], "awake");
}

#[test]
fn a_guest_that_computes_lets_others_run_on_the_same_worker() {
    let engine = Config::new().with(r#"{"workers": 1}"#).engine();
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    let looper = engine.load_with("app/looper/0", "trapper", options);
    engine.send(looper, "loop").unwrap();
    engine.until_busy(looper, 1, 0);
    engine.load("app/echo/0", "echo");
    let asker = engine.load("app/asker/0", "requester");
    engine.text(asker, "request app/echo/0 600000 turn");
    assert_eq!(engine.callbacks(asker, 1)[0]["payload"], "turn");
}

#[test]
fn a_component_with_endless_mail_lets_others_run_on_the_same_worker() {
    let engine = Config::new().with(r#"{"workers": 1}"#).engine();
    let options = r#"{"env": {"TARGET": "app/relay/0"}}"#;
    let relay = engine.load_with("app/relay/0", "relay", options);
    // It sends itself a message for each message it handles.
    engine.send(relay, u32::MAX.to_le_bytes()).unwrap();
    engine.load("app/echo/0", "echo");
    let asker = engine.load("app/asker/0", "requester");
    for turn in 1..=5 {
        engine.text(asker, "request app/echo/0 600000 turn");
        assert_eq!(engine.callbacks(asker, turn)[turn - 1]["payload"], "turn");
    }
    let described = engine.describe(relay).unwrap();
    let state = (&described["messages"]["failed"], &described["state"]);
    assert_eq!(state, (&0.into(), &"running".into()), "it goes on");
}

/// The design promises 10,000. A pool has at most 4096 instances.
const GUESTS: usize = 10_000;
const POOLS: [usize; 3] = [4096, 4096, GUESTS - 2 * 4096];

/// All guests wait at the same time. The only worker still serves others.
fn ten_thousand_hold_no_thread(guest: &str, command: &str) {
    let config = Config::new();
    crate::harness::log::set_logger(&config, AIRSSYS_LOG_OFF, |_| {});
    // Guards would take more mappings than the system allows.
    let engine = config.with(r#"{"workers": 1, "guard-before-memory": false}"#).engine();
    let asker = engine.load("app/asker/0", "requester");
    engine.load("app/echo/0", "echo");
    let before = threads();
    let mut pools = Vec::new();
    for (number, instances) in POOLS.into_iter().enumerate() {
        let limits = json!({ "max-execution-time-ms": 3_600_000 });
        let options = json!({ "instances": instances, "limits": limits }).to_string();
        let pool = engine.load_with(&format!("app/pool/{number}"), guest, &options);
        for _ in 0..instances {
            engine.send(pool, command).unwrap();
        }
        pools.push(pool);
    }
    let count = |of: &str| -> u64 {
        let described = pools.iter().map(|pool| engine.describe(*pool).unwrap());
        described.map(|pool| pool.pointer(of).unwrap().as_u64().unwrap()).sum()
    };
    eventually("all have begun", || (count("/mailbox/depth") == 0).then_some(()));
    // The only worker is free, and no thread was added.
    engine.text(asker, "request app/echo/0 600000 here");
    assert_eq!(engine.callbacks(asker, 1)[0]["payload"], "here");
    let ended = count("/messages/handled") + count("/messages/failed");
    assert_eq!((count("/messages/accepted"), ended), (GUESTS as u64, 0));
    assert!(threads() <= before, "{before} threads, then {}", threads());
}

#[test]
fn ten_thousand_guests_in_sleep_millis_hold_no_thread() {
    ten_thousand_hold_no_thread("chatty", "sleep 3600000");
}

#[test]
fn ten_thousand_guests_in_a_poll_of_wasi_hold_no_thread() {
    ten_thousand_hold_no_thread("wasi", "sleep 3600000");
}
