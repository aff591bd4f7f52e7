//! Storage that all components of a name share.

use airssys_wasm::*;

use crate::harness::engine::{Config, Engine};
use crate::harness::store::Store;

const GRANTED: &str = r#"{"storage": {"scope": "name"}, "capabilities":
    {"storage": {"read": "app/db", "write": "app/db", "delete": "app/db"}}}"#;

fn both() -> [Engine; 2] {
    let config = Config::new();
    Store::new().attach(&config);
    [Engine::new(), config.engine()]
}

#[test]
fn components_of_a_name_share_their_keys_if_granted() {
    for engine in both() {
        let one = engine.load_with("app/db/1", "storage-user", GRANTED);
        let two = engine.load_with("app/db/2", "storage-user", GRANTED);
        let own = engine.load("app/db/3", "storage-user");
        for (user, namespace) in [(one, "app/db"), (two, "app/db"), (own, "app/db/3")] {
            assert_eq!(engine.describe(user).unwrap()["storage-namespace"], namespace);
        }
        assert_eq!(engine.text(one, "set k shared"), "ok");
        assert_eq!(engine.text(two, "get k"), "shared");
        assert_eq!(engine.text(two, "list"), "k");
        assert_eq!(engine.call(own, "get k"), Ok(None), "it uses its own");
        assert_eq!(engine.stored("app/db", "k"), Ok(Some(b"shared".to_vec())));
        assert_eq!(engine.stored("app/db/1", "k"), Ok(None));
        engine.store("app/db", "h", "by the host").unwrap();
        assert_eq!(engine.text(one, "get h"), "by the host");
        engine.unload(one).unwrap();
        assert_eq!(engine.text(two, "delete k"), "ok");
        assert_eq!(engine.stored_usage("app/db"), Ok((1 + 11, 1)));
    }
}

#[test]
fn the_grant_of_its_own_storage_does_not_cover_what_it_shares() {
    let engine = Engine::new();
    let scope = r#""storage": {"scope": "name"}"#;
    for (grants, allowed) in [
        (r#"["read", "write"]"#, false),
        (r#"{"read": "app/db/*", "write": "app/db/*"}"#, false),
        (r#"{"read": "app/dbs", "write": "app/dbs"}"#, false),
        (r#"{"read": "app/db", "write": "app/*"}"#, true),
        (r#"{"read": "app/**", "write": "**"}"#, true),
    ] {
        let options = format!(r#"{{{scope}, "capabilities": {{"storage": {grants}}}}}"#);
        let user = engine.load_with("app/db/0", "storage-user", &options);
        for (command, action) in [("get k", "storage.read"), ("set k v", "storage.write")] {
            let reply = engine.call(user, command).unwrap().unwrap_or_default();
            let refused = reply.starts_with(b"error: io-error(capability denied: ");
            assert_eq!(refused, !allowed, "{grants}: {reply:?}");
            let explained = engine.explain(user, action, "").unwrap();
            assert_eq!(explained["allowed"], allowed, "{explained}");
            assert_eq!(engine.explain(user, action, "app/db").unwrap()["allowed"], allowed);
            assert_eq!(engine.explain(user, action, "app/db/0").unwrap()["allowed"], false);
        }
        engine.unload(user).unwrap();
    }
    let denied =
        r#"{"rules": [{"effect": "deny", "action": "storage.write", "resource": "app/db"}]}"#;
    engine.set_policies(denied).unwrap();
    let user = engine.load_with("app/db/0", "storage-user", GRANTED);
    assert!(engine.text(user, "set k v").contains("capability denied"));
    let failure = engine.set_policies(&denied.replace("app/db", "app")).unwrap_err();
    assert!(failure.message.contains("can match no storage namespace"), "{failure}");
}

#[test]
fn a_quota_applies_to_all_that_is_shared() {
    for engine in both() {
        let options =
            GRANTED.replacen('{', r#"{"quotas": {"storage-bytes": 20, "storage-keys": 2}, "#, 1);
        let one = engine.load_with("app/db/1", "storage-user", &options);
        let two = engine.load_with("app/db/2", "storage-user", &options);
        assert_eq!(engine.text(one, "set a 12345678"), "ok");
        assert_eq!(engine.text(two, "set b 123456789012345"), "error: quota-exceeded");
        assert_eq!(engine.text(two, "set b 1234"), "ok");
        assert_eq!(engine.text(one, "set c 1"), "error: quota-exceeded");
        assert_eq!(engine.text(one, "usage"), "14 20 2");
    }
    let engine = Engine::new();
    let held = |handle| engine.describe(handle).unwrap()["host-bytes"].as_u64().unwrap();
    let users = [1, 2].map(|n| engine.load_with(&format!("app/db/{n}"), "storage-user", GRANTED));
    let before = users.map(held);
    assert_eq!(engine.text(users[0], "fill k 1000000"), "ok");
    for (user, before) in users.into_iter().zip(before) {
        assert!(held(user) > before + 1_000_000, "each of them holds it");
    }
}

#[test]
fn an_unknown_scope_is_an_error() {
    let wasm = airssys_wasm_guests::bytes("minimal");
    let options = r#"{"storage": {"scope": "names"}}"#;
    let failure = Engine::new().try_load("a/b/c", &wasm, Some(options)).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_OPTIONS);
    assert!(
        failure.message.contains(r#"options.storage.scope: "names" is not allowed"#),
        "{failure}"
    );
}
