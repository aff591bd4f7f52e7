//! Loading, looking, unloading.

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::{Config, Engine, With};
use crate::hosts::Journal;
use crate::partners::Letter;

/// The counts of a component to which nothing was refused, and that sends nothing.
fn messages(accepted: u64, handled: u64, failed: u64) -> Value {
    json!({
        "accepted": accepted, "refused": 0, "dropped": 0, "handled": handled, "failed": failed,
        "sent": 0,
    })
}

#[test]
fn a_component_is_found_listed_and_described_until_it_is_unloaded() {
    let engine = Engine::new();
    let handle = engine.load("app/echo/0", "echo");
    assert_eq!(engine.find("app/echo/0"), Ok(handle));
    let row = json!([{ "handle": handle, "id": "app/echo/0", "state": "running", "instances": 1 }]);
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
    assert_eq!(described["messages"], messages(1, 1, 0));
    assert_eq!((&described["instances"], &described["codecs"]), (&json!(1), &json!([])));
    assert!(described["memory-bytes"].as_u64().unwrap() >= 65_536, "{described}");
    let binary = airssys_wasm_guests::bytes("echo");
    let hash = blake3::hash(&binary).to_hex();
    let code = described["binary"]["code-bytes"].as_u64().unwrap();
    assert!(code > binary.len() as u64, "{code} bytes of code");
    let about = json!({ "blake3": hash.as_str(), "bytes": binary.len(), "code-bytes": code });
    assert_eq!(described["binary"], about);

    engine.unload(handle).unwrap();
    assert_eq!(engine.list(), json!([]));
    assert_eq!(engine.find("app/echo/0").unwrap_err().status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
}

#[test]
fn all_use_of_a_handle_after_unload_is_not_found_and_unloading_again_is_fine() {
    let engine = Engine::new();
    let handle = engine.load("app/echo/0", "echo");
    engine.unload(handle).unwrap();
    for stale in [handle, 0, handle + 1, u64::MAX] {
        let failures = [
            engine.call(stale, "x").unwrap_err(),
            engine.send(stale, "x").unwrap_err(),
            engine.describe(stale).unwrap_err(),
            engine.health(stale).unwrap_err(),
        ];
        for failure in failures {
            assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "{failure}");
            assert_eq!(failure.detail["handle"], stale);
        }
        engine.unload(stale).unwrap();
        engine.unload(stale).unwrap();
    }
}

#[test]
fn handles_are_not_used_again() {
    let engine = Engine::new();
    let first = engine.load("app/echo/0", "echo");
    engine.unload(first).unwrap();
    let second = engine.load("app/echo/0", "echo");
    assert_ne!(first, second);
    assert!(engine.call(first, "x").is_err());
}

#[test]
fn one_id_loaded_twice_is_two_components_with_memory_of_their_own() {
    let engine = Engine::new();
    let [a, b] = [(); 2].map(|()| engine.load("app/counter/0", "counter"));
    assert_ne!(a, b);
    assert_eq!(engine.text(a, "inc"), "1");
    assert_eq!(engine.text(a, "inc"), "2");
    assert_eq!(engine.text(b, "inc"), "1");
    engine.unload(a).unwrap();
    assert_eq!(engine.find("app/counter/0"), Ok(b), "the other one stays reachable");
    assert_eq!(engine.text(b, "get"), "1");
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
        "max-memory-bytes": 64 << 20, "max-execution-time-ms": 777, "max-fuel": null,
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
        "max-memory-bytes": 67_108_864, "max-host-bytes": 67_108_864, "max-message-bytes": 16_777_216,
        "max-execution-time-ms": 5000, "max-fuel": null,
        "max-instances": 1000, "max-table-elements": 100_000,
    });
    assert_eq!(described["limits"], limits);
    assert_eq!(described["mailbox"]["capacity"], 1024);
}

#[test]
fn life_cycle_functions_are_called_once_and_in_time() {
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
fn unloading_calls_shutdown_and_freeing_does_not() {
    let journal = Journal::default();
    let config = Config::new();
    journal.attach(&config);
    let engine = config.engine();
    let handle = engine.load("app/probe/0", "probe");
    engine.load("app/probe/1", "probe");
    engine.unload(handle).unwrap();
    assert_eq!(journal.of("app/probe/0"), ["probe shut down"]);
    drop(engine);
    assert_eq!(journal.of("app/probe/1"), [""; 0]);
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
fn a_trap_or_a_loop_in_initialize_is_that_load_s_error_only() {
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
fn a_shutdown_that_fails_is_reported_and_the_component_is_gone_all_the_same() {
    let engine = Engine::new();
    for env in [r#"{"SHUTDOWN_FAIL": "still writing"}"#, r#"{"TRAP_SHUTDOWN": "1"}"#] {
        let options = format!(r#"{{"env": {env}}}"#);
        let handle = engine.load_with("app/probe/0", "probe", &options);
        let failure = engine.unload(handle).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_SHUTDOWN_FAILED);
        assert_eq!(failure.detail["component"], "app/probe/0");
        assert_eq!(failure.message.contains("still writing"), env.contains("FAIL"), "{failure}");
        assert!(engine.describe(handle).is_err());
    }
    assert_eq!(engine.list(), json!([]));
}

#[test]
fn health_is_asked_and_then_remembered() {
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
    assert_eq!(engine.describe(echo).unwrap()["messages"], messages(0, 0, 0));
}

#[test]
fn a_component_without_a_life_cycle_loads_and_handles_no_messages() {
    let engine = Engine::new();
    let minimal = engine.load("app/minimal/0", "minimal");
    let failure = engine.failure(minimal, "hello");
    assert_eq!(failure.status, AIRSSYS_ERROR_EXPORT_NOT_FOUND);
    assert!(failure.message.contains("handle-message"), "{failure}");
    // Whoever waits for no outcome is told at once, in the same words.
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
fn stats_are_sums_over_what_is_loaded_now() {
    let engine = Engine::new();
    let nothing = json!({
        "components": 0, "binaries": 0, "code-bytes": 0, "messages": messages(0, 0, 0),
        "mailbox": { "depth": 0, "bytes": 0, "waiting": 0 }, "fuel": 0, "time-ns": 0, "memory-bytes": 0,
        "host-bytes": 0, "restarts": 0, "per-component": [], "requests": { "outstanding": 0, "late-replies": 0 },
        "dead-letters": 0, "events-lost": 0, "audit-lost": {"allowed": 0, "denied": 0},
    });
    let mut stats = engine.stats();
    // The tests share a cache.
    assert!(stats.as_object_mut().unwrap().remove("cache").is_some());
    assert_eq!(stats, nothing);
    let echo = engine.load("app/echo/0", "echo");
    let probe = engine.load("app/probe/0", "probe");
    engine.call(echo, "x").unwrap();
    engine.call(echo, "x").unwrap();
    engine.failure(probe, "fail runtime-error x");
    let stats = engine.stats();
    assert_eq!((&stats["components"], &stats["binaries"]), (&json!(2), &json!(2)));
    assert_eq!(stats["messages"], messages(3, 2, 1));
    engine.unload(echo).unwrap();
    assert_eq!(engine.stats()["messages"], messages(1, 0, 1));
}

#[test]
fn two_engines_know_nothing_of_each_other() {
    let (a, b) = (Engine::new(), Engine::new());
    let handle = a.load("app/counter/0", "counter");
    assert_eq!(b.find("app/counter/0").unwrap_err().status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    let other = b.load("app/counter/0", "counter");
    a.text(handle, "inc");
    drop(a);
    assert_eq!(b.text(other, "get"), "0", "and one outlives the other");
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
