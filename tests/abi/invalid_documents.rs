//! Invalid JSON documents: the error names the place, and nothing changes.

use airssys_wasm::*;

use crate::harness::engine::{Config, Engine, Failure, Outcome};

fn options_failure(engine: &Engine, options: &str) -> Failure {
    let failure = engine
        .try_load("app/echo/0", &airssys_wasm_guests::bytes("echo"), Some(options))
        .expect_err(options);
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_OPTIONS, "{failure}");
    failure
}

#[test]
fn unknown_option_keys_are_located_with_the_nearest_known_key() {
    let engine = Engine::new();
    for (options, place, nearest) in [
        (r#"{"limit": {}}"#, "options", "limits"),
        (r#"{"limits": {"max-memory-byte": 1}}"#, "options.limits", "max-memory-bytes"),
        (r#"{"limits": {"max_fuel": 1}}"#, "options.limits", "max-fuel"),
        (r#"{"mailbox": {"capacities": 1}}"#, "options.mailbox", "capacity"),
    ] {
        let failure = options_failure(&engine, options);
        assert_eq!(failure.detail["place"], place, "{failure}");
        assert_eq!(failure.detail["nearest"], nearest, "{failure}");
        assert!(failure.message.contains(nearest), "{failure}");
        assert!(failure.detail["known"].as_array().unwrap().contains(&nearest.into()));
    }
    let failure = options_failure(&engine, r#"{"qqqqq": 1}"#);
    assert_eq!(failure.detail["nearest"], serde_json::Value::Null, "{failure}");
    assert!(failure.message.contains("mailbox"), "it lists the known keys: {failure}");
}

#[test]
fn options_of_wrong_types_and_values_are_refused_and_located() {
    let engine = Engine::new();
    for (options, place) in [
        ("", "options"),
        ("{", "options"),
        ("[]", "options"),
        ("null", "options"),
        ("\"text\"", "options"),
        ("{} {}", "options"),
        (r#"{"limits": []}"#, "options.limits"),
        (r#"{"limits": {"max-fuel": 0}}"#, "options.limits.max-fuel"),
        (r#"{"limits": {"max-fuel": -5}}"#, "options.limits.max-fuel"),
        (r#"{"limits": {"max-fuel": 1.5}}"#, "options.limits.max-fuel"),
        (r#"{"limits": {"max-fuel": 18446744073709551616}}"#, "options.limits.max-fuel"),
        (r#"{"limits": {"max-memory-bytes": "64"}}"#, "options.limits.max-memory-bytes"),
        (r#"{"limits": {"max-execution-time-ms": 0}}"#, "options.limits.max-execution-time-ms"),
        (r#"{"limits": {"max-instances": 0}}"#, "options.limits.max-instances"),
        (r#"{"limits": {"max-table-elements": true}}"#, "options.limits.max-table-elements"),
        (r#"{"mailbox": 5}"#, "options.mailbox"),
        (r#"{"mailbox": {"capacity": 0}}"#, "options.mailbox.capacity"),
        (r#"{"mailbox": {"capacity": 99999999}}"#, "options.mailbox.capacity"),
        (r#"{"env": "A=1"}"#, "options.env"),
        (r#"{"env": {"A": 1}}"#, "options.env.A"),
        (r#"{"env": {"A": null}}"#, "options.env.A"),
    ] {
        let failure = options_failure(&engine, options);
        assert_eq!(failure.detail["place"], place, "{options}: {failure}");
        assert!(failure.message.starts_with(place), "{failure}");
    }
    let deep = format!(r#"{{"config": {}"#, "[".repeat(100_000));
    options_failure(&engine, &deep);
}

#[test]
fn an_invalid_configuration_is_located_and_changes_nothing() {
    let config = Config::new().with(r#"{"name": "kept"}"#);
    for (json, place) in [
        ("nonsense", "config"),
        (r#"{"name": 5}"#, "config.name"),
        (r#"{"name": ""}"#, "config.name"),
        (r#"{"name": "a/b"}"#, "config.name"),
        (r#"{"name": "lost", "workers": 0}"#, "config.workers"),
        (r#"{"workers": 1000000}"#, "config.workers"),
        (r#"{"workers": "two"}"#, "config.workers"),
        (r#"{"cache-dir": false}"#, "config.cache-dir"),
        (r#"{"max-component-bytes": 0}"#, "config.max-component-bytes"),
        (r#"{"signals-based-traps": 1}"#, "config.signals-based-traps"),
        (r#"{"limits": {"max-fuel": "x"}}"#, "config.limits.max-fuel"),
    ] {
        let failure = config.set(json).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_OPTIONS, "{failure}");
        assert_eq!(failure.detail["place"], place, "{json}: {failure}");
    }
    let failure = config.set(r#"{"worker": 1}"#).unwrap_err();
    assert_eq!(failure.detail["nearest"], "workers");
    let engine = config.engine();
    let probe = engine.load("app/probe/0", "probe");
    assert_eq!(engine.json(probe, "message")["sender"], "host/kept/0");
}

#[test]
fn a_duplicate_key_is_refused_in_every_document() {
    let (config, engine) = (Config::new(), Engine::new());
    let echo = engine.load("app/echo/0", "echo");
    let wasm = airssys_wasm_guests::bytes("echo");
    let load = |json: &str| engine.try_load("app/echo/1", &wasm, Some(json)).map(drop);
    let grant = |json: &str| engine.grant(echo, json);
    let revoke = |json: &str| engine.revoke(echo, Some(json));
    let set_policies = |json: &str| engine.set_policies(json);
    let configure = |json: &str| config.set(json);
    type Take<'a> = &'a dyn Fn(&str) -> Outcome;
    let cases: [(Take<'_>, &str, &str); 7] = [
        (&load, r#"{"capabilities": null, "capabilities": {"storage": ["read"]}}"#, "capabilities"),
        (&load, r#"{"quotas": {"storage-keys": 1, "storage-keys": 9}}"#, "storage-keys"),
        (&load, r#"{"env": {"A": "1", "\u0041": "2"}}"#, "A"),
        (&grant, r#"{"filesystem": {"/": ["read"], "/": ["write"]}}"#, "/"),
        (&revoke, r#"{"storage": ["read"], "storage": ["write"]}"#, "storage"),
        (&set_policies, r#"{"rules": [{"effect": "deny", "effect": "allow"}]}"#, "effect"),
        (&configure, r#"{"policies": {"rules": []}, "policies": null}"#, "policies"),
    ];
    for (take, json, key) in cases {
        let failure = take(json).expect_err(json);
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_OPTIONS, "{json}: {failure}");
        assert!(failure.message.contains(&format!("key {key:?} twice at line 1")), "{failure}");
    }
    // The same key in two objects is no duplicate.
    load(r#"{"env": {"limits": "1"}, "limits": {}}"#).unwrap();
}

#[test]
fn malicious_json_is_refused_with_a_short_error() {
    let engine = Engine::new();
    let wasm = airssys_wasm_guests::bytes("echo");
    let long = "k".repeat(4 << 20);
    let deep = |open: &str, close: &str| {
        format!("{{\"config\": {}1{}}}", open.repeat(100_000), close.repeat(100_000))
    };
    for json in [
        deep("[", "]"),
        deep("{\"a\":", "}"),
        format!("{{\"{long}\": 1}}"),
        format!("{{\"env\": {{\"{long}\": 1}}}}"),
        format!("{{\"capabilities\": {{\"filesystem\": {{\"/{long}\": [\"read\"]}}}}}}"),
        format!("{{\"mailbox\": {{\"when-full\": \"{long}\"}}}}"),
        format!("{{\"limits\": {{\"max-fuel\": 1{}}}}}", "0".repeat(100_000)),
        r#"{"limits": {"max-fuel": 1e400}}"#.into(),
        r#"{"limits": {"max-fuel": 18446744073709551616}}"#.into(),
        r#"{"limits": {"max-fuel": -0}}"#.into(),
        r#"{"limits": {"max-fuel": NaN}}"#.into(),
        r#"{"config": "\ud800"}"#.into(),
        r#"{"env": {"\udc00\ud800": "x"}}"#.into(),
        "{\"config\": \"\u{1}\"}".into(),
        r#"{"config": 1} {"config": 2}"#.into(),
        r#"{"capabilities": {"messaging": {"send": ["**/**/x/**/**"]}}}"#.replace('x', &long),
    ] {
        let shown = &json[..json.len().min(60)];
        let failure = engine.try_load("app/echo/0", &wasm, Some(&json)).expect_err(shown);
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_OPTIONS, "{shown}");
        assert!(failure.message.len() < 1000, "{shown}: {} bytes", failure.message.len());
        assert!(failure.detail.to_string().len() < 2000, "{shown}");
    }
}
