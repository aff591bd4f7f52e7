//! Stops and starts by call: what waits, what is refused, what stays.

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::events::Events;
use crate::harness::gates::Gate;
use crate::harness::log::Journal;
use crate::harness::requests::Inbox;

const FOREVER: u64 = u64::MAX;
const COUNTER: &str = "app/counter/0";

/// A `wasi` component that is held in a message at a gate.
fn held(config: &Config) -> (Engine, u64, Gate, Journal) {
    let gate = Gate::default();
    let journal = gate.attach(config);
    let engine = config.engine();
    let wasi = engine.load("app/wasi/0", "wasi");
    engine.send(wasi, "print gate").unwrap();
    gate.reached();
    (engine, wasi, gate, journal)
}

fn stops(engine: &Engine, handle: u64) {
    let stops = || engine.status(handle).unwrap()["state"] == "stopping";
    eventually("the stop begins", || stops().then_some(()));
}

#[test]
fn a_stopped_component_keeps_its_place_and_refuses_mail() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let options = r#"{"capabilities": {"storage": ["read", "write"]}}"#;
    let user = engine.load_with("app/user/0", "storage-user", options);
    engine.text(user, "set key value");
    engine.stop(user, FOREVER).unwrap();

    let failure = engine.failure(user, "get key");
    assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_STOPPED);
    assert_eq!(failure.detail, json!({"component": "app/user/0", "state": "stopped"}));
    assert!(failure.message.contains("is stopped"), "{failure}");
    assert_eq!(engine.send(user, "get key").unwrap_err().status, failure.status);
    assert_eq!(engine.health(user).unwrap_err().status, failure.status);
    assert_eq!(engine.restart(user, 0).unwrap_err().status, failure.status);
    let inbox = Inbox::new();
    assert_eq!(engine.request(user, "get key", inbox).unwrap_err().status, failure.status);

    assert_eq!(engine.find("app/user/0").unwrap(), user);
    let described = engine.describe(user).unwrap();
    assert_eq!((&described["state"], &described["memory-bytes"]), (&"stopped".into(), &0.into()));
    assert_eq!(described["messages"]["refused"], 3);
    engine.stop(user, 0).unwrap();

    engine.start(user).unwrap();
    engine.start(user).unwrap();
    assert_eq!(engine.text(user, "get key"), "value");
    assert_eq!(engine.describe(user).unwrap()["restarts"], 0, "a start is no restart");
    engine.stop(user, FOREVER).unwrap();
    engine.unload(user).unwrap();
    let expected = [
        "initializing running loaded",
        "running stopping stop",
        "stopping stopped stopped",
        "stopped initializing start",
        "initializing running loaded",
        "running stopping stop",
        "stopping stopped stopped",
        "stopped unloading close",
        "unloading unloaded end",
    ];
    let told = || events.states("app/user/0");
    eventually("all changes are told", || (told().len() == expected.len()).then_some(()));
    assert_eq!(told(), expected);
}

#[test]
fn mail_that_waits_is_handled_before_the_stop() {
    let (engine, wasi, gate, journal) = held(&Config::new());
    for n in 0..5 {
        engine.send(wasi, format!("print waits {n}")).unwrap();
    }
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| engine.stop(wasi, FOREVER));
        stops(&engine, wasi);
        let refused = engine.send(wasi, "print late").unwrap_err();
        assert_eq!(refused.status, AIRSSYS_ERROR_COMPONENT_STOPPED);
        gate.open();
        stop.join().unwrap().unwrap();
    });
    let printed = journal.of("app/wasi/0");
    let handled = printed.iter().filter(|text| text.contains("waits")).count();
    assert_eq!(
        (handled, engine.describe(wasi).unwrap()["messages"]["handled"].as_u64()),
        (5, Some(6))
    );
    assert!(!printed.iter().any(|text| text.contains("late")), "{printed:?}");
}

#[test]
fn after_its_timeout_a_stop_answers_what_waits_and_interrupts_what_runs() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let options = r#"{"limits": {"max-execution-time-ms": 3600000}}"#;
    let trapper = engine.load_with("app/trapper/0", "trapper", options);
    let inbox = Inbox::new();
    let running = engine.request(trapper, "loop", inbox).unwrap();
    engine.until_busy(trapper, 1, 0);
    let waiting = engine.request(trapper, "ok", inbox).unwrap();
    engine.send(trapper, "ok").unwrap();
    let failure = engine.stop(trapper, 0).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_SHUTDOWN_FAILED, "{failure}");
    let outcomes = inbox.exactly(&[running, waiting]);
    assert_eq!(outcomes[&running].status(), AIRSSYS_ERROR_INTERRUPTED);
    assert_eq!(outcomes[&waiting].status(), AIRSSYS_ERROR_COMPONENT_STOPPED);
    let failure = outcomes[&waiting].outcome.as_ref().unwrap_err();
    assert_eq!(failure.detail["state"], "stopped");
    let dead = events.wait(2);
    assert!(dead.iter().all(|event| event.json["event"] == "dead-letter"), "{dead:?}");
    assert_eq!(engine.status(trapper).unwrap()["state"], "stopped");
    engine.start(trapper).unwrap();
    assert_eq!(engine.text(trapper, "ok"), "ok");
}

#[test]
fn a_shutdown_that_fails_or_hangs_stops_all_the_same() {
    let engine = Engine::new();
    let options = r#"{"env": {"AT_SHUTDOWN": "unreachable"}}"#;
    let crashes = engine.load_with("app/crashes/0", "hermit", options);
    let failure = engine.stop(crashes, FOREVER).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_SHUTDOWN_FAILED, "{failure}");
    let options = r#"{"env": {"AT_SHUTDOWN": "loop"},
                      "limits": {"max-execution-time-ms": 3600000}}"#;
    let hangs = engine.load_with("app/hangs/0", "hermit", options);
    let failure = engine.stop(hangs, 0).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_SHUTDOWN_FAILED, "{failure}");
    assert_eq!(failure.detail["code"], "runtime-error");
    for (handle, code) in [(crashes, "trap"), (hangs, "runtime-error")] {
        let status = engine.status(handle).unwrap();
        assert_eq!(status["state"], "stopped");
        assert_eq!(status["instances"][0]["last-failure"]["code"], code);
        engine.start(handle).unwrap();
        assert_eq!(engine.text(handle, "ok"), "ok");
    }
}

#[test]
fn a_crash_while_mail_is_worked_off_loses_only_its_message() {
    let (engine, wasi, gate, journal) = held(&Config::new());
    for command in ["print one", "exit 3", "print two"] {
        engine.send(wasi, command).unwrap();
    }
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| engine.stop(wasi, FOREVER));
        stops(&engine, wasi);
        gate.open();
        stop.join().unwrap().unwrap();
    });
    let printed = journal.of("app/wasi/0");
    for text in ["one", "two"] {
        assert!(printed.iter().any(|it| it.contains(text)), "{printed:?}");
    }
    assert_eq!(engine.status(wasi).unwrap()["state"], "stopped");
}

#[test]
fn a_start_waits_for_a_stop_under_way() {
    let (engine, wasi, gate, _journal) = held(&Config::new());
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| engine.stop(wasi, FOREVER));
        stops(&engine, wasi);
        let start = scope.spawn(|| engine.start(wasi));
        let waits = || engine.describe(wasi).unwrap()["mailbox"]["depth"] == 2;
        eventually("the start waits", || waits().then_some(()));
        gate.open();
        stop.join().unwrap().unwrap();
        start.join().unwrap().unwrap();
    });
    assert_eq!(engine.text(wasi, "print again"), "ok");
}

#[test]
fn a_start_that_fails_leaves_a_failed_component_that_starts_later() {
    let engine = Engine::new();
    let options = r#"{"env": {"REFUSES_IF": "closed"},
                      "capabilities": {"storage": ["read", "write", "delete"]}}"#;
    let door = engine.load_with("app/door/0", "storage-user", options);
    engine.text(door, "set closed yes");
    engine.stop(door, FOREVER).unwrap();
    let failure = engine.start(door).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INSTANTIATION_FAILED);
    assert!(failure.message.contains("closed: Ok"), "{failure}");
    let failure = engine.failure(door, "get closed");
    assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_FAILED);
    assert_eq!(failure.detail["state"], "failed");
    let status = engine.status(door).unwrap();
    let last = &status["instances"][0]["last-failure"];
    assert_eq!(
        (&status["state"], &last["code"]),
        (&"failed".into(), &"instantiation-failed".into())
    );
    assert!(last["message"].as_str().unwrap().contains("closed: Ok"), "{last}");
    // Another component with its storage opens it again.
    let key = engine.load_with("app/door/0", "storage-user", options_without_env());
    engine.text(key, "delete closed");
    engine.start(door).unwrap();
    assert_eq!(engine.text(door, "exists closed"), "false");
}

fn options_without_env() -> &'static str {
    r#"{"capabilities": {"storage": ["read", "write", "delete"]}}"#
}

#[test]
fn all_components_stop_start_and_restart_together() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let all = AIRSSYS_ALL_COMPONENTS;
    engine.stop(all, 0).unwrap();
    assert_eq!(engine.status(all).unwrap(), json!([]));
    let handles: Vec<_> = (0..3).map(|n| engine.load(&format!("app/c/{n}"), "counter")).collect();
    let states = |engine: &Engine| -> Vec<Value> {
        let status = engine.status(all).unwrap();
        status.as_array().unwrap().iter().map(|it| it["state"].clone()).collect()
    };
    engine.text(handles[1], "inc");
    engine.restart(all, FOREVER).unwrap();
    assert_eq!(engine.text(handles[1], "inc"), "1");
    engine.stop(all, FOREVER).unwrap();
    assert_eq!(states(&engine), ["stopped"; 3]);
    let failure = engine.restart(all, 0).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_STOPPED);
    let failed = failure.detail["failed"].as_array().unwrap();
    assert_eq!(failed.iter().map(|it| it["handle"].as_u64().unwrap()).collect::<Vec<_>>(), handles);
    engine.start(all).unwrap();
    assert_eq!(states(&engine), ["running"; 3]);
    let stopped = || {
        let all = events.state_events();
        let stopped = all.iter().filter(|event| event.json["to"] == "stopping");
        stopped.map(|event| event.json["handle"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    eventually("the stops are told", || (stopped().len() == 3).then_some(()));
    assert!(stopped().iter().rev().eq(&handles), "the last one that was loaded stops first");
}

#[test]
fn another_stop_can_hurry_one_under_way() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-execution-time-ms": 3600000}}"#;
    let trapper = engine.load_with("app/trapper/0", "trapper", options);
    engine.send(trapper, "loop").unwrap();
    engine.until_busy(trapper, 1, 0);
    std::thread::scope(|scope| {
        let patient = scope.spawn(|| engine.stop(trapper, FOREVER));
        stops(&engine, trapper);
        let failure = engine.stop(trapper, 0).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_SHUTDOWN_FAILED, "{failure}");
        patient.join().unwrap().unwrap();
    });
    assert_eq!(engine.status(trapper).unwrap()["state"], "stopped");
}

#[test]
fn unloading_ends_a_stop_and_a_component_that_is_stopped() {
    let (engine, wasi, gate, _journal) = held(&Config::new());
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| engine.stop(wasi, FOREVER));
        stops(&engine, wasi);
        let unload = scope.spawn(|| engine.unload(wasi));
        let status = stop.join().unwrap().unwrap_err().status;
        assert_eq!(status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
        gate.open();
        unload.join().unwrap().unwrap();
    });
    let counter = engine.load(COUNTER, "counter");
    engine.stop(counter, FOREVER).unwrap();
    engine.unload(counter).unwrap();
    engine.wait(counter, "unloaded", 0).unwrap();
    let never = engine.wait(counter + 1000, "unloaded", 0).unwrap_err();
    assert_eq!(never.status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    let failure = engine.stop(counter, 0).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    assert_eq!(engine.start(counter).unwrap_err().status, failure.status);
}

#[test]
fn a_graceful_shutdown_passes_over_what_is_stopped() {
    let engine = Engine::new();
    let [one, _other] = [0, 1].map(|n| engine.load(&format!("app/c/{n}"), "counter"));
    engine.stop(one, FOREVER).unwrap();
    engine.shutdown(60_000).unwrap();
    assert_eq!(engine.start(one).unwrap_err().status, AIRSSYS_ERROR_ENGINE_STOPPED);
    let status = engine.status(AIRSSYS_ALL_COMPONENTS).unwrap_err().status;
    assert_eq!(status, AIRSSYS_ERROR_ENGINE_STOPPED);
    assert_eq!(engine.stop(one, 0).unwrap_err().status, AIRSSYS_ERROR_ENGINE_STOPPED);
}

#[test]
fn another_component_learns_that_its_target_is_stopped() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    let requester = engine.load_with(
        "app/requester/0",
        "requester",
        r#"{"capabilities": {"messaging": {"send": ["app/**"], "request": ["app/**"]}}}"#,
    );
    engine.stop(echo, FOREVER).unwrap();
    let refused = engine.text(requester, "send app/echo/0 hello");
    assert!(refused.contains("app/echo/0 is stopped"), "{refused}");
    engine.start(echo).unwrap();
    assert_eq!(engine.text(requester, "send app/echo/0 hello"), "ok");
}
