//! Loading a component, and the functions of its life cycle.

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, With, message_counts};
use crate::harness::gates::Gate;
use crate::harness::published::{WIT, component};
use crate::harness::router::Letter;

#[test]
fn a_component_is_found_listed_and_described_until_it_is_unloaded() {
    let engine = Engine::new();
    let handle = engine.load("app/echo/0", "echo");
    assert_eq!(engine.find("app/echo/0"), Ok(handle));
    let sha256 = engine.describe(handle).unwrap()["binary"]["sha256"].clone();
    let row = json!([{ "handle": handle, "id": "app/echo/0", "state": "running", "instances": 1,
                       "version": 1, "sha256": sha256 }]);
    assert_eq!(engine.list(), row);

    assert_eq!(engine.call(handle, "hi").unwrap().unwrap(), b"hi");
    let described = engine.describe(handle).unwrap();
    assert_eq!(described["metadata"]["name"], "echo");
    assert_eq!(described["metadata"]["supported-operations"], json!(["echo"]));
    assert_eq!(described["metadata"]["stateful"], false);
    assert_eq!(described["lifecycle"], true);
    assert_eq!(described["health"], "healthy");
    let mailbox = json!({
        "capacity": 1024, "max-bytes": 67108864, "when-full": "reject", "depth": 0, "bytes": 0, "waiting": 0,
    });
    assert_eq!(described["mailbox"], mailbox);
    assert_eq!(described["messages"], message_counts(1, 1, 0));
    assert_eq!((&described["instances"], &described["codecs"]), (&json!(1), &json!([])));
    assert!(described["memory-bytes"].as_u64().unwrap() >= 65_536, "{described}");
    let binary = airssys_wasm_guests::bytes("echo");
    let hash = blake3::hash(&binary).to_hex();
    let code = described["binary"]["code-bytes"].as_u64().unwrap();
    assert!(code > binary.len() as u64, "{code} bytes of code");
    let sha256 = described["binary"]["sha256"].as_str().unwrap();
    assert!(sha256.len() == 64 && sha256 != hash.as_str(), "{sha256}");
    let about = json!({ "blake3": hash.as_str(), "sha256": sha256, "bytes": binary.len(),
                        "code-bytes": code, "signer": null });
    assert_eq!(described["binary"], about);

    engine.unload(handle).unwrap();
    assert_eq!(engine.list(), json!([]));
    assert_eq!(engine.find("app/echo/0").unwrap_err().status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
}

#[test]
fn initialize_gets_env_config_and_limits() {
    let engine = Engine::new();
    let options = r#"{
        "env": { "B": "zwei", "A": "1" },
        "config": { "deep": [1, null] },
        "limits": { "max-memory-bytes": 8388608, "max-execution-time-ms": 1234, "max-fuel": 99999999 }
    }"#;
    let probe = engine.load_with("app/probe/0", "probe", options);
    let config = engine.json(probe, "config");
    assert_eq!(config["env"], json!({ "A": "1", "B": "zwei" }));
    assert_eq!(config["config"], r#"{"deep":[1,null]}"#);
    let limits = json!({
        "max-memory-bytes": 8_388_608, "max-execution-time-ms": 1234, "max-fuel": 99_999_999,
    });
    assert_eq!(config["limits"], limits);
}

#[test]
fn without_options_initialize_gets_the_defaults_and_no_config() {
    let engine = Config::new().with(r#"{"limits": {"max-execution-time-ms": 777}}"#).engine();
    let wasm = airssys_wasm_guests::bytes("probe");
    let probe = engine.try_load("app/probe/0", &wasm, None).unwrap();
    let config = engine.json(probe, "config");
    assert_eq!(config["env"], json!({}));
    assert_eq!(config["config"], json!(null));
    let limits = json!({
        "max-memory-bytes": 256 << 20, "max-execution-time-ms": 777, "max-fuel": null,
    });
    assert_eq!(config["limits"], limits, "the engine's own defaults come first");
}

#[test]
fn an_engine_without_a_configuration_has_the_documented_defaults() {
    let engine = Engine::bare();
    let probe = engine.load("app/probe/0", "probe");
    assert_eq!(engine.json(probe, "message")["sender"], "host/engine/0");
    let described = engine.describe(probe).unwrap();
    let limits = json!({
        "max-memory-bytes": 268_435_456, "max-host-bytes": 67_108_864, "max-message-bytes": 16_777_216,
        "max-execution-time-ms": 5000, "max-fuel": null,
        "max-instances": 1000, "max-table-elements": 100_000,
    });
    assert_eq!(described["limits"], limits);
    assert_eq!(described["mailbox"]["capacity"], 1024);
}

#[test]
fn life_cycle_functions_are_called_once() {
    let engine = Engine::new();
    let probe = engine.load("app/probe/0", "probe");
    let calls = engine.json(probe, "calls");
    assert_eq!(calls["initialize"], 1);
    assert_eq!(calls["metadata"], 1);
    assert_eq!(calls["health"], 1);
    assert_eq!(calls["handle-message"], 1);
    assert_eq!((&calls["handle-callback"], &calls["shutdown"]), (&json!(0), &json!(0)));
}

#[test]
fn a_component_that_refuses_to_initialize_is_not_loaded() {
    let engine = Engine::new();
    let wasm = airssys_wasm_guests::bytes("probe");
    let options = r#"{"env": {"REFUSE": "no thanks"}}"#;
    let failure = engine.try_load("app/probe/0", &wasm, Some(options)).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INITIALIZATION_FAILED);
    assert!(failure.message.contains("app/probe/0"), "{failure}");
    assert!(failure.message.contains("no thanks"), "{failure}");
    assert_eq!(engine.list(), json!([]));
    assert!(engine.find("app/probe/0").is_err());
}

#[test]
fn a_trap_or_a_loop_in_initialize_fails_only_that_load() {
    let engine = Engine::new();
    let wasm = airssys_wasm_guests::bytes("probe");
    let limit = r#""limits": {"max-execution-time-ms": 100}"#;
    for (env, status) in [("TRAP_INIT", AIRSSYS_ERROR_TRAP), ("LOOP_INIT", AIRSSYS_ERROR_TIMEOUT)] {
        let options = format!(r#"{{"env": {{"{env}": "1"}}, {limit}}}"#);
        let failure = engine.try_load("app/probe/0", &wasm, Some(&options)).unwrap_err();
        assert_eq!(failure.status, status, "{failure}");
        assert_eq!(failure.detail["during"], "initialize", "{failure}");
    }
    assert_eq!(engine.stats()["components"], 0);
    let probe = engine.load("app/probe/0", "probe");
    assert_eq!(engine.text(probe, "len"), "3");
}

#[test]
fn health_is_asked_and_remembered() {
    let engine = Engine::new();
    let probe = engine.load_with("app/probe/0", "probe", r#"{"env": {"HEALTH": "degraded"}}"#);
    assert_eq!(engine.describe(probe).unwrap()["health"], "degraded");
    for health in ["unhealthy", "unknown", "healthy", "degraded"] {
        engine.text(probe, &format!("health {health}"));
        let answer = json!({ "handle": probe, "id": "app/probe/0", "health": health });
        assert_eq!(engine.health(probe), Ok(answer));
        assert_eq!(engine.describe(probe).unwrap()["health"], health);
    }
}

#[test]
fn a_health_check_is_not_counted_as_a_message() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    engine.health(echo).unwrap();
    assert_eq!(engine.describe(echo).unwrap()["messages"], message_counts(0, 0, 0));
}

#[test]
fn a_component_without_a_life_cycle_loads_and_handles_no_messages() {
    let engine = Engine::new();
    let minimal = engine.load("app/minimal/0", "minimal");
    let failure = engine.failure(minimal, "hello");
    assert_eq!(failure.status, AIRSSYS_ERROR_EXPORT_NOT_FOUND);
    assert!(failure.message.contains("handle-message"), "{failure}");
    // Senders that wait for no outcome get the same error at once.
    assert_eq!(engine.send(minimal, "hello").unwrap_err(), failure);
    let probe = engine.load("app/probe/0", "probe");
    let some = engine.broadcast(&[probe, minimal], "silent", With::default()).unwrap_err();
    let failed = json!([{
        "handle": minimal, "status": failure.status, "message": failure.message,
    }]);
    assert_eq!((some.status, &some.detail["failed"]), (AIRSSYS_ERROR_DELIVERY_FAILED, &failed));
    let letter = Letter {
        source: "far/sender/0".into(),
        target: "app/minimal/0".into(),
        ..Letter::default()
    };
    assert_eq!(engine.deliver(&letter, None).unwrap_err(), failure);
    let sender = engine.load("app/sender/0", "requester");
    for command in ["send", "broadcast"] {
        let told = engine.text(sender, &format!("{command} app/minimal/0 hello"));
        assert!(told.starts_with("error: delivery-failed("), "{told}");
        assert!(told.contains("handle-message"), "{told}");
    }
    assert_eq!(engine.health(minimal).unwrap()["health"], "unknown");
    let described = engine.describe(minimal).unwrap();
    assert_eq!((&described["lifecycle"], &described["metadata"]), (&json!(false), &json!(null)));
    assert_eq!(described["state"], "running");
    engine.unload(minimal).unwrap();
}

#[test]
fn two_engines_know_nothing_of_each_other() {
    let (a, b) = (Engine::new(), Engine::new());
    let handle = a.load("app/counter/0", "counter");
    assert_eq!(b.find("app/counter/0").unwrap_err().status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    let other = b.load("app/counter/0", "counter");
    a.text(handle, "inc");
    drop(a);
    assert_eq!(b.text(other, "get"), "0", "one engine outlives the other");
}

#[test]
fn an_engine_runs_without_signal_handlers_too() {
    let engine = Config::new().with(r#"{"signals-based-traps": false}"#).engine();
    let trapper = engine.load("app/trapper/0", "trapper");
    for command in ["oob", "div0", "unreachable"] {
        assert_eq!(engine.failure(trapper, command).status, AIRSSYS_ERROR_TRAP, "{command}");
        assert_eq!(engine.text(trapper, "ok"), "ok");
    }
    assert_eq!(engine.failure(trapper, "recurse").detail["limit"], "stack-bytes");
}

#[test]
fn a_component_is_not_found_before_it_is_initialized() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let asker = engine.load("app/asker/0", "requester");
    let wasm = component(WIT);
    std::thread::scope(|scope| {
        let loading =
            scope.spawn(|| engine.try_load("app/late/0", &wasm, Some(r#"{"config": "gate"}"#)));
        gate.reached();
        assert_eq!(
            engine.find("app/late/0").unwrap_err().status,
            AIRSSYS_ERROR_COMPONENT_NOT_FOUND
        );
        assert_eq!(engine.list().as_array().unwrap().len(), 1);
        assert_eq!(engine.text(asker, "list"), "app/asker/0");
        let sent = engine.text(asker, "send app/late/0 x");
        assert_eq!(sent, "error: target-not-found(app/late/0)");
        gate.open();
        let handle = loading.join().unwrap().unwrap();
        assert_eq!(engine.find("app/late/0"), Ok(handle));
        assert_eq!(engine.text(asker, "send app/late/0 x"), "ok");
    });
}
