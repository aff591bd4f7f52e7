//! The end of an engine: graceful, at once, and what others see of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::{Config, Engine, Outcome, eventually};
use crate::hosts::{Gate, Journal, set_logger};

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
        // To no component, so that it changes nothing.
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
fn after_a_shutdown_everything_says_that_the_engine_has_stopped() {
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
fn a_shutdown_of_an_engine_without_components_is_done_at_once() {
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
fn a_shutdown_gives_up_on_what_does_not_finish() {
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
    gate.open();
}

/// Calls that wait behind one that stands at the gate, and what becomes of them.
fn calls_that_wait(end: impl FnOnce(&Engine, &Gate)) -> (Outcome, Outcome) {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    let chatty = engine.load_with("app/chatty/0", "chatty", options);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| engine.call(chatty, "log info gate").map(drop));
        gate.reached();
        let waiting = scope.spawn(|| engine.call(chatty, "log info x").map(drop));
        engine.until_busy(chatty, 2, 1);
        end(&engine, &gate);
        gate.open();
        (running.join().unwrap(), waiting.join().unwrap())
    })
}

#[test]
fn freeing_an_engine_ends_all_calls_and_returns_after_them() {
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
        assert!(!free.is_finished(), "it returns after the call under way");
        assert_eq!(dropped.load(Ordering::SeqCst), 0, "its callback is still using the data");
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
fn a_shutdown_that_runs_out_of_time_ends_all_calls() {
    let (running, waiting) = calls_that_wait(|engine, _| {
        assert_eq!(engine.shutdown(0).unwrap_err().status, AIRSSYS_ERROR_TIMEOUT);
    });
    assert_eq!(waiting.unwrap_err().status, AIRSSYS_ERROR_ENGINE_STOPPED);
    assert_eq!(running.unwrap_err().status, AIRSSYS_ERROR_ENGINE_STOPPED);
}

#[test]
fn unloading_answers_the_calls_that_wait_and_lets_the_one_under_way_end() {
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
        // Time for it to be wrong; if it is right, this changes nothing.
        for _ in 0..200 {
            if second.is_finished() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        gate.open();
        assert_eq!(second.join().unwrap(), ["gate"], "the message under way had ended");
    });
}

#[test]
fn an_engine_is_freed_under_guests_that_compute_sleep_and_wait() {
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

#[test]
fn an_error_outlives_its_engine_and_moves_to_other_threads() {
    let mut error = std::ptr::null_mut();
    let engine = Engine::new();
    // SAFETY: a live engine and an output that is valid for writing.
    let status = unsafe {
        airssys_engine_send(engine.raw(), 5, std::ptr::null(), 0, std::ptr::null(), &raw mut error)
    };
    assert_eq!(status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    drop(engine);
    let address = error.expose_provenance();
    std::thread::spawn(move || {
        let error = std::ptr::with_exposed_provenance_mut::<airssys_error_t>(address);
        // SAFETY: a live error, freed once.
        unsafe {
            let text = std::ffi::CStr::from_ptr(airssys_error_message(error));
            assert!(text.to_str().unwrap().contains("handle 5"));
            assert_eq!(airssys_error_status(error), AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
            airssys_error_free(error);
        }
    })
    .join()
    .unwrap();
}

#[test]
fn files_and_threads_come_back_after_many_loads_and_engines() {
    // Counts those of the whole process: nextest gives each test one of its own.
    let wasm = airssys_wasm_guests::bytes("counter");
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let cycle = || {
        let engine = Engine::new();
        for _ in 0..20 {
            let handle = engine.try_load("app/counter/0", &wasm, None).unwrap();
            assert_eq!(engine.text(handle, "inc"), "1");
            engine.unload(handle).unwrap();
        }
        assert_eq!(engine.stats()["components"], 0);
    };
    cycle();
    let before = (open(), threads());
    for _ in 0..3 {
        cycle();
    }
    eventually("threads and files are back", || ((open(), threads()) <= before).then_some(()));
}
