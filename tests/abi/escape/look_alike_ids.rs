//! Ids that look like another id.

use serde_json::json;

use crate::harness::stage::{Stage, hex, not_granted};

/// Valid ids that differ from `app/café/0`, the only one granted.
const LOOK_ALIKES: [&str; 10] = [
    "app/cafe\u{301}/0", // e and a combining accent
    "app/cafe/0",        // without the accent
    "app/CAFÉ/0",        // upper case
    "App/café/0",
    "\u{430}pp/café/0",   // Cyrillic a
    "app/café/\u{ff10}",  // full-width 0
    "app/café/0\u{200b}", // with a zero-width space
    "app/café\u{feff}/0",
    "app/\u{202e}café/0", // with a right-to-left override
    "app/café/0 ",
];

#[test]
fn ids_are_compared_byte_by_byte() {
    let stage = Stage::new();
    let victim = stage.load("app/café/0", "requester", json!({}));
    let rights = json!({"messaging": {"send": ["app/café/0"], "request": ["app/café/0"]}});
    let thief = stage.load("app/thief/0", "hostile", rights);
    for id in LOOK_ALIKES {
        // The id exists, so only the grant decides.
        let other = stage.load(id, "requester", json!({}));
        let parts: Vec<_> = id.split('/').map(hex).collect();
        stage.denied(
            &thief,
            &format!("raw-request {} 60000 note x", parts.join(" ")),
            &format!("error: delivery-failed(capability denied: messaging.request {id})"),
            not_granted("messaging.request", id),
        );
        stage.denied(
            &thief,
            &format!("raw-metadata {}", parts.join(" ")),
            &format!("error: invalid-state(capability denied: directory.list {id})"),
            not_granted("directory.list", id),
        );
        assert_eq!(stage.engine.text(other.handle, "received"), "[]", "{id:?}");
    }
    stage.works(&thief, "send-many 1 app/café/0 note x", "1", "messaging.send");
    assert_eq!(stage.engine.text(victim.handle, "received"), r#"["x"]"#);
    assert_eq!(stage.engine.text(thief.handle, "list-flood 1"), "1");
}

#[test]
fn a_look_alike_id_has_separate_storage_and_gets_no_mail() {
    let stage = Stage::new();
    let own = json!({"storage": ["read", "write", "delete"]});
    let victim = stage.load("app/café/0", "storage-user", own.clone());
    stage.works(&victim, "set pin 1234", "ok", "storage.write");
    for id in LOOK_ALIKES {
        let thief = stage.load(id, "hostile", own.clone());
        stage.works(&thief, &format!("raw-get {}", hex("pin")), "nothing", "storage.read");
        stage.works(&thief, "raw-keys -", "", "storage.read");
        stage.works(&thief, &format!("raw-delete {}", hex("pin")), "ok", "storage.delete");
        stage.works(&thief, &format!("raw-set {} stolen", hex("pin")), "ok", "storage.write");
        assert_eq!(stage.engine.text(victim.handle, "get pin"), "1234", "{id:?}");
    }
    stage.works(&victim, "list", "pin", "storage.read");
}

#[test]
fn a_long_denied_id_is_cut_in_replies_and_in_the_audit() {
    let stage = Stage::new();
    let thief = stage.load("app/thief/0", "hostile", json!({}));
    let observed = stage.observe(&thief, "wide-ids 300 255");
    let denials = observed.denials();
    assert_eq!(denials.len(), 300);
    let id = vec!["x".repeat(255); 3].join("/");
    assert!(denials.iter().all(|denial| *denial == not_granted("messaging.broadcast", &id)));
    let reply = observed.text();
    assert!(reply.len() < 40_000 && reply.contains("and 200 more"), "{} bytes", reply.len());
    let cancelled = stage.observe(&thief, &format!("raw-cancel {}", hex(&"y".repeat(10_000))));
    let named = cancelled.denials().remove(0).resource;
    assert!(named.starts_with("yyy") && named.len() <= 4096, "{} bytes", named.len());
    assert!(cancelled.text().len() < 300, "{}", cancelled.text());
}
