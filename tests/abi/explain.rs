//! `airssys_engine_explain` agrees with what is enforced.

use std::fs;

use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine};

fn allowed(engine: &Engine, handle: u64, action: &str, resource: &str) -> bool {
    let explained = engine.explain(handle, action, resource).unwrap();
    explained["allowed"].as_bool().unwrap()
}

#[test]
fn files_are_explained_by_their_resolved_path() {
    let root = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(root.path()).unwrap();
    let at = |path: &str| root.join(path).to_str().unwrap().to_owned();
    for directory in ["in", "in/sub", "in/closed"] {
        fs::create_dir(at(directory)).unwrap();
    }
    for file in ["secret", "in/own", "in/sub/deep", "in/closed/key"] {
        fs::write(at(file), "x").unwrap();
    }
    let rule = json!({"effect": "deny", "action": "filesystem.*", "resource": at("in/closed")});
    let config = Config::closed().with(&json!({"policies": {"rules": [rule]}}).to_string());
    let engine = config.engine();
    let rights = json!({"capabilities": {"filesystem": {at("in"): ["read"]}}});
    let wasi = engine.load_with("app/wasi/0", "wasi", &rights.to_string());
    for (path, expected) in [
        ("in/own", true),
        ("in//own", true),
        ("in/./sub/../own", true),
        ("in/sub/deep", true),
        ("in/../secret", false),
        ("in/sub/../../secret", false),
        ("secret", false),
        ("in/closed/key", false),
        ("in/sub/../closed/key", false),
    ] {
        let path = format!("{}/{path}", root.display());
        assert_eq!(allowed(&engine, wasi, "filesystem.read", &path), expected, "{path}");
        let read = engine.text(wasi, &format!("read {path}")) == "x";
        assert_eq!(read, expected, "{path}");
    }
}

#[test]
fn hosts_are_explained_by_their_address() {
    let engine = Config::closed().engine();
    let rights = json!({"capabilities": {"network": {"outbound": ["*"], "inbound": ["*"]}}});
    let wasi = engine.load_with("app/wasi/0", "wasi", &rights.to_string());
    for (host, expected) in [
        ("8.8.8.8:53", true),
        ("api.example.com:443", true),
        ("127.0.0.1:80", false),
        ("127.1:80", false),
        ("0x7f.1:80", false),
        ("2130706433:80", false),
        ("127.0.0.1.:80", false),
        ("[::1]:80", false),
        ("[::ffff:127.0.0.1]:80", false),
        ("localhost (127.0.0.1)", false),
        ("localhost:80 (127.0.0.1)", false),
        ("api.example.com (8.8.8.8)", true),
        ("no host", false),
        ("", false),
    ] {
        assert_eq!(allowed(&engine, wasi, "network.outbound", host), expected, "{host}");
    }
    assert!(allowed(&engine, wasi, "network.inbound", "127.0.0.1:80"));
    // Listening is checked by address only.
    assert!(!allowed(&engine, wasi, "network.inbound", "localhost:80"));
}

#[test]
fn impossible_actions_are_explained_as_denied() {
    let engine = Config::closed().engine();
    let rights = json!({"capabilities": {
        "messaging": {"send": ["**"], "request": ["**"], "broadcast": ["**"]},
        "storage": {"read": ["**"], "write": ["**"]},
    }});
    let user = engine.load_with("app/user/0", "storage-user", &rights.to_string());
    assert!(allowed(&engine, user, "storage.read", "app/user/0"));
    assert!(allowed(&engine, user, "storage.read", ""));
    for (action, resource) in [
        ("storage.read", "app/other/0"),
        ("storage.write", "app/user/0/key"),
        ("messaging.send", "app"),
        ("messaging.request", "app//0"),
        ("messaging.broadcast", "app/*/0"),
        ("directory.list", "../app/0"),
    ] {
        let explained = engine.explain(user, action, resource).unwrap();
        assert_eq!(explained["allowed"], false, "{explained}");
        assert_eq!(explained["by"], "never", "{explained}");
        assert_eq!(explained["until-ms"], Value::Null, "{explained}");
    }
}

#[test]
fn the_environment_and_the_clock_are_explained_as_one_resource_each() {
    let engine = Config::closed().engine();
    let user = engine.load("app/user/0", "echo");
    let rule = json!({"rules": [{"effect": "deny", "resource": "TOKEN"},
                                {"effect": "deny", "action": "clock.read"}]});
    engine.set_policies(&rule.to_string()).unwrap();
    // Variables are not distinguished by name.
    assert!(allowed(&engine, user, "environment.read", "TOKEN"));
    assert!(!allowed(&engine, user, "clock.read", "wall"));
}
