//! Messages of the host, and fire-and-forget between components.

use std::time::{SystemTime, UNIX_EPOCH};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::{Config, Engine, With, eventually};
use crate::hosts::{Gate, Journal};

#[test]
fn payloads_come_back_as_they_were_sent() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    let large: Vec<u8> = (0..8 << 20).map(|n: u32| (n % 251) as u8).collect();
    for payload in [&b""[..], b"\0", b"\xff\xfe not UTF-8", &large] {
        let reply = engine.call(echo, payload).unwrap().expect("a reply, even if empty");
        assert!(reply == payload, "{} bytes came back", reply.len());
    }
}

#[test]
fn no_reply_and_an_empty_reply_differ() {
    let engine = Engine::new();
    let probe = engine.load("app/probe/0", "probe");
    assert_eq!(engine.call(probe, "silent"), Ok(None));
    assert_eq!(engine.call(probe, "empty"), Ok(Some(Vec::new())));
    let blob = engine.call(probe, "blob 1000000").unwrap().unwrap();
    assert!(blob.iter().enumerate().all(|(n, byte)| usize::from(*byte) == n % 251));
    assert_eq!(blob.len(), 1_000_000);
}

#[test]
fn a_message_carries_what_the_host_said_about_it() {
    let engine = Config::new().with(r#"{"name": "desk"}"#).engine();
    let probe = engine.load("app/probe/0", "probe");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();

    // The clock of messages is a few milliseconds behind.
    let before = now() - 1;
    let plain = engine.json(probe, "message");
    assert_eq!(plain["sender"], "host/desk/0");
    for absent in ["correlation-id", "reply-to", "content-type"] {
        assert_eq!(plain[absent], json!(null), "{absent}");
    }
    assert!((before..=now()).contains(&plain["seconds"].as_u64().unwrap()), "{plain}");
    assert!(plain["nanoseconds"].as_u64().unwrap() < 1_000_000_000);

    let with =
        With { sender: Some("shop/ünit/7"), content_type: Some("text/plain"), ..With::default() };
    let reply = engine.call_with(probe, "message", with).unwrap().unwrap();
    let described: serde_json::Value = serde_json::from_slice(&reply).unwrap();
    assert_eq!(described["sender"], "shop/ünit/7");
    assert_eq!(described["content-type"], "text/plain");
}

#[test]
fn every_error_of_a_guest_has_its_status_and_its_words() {
    let engine = Engine::new();
    let probe = engine.load("app/probe/0", "probe");
    for (kind, status) in [
        ("component-not-found", AIRSSYS_ERROR_COMPONENT_NOT_FOUND),
        ("instantiation-failed", AIRSSYS_ERROR_INSTANTIATION_FAILED),
        ("export-not-found", AIRSSYS_ERROR_EXPORT_NOT_FOUND),
        ("resource-limit-exceeded", AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED),
        ("invalid-component", AIRSSYS_ERROR_INVALID_COMPONENT),
        ("runtime-error", AIRSSYS_ERROR_RUNTIME),
        ("timeout", AIRSSYS_ERROR_TIMEOUT),
    ] {
        let failure = engine.failure(probe, &format!("fail {kind} zu spät"));
        assert_eq!(failure.status, status, "{failure}");
        assert_eq!(failure.detail["origin"], "guest", "{failure}");
        assert_eq!(failure.detail["code"], kind, "{failure}");
        assert_eq!(failure.message.contains("zu spät"), kind != "timeout", "{failure}");
    }
    let described = engine.describe(probe).unwrap();
    assert_eq!((&described["restarts"], &described["state"]), (&json!(0), &json!("running")));
    assert_eq!(engine.json(probe, "calls")["initialize"], 1, "its instance is the same");
}

#[test]
fn a_guest_s_words_with_nul_in_them_are_not_cut_off() {
    let engine = Engine::new();
    let probe = engine.load("app/probe/0", "probe");
    let failure = engine.failure(probe, "fail runtime-error before\0after");
    assert!(failure.message.contains("after"), "{failure}");
}

#[test]
fn sends_of_one_thread_are_handled_in_order_and_before_its_next_call() {
    let engine = Engine::new();
    let receiver = engine.load_with("app/r/0", "requester", r#"{"mailbox": {"capacity": 5000}}"#);
    let notes: Vec<String> = (0..2000).map(|n| format!("n{n}")).collect();
    for note in &notes {
        engine.send(receiver, format!("note {note}")).unwrap();
    }
    assert_eq!(engine.json(receiver, "received"), json!(notes));
}

#[test]
fn components_send_to_each_other_in_order() {
    let engine = Engine::new();
    let a = engine.load("app/a/0", "requester");
    let b = engine.load("app/b/0", "requester");
    let notes: Vec<String> = (0..300).map(|n| format!("n{n}")).collect();
    for note in &notes {
        assert_eq!(engine.text(a, &format!("send app/b/0 note {note}")), "ok");
    }
    assert_eq!(engine.json(b, "received"), json!(notes));
    assert_eq!(engine.json(a, "callbacks"), json!([]), "a send has no answer");
}

#[test]
fn a_component_may_send_to_itself() {
    let engine = Engine::new();
    let a = engine.load("app/a/0", "requester");
    assert_eq!(engine.text(a, "send app/a/0 note mine"), "ok");
    assert_eq!(engine.json(a, "received"), json!(["mine"]));
}

#[test]
fn a_send_that_fails_is_in_the_log() {
    let journal = Journal::default();
    let config = Config::new();
    journal.attach(&config);
    let engine = config.engine();
    let probe = engine.load("app/probe/0", "probe");
    engine.send(probe, "fail runtime-error lost words").unwrap();
    let record = eventually("the failure is logged", || journal.records().into_iter().next());
    assert_eq!(record.level, AIRSSYS_LOG_WARN);
    assert_eq!(record.component.as_deref(), Some("app/probe/0"));
    assert!(record.message.contains("lost words"), "{}", record.message);
    assert!(record.message.contains("host/engine/0"), "{}", record.message);
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
fn an_id_with_several_components_goes_to_the_least_busy() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let pool = [(); 2].map(|()| engine.load("app/pool/0", "chatty"));
    let busy = engine.find("app/pool/0").unwrap();
    let idle = if busy == pool[0] { pool[1] } else { pool[0] };
    engine.send(busy, "log info gate").unwrap();
    gate.reached();
    assert_eq!(engine.find("app/pool/0"), Ok(idle));

    let sender = engine.load("app/sender/0", "requester");
    assert_eq!(engine.text(sender, "send app/pool/0 log info picked"), "ok");
    eventually("the idle one got the message", || {
        (engine.describe(idle).unwrap()["messages"]["handled"] == 1).then_some(())
    });
    gate.open();
}

#[test]
fn a_broadcast_reaches_all_it_can_and_names_the_others() {
    let engine = Engine::new();
    let [a, b, c] = ["app/a/0", "app/b/0", "app/c/0"].map(|id| engine.load(id, "requester"));
    assert_eq!(engine.text(a, "broadcast app/b/0,app/c/0 note one"), "ok");
    let reply = engine.text(a, "broadcast app/b/0,no/such/1,app/c/0,no/such/2 note two");
    assert!(reply.starts_with("error: delivery-failed("), "{reply}");
    for id in ["no/such/1", "no/such/2"] {
        assert!(reply.contains(id), "{reply}");
    }
    for id in ["app/b/0", "app/c/0"] {
        assert!(!reply.contains(id), "{reply}");
    }
    for receiver in [b, c] {
        assert_eq!(engine.json(receiver, "received"), json!(["one", "two"]));
    }
}

#[test]
fn malformed_targets_of_a_guest_are_invalid_messages() {
    let engine = Engine::new();
    let a = engine.load("app/a/0", "requester");
    let hex = |text: &str| match text {
        "" => "-".to_owned(),
        text => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
    };
    let long = "x".repeat(10_000);
    for part in ["", "a/b", "a\0b", "*", "..", ".", "\u{7f}", "\n", &long] {
        for position in 0..3 {
            let mut parts = ["app", "a", "0"];
            parts[position] = part;
            let parts = parts.map(hex).join(" ");
            let reply = engine.text(a, &format!("raw-target {parts} note x"));
            assert!(reply.starts_with("error: invalid-message("), "{part:.20?}: {reply:.300}");
            assert!(reply.len() < 500, "an error repeats too much of its input");
        }
    }
    assert_eq!(engine.json(a, "received"), json!([]));
    let unknown = engine.text(a, "send no/such/one x");
    assert_eq!(unknown, "error: target-not-found(no/such/one)");
}

#[test]
fn self_id_is_the_id_it_was_loaded_with() {
    let engine = Engine::new();
    let a = engine.load("höhe/name.with-dots/instance 7", "requester");
    assert_eq!(engine.text(a, "self"), "höhe/name.with-dots/instance 7");
}

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
fn a_mailbox_holds_no_more_bytes_than_it_may() {
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
    engine.send(slow, &huge).expect("alone it is accepted whatever its size");
}

#[test]
fn a_broadcast_to_many_lists_the_first_that_failed_and_counts_the_rest() {
    let engine = Engine::new();
    let requester = engine.load("app/requester/0", "requester");
    let targets: Vec<String> = (0..250).map(|n| format!("no/such/{n}")).collect();
    let reply = engine.text(requester, &format!("broadcast {} x", targets.join(",")));
    assert!(reply.contains("no/such/99: ") && !reply.contains("no/such/100: "), "{reply}");
    assert!(reply.ends_with("and 150 more)"), "{reply}");
}
