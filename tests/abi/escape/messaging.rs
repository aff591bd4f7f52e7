//! Messages to components that were not granted, and finding out about them.

use serde_json::json;

use crate::harness::stage::{Guest, Stage, hex, not_granted, policy};

const DENIED: &str = "error: delivery-failed(capability denied: messaging";

/// A receiver `app/bank/0` that records its messages.
fn bank(stage: &Stage) -> Guest {
    stage.load("app/bank/0", "requester", json!({}))
}

fn received(stage: &Stage, guest: &Guest) -> String {
    stage.engine.text(guest.handle, "received")
}

#[test]
fn nothing_is_sent_without_a_grant_whether_or_not_a_receiver_exists() {
    let stage = Stage::new();
    let (bank, thief) = (bank(&stage), stage.load("app/thief/0", "requester", json!({})));
    // Also to itself and to the neighbour with the secret.
    for id in ["app/bank/0", "app/nobody/0", "app/thief/0", "neighbour/keeper/0", "host/engine/0"] {
        for (action, command) in [
            ("send", format!("send {id} note pay")),
            ("request", format!("request {id} 60000 note pay")),
        ] {
            let reply = format!("{DENIED}.{action} {id})");
            let denial = not_granted(&format!("messaging.{action}"), id);
            stage.denied(&thief, &command, &reply, denial);
        }
        let reply = format!(
            "error: delivery-failed({id}: delivery-failed: capability denied: messaging.broadcast {id})"
        );
        let denial = not_granted("messaging.broadcast", id);
        stage.denied(&thief, &format!("broadcast {id} note pay"), &reply, denial);
    }
    assert_eq!(received(&stage, &bank), "[]");
    assert_eq!(stage.engine.text(thief.handle, "callbacks"), "[]", "no request was accepted");
}

#[test]
fn a_grant_to_send_is_no_grant_to_request_or_broadcast() {
    let stage = Stage::new();
    let bank = bank(&stage);
    for (id, granted) in [("app/a/0", "send"), ("app/b/0", "request"), ("app/c/0", "broadcast")] {
        let thief = stage.load(id, "requester", json!({"messaging": {granted: ["app/bank/0"]}}));
        for (action, command) in [
            ("send", "send app/bank/0 note x"),
            ("request", "request app/bank/0 60000 note x"),
            ("broadcast", "broadcast app/bank/0 note x"),
        ] {
            let name = format!("messaging.{action}");
            let observed = stage.observe(&thief, command);
            if action == granted {
                assert!(!observed.text().starts_with("error"), "{command}: {}", observed.text());
                assert_eq!(observed.denials(), [], "{command}");
                assert!(observed.decisions.iter().any(|d| d.action == name && d.by == "grant"));
            } else {
                assert!(observed.text().contains("capability denied"), "{}", observed.text());
                assert_eq!(observed.denials(), [not_granted(&name, "app/bank/0")], "{command}");
            }
        }
    }
    assert_eq!(received(&stage, &bank), r#"["x","x","x"]"#);
}

#[test]
fn a_broadcast_reaches_granted_targets_and_reports_denied_and_missing_ones_alike() {
    let stage = Stage::new();
    let bank = bank(&stage);
    let friend = stage.load("app/friend/0", "requester", json!({}));
    let rights = json!({"messaging": {"broadcast": ["app/friend/*"]}});
    let thief = stage.load("app/thief/0", "requester", rights);
    let (at_bank, at_nobody) = ("app/bank/0", "app/nobody/0");
    let part = |id| format!("{id}: delivery-failed: capability denied: messaging.broadcast {id}");
    stage.denied_all(
        &thief,
        "broadcast app/bank/0,app/friend/0,app/nobody/0 note hello",
        &format!("error: delivery-failed({}; {})", part(at_bank), part(at_nobody)),
        &[at_bank, at_nobody].map(|id| not_granted("messaging.broadcast", id)),
    );
    assert_eq!(received(&stage, &bank), "[]");
    assert_eq!(received(&stage, &friend), r#"["hello"]"#);
}

#[test]
fn a_pattern_grants_only_what_it_matches() {
    let stage = Stage::new();
    let bank = bank(&stage);
    for id in ["app/a/b", "app/banker/0", "app/bank/00", "apps/bank/0", "app/log-x/0"] {
        stage.load(id, "echo", json!({}));
    }
    let rights = json!({"messaging": {"send": ["app/b*k/0", "app/log*/1"]}});
    let thief = stage.load("app/thief/0", "requester", rights);
    for id in ["app/a/b", "app/banker/0", "app/bank/00", "apps/bank/0", "app/log-x/0", "app/b/0"] {
        let reply = format!("{DENIED}.send {id})");
        stage.denied(&thief, &format!("send {id} x"), &reply, not_granted("messaging.send", id));
    }
    stage.works(&thief, "send app/bank/0 note x", "ok", "messaging.send");
    // Granted but missing: the component may know that.
    let missing = "error: target-not-found(app/log/1)";
    stage.works(&thief, "send app/log/1 x", missing, "messaging.send");
    assert_eq!(received(&stage, &bank), r#"["x"]"#);
}

#[test]
fn components_are_visible_only_with_a_right_to_write_to_them() {
    let stage = Stage::new();
    let rights = json!({"messaging": {"request": ["app/bank/*"]}});
    let (bank, thief) = (bank(&stage), stage.load("app/thief/0", "requester", rights));
    stage.works(&thief, "list", "app/bank/0", "directory.list");
    for id in ["neighbour/keeper/0", "app/nobody/0", "app/thief/0"] {
        let reply = format!("error: invalid-state(capability denied: directory.list {id})");
        let denial = not_granted("directory.list", id);
        stage.denied(&thief, &format!("metadata {id}"), &reply, denial);
    }
    let seen = stage.observe(&thief, "metadata app/bank/0").text();
    assert!(seen.contains(r#""name":"requester""#), "{seen}");
    // Revoking the right hides the component again.
    stage.engine.revoke(thief.handle, None).unwrap();
    assert_eq!(stage.engine.text(thief.handle, "list"), "");
    assert_eq!(received(&stage, &bank), "[]");
}

#[test]
fn a_listing_does_not_show_components_that_a_policy_denies() {
    let rule = json!({"effect": "deny", "component": "app/thief/*", "action": "directory.list",
                      "resource": "app/bank/0", "reason": "secret"});
    let stage = Stage::with_policies(json!([rule]));
    let rights = json!({"messaging": {"send": ["app/**"]}});
    let (bank, thief) = (bank(&stage), stage.load("app/thief/0", "requester", rights));
    stage.works(&thief, "list", "app/thief/0", "directory.list");
    stage.denied(
        &thief,
        "metadata app/bank/0",
        "error: invalid-state(capability denied: directory.list app/bank/0)",
        policy("directory.list", "app/bank/0", 0, "secret"),
    );
    // The rule denies listing only. Sending is granted.
    stage.works(&thief, "send app/bank/0 note x", "ok", "messaging.send");
    assert_eq!(received(&stage, &bank), r#"["x"]"#);
}

#[test]
fn a_deny_rule_overrides_the_widest_grant_for_its_component_only() {
    let rule = json!({"effect": "deny", "component": "plugins/**", "action": "messaging.*",
                      "resource": "app/bank/*", "reason": "no plugins"});
    let stage = Stage::with_policies(json!([rule]));
    let bank = bank(&stage);
    let all = json!({"messaging": {"send": ["**"], "request": ["**"], "broadcast": ["**"]}});
    let thief = stage.load("plugins/thief/0", "requester", all.clone());
    for (action, command) in
        [("send", "send app/bank/0 note x"), ("request", "request app/bank/0 60000 note x")]
    {
        let name = format!("messaging.{action}");
        let reply = format!("{DENIED}.{action} app/bank/0)");
        stage.denied(&thief, command, &reply, policy(&name, "app/bank/0", 0, "no plugins"));
    }
    let observed = stage.observe(&thief, "broadcast app/bank/0,neighbour/counter/0 note x");
    let denial = policy("messaging.broadcast", "app/bank/0", 0, "no plugins");
    assert_eq!(observed.denials(), [denial]);
    let reply = observed.text();
    assert!(!reply.contains("neighbour") && !reply.contains("plugins"), "{reply}");
    let client = stage.load("app/client/0", "requester", all);
    stage.works(&client, "send app/bank/0 note mine", "ok", "messaging.send");
    assert_eq!(received(&stage, &bank), r#"["mine"]"#);
}

#[test]
fn malformed_ids_reach_nobody_even_with_all_rights() {
    let stage = Stage::new();
    let bank = bank(&stage);
    let all = json!({"messaging": {"send": ["**"], "request": ["**"], "broadcast": ["**"]}});
    let thief = stage.load("app/thief/0", "hostile", all);
    let long = "x".repeat(256);
    for parts in [
        ["app/bank", "0", ""],
        ["", "app/bank", "0"],
        ["app", "bank/0", "0"],
        ["app", "", "bank/0"],
        ["app", "*", "0"],
        ["**", "**", "**"],
        ["app", "ba*", "0"],
        ["app", "bank", "0\0"],
        ["app", "bank\n", "0"],
        ["app", "bank", "\u{85}0"],
        ["app", "bank", "\u{7f}"],
        [".", "bank", "0"],
        ["app", "..", "0"],
        ["app", &long, "0"],
        ["", "", ""],
    ] {
        let [a, b, c] = parts.map(hex);
        for command in [
            format!("raw-request {a} {b} {c} 60000 note x"),
            format!("raw-broadcast {a} {b} {c} note x"),
            format!("raw-metadata {a} {b} {c}"),
        ] {
            let observed = stage.observe(&thief, &command);
            let reply = observed.text();
            let malformed = reply.starts_with("error: ") && reply.contains("component id");
            assert!(malformed && reply.len() < 1000, "{parts:?}: {reply}");
            assert!(observed.decisions.is_empty(), "{parts:?}: {:?}", observed.decisions);
        }
    }
    assert_eq!(received(&stage, &bank), "[]");
}
