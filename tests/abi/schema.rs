//! The published JSON schema and the parsers accept the same documents.

use std::ffi::CString;
use std::ptr;

use airssys_wasm::*;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::harness::engine::{Config, Engine};
use crate::harness::properties::for_all;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../include/airssys_wasm.schema.json")).unwrap()
}

/// A validator for the part of JSON Schema 2020-12 that the schema uses. It panics at anything
/// else.
struct Schema(Value);

impl Schema {
    fn accepts(&self, definition: &str, value: &Value) -> bool {
        self.valid(&self.0["$defs"][definition], value)
    }

    fn valid(&self, schema: &Value, value: &Value) -> bool {
        let keywords = schema.as_object().expect("a schema is an object");
        let properties = keywords.get("properties").and_then(Value::as_object);
        keywords.iter().all(|(keyword, rule)| {
            let alternatives = || {
                let all = rule.as_array().expect("alternatives");
                all.iter().filter(|schema| self.valid(schema, value)).count()
            };
            match keyword.as_str() {
                "title" | "description" | "default" | "examples" | "$schema" | "$defs" => true,
                "$ref" => {
                    let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                    self.valid(&self.0["$defs"][name], value)
                }
                "type" => match rule {
                    Value::Array(types) => types.iter().any(|name| is_of_type(name, value)),
                    name => is_of_type(name, value),
                },
                "const" => rule == value,
                "enum" => rule.as_array().unwrap().contains(value),
                "minimum" => as_number(value).is_none_or(|n| n >= as_number(rule).unwrap()),
                "maximum" => as_number(value).is_none_or(|n| n <= as_number(rule).unwrap()),
                "minLength" => {
                    value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap())
                }
                "items" => {
                    value.as_array().is_none_or(|all| all.iter().all(|item| self.valid(rule, item)))
                }
                "required" => value.as_object().is_none_or(|object| {
                    let needed = rule.as_array().unwrap();
                    needed.iter().all(|key| object.contains_key(key.as_str().unwrap()))
                }),
                "properties" => value.as_object().is_none_or(|object| {
                    let known = rule.as_object().unwrap().iter();
                    known
                        .map(|(key, rule)| (object.get(key), rule))
                        .all(|(member, rule)| member.is_none_or(|member| self.valid(rule, member)))
                }),
                "additionalProperties" => value.as_object().is_none_or(|object| {
                    let known = |key: &String| properties.is_some_and(|all| all.contains_key(key));
                    let mut others = object.iter().filter(|(key, _)| !known(key));
                    match rule {
                        Value::Bool(allowed) => *allowed || others.next().is_none(),
                        rule => others.all(|(_, member)| self.valid(rule, member)),
                    }
                }),
                "anyOf" => alternatives() > 0,
                "oneOf" => alternatives() == 1,
                "not" => !self.valid(rule, value),
                other => panic!("the test knows no keyword {other:?}"),
            }
        })
    }
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the test knows no type {other:?}"),
    }
}

/// A document and the definition it belongs to.
#[derive(Debug, Clone)]
struct Document {
    definition: &'static str,
    value: Value,
}

fn grants() -> Value {
    json!({
        "messaging": { "send": ["app/*/*", "**"], "request": "app/db/0", "broadcast": [] },
        "storage": ["read", { "action": "write", "namespace-pattern": "app/**" }],
        "filesystem": { "/": ["read", "list-dir"],
                        "/*": { "actions": ["read"], "guest-path": "/in" } },
        "network": { "outbound": ["*.example.com:443", "10.0.0.0/8"], "inbound": "127.0.0.1:80" },
        "host": ["editor:api/buffer#get-line", "editor:api/*"],
        "expires-in-ms": 60_000
    })
}

fn long_grants() -> Value {
    json!({
        "messaging": [{ "action": "send", "target-pattern": "app/*/*" }],
        "storage": { "read": ["app/**"], "write": "app/a/0", "delete": null },
        "filesystem": [{ "action": "read", "path-pattern": "/", "guest-path": "/in" },
                       { "actions": ["write", "delete"], "path-pattern": "/**",
                         "guest-path": "/out" }],
        "network": [{ "action": "outbound", "host-pattern": "localhost", "port": 80,
                      "private": true }],
        "host": "editor:api/*",
        "expires-at-ms": 4_000_000_000_000_u64
    })
}

fn seeds() -> Vec<Document> {
    let limits = json!({ "max-memory-bytes": 1 << 20, "max-host-bytes": 1 << 20,
                         "max-message-bytes": 6, "max-execution-time-ms": 5, "max-fuel": null,
                         "max-instances": 4, "max-table-elements": 5 });
    let supervision = json!({ "restart": "permanent", "max-restarts": 3, "window-ms": 4,
        "backoff": { "growth": "exponential", "first-ms": 5, "max-ms": 6, "jitter-percent": 7,
                     "quiet-ms": 8 } });
    let quotas = json!({ "messages-per-second": 1, "outstanding-requests": 2, "storage-bytes": 3,
                         "storage-keys": 4, "log-bytes-per-second": 5,
                         "random-bytes-per-second": null,
                         "host-functions-per-second": 9, "host-call-data-bytes": 7,
                         "wasi-resources": 8 });
    let rules = json!({ "rules": [
        { "effect": "deny", "component": "app/**", "action": "storage.*", "resource": "app/**",
          "reason": "no" },
        { "effect": "allow", "action": "messaging.send" }
    ] });
    let options = json!({
        "env": { "A": "1" }, "config": { "x": [1] }, "limits": limits, "instances": 2,
        "mailbox": { "capacity": 2, "max-bytes": 9, "when-full": "block" },
        "codecs": ["json", "cbor"], "capabilities": [grants()], "quotas": quotas,
        "supervision": supervision, "kept-versions": 2, "recycle-above-bytes": 3,
        "recycle-after-messages": 4, "require-lifecycle": false, "expect": {},
        "activation": "on-demand", "idle-timeout-ms": 5,
        "health": { "interval-ms": 6, "timeout-ms": 7, "unhealthy-after": 8 },
        "state": "volatile", "storage": { "scope": "id" }
    });
    let compile = json!({ "max-time-ms": 1, "max-memory-bytes": 2, "max-code-bytes": 3,
                          "max-unused-code-bytes": 0, "max-functions": 5, "max-function-bytes": 6,
                          "max-function-blocks": 7, "max-block-depth": 8, "max-function-locals": 9,
                          "max-function-values": 10, "max-function-cost": 11, "max-cost": 12,
                          "max-definitions": 13, "max-type-depth": 100,
                          "max-component-depth": 15, "max-components": null });
    let config = json!({
        "name": "engine", "workers": 2, "cache-dir": "/nowhere", "cache-max-bytes": 9,
        "max-component-bytes": 7, "compile": compile,
        "signals-based-traps": true, "guard-before-memory": true, "host-error-texts": true,
        "callback-threads": 7, "memory-reservation": "small",
        "limits": limits,
        "quotas": quotas, "supervision": supervision, "max-live-instances": 9,
        "require-signature": false,
        "storage": { "path": "/nowhere/state", "durability": "interval", "interval-ms": 3_600_000,
                     "cache-bytes": 0, "check-on-open": false, "compact-above-ratio": 2 },
        "capabilities": long_grants(), "policies": rules
    });
    [
        ("load-options", options),
        ("load-options", json!({ "capabilities": long_grants() })),
        ("group-options", json!({ "strategy": "rest-for-one", "max-restarts": 3, "window-ms": 4 })),
        ("config", config),
        ("grant-set", grants()),
        ("grant-set", long_grants()),
        ("policies", rules),
    ]
    .map(|(definition, value)| Document { definition, value })
    .into()
}

/// A mutation of a document.
#[derive(Debug, Clone)]
struct Change {
    /// The index of the value to change.
    at: prop::sample::Index,
    to: Edit,
}

#[derive(Debug, Clone)]
enum Edit {
    Replace(Value),
    Remove(prop::sample::Index),
    Rename(prop::sample::Index),
    Add(&'static str, Value),
}

fn all_values() -> Vec<Value> {
    let integers = [
        -1,
        0,
        1,
        2,
        1024,
        1025,
        4096,
        4097,
        65_535,
        65_536,
        100_000,
        100_001,
        1 << 20,
        (1 << 20) + 1,
        128 << 20,
        (128 << 20) + 1,
    ];
    let words = [
        "",
        "read",
        "write",
        "delete",
        "list-dir",
        "send",
        "request",
        "broadcast",
        "outbound",
        "inbound",
        "deny",
        "allow",
        "storage.*",
        "messaging.send",
        "*",
        "json",
        "reject",
        "zzz",
    ];
    let others = [
        Value::Null,
        json!(true),
        json!(false),
        json!(1.5),
        json!([]),
        json!({}),
        json!(["read"]),
        json!(["list-dir", 1]),
        json!({ "action": "read" }),
        json!({ "action": "read", "actions": ["write"] }),
        json!({ "zzz": 1 }),
    ];
    integers.map(Value::from).into_iter().chain(words.map(Value::from)).chain(others).collect()
}

fn documents() -> impl Strategy<Value = Document> {
    let keys =
        ["limits", "capabilities", "action", "actions", "guest-path", "expires-at-ms", "zzz"];
    let edit = prop_oneof![
        4 => prop::sample::select(all_values()).prop_map(Edit::Replace),
        1 => any::<prop::sample::Index>().prop_map(Edit::Remove),
        1 => any::<prop::sample::Index>().prop_map(Edit::Rename),
        1 => (prop::sample::select(keys.to_vec()), prop::sample::select(all_values())).prop_map(|(key, v)| Edit::Add(key, v)),
    ];
    let change = (any::<prop::sample::Index>(), edit).prop_map(|(at, to)| Change { at, to });
    (prop::sample::select(seeds()), vec(change, 0..3)).prop_map(|(mut document, changes)| {
        for change in changes {
            let at = change.at.index(count(&document.value));
            apply(nth(&mut document.value, &mut { at }).expect("the index is in range"), change.to);
        }
        document
    })
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0_usize,
    }
}

fn nth<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(members) => members.values_mut().find_map(|member| nth(member, left)),
        _ => None,
    }
}

fn apply(value: &mut Value, edit: Edit) {
    let chosen = |members: &Map<String, Value>, at: prop::sample::Index| {
        members.keys().nth(at.index(members.len().max(1))).cloned()
    };
    match (edit, value) {
        (Edit::Replace(by), value) => *value = by,
        (Edit::Remove(at), Value::Object(members)) => {
            if let Some(key) = chosen(members, at) {
                members.remove(&key);
            }
        }
        (Edit::Rename(at), Value::Object(members)) => {
            if let Some((key, member)) =
                chosen(members, at).and_then(|key| Some((key.clone(), members.remove(&key)?)))
            {
                members.insert(format!("{key}x"), member);
            }
        }
        (Edit::Add(key, by), Value::Object(members)) => drop(members.insert(key.into(), by)),
        _ => {}
    }
}

/// Whether the parser accepts a document. Only `AIRSSYS_ERROR_INVALID_OPTIONS` comes from the
/// parser.
fn parser_takes(engine: &Engine, document: &Document) -> bool {
    let text = document.value.to_string();
    let json = CString::new(text.clone()).unwrap();
    let (engine_pointer, no_error) = (engine.raw(), ptr::null_mut());
    let status = match document.definition {
        "load-options" => {
            match engine.try_load(
                "app/minimal/0",
                &airssys_wasm_guests::bytes("minimal"),
                Some(&text),
            ) {
                Ok(handle) => {
                    engine.unload(handle).unwrap();
                    AIRSSYS_OK
                }
                Err(failure) => failure.status,
            }
        }
        "config" => {
            let config = Config::bare();
            // SAFETY: a live configuration and a text; errors are ignored.
            unsafe { airssys_config_set_json(config.raw(), json.as_ptr(), no_error) }
        }
        "group-options" => match engine.add_group("a group", &text) {
            Ok(group) => {
                engine.unload(group).unwrap();
                AIRSSYS_OK
            }
            Err(failure) => failure.status,
        },
        "grant-set" => {
            let handle = engine.load("app/minimal/0", "minimal");
            // SAFETY: a live engine and a text; errors are ignored.
            let status =
                unsafe { airssys_engine_grant(engine_pointer, handle, json.as_ptr(), no_error) };
            engine.unload(handle).unwrap();
            status
        }
        // SAFETY: as above.
        _ => unsafe { airssys_engine_set_policies(engine_pointer, json.as_ptr(), no_error) },
    };
    status != AIRSSYS_ERROR_INVALID_OPTIONS
}

/// Whether a schema cannot decide: it cannot check the meaning of patterns and paths.
fn is_beyond_a_schema(document: &Document) -> bool {
    const MEANINGFUL: [&str; 17] = [
        "app/*/*",
        "app/**",
        "app/db/0",
        "app/a/0",
        "**",
        "*",
        "/",
        "/*",
        "/**",
        "/in",
        "/out",
        "*.example.com:443",
        "10.0.0.0/8",
        "127.0.0.1:80",
        "localhost",
        "engine",
        "read",
    ];
    let mut patterns = Vec::new();
    collect_patterns(&document.value, "", &mut patterns);
    patterns.iter().any(|(key, text)| {
        // An action may stand in the place of a pattern, and `*` is a host but not an id.
        // Only functions of the host have such names.
        if key == "host" || text.starts_with("editor:") {
            return key != "host" || !text.starts_with("editor:");
        }
        let action = *text == "read" && !["read", "write", "delete"].contains(&key.as_str());
        let hosts = ["outbound", "inbound", "host-pattern", "resource"];
        let any = *text == "*" && !hosts.contains(&key.as_str());
        action || any || !MEANINGFUL.contains(text)
    })
}

/// The strings that are patterns or paths, with their keys.
fn collect_patterns<'a>(value: &'a Value, key: &str, found: &mut Vec<(String, &'a str)>) {
    const KEYS: [&str; 16] = [
        "host",
        "send",
        "request",
        "broadcast",
        "target-pattern",
        "namespace-pattern",
        "path-pattern",
        "host-pattern",
        "outbound",
        "inbound",
        "component",
        "resource",
        "read",
        "write",
        "delete",
        "name",
    ];
    match value {
        Value::String(text) if KEYS.contains(&key) => found.push((key.to_owned(), text)),
        Value::Array(items) => items.iter().for_each(|item| collect_patterns(item, key, found)),
        Value::Object(members) => {
            for (name, member) in members {
                if key == "filesystem" {
                    found.push((key.to_owned(), name));
                }
                collect_patterns(member, name, found);
            }
        }
        _ => {}
    }
}

/// Compares schema and parser for one document.
fn compare(engine: &Engine, schema: &Schema, document: &Document, verdicts: &mut [u32; 2]) {
    let valid = schema.accepts(document.definition, &document.value);
    if valid && is_beyond_a_schema(document) {
        return;
    }
    verdicts[usize::from(valid)] += 1;
    let taken = parser_takes(engine, document);
    assert_eq!(taken, valid, "schema says {valid}, parser {taken}: {document:#?}");
}

#[test]
fn the_schema_and_the_parsers_accept_the_same_documents() {
    let (engine, schema) = (Engine::new(), Schema(schema()));
    for seed in seeds() {
        assert!(schema.accepts(seed.definition, &seed.value), "{seed:#?}");
        assert!(parser_takes(&engine, &seed), "{seed:#?}");
    }
    // Replaces every value of every document by every other value.
    let mut verdicts = [0; 2];
    for seed in seeds() {
        for at in 0..count(&seed.value) {
            for by in all_values() {
                let mut document = seed.clone();
                *nth(&mut document.value, &mut { at }).expect("the index is in range") = by;
                compare(&engine, &schema, &document, &mut verdicts);
            }
        }
    }
    assert!(
        verdicts.iter().all(|count| *count > 500),
        "too few valid or invalid documents: {verdicts:?}"
    );
    let verdicts = std::cell::Cell::new([0; 2]);
    for_all(2000, documents(), |document| {
        let mut counts = verdicts.get();
        compare(&engine, &schema, &document, &mut counts);
        verdicts.set(counts);
    });
    assert!(
        verdicts.get().iter().all(|count| *count > 200),
        "too few valid or invalid documents: {verdicts:?}"
    );
}

#[test]
fn the_schema_names_the_keys_that_the_parsers_know() {
    let (engine, schema) = (Engine::new(), schema());
    let known = |options: &str, place: &str| {
        let wasm = airssys_wasm_guests::bytes("minimal");
        let failure = engine.try_load("app/m/0", &wasm, Some(options)).unwrap_err();
        assert_eq!(failure.detail["place"], place, "{failure}");
        let known = failure.detail["known"].as_array().unwrap().clone();
        let mut known: Vec<_> =
            known.into_iter().map(|key| key.as_str().unwrap().to_owned()).collect();
        known.sort();
        known
    };
    for (options, place, definition) in [
        (r#"{"~": 1}"#, "options", "load-options"),
        (r#"{"limits": {"~": 1}}"#, "options.limits", "limits"),
        (r#"{"quotas": {"~": 1}}"#, "options.quotas", "quotas"),
        (r#"{"supervision": {"~": 1}}"#, "options.supervision", "supervision"),
        (r#"{"expect": {"~": 1}}"#, "options.expect", "expect"),
        (r#"{"health": {"~": 1}}"#, "options.health", "health"),
        (r#"{"save-every": {"~": 1}}"#, "options.save-every", "save-every"),
        (r#"{"storage": {"~": 1}}"#, "options.storage", "load-storage"),
        (r#"{"supervision": {"backoff": {"~": 1}}}"#, "options.supervision.backoff", "backoff"),
        (r#"{"mailbox": {"~": 1}}"#, "options.mailbox", "mailbox"),
        (r#"{"capabilities": {"~": 1}}"#, "options.capabilities", "grant-set"),
    ] {
        let properties = schema["$defs"][definition]["properties"].as_object().unwrap();
        let mut names: Vec<_> = properties.keys().cloned().collect();
        names.sort();
        assert_eq!(known(options, place), names, "{definition}");
    }
}

fn as_number(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
}
