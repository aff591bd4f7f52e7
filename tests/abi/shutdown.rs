//! The end of an engine: shutdown, free, and what others see of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, Outcome, eventually};
use crate::harness::gates::{Gate, calls_that_wait};
use crate::harness::log::{Journal, set_logger};
use crate::harness::published::{WIT, component};
use crate::harness::store::Store;

#[test]
fn shutdown_lets_components_finish_their_mail_and_then_calls_their_shutdown() {
    let (gate, config) = (Gate::default(), Config::new());
    let journal = gate.attach(&config);
    let engine = config.engine();
    engine.load("app/probe/0", "probe");
    let chatty = engine.load("app/chatty/0", "chatty");
    engine.send(chatty, "log info gate").unwrap();
    gate.reached();
    let expected: Vec<String> = (0..100).map(|n| format!("mail {n}")).collect();
    for text in &expected {
        engine.send(chatty, format!("log info {text}")).unwrap();
    }
    std::thread::scope(|scope| {
        let shutdown = scope.spawn(|| engine.shutdown(u64::MAX));
        // Sent to no component, so it changes nothing.
        eventually("nothing more is accepted", || {
            (engine.send(0, "").unwrap_err().status == AIRSSYS_ERROR_ENGINE_STOPPED).then_some(())
        });
        gate.open();
        shutdown.join().unwrap().unwrap();
    });
    assert_eq!(journal.of("app/probe/0"), ["probe shut down"]);
    let handled = journal.of("app/chatty/0");
    assert_eq!(handled[1..], expected);
}

#[test]
fn after_a_shutdown_every_function_reports_a_stopped_engine() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    engine.shutdown(60_000).unwrap();
    let wasm = airssys_wasm_guests::bytes("echo");
    for outcome in [
        engine.call(echo, "x").map(drop),
        engine.send(echo, "x"),
        engine.health(echo).map(drop),
        engine.try_load("app/echo/1", &wasm, None).map(drop),
    ] {
        assert_eq!(outcome.unwrap_err().status, AIRSSYS_ERROR_ENGINE_STOPPED);
    }
    assert_eq!(engine.list(), json!([]));
    assert_eq!(engine.describe(echo).unwrap_err().status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    assert_eq!(engine.find("app/echo/0").unwrap_err().status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    engine.unload(echo).unwrap();
    engine.shutdown(0).unwrap();
}

#[test]
fn the_time_of_a_shutdown_does_not_cut_the_flush_of_the_storage_off() {
    let (begun, has_begun) = channel();
    let (go_on, may_go_on) = channel();
    let (may_go_on, flushed) = (Mutex::new(may_go_on), Arc::<AtomicBool>::default());
    let done = Arc::clone(&flushed);
    let config = Config::new();
    let store = Store::scripted(move |operation, _, _| {
        if operation == "flush" {
            begun.send(()).unwrap();
            may_go_on.lock().unwrap().recv().unwrap();
            done.store(true, Ordering::SeqCst);
        }
        None
    });
    store.attach(&config);
    let engine = config.engine();
    std::thread::scope(|scope| {
        let shutdown = scope.spawn(|| engine.shutdown(0));
        has_begun.recv().unwrap();
        go_on.send(()).unwrap();
        shutdown.join().unwrap().unwrap();
        assert!(flushed.load(Ordering::SeqCst));
    });
}

#[test]
fn a_shutdown_without_components_returns_at_once() {
    Engine::new().shutdown(0).unwrap();
}

#[test]
fn a_shutdown_reports_the_component_whose_shutdown_failed_and_ends_the_others() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    engine.load("app/good/0", "probe");
    engine.load_with("app/bad/0", "probe", r#"{"env": {"SHUTDOWN_FAIL": "no way"}}"#);
    engine.load("app/good/1", "probe");
    let failure = engine.shutdown(60_000).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_SHUTDOWN_FAILED, "{failure}");
    assert_eq!(failure.detail["component"], "app/bad/0");
    assert!(failure.message.contains("no way"), "{failure}");
    for good in ["app/good/0", "app/good/1"] {
        assert_eq!(journal.of(good), ["probe shut down"]);
    }
}

#[test]
fn a_shutdown_times_out_and_counts_the_unfinished_components() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    engine.load("app/probe/0", "probe");
    let chatty = engine.load("app/chatty/0", "chatty");
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    let sleeper = engine.load_with("app/sleeper/0", "trapper", options);
    engine.send(chatty, "log info gate").unwrap();
    engine.send(sleeper, "sleep 600000").unwrap();
    gate.reached();
    engine.until_busy(sleeper, 1, 0);
    let failure = engine.shutdown(500).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
    assert_eq!(failure.detail["unfinished"], 2, "{failure}");
    assert!(failure.message.contains("500"), "{failure}");
    let ids = failure.detail["components"].as_array().unwrap().iter().map(|it| it["id"].clone());
    assert_eq!(ids.collect::<Vec<_>>(), ["app/sleeper/0", "app/chatty/0"]);
    gate.open();
}

#[test]
fn components_shut_down_in_reverse_order_of_load() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    let ids: Vec<_> = (0..20).map(|n| format!("app/probe/{n}")).collect();
    for id in &ids {
        engine.load(id, "probe");
    }
    engine.shutdown(60_000).unwrap();
    let ended: Vec<_> =
        journal.records().into_iter().filter_map(|record| record.component).collect();
    assert!(ended.iter().rev().eq(&ids), "{ended:?}");
}

#[test]
fn a_shutdown_that_times_out_ends_all_calls() {
    let (running, waiting) = calls_that_wait(|engine, _| {
        assert_eq!(engine.shutdown(0).unwrap_err().status, AIRSSYS_ERROR_TIMEOUT);
    });
    assert_eq!(waiting.unwrap_err().status, AIRSSYS_ERROR_ENGINE_STOPPED);
    assert_eq!(running.unwrap_err().status, AIRSSYS_ERROR_ENGINE_STOPPED);
}

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
fn a_shutdown_waits_for_components_that_another_thread_unloads() {
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
fn a_shutdown_that_times_out_stops_running_guests() {
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
fn a_request_accepted_before_a_shutdown_is_answered() {
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

#[test]
fn a_load_that_is_running_when_the_engine_stops_fails() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let wasm = component(WIT);
    std::thread::scope(|scope| {
        let loading =
            scope.spawn(|| engine.try_load("app/late/0", &wasm, Some(r#"{"config": "gate"}"#)));
        gate.reached();
        engine.shutdown(60_000).unwrap();
        gate.open();
        let failure = loading.join().unwrap().unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_ENGINE_STOPPED, "{failure}");
    });
    assert_eq!(engine.list(), json!([]));
}

#[test]
fn freeing_an_engine_ends_all_calls_and_waits_for_them() {
    let (gate, config) = (Gate::default(), Config::new());
    let waits = gate.clone();
    let dropped = set_logger(&config, AIRSSYS_LOG_TRACE, move |_| waits.pass());
    let engine = config.engine();
    drop(config);
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    let chatty = engine.load_with("app/chatty/0", "chatty", options);
    let stopped = |outcome: Outcome<_>| {
        assert_eq!(outcome.unwrap_err().status, AIRSSYS_ERROR_ENGINE_STOPPED);
    };
    std::thread::scope(|scope| {
        let running = scope.spawn(|| engine.call(chatty, "log info x"));
        gate.reached();
        let waiting = scope.spawn(|| engine.call(chatty, "log info y"));
        engine.until_busy(chatty, 2, 1);
        let free = scope.spawn(|| engine.free());
        stopped(waiting.join().unwrap());
        assert!(!free.is_finished(), "it waits for the running call");
        assert_eq!(dropped.load(Ordering::SeqCst), 0, "the callback still uses the data");
        gate.open();
        stopped(running.join().unwrap());
        free.join().unwrap();
    });
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn an_engine_may_be_freed_from_its_own_callback() {
    for on_worker in [false, true] {
        let (config, engine) = (Config::new(), Arc::<OnceLock<Engine>>::default());
        let (within, freed) = (Arc::clone(&engine), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&freed);
        let dropped = set_logger(&config, AIRSSYS_LOG_TRACE, move |record| {
            if record.message != "x" {
                return;
            }
            within.get().expect("it was made").free();
            count.fetch_add(1, Ordering::SeqCst);
        });
        assert!(engine.set(config.engine()).is_ok());
        drop(config);
        let engine = engine.get().unwrap();
        let chatty = engine.load("app/chatty/0", "chatty");
        if on_worker {
            engine.send(chatty, "log info x").unwrap();
        } else {
            let failure = engine.failure(chatty, "log info x");
            assert_eq!(failure.status, AIRSSYS_ERROR_ENGINE_STOPPED, "{failure}");
        }
        eventually("it is released", || (dropped.load(Ordering::SeqCst) == 1).then_some(()));
        assert_eq!(freed.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn an_engine_may_be_freed_while_guests_compute_sleep_and_wait() {
    let config = Config::new().with(r#"{"limits": {"max-execution-time-ms": 600000}}"#);
    let engine = config.engine();
    for (guest, command) in
        [("trapper", "loop"), ("trapper", "sleep 600000"), ("wasi", "sleep 600000")]
    {
        let handle = engine.load("app/busy/0", guest);
        engine.send(handle, command).unwrap();
        engine.until_busy(handle, 1, 0);
        engine.send(handle, "ok").unwrap();
    }
    let asker = engine.load("app/asker/0", "requester");
    let reply = engine.text(asker, "request app/busy/0 600000 x");
    assert!(!reply.starts_with("error"), "{reply}");
    drop(engine);
    let again = config.engine();
    let echo = again.load("app/echo/0", "echo");
    assert_eq!(again.text(echo, "next"), "next");
}
