//! Compiling ahead of a load, and waits for the compiler that are given up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use airssys_wasm::*;
use airssys_wasm_guests::bytes;

use super::time_limit::{compiling, endless, patient, until_compiling};
use crate::harness::binaries::nested_loops;
use crate::harness::engine::{Config, Engine, eventually};

/// Takes a little longer to compile than the time after which the host is asked.
fn long() -> Vec<u8> {
    nested_loops(1_500)
}

fn misses(engine: &Engine) -> u64 {
    engine.stats()["cache"]["misses"].as_u64().unwrap()
}

#[test]
fn what_was_compiled_ahead_is_loaded_without_the_compiler() {
    let directory = tempfile::tempdir().unwrap();
    let cached = || {
        let dir = directory.path().join("cache");
        Config::bare().with(&serde_json::json!({ "cache-dir": dir }).to_string()).engine()
    };
    let engine = cached();
    engine.precompile(&bytes("echo"), None).unwrap();
    engine.precompile(&bytes("echo"), Some(&|| true)).unwrap();
    assert_eq!(
        (&engine.stats()["binaries"], &engine.stats()["components"]),
        (&1.into(), &0.into())
    );
    let before = misses(&engine);
    let echo = engine.load("app/echo/0", "echo");
    assert_eq!((engine.text(echo, "x"), misses(&engine)), ("x".into(), before));
    // Another process finds it in the directory.
    let later = cached();
    later.precompile(&bytes("echo"), None).unwrap();
    assert_eq!((misses(&later), &later.stats()["cache"]["hits"]), (0, &1.into()));
}

#[test]
fn what_is_no_component_is_refused_as_by_a_load() {
    let engine = Engine::bare();
    for wasm in [&b""[..], b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0\x63"] {
        let failure = engine.precompile(wasm, None).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{failure}");
        let loaded = engine.try_load("app/x/0", wasm, None).unwrap_err();
        assert_eq!(loaded.message, format!("app/x/0: {}", failure.message));
    }
    engine.shutdown(0).unwrap();
    let failure = engine.precompile(&bytes("echo"), None).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_ENGINE_STOPPED, "{failure}");
}

#[test]
fn a_compile_goes_on_behind_all_else_when_no_one_waits() {
    let engine = patient(3_600_000).engine();
    let failure = engine.precompile(&endless(0), Some(&|| true)).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INTERRUPTED, "{failure}");
    assert!(failure.message.contains("goes on in the background"), "{failure}");
    eventually("its threads are behind all others", || (compiling() == [19; 2]).then_some(()));
    // It takes no room from others for ever.
    assert_eq!(engine.text(engine.load("app/echo/0", "echo"), "x"), "x");
}

#[test]
fn the_result_is_kept_for_a_later_load() {
    let engine = patient(3_600_000).engine();
    let wasm = long();
    let failure = engine.precompile(&wasm, Some(&|| true)).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INTERRUPTED, "{failure}");
    eventually("it is compiled", || (engine.stats()["binaries"] == 1).then_some(()));
    engine.precompile(&wasm, Some(&|| true)).expect("nothing is compiled");
    // It is unused, so it counts against the bound on unused code.
    let none = patient(3_600_000).with(r#"{"compile": {"max-unused-code-bytes": 0}}"#).engine();
    none.precompile(&wasm, Some(&|| true)).unwrap_err();
    eventually("it is compiled", || compiling().is_empty().then_some(()));
    assert_eq!(none.stats()["binaries"], 0);
}

#[test]
fn whoever_else_waits_is_not_concerned() {
    let engine = patient(3_600_000).engine();
    let gives_up = AtomicBool::new(false);
    let asks = || gives_up.load(Ordering::SeqCst);
    thread::scope(|scope| {
        let first = scope.spawn(|| engine.precompile(&endless(0), Some(&asks)));
        until_compiling();
        let second = scope.spawn(|| engine.try_load("app/endless/0", &endless(0), None));
        let third = scope.spawn(|| engine.precompile(&endless(0), Some(&|| false)));
        gives_up.store(true, Ordering::SeqCst);
        assert_eq!(first.join().unwrap().unwrap_err().status, AIRSSYS_ERROR_INTERRUPTED);
        assert!(!second.is_finished() && !third.is_finished());
        engine.shutdown(0).unwrap();
        assert_eq!(second.join().unwrap().unwrap_err().status, AIRSSYS_ERROR_ENGINE_STOPPED);
        assert_eq!(third.join().unwrap().unwrap_err().status, AIRSSYS_ERROR_ENGINE_STOPPED);
    });
}

#[test]
fn a_wait_for_the_compiler_s_turn_can_be_given_up() {
    let engine = patient(3_600_000).engine();
    thread::scope(|scope| {
        let running: Vec<_> = (0..2)
            .map(|n| {
                let engine = &engine;
                scope.spawn(move || engine.precompile(&endless(n), Some(&|| false)))
            })
            .collect();
        eventually("both compile", || (compiling().len() == 4).then_some(()));
        let failure = engine.precompile(&endless(2), Some(&|| true)).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_INTERRUPTED, "{failure}");
        engine.shutdown(0).unwrap();
        for compile in running {
            let failure = compile.join().unwrap().unwrap_err();
            assert_eq!(failure.status, AIRSSYS_ERROR_ENGINE_STOPPED, "{failure}");
        }
    });
}
