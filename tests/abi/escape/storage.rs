//! Storage of another component, and own storage without a grant.

use std::sync::Arc;

use serde_json::json;

use crate::harness::stage::{Stage, hex, not_granted, policy};
use crate::harness::store::Store;

/// Keys that would lead to `secret` of `neighbour/keeper/0` if they were appended to an id
/// unchecked.
const KEYS: [&str; 22] = [
    "secret",
    "neighbour/keeper/0/secret",
    "/neighbour/keeper/0/secret",
    "../0/secret",
    "../../keeper/0/secret",
    "../../../neighbour/keeper/0/secret",
    "./../0/secret",
    "..\\0\\secret",
    "%2e%2e/0/secret",
    "%2e%2e%2f0%2fsecret",
    "..%c0%af0/secret",
    "\u{2024}\u{2024}/0/secret",
    "..\u{2215}0\u{2215}secret",
    "..\u{ff0f}0\u{ff0f}secret",
    "neighbour:keeper:0:secret",
    "neighbour\u{1f}keeper\u{1f}0\u{1f}secret",
    "\u{ffff}secret",
    "*",
    "**/secret",
    "neighbour/*/0/secret",
    "secret\n",
    "SECRET",
];

#[test]
fn no_key_leads_to_another_s_storage() {
    for id in ["neighbour/keeper/1", "neighbour/keeper/00", "neighbour/keepe/r", "neighbour/k/0"] {
        let stage = Stage::new();
        let own = json!({"storage": ["read", "write", "delete"]});
        let thief = stage.load(id, "hostile", own);
        for key in KEYS.map(hex) {
            stage.works(&thief, &format!("raw-get {key}"), "nothing", "storage.read");
            stage.works(&thief, &format!("raw-exists {key}"), "false", "storage.read");
            stage.works(&thief, &format!("raw-keys {key}"), "", "storage.read");
            // This is the component's own key of that name; `works` checks the neighbour's.
            stage.works(&thief, &format!("raw-set {key} mine"), "ok", "storage.write");
            stage.works(&thief, &format!("raw-get {key}"), "mine", "storage.read");
            stage.works(&thief, &format!("raw-delete {key}"), "ok", "storage.delete");
            stage.works(&thief, &format!("raw-get {key}"), "nothing", "storage.read");
        }
        stage.works(&thief, "raw-keys -", "", "storage.read");
    }
}

#[test]
fn the_host_s_backend_sees_only_the_component_s_own_namespace() {
    let store = Store::new();
    let stage = Stage::with(&json!({}), |config| Arc::clone(&store).attach(config));
    let own = json!({"storage": ["read", "write", "delete"]});
    let thief = stage.load("neighbour/keeper/1", "hostile", own);
    for key in KEYS.map(hex) {
        stage.works(&thief, &format!("raw-get {key}"), "nothing", "storage.read");
        stage.works(&thief, &format!("raw-set {key} mine"), "ok", "storage.write");
        stage.works(&thief, &format!("raw-delete {key}"), "ok", "storage.delete");
    }
    let calls = store.calls.lock().unwrap().clone();
    let of_keeper = calls.iter().filter(|call| call.contains(" neighbour/keeper/0 ")).count();
    let of_thief = calls.iter().filter(|call| call.contains(" neighbour/keeper/1 ")).count();
    assert_eq!(of_keeper + of_thief, calls.len());
    assert_eq!(of_thief, 3 * KEYS.len());
    assert_eq!(store.value("neighbour/keeper/0", "secret").unwrap(), b"treasure");
}

#[test]
fn invalid_keys_do_not_reach_a_backend() {
    let store = Store::new();
    let stage = Stage::with(&json!({}), |config| Arc::clone(&store).attach(config));
    let own = json!({"storage": ["read", "write", "delete"]});
    let thief = stage.load("app/thief/0", "hostile", own);
    let long = "k".repeat(1025);
    for key in ["", "\0", "secret\0", "\0secret", "a\0../0/secret", &long] {
        let key_hex = hex(key);
        for command in ["raw-get", "raw-set", "raw-exists", "raw-delete"] {
            let command = format!("{command} {key_hex} x");
            let reply = stage.observe(&thief, &command).text();
            assert!(reply.starts_with("error: invalid-key("), "{key:?}: {reply}");
            assert!(reply.len() < 300, "{key:?}: {reply}");
        }
    }
    let reply = stage.observe(&thief, &format!("raw-keys {}", hex("\0"))).text();
    assert!(reply.starts_with("error: invalid-key("), "{reply}");
    assert!(!store.calls.lock().unwrap().iter().any(|call| call.contains("app/thief/0")));
    // A key of the maximum length is valid.
    stage.works(&thief, "long-key 1024", "ok", "storage.write");
}

#[test]
fn unicode_forms_of_a_letter_are_different_keys() {
    let stage = Stage::new();
    let own = json!({"storage": ["read", "write", "delete"]});
    let user = stage.load("app/user/0", "hostile", own);
    let forms = ["caf\u{e9}", "cafe\u{301}", "CAF\u{c9}", "\u{212b}", "\u{c5}", "A\u{30a}"];
    for (n, form) in forms.iter().enumerate() {
        stage.works(&user, &format!("raw-set {} {n}", hex(form)), "ok", "storage.write");
    }
    for (n, form) in forms.iter().enumerate() {
        let value = n.to_string();
        stage.works(&user, &format!("raw-get {}", hex(form)), &value, "storage.read");
    }
    stage.works(&user, &format!("raw-keys {}", hex("caf\u{e9}")), "caf\u{e9}", "storage.read");
}

#[test]
fn own_storage_needs_a_grant_too() {
    let stage = Stage::new();
    let thief = stage.load("app/thief/0", "storage-user", json!({}));
    for (action, command) in [
        ("read", "get k"),
        ("read", "exists k"),
        ("read", "list"),
        ("read", "usage"),
        ("write", "set k v"),
        ("delete", "delete k"),
    ] {
        let action = format!("storage.{action}");
        let reply = format!("error: io-error(capability denied: {action} app/thief/0)");
        stage.denied(&thief, command, &reply, not_granted(&action, "app/thief/0"));
    }
}

#[test]
fn every_right_to_storage_is_separate() {
    let stage = Stage::new();
    for (id, granted) in [("app/r/0", "read"), ("app/w/0", "write"), ("app/d/0", "delete")] {
        let thief = stage.load(id, "storage-user", json!({"storage": [granted]}));
        for (action, command) in [("read", "usage"), ("write", "set k v"), ("delete", "delete k")] {
            let name = format!("storage.{action}");
            let observed = stage.observe(&thief, command);
            let denied = [not_granted(&name, id)];
            let expected = if action == granted { &[][..] } else { &denied };
            assert_eq!(observed.denials(), expected, "{granted}: {command}");
            let is_error = observed.text().starts_with("error: io-error(capability denied");
            assert_eq!(is_error, action != granted, "{granted}: {command}: {}", observed.text());
        }
    }
}

#[test]
fn a_grant_on_another_namespace_gives_nothing() {
    let stage = Stage::new();
    let others = json!({"storage": [{"action": "read", "namespace-pattern": "neighbour/**"},
                                    {"action": "write", "namespace-pattern": "neighbour/**"}]});
    let thief = stage.load("app/thief/0", "storage-user", others);
    let reply = "error: io-error(capability denied: storage.read app/thief/0)";
    stage.denied(&thief, "get secret", reply, not_granted("storage.read", "app/thief/0"));
    let reply = "error: io-error(capability denied: storage.write app/thief/0)";
    stage.denied(&thief, "set secret x", reply, not_granted("storage.write", "app/thief/0"));
}

#[test]
fn a_policy_closes_storage_that_was_granted() {
    let rule = json!({"effect": "deny", "action": "storage.write", "resource": "app/*/0",
                      "reason": "frozen"});
    let stage = Stage::with_policies(json!([rule]));
    let thief = stage.load("app/thief/0", "storage-user", json!({"storage": ["read", "write"]}));
    let reply = "error: io-error(capability denied: storage.write app/thief/0)";
    stage.denied(&thief, "set k v", reply, policy("storage.write", "app/thief/0", 0, "frozen"));
    stage.works(&thief, "list", "", "storage.read");
}
