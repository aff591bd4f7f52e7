//! Timeouts of callers and deadlines of requests, before and while a message is handled.

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, Failure, With, eventually};
use crate::harness::events::Events;
use crate::harness::gates::Gate;
use crate::harness::log::Journal;
use crate::harness::requests::Inbox;
use crate::harness::router::Letter;

#[test]
fn a_caller_s_timeout_ends_its_wait_for_a_guest_that_sleeps_or_computes() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    for command in ["sleep 600000", "loop"] {
        let trapper = engine.load_with("app/trapper/0", "trapper", options);
        let with = With { timeout_ms: 30, ..With::default() };
        let failure = engine.call_with(trapper, command, with).unwrap_err();
        assert_eq!(failure.detail["limit"], "timeout_ms", "{command}: {failure}");
    }
}

#[test]
fn a_caller_s_timeout_ends_its_wait_for_a_guest_that_never_stops_logging() {
    let config = Config::new();
    Journal::default().attach(&config);
    let engine = config.engine();
    let options = r#"{"limits": {"max-execution-time-ms": 1500}}"#;
    let trapper = engine.load_with("app/trapper/0", "trapper", options);
    let with = With { timeout_ms: 30, ..With::default() };
    let failure = engine.call_with(trapper, "loop-log", with).unwrap_err();
    assert_eq!(failure.detail["limit"], "timeout_ms", "{failure}");
}

#[test]
fn a_call_that_timed_out_counts_once_and_its_component_works_on() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-execution-time-ms": 100}}"#;
    let trapper = engine.load_with("app/trapper/0", "trapper", options);
    let with = With { timeout_ms: 10, ..With::default() };
    let failure = engine.call_with(trapper, "loop", with).unwrap_err();
    assert_eq!(failure.detail["limit"], "timeout_ms", "{failure}");
    // It waits until the loop ends at its own limit.
    assert_eq!(engine.text(trapper, "ok"), "ok");
    let counts = json!({
        "accepted": 2, "refused": 0, "dropped": 0, "handled": 1, "failed": 1, "sent": 0,
    });
    assert_eq!(engine.describe(trapper).unwrap()["messages"], counts);
}

const ID: &str = "app/slow/0";

/// An engine whose component waits at a gate.
struct Held {
    engine: Engine,
    gate: Gate,
    slow: u64,
    journal: Journal,
    events: &'static Events,
}

impl Held {
    fn new(mailbox: &Value) -> Self {
        let (gate, config) = (Gate::default(), Config::new());
        let journal = gate.attach(&config);
        let events = Events::attach(&config, |_| {});
        let engine = config.engine();
        let limits = json!({ "max-execution-time-ms": 600_000 });
        let options = json!({ "mailbox": mailbox, "limits": limits }).to_string();
        let slow = engine.load_with(ID, "chatty", &options);
        engine.send(slow, "log info gate").unwrap();
        gate.reached();
        Self { engine, gate, slow, journal, events }
    }

    fn described(&self) -> Value {
        self.engine.describe(self.slow).unwrap()
    }

    /// Opens the gate and returns what was handled after it.
    fn handled(&self) -> Vec<String> {
        self.gate.open();
        eventually("there is room", || (self.described()["mailbox"]["depth"] == 0).then_some(()));
        assert_eq!(self.engine.text(self.slow, "log info last"), "ok");
        let logged = self.journal.of(ID);
        assert_eq!((&*logged[0], &**logged.last().unwrap()), ("gate", "last"));
        logged[1..logged.len() - 1].to_vec()
    }
}

fn within(timeout_ms: u64) -> With<'static> {
    With { timeout_ms, ..With::default() }
}

fn check_unstarted(failure: &Failure, behind: u64) {
    assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
    assert_eq!(failure.detail["started"], false, "{failure}");
    assert_eq!(failure.detail["behind"], behind, "{failure}");
    assert!(failure.detail["waited-ms"].is_u64(), "{failure}");
    let plural = if behind == 1 { "" } else { "s" };
    for words in [format!("behind {behind} message{plural}"), "never started".into()] {
        assert!(failure.message.contains(&words), "{failure}");
    }
}

#[test]
fn a_call_that_times_out_while_waiting_says_so_and_is_not_handled() {
    let held = Held::new(&json!({}));
    let before = held.described();
    let failure = held.engine.call_with(held.slow, "log info late", within(20)).unwrap_err();
    check_unstarted(&failure, 1);
    assert_eq!(
        (&failure.detail["limit"], &failure.detail["value"]),
        (&json!("timeout_ms"), &json!(20))
    );
    let after = held.described();
    assert_eq!(after["mailbox"], before["mailbox"]);
    assert_eq!(after["host-bytes"], before["host-bytes"]);
    assert_eq!(after["messages"]["dropped"], 1);
    assert_eq!(held.handled(), [""; 0]);
    let letter = &held.events.wait(1)[0];
    assert_eq!((&letter.json["component"], &letter.json["code"]), (&json!(ID), &json!("timeout")));
    assert_eq!(letter.payload.as_deref(), Some(&b"log info late"[..]));
}

#[test]
fn a_timeout_counts_the_messages_ahead_and_keeps_the_order_of_the_others() {
    let held = Held::new(&json!({}));
    let send = |text: &str| held.engine.send(held.slow, format!("log info {text}")).unwrap();
    ["1", "2"].into_iter().for_each(send);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| held.engine.call_with(held.slow, "log info x", within(2000)));
        held.engine.until_busy(held.slow, 4, 3);
        let other = scope.spawn(|| held.engine.call_with(held.slow, "log info y", within(20)));
        check_unstarted(&other.join().unwrap().unwrap_err(), 4);
        ["3", "4"].into_iter().for_each(send);
        check_unstarted(&call.join().unwrap().unwrap_err(), 3);
    });
    assert_eq!(held.described()["mailbox"]["depth"], 4);
    assert_eq!(held.handled(), ["1", "2", "3", "4"]);
}

#[test]
fn a_call_that_times_out_while_running_says_so() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    let trapper = engine.load_with("app/trapper/0", "trapper", options);
    let failure = engine.call_with(trapper, "sleep 600000", within(20)).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
    assert_eq!(
        (&failure.detail["started"], &failure.detail["behind"]),
        (&json!(true), &Value::Null)
    );
    assert!(!failure.message.contains("never started"), "{failure}");
}

#[test]
fn a_request_that_expires_while_waiting_says_so_and_is_not_handled() {
    let (held, inbox) = (Held::new(&json!({})), Inbox::new());
    let letter = Letter {
        source: "far/asker/0".into(),
        target: ID.into(),
        request: true,
        correlation: 7,
        deadline_ms: 1,
        payload: b"log info from afar".to_vec(),
        ..Letter::default()
    };
    held.engine.request_with(held.slow, "log info late", within(20), inbox).unwrap();
    check_unstarted(&inbox.wait(1)[0].outcome.clone().unwrap_err(), 1);
    held.engine.deliver(&letter, Some(inbox)).unwrap();
    check_unstarted(&inbox.wait(2)[1].outcome.clone().unwrap_err(), 1);
    let after = held.described();
    assert_eq!((&after["mailbox"]["depth"], &after["messages"]["dropped"]), (&json!(0), &json!(2)));
    assert_eq!(held.handled(), [""; 0]);
    assert_eq!(held.engine.stats()["requests"], json!({ "outstanding": 0, "late-replies": 0 }));
    assert_eq!(held.engine.stats()["dead-letters"], 2);
}

#[test]
fn a_component_s_request_that_expires_while_waiting_says_so_and_is_not_handled() {
    let held = Held::new(&json!({}));
    let asker = held.engine.load("app/asker/0", "requester");
    held.engine.text(asker, "request app/slow/0 20 log info late");
    let callback = &held.engine.callbacks(asker, 1)[0];
    let payload: Value = serde_json::from_str(callback["payload"].as_str().unwrap()).unwrap();
    assert_eq!(payload["code"], "correlation-timeout");
    let message = payload["message"].as_str().unwrap();
    assert!(message.contains("behind 1 message and never started"), "{message}");
    assert_eq!(held.handled(), [""; 0]);
}

#[test]
fn a_request_that_expires_while_running_is_handled_to_the_end() {
    let (gate, config, inbox) = (Gate::default(), Config::new(), Inbox::new());
    let journal = gate.attach(&config);
    let engine = config.engine();
    let slow = engine.load(ID, "chatty");
    engine.request_with(slow, "log info gate", within(20), inbox).unwrap();
    gate.reached();
    let failure = inbox.only().outcome.unwrap_err();
    assert_eq!((failure.status, &failure.detail["started"]), (AIRSSYS_ERROR_TIMEOUT, &json!(true)));
    gate.open();
    eventually("it is handled", || (journal.of(ID) == ["gate"]).then_some(()));
}

#[test]
fn an_expired_message_frees_its_place() {
    let held = Held::new(&json!({ "capacity": 1 }));
    held.engine.call_with(held.slow, "log info x", within(20)).unwrap_err();
    held.engine.send(held.slow, "log info y").unwrap();
    let full = held.engine.send(held.slow, "log info z").unwrap_err();
    assert_eq!(full.status, AIRSSYS_ERROR_QUEUE_FULL);
    assert_eq!(held.handled(), ["y"]);
}

#[test]
fn a_sender_that_waits_for_room_gets_the_place_of_an_expired_message() {
    let (held, inbox) = (Held::new(&json!({ "capacity": 1, "when-full": "block" })), Inbox::new());
    std::thread::scope(|scope| {
        held.engine.request_with(held.slow, "log info x", within(1000), inbox).unwrap();
        let waits = scope.spawn(|| held.engine.send(held.slow, "log info y"));
        check_unstarted(&inbox.only().outcome.unwrap_err(), 1);
        waits.join().unwrap().unwrap();
    });
    assert_eq!(held.handled(), ["y"]);
}
