//! Unloading, and handles of what was unloaded.

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::gates::{Gate, calls_that_wait};
use crate::harness::log::Journal;

#[test]
fn a_handle_is_not_found_after_unload_and_unloading_again_succeeds() {
    let engine = Engine::new();
    let handle = engine.load("app/echo/0", "echo");
    engine.unload(handle).unwrap();
    for stale in [handle, 0, handle + 1, u64::MAX - 1] {
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
fn an_unload_takes_one_component_or_group_and_not_all() {
    let engine = Engine::new();
    let handle = engine.load("app/echo/0", "echo");
    let refused = [
        engine.unload(AIRSSYS_ALL_COMPONENTS).unwrap_err(),
        engine.unload_within(AIRSSYS_ALL_COMPONENTS, 0).unwrap_err(),
    ];
    for failure in refused {
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
        assert_eq!(failure.detail["argument"], "handle");
        assert!(failure.message.contains("airssys_engine_shutdown"), "{failure}");
    }
    assert_eq!(engine.text(handle, "still here"), "still here");
}

#[test]
fn handles_are_not_reused() {
    let engine = Engine::new();
    let first = engine.load("app/echo/0", "echo");
    engine.unload(first).unwrap();
    let second = engine.load("app/echo/0", "echo");
    assert_ne!(first, second);
    assert!(engine.call(first, "x").is_err());
}

#[test]
fn unloading_calls_shutdown_but_freeing_does_not() {
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
fn a_failing_shutdown_function_is_reported_and_the_component_is_unloaded() {
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
fn unloading_fails_waiting_calls_and_lets_the_running_one_end() {
    let (running, waiting) = calls_that_wait(|engine, gate| {
        let chatty = engine.find("app/chatty/0").unwrap();
        std::thread::scope(|scope| {
            let unload = scope.spawn(|| engine.unload(chatty));
            eventually("nothing more is accepted", || engine.send(chatty, "x").err());
            gate.open();
            unload.join().unwrap().unwrap();
        });
    });
    assert_eq!(waiting.unwrap_err().status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    running.unwrap();
}

#[test]
fn a_second_unload_returns_no_sooner_than_the_first() {
    let (gate, config) = (Gate::default(), Config::new());
    let journal = gate.attach(&config);
    let engine = config.engine();
    let chatty = engine.load("app/chatty/0", "chatty");
    engine.send(chatty, "log info gate").unwrap();
    gate.reached();
    std::thread::scope(|scope| {
        scope.spawn(|| engine.unload(chatty).unwrap());
        eventually("nothing more is accepted", || engine.send(chatty, "x").err());
        let second = scope.spawn(|| {
            engine.unload(chatty).unwrap();
            journal.messages()
        });
        // Gives a wrong unload time to return too soon.
        for _ in 0..200 {
            if second.is_finished() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        gate.open();
        assert_eq!(second.join().unwrap(), ["gate"], "the running message had ended");
    });
}
