//! A graceful stop while others work, wait or unload.

use airssys_wasm::*;

use crate::harness::{Config, Engine, eventually};
use crate::hosts::{Gate, Journal};

const LONG: &str = r#"{"limits": {"max-execution-time-ms": 600000}}"#;

#[test]
fn an_unload_and_a_shutdown_of_the_same_component_both_return() {
    for shutdown_first in [false, true] {
        let (gate, config) = (Gate::default(), Config::new());
        gate.attach(&config);
        let engine = config.engine();
        let chatty = engine.load_with("app/chatty/0", "chatty", LONG);
        std::thread::scope(|scope| {
            let running = scope.spawn(|| engine.call(chatty, "log info gate"));
            gate.reached();
            let closing = || eventually("it is closing", || engine.send(chatty, "x").err());
            let (unload, timeout) = if shutdown_first {
                let shutdown = scope.spawn(|| engine.shutdown(300));
                closing();
                let unload = scope.spawn(|| engine.unload(chatty));
                (unload, shutdown.join().unwrap())
            } else {
                let unload = scope.spawn(|| engine.unload(chatty));
                closing();
                (unload, engine.shutdown(0))
            };
            assert_eq!(timeout.unwrap_err().status, AIRSSYS_ERROR_TIMEOUT);
            unload.join().unwrap().unwrap();
            gate.open();
            assert!(running.join().unwrap().is_err());
        });
    }
}

#[test]
fn a_shutdown_waits_for_what_another_thread_unloads() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let chatty = engine.load_with("app/chatty/0", "chatty", LONG);
    std::thread::scope(|scope| {
        engine.send(chatty, "log info gate").unwrap();
        gate.reached();
        let unload = scope.spawn(|| engine.unload(chatty));
        eventually("it is closing", || engine.send(chatty, "x").err());
        let shutdown = engine.shutdown(20).unwrap_err();
        assert_eq!(shutdown.status, AIRSSYS_ERROR_TIMEOUT, "{shutdown}");
        assert_eq!(shutdown.detail["unfinished"], 1);
        gate.open();
        unload.join().unwrap().unwrap();
    });
}

#[test]
fn a_shutdown_that_runs_out_of_time_stops_guests_that_go_on() {
    let engine = Engine::new();
    let trapper = engine.load_with("app/trapper/0", "trapper", LONG);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| engine.call(trapper, "loop"));
        eventually("it is running", || {
            (engine.describe(trapper).unwrap()["messages"]["accepted"] == 1).then_some(())
        });
        assert_eq!(engine.shutdown(10).unwrap_err().status, AIRSSYS_ERROR_TIMEOUT);
        let stopped = running.join().unwrap().unwrap_err();
        assert_eq!(stopped.status, AIRSSYS_ERROR_ENGINE_STOPPED, "{stopped}");
    });
}

#[test]
fn a_request_that_was_accepted_before_a_shutdown_is_still_answered() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    let requester = engine.load("app/requester/0", "requester");
    engine.load("app/trapper/0", "trapper");
    engine.text(requester, "on-callback error it came");
    engine.text(requester, "request app/trapper/0 60000 sleep 50");
    engine.shutdown(60_000).unwrap();
    let said = journal.of("app/requester/0");
    assert!(said.iter().any(|message| message.contains("it came")), "{said:?}");
}
