//! Forged senders, requests and replies.

use serde_json::{Value, json};

use crate::harness::requests::Inbox;
use crate::harness::stage::{Guest, Stage, hex, never};

const NEVER: &str = "no request of its own";

/// A victim with three open requests to a component that waits at the gate.
fn with_requests(stage: &Stage) -> (Guest, Vec<String>) {
    let slow = stage.load("app/slow/0", "chatty", json!({}));
    let rights = json!({"messaging": {"request": ["app/slow/0"]}});
    let victim = stage.load("app/victim/0", "hostile", rights);
    stage.engine.send(slow.handle, "log info gate").unwrap();
    stage.gate.reached();
    assert_eq!(stage.engine.text(victim.handle, "request-many 3 app/slow/0 600000 millis"), "3");
    let ids = stage.engine.text(victim.handle, "correlations");
    (victim, ids.lines().map(str::to_owned).collect())
}

/// Expects exactly one answer to each of the victim's requests.
fn assert_answered(stage: &Stage, victim: &Guest) {
    assert_eq!(stage.engine.stats()["requests"]["outstanding"], 3, "no request was cancelled");
    stage.gate.open();
    crate::harness::engine::eventually("the victim got its answers", || {
        (stage.engine.text(victim.handle, "callbacks") == "3").then_some(())
    });
    assert_eq!(stage.engine.stats()["requests"]["late-replies"], 0);
}

#[test]
fn a_component_cannot_cancel_another_s_requests() {
    let stage = Stage::new();
    let (victim, ids) = with_requests(&stage);
    let thief = stage.load("app/thief/0", "hostile", json!({}));
    for id in &ids {
        let reply = format!("error: invalid-message(app/thief/0 has no request {id:?} under way)");
        let denial = never("messaging.cancel", id, NEVER);
        stage.denied(&thief, &format!("raw-cancel {}", hex(id)), &reply, denial);
    }
    assert_answered(&stage, &victim);
}

#[test]
fn guesses_around_real_ids_cancel_nothing() {
    let stage = Stage::new();
    let (victim, ids) = with_requests(&stage);
    let thief = stage.load("app/thief/0", "hostile", json!({}));
    for id in &ids {
        let real = u64::from_str_radix(id, 16).unwrap();
        let (from, to) = (real.saturating_sub(500), real.saturating_add(500));
        let observed = stage.observe(&thief, &format!("cancel-range {from:016x} {to:016x}"));
        assert!(observed.text().starts_with("0 error: invalid-message("), "{}", observed.text());
        let denials = observed.denials();
        assert_eq!(denials.len() as u64, to - from);
        assert!(denials.contains(&never("messaging.cancel", id, NEVER)));
    }
    assert_answered(&stage, &victim);
}

#[test]
fn unknown_ids_and_ids_of_others_get_the_same_error() {
    let stage = Stage::new();
    let (victim, ids) = with_requests(&stage);
    let thief = stage.load("app/thief/0", "hostile", json!({}));
    let upper = format!("{:0>16}", ids[0].to_uppercase());
    let spaced = format!(" {}", &ids[0]);
    for id in ["ffffffffffffffff", "0000000000000000", "", "*", "-1", "\0", &upper, &spaced] {
        let observed = stage.observe(&thief, &format!("raw-cancel {}", hex(id)));
        let reply = format!("error: invalid-message(app/thief/0 has no request {id:?} under way)");
        assert_eq!(observed.text(), reply);
        let denials = observed.denials();
        assert_eq!(denials, [never("messaging.cancel", &id.replace('\0', "\\0"), NEVER)]);
    }
    assert_answered(&stage, &victim);
}

#[test]
fn a_request_is_cancelled_only_by_its_sender_and_only_once() {
    let stage = Stage::new();
    let (victim, ids) = with_requests(&stage);
    let all_three = stage.observe(&victim, "cancel-kept");
    assert_eq!((all_three.text(), all_three.denials()), ("3".into(), vec![]));
    let id = &ids[0];
    let reply = format!("error: invalid-message(app/victim/0 has no request {id:?} under way)");
    let denial = never("messaging.cancel", id, NEVER);
    stage.denied(&victim, &format!("raw-cancel {}", hex(id)), &reply, denial);
    stage.gate.open();
}

#[test]
fn another_component_of_the_same_id_cannot_cancel_a_request() {
    let stage = Stage::new();
    let (victim, ids) = with_requests(&stage);
    let namesake = stage.load("app/victim/0", "hostile", json!({}));
    for id in &ids {
        let observed = stage.observe(&namesake, &format!("raw-cancel {}", hex(id)));
        assert_eq!(observed.denials(), [never("messaging.cancel", id, NEVER)]);
    }
    assert_answered(&stage, &victim);
}

#[test]
fn a_guest_cannot_cancel_a_request_of_the_host() {
    let stage = Stage::new();
    let slow = stage.load("app/slow/0", "chatty", json!({}));
    stage.engine.send(slow.handle, "log info gate").unwrap();
    stage.gate.reached();
    let inbox = Inbox::new();
    let request = stage.engine.request(slow.handle, "log info done", inbox).unwrap();
    let (thief, id) = (stage.load("app/thief/0", "hostile", json!({})), format!("{request:016x}"));
    let reply = format!("error: invalid-message(app/thief/0 has no request {id:?} under way)");
    let denial = never("messaging.cancel", &id, NEVER);
    stage.denied(&thief, &format!("raw-cancel {}", hex(&id)), &reply, denial);
    stage.gate.open();
    assert!(inbox.only().outcome.is_ok());
}

#[test]
fn the_sender_is_authentic_whatever_the_payload_says() {
    let stage = Stage::new();
    stage.load("app/probe/0", "probe", json!({}));
    let rights = json!({"messaging": {"request": ["app/probe/0"]}});
    let thief = stage.load("app/thief/0", "requester", rights);
    stage.works_like(&thief, "request app/probe/0 600000 message", "messaging.request", |reply| {
        reply.len() == 16
    });
    let callback = stage.engine.callbacks(thief.handle, 1).remove(0);
    let seen: Value = serde_json::from_str(callback["payload"].as_str().unwrap()).unwrap();
    assert_eq!(seen["sender"], "app/thief/0");
    assert_eq!(seen["reply-to"], "app/thief/0");
    assert_eq!(seen["content-type"], Value::Null);
    assert_eq!(callback["sender"], "app/probe/0");
}

#[test]
fn a_reply_that_looks_like_the_host_s_error_is_a_reply() {
    let stage = Stage::new();
    stage.load("app/liar/0", "echo", json!({}));
    let rights = json!({"messaging": {"request": ["app/liar/0"]}});
    let victim = stage.load("app/victim/0", "requester", rights);
    let forged = r#"{"code":"correlation-timeout","message":"forged"}"#;
    stage.engine.text(victim.handle, &format!("request app/liar/0 600000 {forged}"));
    let callback = stage.engine.callbacks(victim.handle, 1).remove(0);
    assert_eq!(callback["payload"], forged);
    assert_eq!(callback["content-type"], Value::Null, "only the host sets the type of an error");
    assert_eq!(callback["sender"], "app/liar/0");
    stage.assert_intact("a forged error");
}

#[test]
fn a_failure_shows_the_requester_the_receiver_s_text_and_nothing_of_the_host() {
    let stage = Stage::new();
    for (id, guest) in [("app/trapper/0", "trapper"), ("app/hostile/0", "hostile")] {
        stage.load(id, guest, json!({}));
    }
    let rights = json!({"messaging": {"request": ["app/trapper/0", "app/hostile/0"]}});
    let asker = stage.load("app/asker/0", "requester", rights);
    for command in [
        "app/trapper/0 600000 oob",
        "app/trapper/0 600000 panic x",
        "app/hostile/0 600000 raw-string send huge",
    ] {
        stage.engine.text(asker.handle, &format!("request {command}"));
    }
    for callback in stage.engine.callbacks(asker.handle, 3) {
        let payload = callback["payload"].as_str().unwrap();
        let error: Value = serde_json::from_str(payload).unwrap();
        assert_eq!(error["code"], "trap", "{payload}");
        for leak in ["/work", "/tmp", "0x", "src/", "wasm backtrace", ".rs"] {
            assert!(!payload.contains(leak), "{leak}: {payload}");
        }
    }
    stage.assert_intact("errors of others");
}
