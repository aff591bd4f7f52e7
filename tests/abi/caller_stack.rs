//! A component that cannot wait runs on its caller's stack if that is large enough, otherwise on
//! its own. The results are the same.

use std::thread;

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Engine, Failure};

/// One is large enough for the guest, one is too small.
const STACKS: [usize; 2] = [4 << 20, 256 << 10];

/// The results of `run` on threads with stacks of these sizes.
fn on_each_stack<R: Send>(run: impl Fn() -> R + Sync) -> [R; 2] {
    STACKS.map(|size| {
        thread::scope(|scope| {
            let thread = thread::Builder::new().stack_size(size);
            thread.spawn_scoped(scope, &run).unwrap().join().unwrap()
        })
    })
}

#[test]
fn every_failure_is_the_same_on_each_stack() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-execution-time-ms": 80, "max-memory-bytes": 8388608}}"#;
    let hermit = engine.load_with("app/hermit/0", "hermit", options);
    let cases = [
        ("loop", AIRSSYS_ERROR_TIMEOUT),
        ("recurse", AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED),
        ("alloc", AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED),
        ("unreachable", AIRSSYS_ERROR_TRAP),
        ("oob", AIRSSYS_ERROR_TRAP),
        ("nonsense", AIRSSYS_ERROR_RUNTIME),
    ];
    for (command, status) in cases {
        let [here, elsewhere] = on_each_stack(|| {
            let failure = engine.failure(hermit, command);
            assert_eq!(engine.text(hermit, "ok"), "ok", "after {command}");
            failure
        });
        assert_eq!(here.status, status, "{here}");
        assert_eq!(here.message, elsewhere.message);
        assert_eq!(here.detail, elsewhere.detail);
    }
}

#[test]
fn a_failing_life_cycle_is_the_same_on_each_stack() {
    let engine = Engine::new();
    let load = |at: &str, command: &str| {
        let limits = json!({ "max-execution-time-ms": 80 });
        let options = json!({ "env": { at: command }, "limits": limits }).to_string();
        engine.try_load("app/hermit/0", &airssys_wasm_guests::bytes("hermit"), Some(&options))
    };
    for (command, status) in [
        ("loop", AIRSSYS_ERROR_TIMEOUT),
        ("recurse", AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED),
        ("unreachable", AIRSSYS_ERROR_TRAP),
    ] {
        let [here, elsewhere] = on_each_stack(|| load("AT_INITIALIZE", command).unwrap_err());
        assert_eq!(here.status, status, "{here}");
        assert_eq!(here, elsewhere);
        let unload = || engine.unload(load("AT_SHUTDOWN", command).unwrap()).unwrap_err();
        let [here, elsewhere] = on_each_stack(unload);
        assert_eq!(here.status, AIRSSYS_ERROR_SHUTDOWN_FAILED, "{here}");
        assert_eq!(here, elsewhere);
    }
    assert_eq!(engine.list(), json!([]));
}

#[test]
fn fuel_is_counted_and_limited_the_same_on_each_stack() {
    let options = r#"{"limits": {"max-fuel": 1000000}}"#;
    let [here, elsewhere] = on_each_stack(|| {
        let engine = Engine::new();
        let hermit = engine.load_with("app/hermit/0", "hermit", options);
        let fuel = || engine.stats()["fuel"].as_u64().unwrap();
        let before = fuel();
        assert_eq!(engine.text(hermit, "spin 1000"), "ok");
        let used = fuel() - before;
        let failure = engine.failure(hermit, "spin 1000000");
        assert_eq!(failure.detail["limit"], "max-fuel", "{failure}");
        used
    });
    assert_eq!(here, elsewhere);
    assert!(here > 1000, "{here}");
}

#[test]
fn a_guest_that_computes_ends_with_its_engine_on_each_stack() {
    let options = r#"{"limits": {"max-execution-time-ms": 3600000}}"#;
    let failures: [Failure; 2] = on_each_stack(|| {
        let engine = Engine::new();
        let hermit = engine.load_with("app/hermit/0", "hermit", options);
        thread::scope(|scope| {
            scope.spawn(|| {
                engine.until_busy(hermit, 1, 0);
                engine.free();
            });
            engine.failure(hermit, "loop")
        })
    });
    for failure in failures {
        assert_eq!(failure.status, AIRSSYS_ERROR_ENGINE_STOPPED, "{failure}");
    }
}
