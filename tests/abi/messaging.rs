//! Messages of the host, and sends between components.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::harness::engine::{Config, Engine, With};

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
fn a_message_carries_sender_content_type_and_time() {
    let engine = Config::new().with(r#"{"name": "desk"}"#).engine();
    let probe = engine.load("app/probe/0", "probe");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();

    // The timestamps of messages lag by a few milliseconds.
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
fn a_component_may_send_itself_a_message() {
    let engine = Engine::new();
    let a = engine.load("app/a/0", "requester");
    assert_eq!(engine.text(a, "send app/a/0 note mine"), "ok");
    assert_eq!(engine.json(a, "received"), json!(["mine"]));
}

#[test]
fn a_broadcast_reaches_every_valid_target_and_names_the_others() {
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
fn malformed_targets_are_invalid_messages() {
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
fn a_broadcast_lists_the_first_100_failures_and_counts_the_rest() {
    let engine = Engine::new();
    let requester = engine.load("app/requester/0", "requester");
    let targets: Vec<String> = (0..250).map(|n| format!("no/such/{n}")).collect();
    let reply = engine.text(requester, &format!("broadcast {} x", targets.join(",")));
    assert!(reply.contains("no/such/99: ") && !reply.contains("no/such/100: "), "{reply}");
    assert!(reply.ends_with("and 150 more)"), "{reply}");
}
