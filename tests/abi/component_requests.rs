//! Requests between components: exactly one outcome each.

use airssys_wasm::AIRSSYS_ERROR_QUEUE_FULL;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::gates::Gate;
use crate::harness::log::Journal;

const ERROR_TYPE: &str = "application/vnd.airssys.error+json";

/// The `code` of a callback that reports a failure.
fn code(callback: &Value) -> String {
    assert_eq!(callback["content-type"], ERROR_TYPE, "{callback}");
    let payload: Value = serde_json::from_str(callback["payload"].as_str().unwrap()).unwrap();
    assert!(!payload["message"].as_str().unwrap().is_empty(), "{payload}");
    payload["code"].as_str().unwrap().to_owned()
}

/// Sends a request and returns its only callback.
fn outcome_of(engine: &Engine, target: &str, timeout_ms: u64, payload: &str) -> Value {
    let requester = engine.load("app/asker/0", "requester");
    let correlation = engine.text(requester, &format!("request {target} {timeout_ms} {payload}"));
    assert!(!correlation.starts_with("error"), "{correlation}");
    let callbacks = engine.callbacks(requester, 1);
    assert_eq!(callbacks.len(), 1);
    assert_eq!(callbacks[0]["correlation"], correlation);
    assert_eq!(callbacks[0]["sender"], target);
    engine.unload(requester).unwrap();
    callbacks.into_iter().next().unwrap()
}

#[test]
fn a_reply_arrives_as_the_request_s_callback() {
    let engine = Engine::new();
    engine.load("app/echo/0", "echo");
    let callback = outcome_of(&engine, "app/echo/0", 60_000, "hello you");
    assert_eq!(callback["payload"], "hello you");
    assert_eq!(callback["content-type"], json!(null));
}

#[test]
fn the_receiver_of_a_request_sees_its_sender() {
    let engine = Engine::new();
    engine.load("app/probe/0", "probe");
    let asker = engine.load("app/asker/0", "requester");
    let correlation = engine.text(asker, "request app/probe/0 60000 message");
    let callbacks = engine.callbacks(asker, 1);
    let seen: Value = serde_json::from_str(callbacks[0]["payload"].as_str().unwrap()).unwrap();
    assert_eq!(seen["sender"], "app/asker/0");
    assert_eq!(seen["reply-to"], "app/asker/0");
    assert_eq!(seen["correlation-id"], correlation);
}

#[test]
fn no_reply_and_an_empty_reply_are_empty_callbacks() {
    let engine = Engine::new();
    engine.load("app/probe/0", "probe");
    for command in ["silent", "empty"] {
        let callback = outcome_of(&engine, "app/probe/0", 60_000, command);
        assert_eq!((&callback["payload"], &callback["content-type"]), (&json!(""), &json!(null)));
    }
}

#[test]
fn every_failure_has_its_code() {
    let engine = Engine::new();
    engine.load("app/probe/0", "probe");
    engine.load("app/minimal/0", "minimal");
    let limits = r#"{"limits": {"max-execution-time-ms": 100, "max-fuel": 100000000}}"#;
    engine.load_with("app/trapper/0", "trapper", limits);
    for (target, payload, expected) in [
        ("app/probe/0", "fail runtime-error no", "runtime-error"),
        ("app/probe/0", "fail component-not-found no", "component-not-found"),
        ("app/minimal/0", "hello", "export-not-found"),
        ("app/trapper/0", "unreachable", "trap"),
        ("app/trapper/0", "sleep 600000", "timeout"),
        ("app/trapper/0", "recurse", "resource-limit-exceeded"),
        ("app/trapper/0", "alloc 500000000", "resource-limit-exceeded"),
    ] {
        let callback = outcome_of(&engine, target, 60_000, payload);
        assert_eq!(code(&callback), expected, "{payload}");
    }
    let said = outcome_of(&engine, "app/probe/0", 60_000, "fail runtime-error its words");
    assert!(said["payload"].as_str().unwrap().contains("its words"), "{said}");
}

#[test]
fn an_expired_deadline_is_the_outcome_and_the_late_reply_is_dropped() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let slow = engine.load("app/slow/0", "chatty");
    let asker = engine.load("app/asker/0", "requester");
    let correlation = engine.text(asker, "request app/slow/0 20 log info gate");
    gate.reached();
    let callbacks = engine.callbacks(asker, 1);
    assert_eq!(callbacks[0]["correlation"], correlation);
    assert_eq!(code(&callbacks[0]), "correlation-timeout");
    gate.open();
    eventually("the late reply is there", || {
        (engine.describe(slow).unwrap()["messages"]["handled"] == 1).then_some(())
    });
    assert_eq!(engine.json(asker, "callbacks"), json!(callbacks), "still one outcome");
}

#[test]
fn extreme_timeouts_are_answered_once() {
    let engine = Engine::new();
    engine.load("app/echo/0", "echo");
    let asker = engine.load("app/asker/0", "requester");
    let forever = engine.text(asker, &format!("request app/echo/0 {} late", u64::MAX));
    let callbacks = engine.callbacks(asker, 1);
    assert_eq!(callbacks[0]["correlation"], forever);
    assert_eq!(callbacks[0]["payload"], "late");
    // With a timeout of 0 either the reply or the deadline wins.
    for n in 0..50 {
        engine.text(asker, "request app/echo/0 0 x");
        engine.callbacks(asker, 2 + n);
    }
    // This outcome is last: a second one of the others would precede it.
    let last = engine.text(asker, "request app/echo/0 60000 last");
    let callbacks = engine.callbacks(asker, 52);
    let count = |id: &Value| callbacks.iter().filter(|c| c["correlation"] == *id).count();
    assert!(callbacks.iter().all(|callback| count(&callback["correlation"]) == 1));
    assert_eq!(callbacks.last().unwrap()["correlation"], last);
}

#[test]
fn the_shorter_of_two_deadlines_expires_first_although_it_was_set_later() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    engine.load("app/slow/0", "chatty");
    let asker = engine.load("app/asker/0", "requester");
    engine.text(asker, "request app/slow/0 600000 log info gate");
    gate.reached();
    let short = engine.text(asker, "request app/slow/0 20 log info x");
    let callbacks = engine.callbacks(asker, 1);
    assert_eq!((callbacks.len(), &callbacks[0]["correlation"]), (1, &json!(short)));
    gate.open();
}

#[test]
fn unloading_fails_waiting_requests_and_answers_the_running_one() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let slow = engine.load("app/slow/0", "chatty");
    let asker = engine.load("app/asker/0", "requester");
    let running = engine.text(asker, "request app/slow/0 600000 log info gate");
    gate.reached();
    let waiting = engine.text(asker, "request app/slow/0 600000 log info x");
    std::thread::scope(|scope| {
        let unload = scope.spawn(|| engine.unload(slow));
        let callbacks = engine.callbacks(asker, 1);
        assert_eq!(callbacks[0]["correlation"], waiting);
        assert_eq!(code(&callbacks[0]), "target-not-found");
        let reply = engine.text(asker, "request app/slow/0 1000 x");
        assert_eq!(reply, "error: target-not-found(app/slow/0)");
        gate.open();
        unload.join().unwrap().unwrap();
    });
    let callbacks = engine.callbacks(asker, 2);
    assert_eq!(callbacks[1]["correlation"], running);
    assert_eq!(callbacks[1]["payload"], "ok");
}

#[test]
fn a_cancelled_request_has_no_callback() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    engine.load("app/slow/0", "chatty");
    let [asker, other] = ["app/asker/0", "app/asker/0"].map(|id| engine.load(id, "requester"));
    let request = engine.text(asker, "request app/slow/0 600000 log info gate");
    gate.reached();
    let refused = |reply: String| assert!(reply.starts_with("error: invalid-message("), "{reply}");
    // Another component with the same id does not own the request.
    refused(engine.text(other, &format!("cancel {request}")));
    assert_eq!(engine.text(asker, &format!("cancel {request}")), "ok");
    refused(engine.text(asker, &format!("cancel {request}")));
    gate.open();
    let second = engine.text(asker, "request app/slow/0 600000 log info y");
    let callbacks = engine.callbacks(asker, 1);
    assert_eq!((callbacks.len(), &callbacks[0]["correlation"]), (1, &json!(second)));
    refused(engine.text(asker, &format!("cancel {second}")));
}

#[test]
fn an_unknown_request_id_cannot_be_cancelled() {
    let engine = Engine::new();
    let asker = engine.load("app/asker/0", "requester");
    let long = "f".repeat(10_000);
    for id in ["0", "x", "0000000000000000", "ffffffffffffffff", "-1", "ünï", &long] {
        let reply = engine.text(asker, &format!("cancel {id}"));
        assert!(reply.starts_with("error: invalid-message("), "{reply:.300}");
        assert!(reply.len() < 500, "an error repeats too much of its input");
    }
}

#[test]
fn correlation_ids_are_unique() {
    let engine = Engine::new();
    engine.load("app/echo/0", "echo");
    let asker = engine.load("app/asker/0", "requester");
    let mut ids: Vec<String> =
        (0..200).map(|_| engine.text(asker, "request app/echo/0 60000 x")).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 200);
    assert_eq!(engine.callbacks(asker, 200).len(), 200);
}

#[test]
fn a_request_to_nobody_is_refused_at_once() {
    let engine = Engine::new();
    let asker = engine.load("app/asker/0", "requester");
    let reply = engine.text(asker, "request no/such/one 10 x");
    assert_eq!(reply, "error: target-not-found(no/such/one)");
    assert_eq!(engine.json(asker, "callbacks"), json!([]));
}

#[test]
fn a_component_may_send_itself_a_request() {
    let engine = Engine::new();
    let asker = engine.load("app/asker/0", "requester");
    let request = engine.text(asker, "request app/asker/0 60000 self");
    let callbacks = engine.callbacks(asker, 1);
    assert_eq!(callbacks[0]["correlation"], request);
    assert_eq!(callbacks[0]["payload"], "app/asker/0");
}

#[test]
fn a_callback_that_traps_or_fails_leaves_the_component_usable() {
    let config = Config::new();
    let journal = Journal::default();
    journal.attach(&config);
    let engine = config.engine();
    engine.load("app/echo/0", "echo");
    let asker = engine.load("app/asker/0", "requester");

    engine.text(asker, "on-callback error not wanted");
    engine.text(asker, "request app/echo/0 60000 x");
    assert_eq!(engine.callbacks(asker, 1).len(), 1, "the instance is the same");
    eventually("the failure is logged", || {
        journal.of("app/asker/0").iter().any(|m| m.contains("not wanted")).then_some(())
    });

    engine.text(asker, "on-callback trap");
    engine.text(asker, "request app/echo/0 60000 x");
    eventually("it was restarted", || {
        engine.json(asker, "callbacks");
        (engine.describe(asker).unwrap()["restarts"] == 1).then_some(())
    });
    assert_eq!(engine.json(asker, "callbacks"), json!([]), "a new instance has a new memory");
}

#[test]
fn callbacks_arrive_even_if_the_requester_s_mailbox_is_full() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    engine.load("app/slow/0", "chatty");
    let options = r#"{"mailbox": {"capacity": 1}}"#;
    let asker = engine.load_with("app/asker/0", "requester", options);
    engine.text(asker, "request app/slow/0 600000 log info gate");
    gate.reached();
    for n in 0..5 {
        engine.text(asker, &format!("request app/slow/0 600000 log info {n}"));
    }
    gate.open();
    assert_eq!(engine.callbacks(asker, 6).len(), 6);
}

#[test]
fn waiting_callbacks_take_no_places_of_messages() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    engine.load("app/slow/0", "chatty");
    let options = r#"{"mailbox": {"capacity": 2}, "limits": {"max-execution-time-ms": 600000}}"#;
    let asker = engine.load_with("app/asker/0", "requester", options);
    for payload in ["gate", "1", "2"] {
        engine.text(asker, &format!("request app/slow/0 600000 log info {payload}"));
    }
    gate.reached();
    engine.send(asker, "sleep-then 600000 x").unwrap();
    engine.until_busy(asker, 4, 0);
    gate.open();
    engine.until_busy(asker, 4, 3);
    // Three callbacks are waiting, and no message.
    engine.send(asker, "note first").unwrap();
    engine.send(asker, "note second").unwrap();
    assert_eq!(engine.send(asker, "note third").unwrap_err().status, AIRSSYS_ERROR_QUEUE_FULL);
}

#[test]
fn the_outcome_of_an_unloaded_requester_s_request_is_dropped() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let slow = engine.load("app/slow/0", "chatty");
    let asker = engine.load("app/asker/0", "requester");
    engine.text(asker, "request app/slow/0 600000 log info gate");
    gate.reached();
    engine.unload(asker).unwrap();
    let heir = engine.load("app/asker/0", "requester");
    gate.open();
    assert_eq!(engine.text(slow, "log info done"), "ok");
    assert_eq!(engine.json(heir, "callbacks"), json!([]), "the heir of the id did not ask");
}
