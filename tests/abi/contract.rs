//! The published contract: components that match it load, others are refused.

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, Failure};
use crate::harness::log::Journal;
use crate::harness::published::{CODE, WIT, component, component_of};
use crate::harness::store::Store;

const LIFECYCLE: &str = "airssys:core/component-lifecycle@1.0.0";

#[test]
fn a_component_of_the_published_contract_loads_and_works() {
    let (config, journal, store) = (Config::new(), Journal::default(), Store::new());
    journal.attach(&config);
    store.attach(&config);
    let engine = config.engine();
    let wasm = component(WIT);
    let options = r#"{
        "config": "its configuration", "env": { "UNUSED": "1" },
        "limits": { "max-memory-bytes": 1048576, "max-execution-time-ms": 4321, "max-fuel": 9999999 }
    }"#;
    let handle = engine.try_load("hand/made/seven", &wasm, Some(options)).unwrap();
    assert_eq!(journal.of("hand/made/seven"), ["its configuration"]);

    assert_eq!(engine.text(handle, "a message"), "a message");
    assert_eq!(store.value("hand/made/seven", "last").unwrap(), b"a message");
    assert_eq!(engine.text(handle, "?"), "seven", "self-id");
    let limits = engine.call(handle, "").unwrap().unwrap();
    assert_eq!(limits, [1_048_576_u64.to_le_bytes(), 4321_u64.to_le_bytes()].concat());
    let failure = engine.failure(handle, "!");
    assert_eq!(failure.status, AIRSSYS_ERROR_RUNTIME, "{failure}");
    assert!(failure.message.contains("last"), "{failure}");

    let described = engine.describe(handle).unwrap();
    assert_eq!(
        described["metadata"],
        json!({
            "name": "handmade", "version": "1.0.0", "description": "by hand", "author": "me",
            "license": "MIT", "supported-operations": ["echo"], "stateful": true,
        })
    );
    assert_eq!(described["health"], "degraded");
    engine.unload(handle).unwrap();
}

#[test]
fn a_published_component_may_use_messaging_and_have_no_configuration() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    engine.try_load("hand/made/0", &component(WIT), None).unwrap();
    assert_eq!(journal.of("hand/made/0"), ["ready"]);
    let asker = engine.load("app/asker/0", "requester");
    let request = engine.text(asker, "request hand/made/0 60000 are you there");
    let callbacks = engine.callbacks(asker, 1);
    assert_eq!(callbacks[0]["correlation"], request);
    assert_eq!(callbacks[0]["payload"], "are you there");
}

fn refused(wasm: &[u8]) -> Failure {
    let engine = Engine::new();
    let failure = engine.try_load("hand/made/0", wasm, None).expect_err("it does not fit");
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{failure}");
    assert_eq!(engine.stats()["components"], 0);
    failure
}

/// The published contract with `from` replaced by `to`.
fn changed(from: &str, to: &str) -> String {
    assert!(WIT.contains(from), "{from}");
    WIT.replace(from, to)
}

#[test]
fn exports_of_other_types_are_refused_and_named() {
    for (from, to, export) in [
        ("health: func() -> health-status;", "health: func() -> u32;", "health"),
        ("stateful: bool,", "stateful: bool, since: u64,", "metadata"),
        ("stateful: bool,", "stateless: bool,", "metadata"),
        (
            "handle-callback: func(msg: component-message) -> result<_, wasm-error>;",
            "handle-callback: func(msg: component-message) -> result<_, component-error>;",
            "handle-callback",
        ),
        (
            "shutdown: func() -> result<_, component-error>;",
            "shutdown: func() -> result<_, wasm-error>;",
            "shutdown",
        ),
        (
            "handle-message: func(msg: component-message)",
            "handle-message: func(msg: tuple<component-message>)",
            "handle-message",
        ),
    ] {
        let failure = refused(&component(&changed(from, to)));
        assert!(failure.message.contains(&format!("{LIFECYCLE}#{export}")), "{failure}");
    }
}

#[test]
fn every_life_cycle_function_is_required() {
    for (wit, name) in [
        ("    shutdown: func() -> result<_, component-error>;\n", "shutdown"),
        ("    health: func() -> health-status;\n", "health"),
        ("    metadata: func() -> component-metadata;\n", "metadata"),
    ] {
        let code = CODE.replace(&format!("{LIFECYCLE}#{name}"), &format!("unused-{name}"));
        let failure = refused(&component_of(&changed(wit, ""), &code));
        assert!(failure.message.contains(&format!("{LIFECYCLE} has no {name}")), "{failure}");
    }
}

#[test]
fn imports_of_other_types_are_refused_and_named() {
    for (from, to, interface) in [
        ("current-time-millis: func() -> u64;", "current-time-millis: func() -> s64;", "services"),
        (
            "sleep-millis: func(duration-ms: u64);",
            "sleep-millis: func(duration-ms: s64);",
            "services",
        ),
        ("key-count: u64,", "key-count: s64,", "storage"),
        ("quota-exceeded,", "no-room,", "storage"),
        ("        queue-full,\n", "        mailbox-full,\n", "messaging"),
    ] {
        let failure = refused(&component(&changed(from, to)));
        assert!(failure.message.contains(interface), "{failure}");
    }
}

#[test]
fn unknown_imports_are_refused_and_named() {
    let interface = "world runtime-host {\n    import teleport;";
    let wit = changed("world runtime-host {", interface) + "interface teleport { jump: func(); }\n";
    let import = r#"(module (import "airssys:core/teleport@1.0.0" "jump" (func))"#;
    let failure = refused(&component_of(&wit, &CODE.replacen("(module", import, 1)));
    assert!(failure.message.contains("teleport"), "{failure}");

    let wit = changed(
        "storage-usage, storage-error>;",
        "storage-usage, storage-error>;\n    vacuum: func();",
    );
    let import = r#"(module (import "airssys:core/storage@1.0.0" "vacuum" (func))"#;
    let failure = refused(&component_of(&wit, &CODE.replacen("(module", import, 1)));
    assert!(failure.message.contains("vacuum"), "{failure}");
}

#[test]
fn another_major_version_of_the_contract_is_refused() {
    let failure =
        refused(&component_of(&WIT.replace("@1.0.0", "@2.0.0"), &CODE.replace("@1.0.0", "@2.0.0")));
    assert!(failure.message.contains("@2.0.0"), "{failure}");
}

#[test]
fn other_exports_are_allowed_and_are_not_a_life_cycle() {
    let text = r#"(component
        (core module $m (func (export "f") (result i32) i32.const 1))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (instance $e (export "initialize" (func $f)))
        (export "else:where/thing@1.0.0" (instance $e)))"#;
    let engine = Engine::new();
    let handle = engine.try_load("app/other/0", &wat::parse_str(text).unwrap(), None).unwrap();
    assert_eq!(engine.failure(handle, "x").status, AIRSSYS_ERROR_EXPORT_NOT_FOUND);
}

#[test]
fn an_empty_life_cycle_is_refused() {
    let text = format!(r#"(component (instance $e) (export "{LIFECYCLE}" (instance $e)))"#);
    let failure = refused(&wat::parse_str(&text).unwrap());
    assert!(failure.message.contains(LIFECYCLE), "{failure}");
}
