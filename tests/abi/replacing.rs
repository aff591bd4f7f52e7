//! Replacing versions while components run, failures that leave the old one, and rollbacks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use airssys_wasm::*;
use airssys_wasm_guests::bytes;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, With, eventually};
use crate::harness::events::Events;
use crate::harness::gates::Gate;
use crate::harness::log::Journal;
use crate::harness::requests::Inbox;

const FOREVER: u64 = u64::MAX;
const ID: &str = "app/it/0";

fn version(engine: &Engine, handle: u64) -> u64 {
    engine.status(handle).unwrap()["instances"][0]["version"].as_u64().unwrap()
}

#[test]
fn a_new_version_takes_over_and_everything_else_stays() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let options =
        r#"{"capabilities": {"storage": ["read", "write"]}, "limits": {"max-fuel": 99999999}}"#;
    let it = engine.load_with(ID, "storage-user", options);
    engine.text(it, "set key value");
    let before = engine.describe(it).unwrap();
    engine.replace(it, &bytes("counter"), None).unwrap();
    assert_eq!(engine.text(it, "inc"), "1");
    assert_eq!(engine.find(ID).unwrap(), it);
    let after = engine.describe(it).unwrap();
    for kept in ["handle", "id", "limits", "quotas", "grants", "mailbox", "restarts"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    assert_ne!(after["binary"], before["binary"]);
    assert_eq!((&after["version"], &after["metadata"]["name"]), (&2.into(), &"counter".into()));

    engine.replace(it, &bytes("storage-user"), None).unwrap();
    assert_eq!(engine.text(it, "get key"), "value");
    assert_eq!(
        (version(&engine, it), engine.describe(it).unwrap()["version"].as_u64()),
        (3, Some(3))
    );
    let told = || events.states(ID);
    eventually("the changes are told", || (told().len() == 5).then_some(()));
    assert_eq!(told()[1..3], ["running replacing replace", "replacing running replaced"]);
    let versions: Vec<_> =
        events.state_events().iter().map(|event| event.json["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, [1, 1, 2, 2, 3]);
}

#[test]
fn the_old_instance_shuts_down_after_the_new_one_has_initialized() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    let it = engine.load(ID, "probe");
    engine.replace(it, &bytes("probe"), None).unwrap();
    let calls = engine.json(it, "calls");
    assert_eq!((&calls["initialize"], &calls["handle-message"]), (&1.into(), &1.into()));
    let ended = journal.of(ID).iter().filter(|text| text.contains("probe shut down")).count();
    assert_eq!(ended, 1);
}

#[test]
fn configuration_and_environment_stay_or_change() {
    let engine = Engine::new();
    let options = r#"{"env": {"A": "1"}, "config": {"x": 1}}"#;
    let it = engine.load_with(ID, "probe", options);
    let config = |engine: &Engine| {
        let config = engine.json(it, "config");
        (config["env"].clone(), config["config"].as_str().map(str::to_owned))
    };
    let first = (json!({"A": "1"}), Some(r#"{"x":1}"#.to_owned()));
    assert_eq!(config(&engine), first);
    engine.replace(it, &bytes("probe"), Some("{}")).unwrap();
    assert_eq!(config(&engine), first);
    engine.reconfigure(it, r#"{"env": {"B": "2"}}"#).unwrap();
    assert_eq!(config(&engine), (json!({"B": "2"}), first.1.clone()));
    engine.reconfigure(it, r#"{"config": null}"#).unwrap();
    assert_eq!(config(&engine), (json!({"B": "2"}), None));
    // A restart makes its instance from the current version.
    engine.restart(it, FOREVER).unwrap();
    assert_eq!(config(&engine), (json!({"B": "2"}), None));
    engine.roll_back(it).unwrap();
    assert_eq!(config(&engine), (json!({"B": "2"}), first.1.clone()));
}

/// Each way in which a replacement fails before it takes over: binary, options, status, and words.
fn failures() -> Vec<(Vec<u8>, Value, airssys_status_t, &'static str)> {
    let probe = |env: &str| json!({ "env": { env: "because" } });
    vec![
        (b"nonsense".into(), json!({}), AIRSSYS_ERROR_INVALID_COMPONENT, "header of a WebAssembly"),
        (bytes("probe")[..500].into(), json!({}), AIRSSYS_ERROR_INVALID_COMPONENT, ""),
        (Vec::new(), json!({}), AIRSSYS_ERROR_INVALID_COMPONENT, "it is empty"),
        (
            bytes("minimal"),
            json!({}),
            AIRSSYS_ERROR_INVALID_COMPONENT,
            "the old version exports component-lifecycle",
        ),
        (bytes("probe"), probe("REFUSE"), AIRSSYS_ERROR_INITIALIZATION_FAILED, "because"),
        (bytes("probe"), probe("TRAP_INIT"), AIRSSYS_ERROR_TRAP, "initialize"),
        (bytes("probe"), probe("LOOP_INIT"), AIRSSYS_ERROR_TIMEOUT, "max-execution-time-ms 300"),
        (
            bytes("probe"),
            json!({ "env": { "HEALTH": "degraded" }, "health-gate-ms": 20 }),
            AIRSSYS_ERROR_TIMEOUT,
            "degraded and not healthy within health-gate-ms 20",
        ),
        (
            bytes("hostile"),
            json!({ "env": { "DESCRIPTION_BYTES": "100000" } }),
            AIRSSYS_ERROR_INVALID_COMPONENT,
            "metadata",
        ),
        (bytes("probe"), json!({ "nonsense": 1 }), AIRSSYS_ERROR_INVALID_OPTIONS, "nonsense"),
    ]
}

#[test]
fn whatever_fails_the_old_version_goes_on_as_it_was() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let limits = r#"{"limits": {"max-execution-time-ms": 300}}"#;
    let it = engine.load_with(ID, "counter", limits);
    let mut count = 0;
    for (wasm, options, status, words) in failures() {
        let failure = engine.replace(it, &wasm, Some(&options.to_string())).unwrap_err();
        assert_eq!(failure.status, status, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
        if status != AIRSSYS_ERROR_INVALID_OPTIONS {
            assert!(failure.message.contains("app/it/0 keeps version 1"), "{failure}");
            assert_eq!(failure.detail["version"], 1, "{failure}");
        }
        count += 1;
        assert_eq!(engine.text(it, "inc"), count.to_string(), "its memory is untouched");
    }
    assert_eq!(version(&engine, it), 1);
    assert_eq!(engine.roll_back(it).unwrap_err().status, AIRSSYS_ERROR_INVALID_ARGUMENT);
    assert_eq!(events.states_told(ID, 1).len(), 1, "nothing changed");
    // After all that it works.
    engine.replace(it, &bytes("echo"), None).unwrap();
    assert_eq!(engine.text(it, "hello"), "hello");
}

#[test]
fn only_a_version_that_takes_over_or_goes_on_trial_uses_up_a_number() {
    let engine = Engine::new();
    let it = engine.load(ID, "probe");
    let fail = |canary: Value| {
        let options = json!({ "env": { "REFUSE": "no" }, "canary": canary }).to_string();
        engine.replace(it, &bytes("probe"), Some(&options)).unwrap_err();
    };
    fail(Value::Null);
    fail(json!({}));
    engine.replace(it, &bytes("probe"), None).unwrap();
    assert_eq!(version(&engine, it), 2);
    fail(Value::Null);
    // The host has seen the number of a canary, although that is aborted.
    engine.replace(it, &bytes("probe"), Some(r#"{"canary": {}}"#)).unwrap();
    assert_eq!(engine.status(it).unwrap()["canary"]["version"], 3);
    engine.abort(it, FOREVER).unwrap();
    fail(json!({}));
    engine.replace(it, &bytes("probe"), None).unwrap();
    assert_eq!(version(&engine, it), 4);
    // That of a version that is gone is not given again.
    engine.roll_back(it).unwrap();
    engine.replace(it, &bytes("probe"), None).unwrap();
    assert_eq!(version(&engine, it), 5);
}

#[test]
fn a_component_that_becomes_healthy_in_time_takes_over() {
    let engine = Engine::new();
    let it = engine.load(ID, "counter");
    let options = r#"{"health-gate-ms": 60000}"#;
    engine.replace(it, &bytes("probe"), Some(options)).unwrap();
    assert_eq!(engine.status(it).unwrap()["health"], "healthy");
    // Without a gate its health does not matter.
    engine.reconfigure(it, r#"{"env": {"HEALTH": "unhealthy"}}"#).unwrap();
    assert_eq!(engine.status(it).unwrap()["health"], "unhealthy");
}

#[test]
fn rollbacks_return_version_after_version() {
    let engine = Engine::new();
    let it = engine.load_with(ID, "echo", r#"{"kept-versions": 3}"#);
    let configured = |n: u64| format!(r#"{{"env": {{"V": "{n}"}}}}"#);
    for n in 2..=5 {
        engine.replace(it, &bytes("probe"), Some(&configured(n))).unwrap();
    }
    let shown = || engine.json(it, "config")["env"]["V"].as_str().unwrap().to_owned();
    assert_eq!((version(&engine, it), shown()), (5, "5".into()));
    engine.roll_back(it).unwrap();
    assert_eq!((version(&engine, it), shown()), (4, "4".into()));
    // A failed replacement changes nothing of that.
    assert!(engine.replace(it, b"nonsense", None).is_err());
    engine.roll_back(it).unwrap();
    assert_eq!((version(&engine, it), shown()), (3, "3".into()));
    engine.replace(it, &bytes("probe"), Some(&configured(9))).unwrap();
    assert_eq!((version(&engine, it) > 5, shown()), (true, "9".into()));
    engine.roll_back(it).unwrap();
    engine.roll_back(it).unwrap();
    assert_eq!((version(&engine, it), shown()), (2, "2".into()));
    let failure = engine.roll_back(it).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT);
    assert!(failure.message.contains("no earlier version"), "{failure}");
}

#[test]
fn mail_waits_for_no_version_and_keeps_its_order() {
    let (gate, config) = (Gate::default(), Config::new());
    let journal = gate.attach(&config);
    let engine = config.engine();
    let wasi = engine.load("app/wasi/0", "wasi");
    engine.send(wasi, "print gate").unwrap();
    gate.reached();
    for n in 0..5 {
        engine.send(wasi, format!("print line {n}")).unwrap();
    }
    std::thread::scope(|scope| {
        let replace = scope.spawn(|| engine.replace(wasi, &bytes("wasi"), None));
        let depth = || engine.describe(wasi).unwrap()["mailbox"]["depth"] == 6;
        eventually("the new version waits", || depth().then_some(()));
        engine.send(wasi, "print line 5").unwrap();
        gate.open();
        replace.join().unwrap().unwrap();
    });
    let handled = || engine.describe(wasi).unwrap()["messages"]["handled"] == 7;
    eventually("all is handled", || handled().then_some(()));
    let printed = journal.of("app/wasi/0");
    let lines: Vec<_> = printed.iter().filter(|text| text.contains("line")).collect();
    assert!(lines.len() == 6 && lines.is_sorted(), "{lines:?}");
}

#[test]
fn a_message_that_does_not_end_is_not_interrupted() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let wasi = engine.load("app/wasi/0", "wasi");
    let inbox = Inbox::new();
    let running = engine.request(wasi, "print gate", inbox).unwrap();
    gate.reached();
    let failure = engine.replace(wasi, &bytes("wasi"), Some(r#"{"timeout-ms": 10}"#)).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT);
    assert!(failure.message.contains("timeout-ms 10"), "{failure}");
    assert_eq!(
        (&failure.detail["limit"], &failure.detail["value"]),
        (&"timeout-ms".into(), &10.into())
    );
    assert_eq!(engine.describe(wasi).unwrap()["mailbox"]["depth"], 0, "nothing is left behind");
    gate.open();
    assert_eq!(inbox.exactly(&[running])[&running].status(), AIRSSYS_OK);
    assert_eq!(version(&engine, wasi), 1);
    engine.replace(wasi, &bytes("wasi"), Some(r#"{"timeout-ms": 60000}"#)).unwrap();
    assert_eq!(version(&engine, wasi), 2, "the failure used up no number");
}

#[test]
fn what_is_not_running_runs_again_with_the_new_version() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let load = |name: &str| {
        let supervision = r#"{"supervision": {"restart": "temporary"}}"#;
        engine.load_with(&format!("app/{name}/0"), "trapper", supervision)
    };
    let (stopped, failed) = (load("stopped"), load("failed"));
    engine.stop(stopped, FOREVER).unwrap();
    engine.failure(failed, "unreachable");
    assert_eq!(engine.status(failed).unwrap()["state"], "failed");
    let crashed = engine.load("app/crashed/0", "trapper");
    engine.failure(crashed, "unreachable");
    for (name, handle) in [("stopped", stopped), ("failed", failed), ("crashed", crashed)] {
        engine.replace(handle, &bytes("echo"), None).unwrap();
        assert_eq!(engine.text(handle, "hello"), "hello", "{name}");
        assert_eq!(engine.status(handle).unwrap()["state"], "running");
        let told = || events.states(&format!("app/{name}/0"));
        let replaced = format!("{name} replacing replace");
        eventually("the change is told", || told().contains(&replaced).then_some(()));
    }
}

#[test]
fn a_pool_is_replaced_whole_or_not_at_all() {
    let engine = Engine::new();
    let options = r#"{"instances": 3, "limits": {"max-execution-time-ms": 60000}}"#;
    let pool = engine.load_with(ID, "trapper", options);
    engine.replace(pool, &bytes("echo"), None).unwrap();
    let versions = |engine: &Engine| -> Vec<u64> {
        let status = engine.status(pool).unwrap();
        let instances = status["instances"].as_array().unwrap();
        instances.iter().map(|it| it["version"].as_u64().unwrap()).collect()
    };
    assert_eq!(versions(&engine), [2, 2, 2]);
    engine.roll_back(pool).unwrap();
    assert_eq!(versions(&engine), [1, 1, 1]);
    // One instance is busy for longer than the replacement may wait.
    engine.send(pool, "sleep 2000").unwrap();
    engine.until_busy(pool, 1, 0);
    let failure = engine.replace(pool, &bytes("echo"), Some(r#"{"timeout-ms": 1}"#)).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT);
    assert_eq!(versions(&engine), [1, 1, 1]);
}

#[test]
fn under_load_no_request_fails_although_replacements_do() {
    const SENDERS: usize = 4;
    let engine = Engine::new();
    let it = engine.load_with(ID, "counter", r#"{"limits": {"max-execution-time-ms": 300}}"#);
    let (over, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let inbox = Inbox::new();
    let requests = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut requests = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        engine.call(it, "inc").unwrap();
                        calls.fetch_add(1, Ordering::Relaxed);
                        match engine.request(it, "inc", inbox) {
                            Ok(request) => requests.push(request),
                            Err(full) => {
                                assert_eq!(full.status, AIRSSYS_ERROR_QUEUE_FULL, "{full}")
                            }
                        }
                    }
                    requests
                })
            })
            .collect();
        for _ in 0..10 {
            let before = calls.load(Ordering::Relaxed);
            engine.replace(it, &bytes("counter"), None).unwrap();
            for (wasm, options, ..) in
                failures().into_iter().filter(|it| it.2 != AIRSSYS_ERROR_TIMEOUT)
            {
                engine.replace(it, &wasm, Some(&options.to_string())).unwrap_err();
            }
            engine.roll_back(it).unwrap();
            engine.replace(it, &bytes("counter"), None).unwrap();
            eventually("the senders go on", || {
                (calls.load(Ordering::Relaxed) > before).then_some(())
            });
        }
        over.store(true, Ordering::Relaxed);
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
    });
    let outcomes = inbox.exactly(&requests);
    assert!(outcomes.values().all(|it| it.status() == AIRSSYS_OK));
    let messages = engine.describe(it).unwrap()["messages"].clone();
    let sent = calls.load(Ordering::Relaxed) + requests.len() as u64;
    assert_eq!((&messages["handled"], &messages["dropped"]), (&sent.into(), &0.into()));
    assert_eq!(engine.describe(it).unwrap()["restarts"], 0);
}

#[test]
fn open_requests_of_the_old_version_are_answered_to_the_new_one() {
    let engine = Engine::new();
    let options = r#"{"capabilities": {"messaging": {"request": ["app/**"]}}}"#;
    let sleeper = engine.load("app/sleeper/0", "trapper");
    let asker = engine.load_with("app/asker/0", "requester", options);
    engine.text(asker, "request app/sleeper/0 60000 sleep 200");
    engine.until_busy(sleeper, 1, 0);
    engine.replace(asker, &bytes("requester"), None).unwrap();
    let callbacks = engine.callbacks(asker, 1);
    assert_eq!(callbacks[0]["sender"], "app/sleeper/0");
}

#[test]
fn replacements_of_one_component_take_turns() {
    let engine = Engine::new();
    let it = engine.load_with(ID, "counter", r#"{"kept-versions": 0}"#);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| engine.replace(it, &bytes("counter"), None).unwrap());
        }
    });
    assert_eq!(version(&engine, it), 9);
    assert_eq!(engine.roll_back(it).unwrap_err().status, AIRSSYS_ERROR_INVALID_ARGUMENT);
}

#[test]
fn a_replacement_ends_with_its_component_and_with_its_engine() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-execution-time-ms": 60000}}"#;
    let busy = engine.load_with("app/busy/0", "trapper", options);
    engine.send(busy, "loop").unwrap();
    engine.until_busy(busy, 1, 0);
    std::thread::scope(|scope| {
        let replace = scope.spawn(|| engine.replace(busy, &bytes("echo"), None));
        let waits = || engine.describe(busy).unwrap()["mailbox"]["depth"] == 1;
        eventually("the new version waits", || waits().then_some(()));
        engine.unload_within(busy, 0).unwrap_err();
        let failure = replace.join().unwrap().unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "{failure}");
    });
    let failure = engine.replace(busy, &bytes("echo"), None).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    let idle = engine.load(ID, "echo");
    engine.shutdown(60_000).unwrap();
    let failure = engine.replace(idle, &bytes("echo"), None).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_ENGINE_STOPPED);
}

#[test]
fn a_health_gate_ends_with_the_component_and_with_the_engine() {
    let gate = r#"{"env": {"HEALTH": "degraded"}, "health-gate-ms": 3600000}"#;
    let engine = Engine::new();
    let it = engine.load(ID, "counter");
    std::thread::scope(|scope| {
        let replace = scope.spawn(|| engine.replace(it, &bytes("probe"), Some(gate)));
        eventually("the binary is compiled", || {
            (engine.stats()["binaries"].as_u64() >= Some(2)).then_some(())
        });
        engine.unload(it).unwrap();
        let failure = replace.join().unwrap().unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "{failure}");
    });
    let it = engine.load(ID, "counter");
    std::thread::scope(|scope| {
        let replace = scope.spawn(|| engine.replace(it, &bytes("probe"), Some(gate)));
        eventually("the shutdown ends", || engine.shutdown(60_000).ok());
        let failure = replace.join().unwrap().unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_ENGINE_STOPPED, "{failure}");
    });
}

#[test]
fn a_component_that_fails_while_its_successor_waits_runs_again() {
    let engine = Engine::new();
    let options = r#"{"supervision": {"restart": "temporary"},
                      "limits": {"max-execution-time-ms": 3600000}}"#;
    let it = engine.load_with(ID, "trapper", options);
    let inbox = Inbox::new();
    let running = engine.request(it, "loop", inbox).unwrap();
    engine.until_busy(it, 1, 0);
    let behind = engine.request(it, "ok", inbox).unwrap();
    std::thread::scope(|scope| {
        let replace = scope.spawn(|| engine.replace(it, &bytes("echo"), None));
        let waits = || engine.describe(it).unwrap()["mailbox"]["depth"] == 2;
        eventually("the new version waits", || waits().then_some(()));
        engine.interrupt(it).unwrap();
        replace.join().unwrap().unwrap();
    });
    assert_eq!(engine.text(it, "hello"), "hello");
    let outcomes = inbox.exactly(&[running, behind]);
    assert_eq!(outcomes[&behind].status(), AIRSSYS_ERROR_COMPONENT_FAILED);
}

#[test]
fn only_the_expected_binary_and_version_takes_over() {
    let engine = Engine::new();
    let it =
        engine.load_with(ID, "counter", r#"{"expect": {"name": "counter", "version": "^0.1"}}"#);
    let sha256 = engine.describe(it).unwrap()["binary"]["sha256"].as_str().unwrap().to_owned();
    assert_eq!(engine.list()[0]["sha256"], *sha256);
    let demands = json!({ "sha256": sha256, "expect": { "name": "counter" } }).to_string();
    engine.replace(it, &bytes("counter"), Some(&demands)).unwrap();
    for (options, words) in [
        (json!({ "newer": true }), "its version is \"0.1.0\", and one newer than 0.1.0 was"),
        (json!({ "expect": { "name": "echo" } }), "its name is \"counter\", and \"echo\" was"),
        (json!({ "expect": { "version": ">=1" } }), "its version is \"0.1.0\", and >=1 was"),
        (json!({ "sha256": "00".repeat(32) }), "its SHA-256 is"),
    ] {
        let failure =
            engine.replace(it, &bytes("counter"), Some(&options.to_string())).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
        let load = options.as_object().unwrap().keys().all(|key| key != "newer");
        if load {
            let failure =
                engine.try_load("app/other/0", &bytes("counter"), Some(&options.to_string()));
            assert_eq!(failure.unwrap_err().status, AIRSSYS_ERROR_INVALID_COMPONENT);
        }
    }
    let minimal =
        engine.try_load("app/m/0", &bytes("minimal"), Some(r#"{"expect": {"name": "m"}}"#));
    assert!(minimal.unwrap_err().message.contains("exports no component-lifecycle"));
    assert_eq!(version(&engine, it), 2);
    let unknown = engine.load_with("app/u/0", "counter", r#"{"activation": "on-demand"}"#);
    let failure =
        engine.replace(unknown, &bytes("counter"), Some(r#"{"newer": true}"#)).unwrap_err();
    assert!(failure.message.contains("version before is not known"), "{failure}");
    // What took over before needs not be newer.
    engine.roll_back(it).unwrap();
    let lazy = json!({ "activation": "on-demand", "expect": { "name": "echo" } }).to_string();
    let lazy = engine.load_with("app/lazy/0", "counter", &lazy);
    let failure = engine.failure(lazy, "inc");
    assert_eq!(failure.status, AIRSSYS_ERROR_INSTANTIATION_FAILED);
    assert!(failure.message.contains("\"echo\" was expected"), "{failure}");
}

#[test]
fn versions_give_their_host_memory_back() {
    let engine = Engine::new();
    let it = engine.load(ID, "probe");
    let held = || engine.describe(it).unwrap()["host-bytes"].as_u64().unwrap();
    let first = held();
    for _ in 0..5 {
        engine.replace(it, &bytes("probe"), None).unwrap();
    }
    // The metadata of earlier versions is gone with their instances.
    assert_eq!(held(), first);
    let with = With { timeout_ms: 60_000, ..With::default() };
    engine.call_with(it, "silent", with).unwrap();
}

#[test]
fn a_file_replaces_too() {
    let engine = Engine::new();
    let it = engine.load(ID, "counter");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo.wasm");
    std::fs::write(&path, bytes("echo")).unwrap();
    engine.replace_file(it, path.to_str().unwrap()).unwrap();
    assert_eq!(engine.text(it, "hello"), "hello");
    let missing = directory.path().join("missing.wasm");
    let failure = engine.replace_file(it, missing.to_str().unwrap()).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_IO);
}
