//! Full mailboxes: what they refuse, who waits, what they drop.

use std::sync::{Arc, OnceLock};

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, With, eventually};
use crate::harness::events::Events;
use crate::harness::gates::Gate;
use crate::harness::log::set_logger;
use crate::harness::requests::Inbox;

/// Options with a mailbox of `capacity` and enough time to wait at a gate.
fn mailbox(capacity: u32, when_full: &str) -> String {
    let mailbox = json!({ "capacity": capacity, "when-full": when_full });
    json!({ "mailbox": mailbox, "limits": { "max-execution-time-ms": 600_000 } }).to_string()
}

/// An engine whose component `app/slow/0` waits at the gate. Its mailbox of capacity 1 is full.
struct Full {
    engine: Engine,
    gate: Gate,
    slow: u64,
    journal: crate::harness::log::Journal,
}

impl Full {
    fn new(config: &Config, when_full: &str) -> Self {
        let gate = Gate::default();
        let journal = gate.attach(config);
        let engine = config.engine();
        let slow = engine.load_with("app/slow/0", "chatty", &mailbox(1, when_full));
        engine.send(slow, "log info gate").unwrap();
        gate.reached();
        engine.send(slow, "log info first").unwrap();
        Self { engine, gate, slow, journal }
    }

    fn counts(&self) -> Value {
        self.engine.describe(self.slow).unwrap()["messages"].clone()
    }

    fn until_waiting(&self, senders: u64) {
        eventually("they wait", || {
            let mailbox = &self.engine.describe(self.slow).unwrap()["mailbox"];
            (mailbox["waiting"] == senders).then_some(())
        });
    }

    fn logged(&self, expected: &[&str]) {
        eventually("all of it is handled", || {
            (self.journal.of("app/slow/0").len() >= expected.len()).then_some(())
        });
        assert_eq!(self.journal.of("app/slow/0"), expected);
    }
}

fn within(timeout_ms: u64) -> With<'static> {
    With { timeout_ms, ..With::default() }
}

#[test]
fn a_host_that_sends_to_a_full_blocking_mailbox_waits_for_room() {
    let full = Full::new(&Config::new(), "block");
    let inbox = Inbox::new();
    std::thread::scope(|scope| {
        let (engine, slow) = (&full.engine, full.slow);
        let waiting = [
            scope.spawn(move || engine.send(slow, "log info send")),
            scope.spawn(move || engine.call(slow, "log info call").map(drop)),
            scope.spawn(move || engine.request(slow, "log info request", inbox).map(drop)),
            scope.spawn(move || engine.broadcast(&[slow], "log info cast", With::default())),
        ];
        full.until_waiting(4);
        assert!(!waiting.iter().any(|thread| thread.is_finished()), "there is no room yet");
        full.gate.open();
        for thread in waiting {
            thread.join().unwrap().unwrap();
        }
    });
    inbox.only().outcome.unwrap();
    assert_eq!(full.engine.text(full.slow, "log info last"), "ok");
    let logged = full.journal.of("app/slow/0");
    assert_eq!((&*logged[1], &*logged[6]), ("first", "last"));
    assert_eq!(full.counts()["accepted"], 7);
    assert_eq!(full.counts()["dropped"], 0);
}

#[test]
fn a_wait_for_room_ends_with_its_timeout() {
    let full = Full::new(&Config::new(), "block");
    for outcome in [
        full.engine.send_with(full.slow, "log info x", within(20)),
        full.engine.call_with(full.slow, "log info x", within(20)).map(drop),
    ] {
        let failure = outcome.unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_QUEUE_FULL, "{failure}");
        assert_eq!(failure.detail["capacity"], 1);
    }
    let failure = full.engine.broadcast(&[full.slow], "log info x", within(20)).unwrap_err();
    assert_eq!(failure.detail["failed"][0]["status"], AIRSSYS_ERROR_QUEUE_FULL);
    full.gate.open();
    full.logged(&["gate", "first"]);
}

/// The status of a send that waits for room when `end` runs. The gate opens afterwards.
fn told_while_waiting(end: impl FnOnce(&Engine, u64) + Send) -> airssys_status_t {
    let full = Full::new(&Config::new(), "block");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| full.engine.send(full.slow, "log info x"));
        full.until_waiting(1);
        let ending = scope.spawn(|| end(&full.engine, full.slow));
        let told = waiting.join().unwrap().unwrap_err().status;
        full.gate.open();
        ending.join().unwrap();
        told
    })
}

#[test]
fn a_wait_for_room_ends_when_its_component_or_engine_ends() {
    let unloaded = told_while_waiting(|engine, slow| engine.unload(slow).unwrap());
    assert_eq!(unloaded, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    // The result of the shutdown does not matter here.
    let stopped = told_while_waiting(|engine, _| drop(engine.shutdown(0)));
    assert_eq!(stopped, AIRSSYS_ERROR_ENGINE_STOPPED);
    let freed = told_while_waiting(|engine, _| engine.free());
    assert_eq!(freed, AIRSSYS_ERROR_ENGINE_STOPPED);
}

#[test]
fn a_component_that_waits_for_room_holds_no_worker() {
    let full = Full::new(&Config::new().with(r#"{"workers": 1}"#), "block");
    let engine = &full.engine;
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    let inbox = Inbox::new();
    let senders = ["send app/slow/0 log info send", "request app/slow/0 600000 log info request"];
    for command in senders {
        let sender = engine.load_with("app/sender/0", "requester", options);
        engine.request(sender, command, inbox).unwrap();
        engine.until_busy(sender, 1, 0);
    }
    // The only worker still serves requests of the host and of components.
    let echo = engine.load("app/echo/0", "echo");
    let others = Inbox::new();
    engine.request(echo, "on a worker", others).unwrap();
    others.only().outcome.unwrap();
    let asker = engine.load("app/asker/0", "requester");
    engine.request(asker, "request app/echo/0 60000 x", others).unwrap();
    assert_eq!(engine.callbacks(asker, 1)[0]["payload"], "x");
    assert!(inbox.all().is_empty(), "the senders wait");
    full.gate.open();
    for completed in inbox.wait(2) {
        let reply = String::from_utf8(completed.outcome.unwrap().unwrap()).unwrap();
        assert!(!reply.starts_with("error"), "{reply}");
    }
    assert_eq!(full.counts()["refused"], 0, "waiting senders are not refused");
    eventually("all is handled", || (full.counts()["handled"] == 4).then_some(()));
}

#[test]
fn a_component_s_wait_for_room_ends_with_its_time_limit() {
    let full = Full::new(&Config::new(), "block");
    let options = r#"{"limits": {"max-execution-time-ms": 50}}"#;
    let sender = full.engine.load_with("app/sender/0", "requester", options);
    let failure = full.engine.failure(sender, "send app/slow/0 log info x");
    assert_eq!(failure.detail["limit"], "max-execution-time-ms", "{failure}");
    full.gate.open();
    full.logged(&["gate", "first"]);
    assert_eq!(full.engine.text(sender, "self"), "app/sender/0");
}

#[test]
fn a_component_gets_an_error_if_its_own_blocking_mailbox_is_full() {
    let engine = Engine::new();
    let own = engine.load_with("app/own/0", "requester", &mailbox(1, "block"));
    assert_eq!(engine.text(own, "broadcast app/own/0 note 1"), "ok");
    assert_eq!(engine.json(own, "received"), json!(["1"]));
    let reply = engine.text(own, "broadcast app/own/0,app/own/0 note 2");
    assert!(reply.starts_with("error: delivery-failed(") && reply.contains("full"), "{reply}");
    assert_eq!(engine.json(own, "received"), json!(["1", "2"]));
}

#[test]
fn two_components_that_fill_each_other_s_blocking_mailboxes_do_not_deadlock() {
    let engine = Config::new().with(r#"{"workers": 2}"#).engine();
    let options = mailbox(1, "block");
    let [a, b] = ["app/a/0", "app/b/0"].map(|id| engine.load_with(id, "requester", &options));
    let inbox = Inbox::new();
    let mut refused = 0;
    for round in 0..500 {
        // Each sends more than fits while the other one does the same.
        let flood = |target| format!("broadcast {} note x", [target; 8].join(","));
        for (from, to) in [(a, "app/b/0"), (b, "app/a/0")] {
            engine.request(from, flood(to), inbox).unwrap();
        }
        for completed in inbox.wait(2 * (round + 1)).drain(2 * round..) {
            let reply = String::from_utf8(completed.outcome.unwrap().unwrap()).unwrap();
            assert!(reply == "ok" || reply.contains("full"), "{reply}");
            refused += usize::from(reply != "ok");
        }
        if refused > 0 {
            break;
        }
    }
    assert!(refused > 0, "they never met");
    for handle in [a, b] {
        assert_eq!(engine.text(handle, "self").len(), "app/a/0".len());
    }
}

#[test]
fn a_callback_does_not_wait_for_room_in_its_own_component() {
    let engine = Arc::<OnceLock<Engine>>::default();
    let within = Arc::clone(&engine);
    let config = Config::new();
    let inbox = Inbox::new();
    set_logger(&config, AIRSSYS_LOG_TRACE, move |record| {
        if record.message != "fill" {
            return;
        }
        let engine = within.get().unwrap();
        let own = engine.find("app/own/0").unwrap();
        engine.send(own, "log info x").unwrap();
        let status = |outcome: crate::harness::engine::Outcome| outcome.unwrap_err().status;
        let would_wait = AIRSSYS_ERROR_WOULD_DEADLOCK;
        assert_eq!(status(engine.send(own, "log info y")), would_wait);
        assert_eq!(status(engine.request(own, "log info y", inbox).map(drop)), would_wait);
        let failure = engine.broadcast(&[own], "log info y", With::default()).unwrap_err();
        assert_eq!(failure.detail["failed"][0]["status"], would_wait);
    });
    let engine = engine.get_or_init(|| config.engine());
    let own = engine.load_with("app/own/0", "chatty", &mailbox(1, "block"));
    assert_eq!(engine.text(own, "log info fill"), "ok");
    assert!(inbox.all().is_empty());
}

#[test]
fn drop_oldest_keeps_the_newest_and_reports_every_dropped_message() {
    let config = Config::new();
    let events = Events::attach(&config, |_| {});
    let full = Full::new(&config, "drop-oldest");
    let (engine, slow, inbox) = (&full.engine, full.slow, Inbox::new());
    // Each message displaces the previous one: a send, a request of the host, a request of a
    // component, a call.
    let request = engine.request(slow, "log info request", inbox).unwrap();
    let asker = engine.load("app/asker/0", "requester");
    let correlation = engine.text(asker, "request app/slow/0 600000 log info asked");
    std::thread::scope(|scope| {
        let call = scope.spawn(|| engine.call(slow, "log info call"));
        engine.until_busy(slow, 5, 1);
        assert_eq!(engine.text(asker, "send app/slow/0 log info last"), "ok");
        let failure = call.join().unwrap().unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_QUEUE_FULL, "{failure}");
    });
    let dropped = inbox.only();
    assert_eq!((dropped.request, dropped.status()), (request, AIRSSYS_ERROR_QUEUE_FULL));
    let callback = &engine.callbacks(asker, 1)[0];
    assert_eq!(callback["correlation"], correlation);
    assert!(callback["payload"].as_str().unwrap().contains(r#""code":"queue-full""#), "{callback}");
    full.gate.open();
    full.logged(&["gate", "last"]);
    let letters = events.wait(4);
    let payloads: Vec<_> = letters
        .iter()
        .map(|letter| String::from_utf8(letter.payload.clone().unwrap()).unwrap())
        .collect();
    let expected = ["first", "request", "asked", "call"].map(|word| format!("log info {word}"));
    assert_eq!(payloads, expected, "in the order in which they were dropped");
    assert!(letters.iter().all(|letter| letter.kind == "dead-letter"));
    let asked = &letters[2].json;
    assert_eq!(asked["component"], "app/slow/0");
    assert_eq!(asked["source"], "app/asker/0");
    assert_eq!(asked["correlation"], correlation);
    assert_eq!(asked["payload-bytes"], "log info asked".len());
    assert_eq!(asked["code"], "queue-full");
    assert_eq!(full.counts()["dropped"], 4);
    assert_eq!(full.counts()["refused"], 0);
    assert_eq!(engine.stats()["dead-letters"], 4);
}

#[test]
fn drop_oldest_leaves_callbacks_alone() {
    let (gate, hold, config) = (Gate::default(), Gate::default(), Config::new());
    let gates = [("gate", gate.clone()), ("hold", hold.clone())];
    set_logger(&config, AIRSSYS_LOG_TRACE, move |record| {
        if let Some((_, gate)) = gates.iter().find(|(name, _)| record.message == *name) {
            gate.pass();
        }
    });
    let engine = config.engine();
    engine.load("app/slow/0", "chatty");
    let holding = engine.load_with("app/hold/0", "chatty", &mailbox(1, "block"));
    let asker = engine.load_with("app/asker/0", "requester", &mailbox(1, "drop-oldest"));
    for word in ["gate", "1", "2"] {
        engine.text(asker, &format!("request app/slow/0 600000 log info {word}"));
    }
    gate.reached();
    engine.send(holding, "log info hold").unwrap();
    hold.reached();
    engine.send(holding, "log info x").unwrap();
    // The asker waits for room in that mailbox, and its own mail waits.
    engine.send(asker, "send app/hold/0 log info y").unwrap();
    engine.until_busy(asker, 4, 0);
    gate.open();
    engine.until_busy(asker, 4, 3);
    for n in 0..5 {
        engine.send(asker, format!("note {n}")).unwrap();
    }
    hold.open();
    // A question sent earlier would displace the note.
    eventually("its mail is handled", || {
        (engine.describe(asker).unwrap()["mailbox"]["depth"] == 0).then_some(())
    });
    assert_eq!(engine.callbacks(asker, 3).len(), 3);
    assert_eq!(engine.json(asker, "received"), json!(["4"]));
}

#[test]
fn every_policy_enforces_the_bound_in_bytes() {
    let large = vec![b'x'; 60_000];
    for when_full in ["reject", "block", "drop-oldest"] {
        let (gate, config) = (Gate::default(), Config::new());
        gate.attach(&config);
        let events = Events::attach(&config, |_| {});
        let engine = config.engine();
        let options = json!({ "mailbox": { "max-bytes": 100_000, "when-full": when_full } });
        let slow = engine.load_with("app/slow/0", "chatty", &options.to_string());
        engine.send(slow, "log info gate").unwrap();
        gate.reached();
        engine.send(slow, &large).unwrap();
        engine.send(slow, "small").unwrap();
        let second = engine.send_with(slow, &large, within(20));
        let mailbox = engine.describe(slow).unwrap()["mailbox"].clone();
        assert!(mailbox["bytes"].as_u64().unwrap() <= 100_000, "{mailbox}");
        if when_full == "drop-oldest" {
            second.unwrap();
            assert_eq!(events.wait(1)[0].payload.as_ref().unwrap().len(), large.len());
            assert_eq!(mailbox["depth"], 2);
            // An empty mailbox accepts any size, so this message displaces all others.
            engine.send(slow, vec![b'x'; 200_000]).unwrap();
            assert_eq!(engine.describe(slow).unwrap()["mailbox"]["depth"], 1);
        } else {
            assert_eq!(second.unwrap_err().status, AIRSSYS_ERROR_QUEUE_FULL, "{when_full}");
        }
        gate.open();
    }
}

#[test]
fn mail_that_waits_when_an_engine_stops_becomes_dead_letters() {
    let config = Config::new();
    let events = Events::attach(&config, |_| {});
    let full = Full::new(&config, "reject");
    assert_eq!(full.engine.shutdown(0).unwrap_err().status, AIRSSYS_ERROR_TIMEOUT);
    full.gate.open();
    full.engine.free();
    // The events arrive before the free returns.
    let letters = events.all();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].payload.as_deref(), Some(&b"log info first"[..]));
    assert_eq!(letters[0].json["source"], "host/engine/0");
}

#[test]
fn mail_for_a_full_mailbox_goes_to_a_component_of_the_same_id_with_room() {
    for policy in ["reject", "block"] {
        let gate = Gate::default();
        let config = Config::new();
        let _journal = gate.attach(&config);
        let engine = config.engine();
        // The component with fewer messages is full.
        let small = engine.load_with("app/slow/0", "chatty", &mailbox(1, policy));
        let large = engine.load_with("app/slow/0", "chatty", &mailbox(10, policy));
        for (handle, waiting) in [(small, 1), (large, 3)] {
            engine.send(handle, "log info gate").unwrap();
            engine.until_busy(handle, 1, 0);
            for _ in 0..waiting {
                engine.send(handle, "log info x").unwrap();
            }
        }
        let sender = engine.load("app/sender/0", "requester");
        assert_eq!(engine.text(sender, "send app/slow/0 log info y"), "ok", "{policy}");
        engine.until_busy(large, 5, 4);
        gate.open();
    }
}

#[test]
fn a_full_mailbox_refuses_hosts_and_components() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let slow = engine.load_with("app/slow/0", "chatty", r#"{"mailbox": {"capacity": 1}}"#);
    let other = engine.load("app/other/0", "requester");
    engine.send(slow, "log info gate").unwrap();
    gate.reached();
    engine.send(slow, "log info second").unwrap();

    let refused = engine.send(slow, "log info third").unwrap_err();
    assert_eq!(refused.status, AIRSSYS_ERROR_QUEUE_FULL);
    assert_eq!(
        refused.detail,
        json!({ "component": "app/slow/0", "capacity": 1, "max-bytes": 67108864,
                "limit": "mailbox.capacity", "value": 1 })
    );
    assert_eq!(engine.call(slow, "log info x").unwrap_err().status, AIRSSYS_ERROR_QUEUE_FULL);
    for command in ["send app/slow/0 x", "request app/slow/0 1000 x", "broadcast app/slow/0 x"] {
        let reply = engine.text(other, command);
        let expected = if command.starts_with("broadcast") {
            "error: delivery-failed(app/slow/0: mailbox of app/slow/0 is full (capacity 1 messages, max-bytes 67108864))"
        } else {
            "error: queue-full"
        };
        assert_eq!(reply, expected, "{command}");
    }
    assert_eq!(engine.describe(slow).unwrap()["messages"]["refused"], 5);
    assert_eq!(engine.json(other, "callbacks"), json!([]), "a refused request has no outcome");

    gate.open();
    let accepted = |described: &serde_json::Value| described["messages"]["handled"] == 2;
    eventually("both accepted messages are handled", || {
        accepted(&engine.describe(slow).unwrap()).then_some(())
    });
    assert_eq!(engine.text(slow, "log info again"), "ok");
}

#[test]
fn a_mailbox_holds_no_more_than_max_bytes() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let slow = engine.load_with("app/slow/0", "chatty", r#"{"mailbox": {"max-bytes": 100000}}"#);
    engine.send(slow, "log info gate").unwrap();
    gate.reached();
    let large = vec![b'x'; 60_000];
    engine.send(slow, &large).unwrap();
    let refused = engine.send(slow, &large).unwrap_err();
    assert_eq!(refused.status, AIRSSYS_ERROR_QUEUE_FULL);
    assert!(refused.message.contains("max-bytes 100000"), "{refused}");
    engine.send(slow, "small").unwrap();
    gate.open();
    eventually("the mailbox is empty", || {
        (engine.describe(slow).unwrap()["mailbox"]["depth"] == 0).then_some(())
    });
    let huge = vec![b'x'; 200_000];
    engine.send(slow, &huge).expect("an empty mailbox accepts any size");
}
