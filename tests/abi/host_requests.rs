//! Requests of the host have exactly one outcome.

use std::sync::{Arc, OnceLock};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, With, eventually};
use crate::harness::events::Events;
use crate::harness::gates::Gate;
use crate::harness::requests::Inbox;

fn within(timeout_ms: u64) -> With<'static> {
    With { timeout_ms, ..With::default() }
}

/// The number of open requests and of late replies.
fn requests(engine: &Engine) -> (u64, u64) {
    let requests = &engine.stats()["requests"];
    (requests["outstanding"].as_u64().unwrap(), requests["late-replies"].as_u64().unwrap())
}

#[test]
fn the_callback_gets_the_reply_and_the_request_s_id() {
    let engine = Engine::new();
    let probe = engine.load("app/probe/0", "probe");
    let inbox = Inbox::new();
    let ids: Vec<u64> = ["len56", "silent", "empty", "blob 300000"]
        .map(|command| engine.request(probe, command, inbox).unwrap())
        .to_vec();
    let came = inbox.exactly(&ids);
    let reply = |n: usize| came[&ids[n]].outcome.clone().unwrap();
    assert_eq!(reply(0).as_deref(), Some(&b"5"[..]));
    assert_eq!(reply(1), None, "no reply and an empty one differ");
    assert_eq!(reply(2), Some(Vec::new()));
    assert_eq!(reply(3).unwrap().len(), 300_000);
    assert!(came.values().all(|one| one.native_stack));
    assert_eq!(requests(&engine), (0, 0));
}

#[test]
fn the_receiver_sees_who_asks_and_which_request_it_is() {
    let engine = Engine::new();
    let probe = engine.load("app/probe/0", "probe");
    let inbox = Inbox::new();
    let with = With {
        sender: Some("some/one/else"),
        content_type: Some("text/plain"),
        timeout_ms: 60_000,
        ..With::default()
    };
    let id = engine.request_with(probe, "message", with, inbox).unwrap();
    let reply = inbox.only().outcome.unwrap().unwrap();
    let seen: serde_json::Value = serde_json::from_slice(&reply).unwrap();
    assert_eq!(seen["sender"], "some/one/else");
    assert_eq!(seen["reply-to"], "some/one/else");
    assert_eq!(seen["content-type"], "text/plain");
    assert!(seen["correlation-id"].is_string(), "{seen}");
    assert_eq!(inbox.only().request, id);
}

#[test]
fn a_failure_is_what_a_call_would_have_returned() {
    let engine = Engine::new();
    let limits = r#"{"limits": {"max-execution-time-ms": 100, "max-fuel": 50000000}}"#;
    let probe = engine.load("app/probe/0", "probe");
    let minimal = engine.load("app/minimal/0", "minimal");
    let trapper = engine.load_with("app/trapper/0", "trapper", limits);
    for (handle, payload) in [
        (probe, "fail runtime-error its words"),
        (probe, "fail timeout x"),
        (minimal, "x"),
        (trapper, "unreachable"),
        (trapper, "sleep 600000"),
        (trapper, "spin 1000000000"),
        (trapper, "alloc 500000000"),
    ] {
        let mut called = engine.failure(handle, payload);
        let inbox = Inbox::new();
        engine.request(handle, payload, inbox).unwrap();
        let mut requested = inbox.only().outcome.unwrap_err();
        for failure in [&mut called, &mut requested] {
            failure.detail.as_object_mut().unwrap().remove("backtrace");
        }
        assert_eq!(requested, called, "{payload}");
    }
}

#[test]
fn a_refused_request_has_no_outcome() {
    let (gate, config, inbox) = (Gate::default(), Config::new(), Inbox::new());
    gate.attach(&config);
    let engine = config.engine();
    let options = r#"{"mailbox": {"capacity": 1}, "codecs": ["json"]}"#;
    let slow = engine.load_with("app/slow/0", "chatty", options);
    let running = engine.request(slow, "log info gate", inbox).unwrap();
    gate.reached();
    let waiting = engine.request(slow, "log info x", inbox).unwrap();
    let refused = |handle, payload: &[u8], sender| {
        let with = With { sender, ..With::default() };
        engine.request_with(handle, payload, with, inbox).unwrap_err().status
    };
    assert_eq!(refused(slow, b"log info y", None), AIRSSYS_ERROR_QUEUE_FULL);
    assert_eq!(refused(slow, b"\x51cbor", None), AIRSSYS_ERROR_INVALID_MESSAGE);
    assert_eq!(refused(slow, b"log info y", Some("no id")), AIRSSYS_ERROR_INVALID_ID);
    assert_eq!(refused(slow + 99, b"x", None), AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    assert_eq!(requests(&engine).0, 2);
    gate.open();
    inbox.exactly(&[running, waiting]);
    engine.shutdown(60_000).unwrap();
    assert_eq!(refused(slow, b"x", None), AIRSSYS_ERROR_ENGINE_STOPPED);
    assert_eq!(inbox.all().len(), 2);
}

#[test]
fn a_deadline_is_an_outcome_and_the_late_reply_is_counted_and_dropped() {
    let (gate, config, inbox) = (Gate::default(), Config::new(), Inbox::new());
    let journal = gate.attach(&config);
    let engine = config.engine();
    let slow = engine.load("app/slow/0", "chatty");
    engine.request_with(slow, "log info gate", within(20), inbox).unwrap();
    gate.reached();
    assert_eq!(inbox.only().status(), AIRSSYS_ERROR_TIMEOUT);
    assert_eq!(requests(&engine), (0, 0));
    gate.open();
    eventually("it was handled", || (requests(&engine) == (0, 1)).then_some(()));
    assert_eq!(journal.of("app/slow/0"), ["gate"]);
    assert_eq!(inbox.all().len(), 1);
}

#[test]
fn a_cancelled_request_ends_as_cancelled_once_and_its_message_is_handled() {
    let (gate, config, inbox) = (Gate::default(), Config::new(), Inbox::new());
    let journal = gate.attach(&config);
    let engine = config.engine();
    let slow = engine.load("app/slow/0", "chatty");
    let running = engine.request(slow, "log info gate", inbox).unwrap();
    gate.reached();
    let waiting = engine.request_with(slow, "log info behind", within(60_000), inbox).unwrap();
    let unknown = |id| {
        let failure = engine.cancel(id).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_REQUEST_NOT_FOUND, "{failure}");
        assert_eq!(failure.detail["request"], id);
    };
    for id in [running, waiting] {
        engine.cancel(id).unwrap();
        unknown(id);
    }
    for completed in inbox.exactly(&[running, waiting]).values() {
        assert_eq!(completed.status(), AIRSSYS_ERROR_CANCELLED);
    }
    gate.open();
    eventually("both were handled", || (requests(&engine) == (0, 2)).then_some(()));
    assert_eq!(journal.of("app/slow/0"), ["gate", "behind"]);
    for id in [0, running, waiting, waiting + 1, u64::MAX] {
        unknown(id);
    }
    assert_eq!(inbox.all().len(), 2);
}

#[test]
fn hosts_and_components_do_not_cancel_each_other_s_requests() {
    let (gate, config, inbox) = (Gate::default(), Config::new(), Inbox::new());
    gate.attach(&config);
    let engine = config.engine();
    let slow = engine.load("app/slow/0", "chatty");
    let asker = engine.load("app/asker/0", "requester");
    let hosts = engine.request(slow, "log info gate", inbox).unwrap();
    gate.reached();
    let guests = engine.text(asker, "request app/slow/0 600000 log info x");
    let number =
        u64::from_str_radix(&guests, 16).expect("a correlation id is a hexadecimal number");
    assert_eq!(engine.cancel(number).unwrap_err().status, AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    let refused = engine.text(asker, &format!("cancel {hosts:016x}"));
    assert!(refused.starts_with("error: invalid-message("), "{refused}");
    assert_eq!(
        engine.complete(hosts, Some(b"forged")).unwrap_err().status,
        AIRSSYS_ERROR_REQUEST_NOT_FOUND,
        "only what a router took is completed by the host"
    );
    gate.open();
    assert_eq!(inbox.only().outcome, Ok(Some(b"ok".to_vec())));
    assert_eq!(engine.callbacks(asker, 1)[0]["payload"], "ok");
}

#[test]
fn requests_of_an_unloaded_component_end_and_become_dead_letters() {
    let (gate, config, inbox) = (Gate::default(), Config::new(), Inbox::new());
    gate.attach(&config);
    let events = Events::attach(&config, |_| {});
    let engine = config.engine();
    let slow = engine.load("app/slow/0", "chatty");
    let running = engine.request(slow, "log info gate", inbox).unwrap();
    gate.reached();
    let waiting = engine.request(slow, "log info x", inbox).unwrap();
    std::thread::scope(|scope| {
        let unload = scope.spawn(|| engine.unload(slow));
        let first = inbox.only();
        assert_eq!(first.request, waiting);
        assert_eq!(first.status(), AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
        gate.open();
        unload.join().unwrap().unwrap();
    });
    assert_eq!(inbox.exactly(&[running, waiting])[&running].outcome, Ok(Some(b"ok".to_vec())));
    let letter = &events.wait(1)[0];
    assert_eq!(letter.payload.as_deref(), Some(&b"log info x"[..]));
    assert_eq!(letter.json["component"], "app/slow/0");
}

/// An engine with open requests: one running, one waiting, one with a distant deadline.
fn open_at_the_end(end: impl FnOnce(&Engine, &Gate)) -> (Inbox, Vec<u64>) {
    let (gate, config, inbox) = (Gate::default(), Config::new(), Inbox::new());
    gate.attach(&config);
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    let engine = config.engine();
    let slow = engine.load_with("app/slow/0", "chatty", options);
    let sleeper = engine.load_with("app/sleeper/0", "trapper", options);
    let ids = [
        engine.request(slow, "log info gate", inbox).unwrap(),
        engine.request(slow, "log info x", inbox).unwrap(),
        engine.request_with(sleeper, "sleep 600000", within(600_000), inbox).unwrap(),
    ];
    gate.reached();
    end(&engine, &gate);
    gate.open();
    (inbox, ids.to_vec())
}

#[test]
fn freeing_an_engine_completes_open_requests() {
    let (inbox, ids) = open_at_the_end(|engine, gate| {
        gate.open();
        engine.free();
    });
    assert_eq!(inbox.all().len(), ids.len(), "completed before free returns");
    let came = inbox.exactly(&ids);
    assert_eq!(came[&ids[2]].status(), AIRSSYS_ERROR_ENGINE_STOPPED);
}

#[test]
fn a_shutdown_that_times_out_completes_open_requests() {
    let (inbox, ids) = open_at_the_end(|engine, _| {
        assert_eq!(engine.shutdown(0).unwrap_err().status, AIRSSYS_ERROR_TIMEOUT);
    });
    for completed in inbox.exactly(&ids).values() {
        assert_eq!(completed.status(), AIRSSYS_ERROR_ENGINE_STOPPED);
    }
}

#[test]
fn a_graceful_shutdown_lets_open_requests_be_answered() {
    let (gate, config, inbox) = (Gate::default(), Config::new(), Inbox::new());
    gate.attach(&config);
    let engine = config.engine();
    let slow = engine.load("app/slow/0", "chatty");
    let ids = ["gate", "x", "y"]
        .map(|word| engine.request(slow, format!("log info {word}"), inbox).unwrap());
    gate.reached();
    std::thread::scope(|scope| {
        let shutdown = scope.spawn(|| engine.shutdown(u64::MAX));
        eventually("nothing more is accepted", || {
            (engine.send(0, "").unwrap_err().status == AIRSSYS_ERROR_ENGINE_STOPPED).then_some(())
        });
        gate.open();
        shutdown.join().unwrap().unwrap();
    });
    for completed in inbox.exactly(&ids).values() {
        assert_eq!(completed.outcome, Ok(Some(b"ok".to_vec())));
    }
}

/// An engine that callbacks can reach.
fn reachable() -> (Arc<OnceLock<Engine>>, Arc<OnceLock<Engine>>) {
    let engine = Arc::<OnceLock<Engine>>::default();
    (Arc::clone(&engine), engine)
}

#[test]
fn a_completion_may_request_and_wait_for_the_next_completion() {
    let (engine, within) = reachable();
    let inner = Inbox::new();
    let outer = Inbox::with(move |completed| {
        let engine = within.get().unwrap();
        let echo = engine.find("app/echo/0").unwrap();
        assert_eq!(completed.outcome, Ok(Some(b"first".to_vec())));
        engine.request(echo, "second", inner).unwrap();
        assert_eq!(inner.only().outcome, Ok(Some(b"second".to_vec())));
        assert_eq!(engine.text(echo, "third"), "third");
    });
    let config = Config::new().with(r#"{"workers": 1}"#);
    let engine = engine.get_or_init(|| config.engine());
    let echo = engine.load("app/echo/0", "echo");
    engine.request(echo, "first", outer).unwrap();
    outer.only();
}

#[test]
fn a_blocking_completion_delays_no_other_completion_and_no_component() {
    let gate = Gate::default();
    let waits = gate.clone();
    let blocked = Inbox::with(move |_| waits.pass());
    let engine = Config::new().with(r#"{"workers": 1}"#).engine();
    let echo = engine.load("app/echo/0", "echo");
    let held: Vec<u64> = (0..20).map(|_| engine.request(echo, "held", blocked).unwrap()).collect();
    gate.reached();
    let inbox = Inbox::new();
    engine.request(echo, "free", inbox).unwrap();
    inbox.only();
    assert_eq!(blocked.all().len(), 0);
    gate.open();
    blocked.exactly(&held);
}

#[test]
fn a_completion_may_cancel_unload_and_free() {
    let (engine, within) = reachable();
    let cancelled = Inbox::new();
    let ending = Inbox::with(move |_| {
        let engine = within.get().unwrap();
        let slow = engine.find("app/slow/0").unwrap();
        let id = engine.request(slow, "sleep 600000", cancelled).unwrap();
        engine.cancel(id).unwrap();
        cancelled.only();
        engine.unload(engine.find("app/echo/0").unwrap()).unwrap();
        engine.free();
    });
    let config = Config::new();
    let events = Events::attach(&config, |_| {});
    let engine = engine.get_or_init(|| config.engine());
    drop(config);
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    engine.load_with("app/slow/0", "trapper", options);
    let echo = engine.load("app/echo/0", "echo");
    engine.request(echo, "x", ending).unwrap();
    ending.only();
    assert_eq!(cancelled.only().status(), AIRSSYS_ERROR_CANCELLED);
    eventually("it is released", || {
        (events.dropped.load(std::sync::atomic::Ordering::SeqCst) == 1).then_some(())
    });
}

#[test]
fn a_request_from_a_component_s_own_callback_is_answered_after_it() {
    // The callback does not wait, so there is no deadlock.
    let (engine, within) = reachable();
    let inbox = Inbox::new();
    let config = Config::new();
    crate::harness::log::set_logger(&config, AIRSSYS_LOG_TRACE, move |record| {
        if record.message == "ask" {
            let engine = within.get().unwrap();
            let own = engine.find("app/self/0").unwrap();
            engine.request(own, "log info asked", inbox).unwrap();
            let call = engine.call(own, "log info x").unwrap_err();
            assert_eq!(call.status, AIRSSYS_ERROR_WOULD_DEADLOCK);
        }
    });
    let engine = engine.get_or_init(|| config.engine());
    let own = engine.load("app/self/0", "chatty");
    assert_eq!(engine.text(own, "log info ask"), "ok");
    assert_eq!(inbox.only().outcome, Ok(Some(b"ok".to_vec())));
}

#[test]
fn ids_are_not_used_again() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    let inbox = Inbox::new();
    let ids: Vec<u64> = (0..3000)
        .map(|n| {
            let id = engine.request(echo, "x", inbox).unwrap();
            if n % 100 == 0 {
                inbox.wait(n + 1);
            }
            id
        })
        .collect();
    inbox.exactly(&ids);
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len());
}

#[test]
fn one_deadline_covers_the_wait_for_room_and_the_reply() {
    let (gate, config, inbox) = (Gate::default(), Config::new(), Inbox::new());
    gate.attach(&config);
    let engine = config.engine();
    let options = r#"{"mailbox": {"capacity": 1, "when-full": "block"}}"#;
    let slow = engine.load_with("app/slow/0", "chatty", options);
    engine.send(slow, "log info gate").unwrap();
    gate.reached();
    engine.send(slow, "log info x").unwrap();
    let failure = engine.request_with(slow, "log info y", within(30), inbox).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_QUEUE_FULL, "{failure}");
    assert_eq!(requests(&engine).0, 0);
    gate.open();
    assert_eq!(engine.text(slow, "log info z"), "ok");
    assert!(inbox.all().is_empty());
}

#[test]
fn a_broadcast_names_the_components_it_does_not_reach() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let [a, b] = ["app/a/0", "app/b/0"].map(|id| engine.load(id, "requester"));
    let full = engine.load_with("app/full/0", "chatty", r#"{"mailbox": {"capacity": 1}}"#);
    engine.send(full, "log info gate").unwrap();
    gate.reached();
    engine.send(full, "log info x").unwrap();
    engine.broadcast(&[a, b], "note one", With::default()).unwrap();
    engine.broadcast(&[], "note nobody", With::default()).unwrap();
    let failure = engine.broadcast(&[a, 999, full, b, a], "note two", With::default()).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_DELIVERY_FAILED);
    let failed = failure.detail["failed"].as_array().unwrap();
    let named: Vec<_> = failed.iter().map(|one| (&one["handle"], &one["status"])).collect();
    assert_eq!(
        named,
        [
            (&json!(999), &json!(AIRSSYS_ERROR_COMPONENT_NOT_FOUND)),
            (&json!(full), &json!(AIRSSYS_ERROR_QUEUE_FULL)),
        ]
    );
    gate.open();
    assert_eq!(engine.json(a, "received"), json!(["one", "two", "two"]));
    assert_eq!(engine.json(b, "received"), json!(["one", "two"]));
}
