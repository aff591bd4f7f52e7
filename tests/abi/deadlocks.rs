//! Calls from callbacks that would wait for themselves.

use std::sync::{Arc, Mutex, OnceLock};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, Failure, Outcome, With, eventually};
use crate::harness::gates::Gate;
use crate::harness::log::{own_handle, set_logger, with_callback};

/// Ends a test whose deadlock the library misses.
const SOON: With<'static> = With { timeout_ms: 3000, ..With::nothing() };

#[test]
fn a_blocking_call_to_the_calling_component_would_deadlock() {
    let (engine, results) = with_callback(|engine, record| {
        (record.message == "go").then(|| {
            let own = own_handle(engine, record);
            [
                engine.call_with(own, "time", SOON).unwrap_err(),
                engine.health(own).unwrap_err(),
                engine.unload(own).unwrap_err(),
                engine.shutdown(1000).unwrap_err(),
            ]
        })
    });
    let chatty = engine.load("app/chatty/0", "chatty");
    assert_eq!(engine.text(chatty, "log info go"), "ok");
    engine.send(chatty, "log info go").unwrap();
    eventually("both callbacks came", || (results.lock().unwrap().len() == 2).then_some(()));
    for failure in results.lock().unwrap().iter().flatten() {
        assert_eq!(failure.status, AIRSSYS_ERROR_WOULD_DEADLOCK, "{failure}");
        assert_eq!(failure.detail["component"], "app/chatty/0");
    }
    assert_eq!(engine.text(chatty, "log info done"), "ok", "the component still works");
}

/// A ring of components: each one's callback calls the next.
fn ring(count: usize, worker: bool) {
    let (engine, results) = with_callback(move |engine, record| {
        let own = record.component.as_deref().unwrap();
        let at: usize = own.split('/').nth(2).unwrap().parse().unwrap();
        let next = engine.find(&format!("app/ring/{}", (at + 1) % count)).unwrap();
        Some(engine.call_with(next, "log info on", SOON).err().map(|failure| failure.status))
    });
    let all: Vec<u64> =
        (0..count).map(|at| engine.load(&format!("app/ring/{at}"), "chatty")).collect();
    if worker {
        engine.send(all[0], "log info on").unwrap();
    } else {
        assert_eq!(engine.text(all[0], "log info on"), "ok");
    }
    eventually("all callbacks came", || (results.lock().unwrap().len() == count).then_some(()));
    // Only the innermost call is refused.
    let mut expected = vec![None; count];
    expected[0] = Some(AIRSSYS_ERROR_WOULD_DEADLOCK);
    assert_eq!(*results.lock().unwrap(), expected);
    for handle in all {
        assert!(engine.text(handle, "millis").parse::<u64>().is_ok());
    }
}

#[test]
fn a_circle_of_callbacks_would_deadlock_on_the_caller_s_thread() {
    ring(2, false);
    ring(12, false);
}

#[test]
fn a_circle_of_callbacks_would_deadlock_on_workers() {
    ring(2, true);
    ring(12, true);
}

#[test]
fn a_load_in_a_callback_would_deadlock_if_the_new_component_calls_back() {
    // `a` waits for the load, the load for `initialize`, and `initialize` for its callback, which
    // calls `a`.
    let (engine, results) =
        with_callback(|engine, record| match record.component.as_deref().unwrap() {
            "app/a/0" => {
                let wasm = crate::harness::published::component(crate::harness::published::WIT);
                let loaded = engine.try_load("app/b/0", &wasm, None);
                Some(loaded.err().map(|failure| failure.status))
            }
            _ => {
                let a = engine.find("app/a/0").unwrap();
                Some(engine.call_with(a, "time", SOON).err().map(|failure| failure.status))
            }
        });
    let a = engine.load("app/a/0", "chatty");
    assert_eq!(engine.text(a, "log info go"), "ok");
    assert_eq!(*results.lock().unwrap(), [Some(AIRSSYS_ERROR_WOULD_DEADLOCK), None]);
}

#[test]
fn a_callback_may_wait_for_another_instance_of_its_pool() {
    // The search for the least busy member starts with either of the two.
    for before in 0..2_u64 {
        let gate = Gate::default();
        let waits = gate.clone();
        let (engine, results) = with_callback(move |engine, record| match &*record.message {
            "gate" => {
                waits.pass();
                None
            }
            _ => {
                let own = own_handle(engine, record);
                for _ in 0..before {
                    let given_up = With { timeout_ms: 1, ..With::default() };
                    engine.call_with(own, "millis", given_up).unwrap_err();
                }
                Some(engine.call(own, "millis").map(drop))
            }
        });
        let options = r#"{"instances": 2, "limits": {"max-execution-time-ms": 600000}}"#;
        let pool = engine.load_with("app/pool/0", "chatty", options);
        engine.send(pool, "log info gate").unwrap();
        gate.reached();
        engine.send(pool, "log info go").unwrap();
        eventually("the callback waits", || {
            let accepted = engine.describe(pool).unwrap()["messages"]["accepted"].as_u64().unwrap();
            (accepted == 3 + before || !results.lock().unwrap().is_empty()).then_some(())
        });
        gate.open();
        eventually("it came", || (!results.lock().unwrap().is_empty()).then_some(()));
        assert_eq!(*results.lock().unwrap(), [Ok(())]);
    }
}

#[test]
fn a_shutdown_and_a_call_that_wait_for_each_other_would_deadlock() {
    // `a` shuts down the other engine, whose component then calls `a`.
    let other = Arc::<OnceLock<Engine>>::default();
    let within = Arc::clone(&other);
    let (engine, results) = with_callback(move |_, record| {
        (record.message == "go").then(|| {
            let other = within.get().unwrap();
            other.send(other.find("app/b/0").unwrap(), "log info back").unwrap();
            other.shutdown(2000).err().map(|failure| failure.status)
        })
    });
    let a = engine.load("app/a/0", "chatty");
    let (config, within, called) = (Config::new(), Arc::clone(&other), Arc::new(OnceLock::new()));
    let keep = Arc::clone(&called);
    set_logger(&config, AIRSSYS_LOG_TRACE, move |record| {
        if record.message != "back" {
            return;
        }
        let other = within.get().unwrap();
        eventually("it is shut down", || other.send(0, "x").err().filter(stopped));
        let result = engine.call(a, "time").err().map(|failure| failure.status);
        keep.set(result).expect("once");
    });
    let other = other.get_or_init(|| config.engine());
    let patient = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    other.load_with("app/b/0", "chatty", patient);
    engine.send(a, "log info go").unwrap();
    let called = eventually("the call has ended", || called.get().copied());
    eventually("so has the shutdown", || (!results.lock().unwrap().is_empty()).then_some(()));
    let outcomes = [results.lock().unwrap()[0], called];
    let refused = Some(AIRSSYS_ERROR_WOULD_DEADLOCK);
    assert!([[refused, None], [None, refused]].contains(&outcomes), "{outcomes:?}");
}

fn stopped(failure: &Failure) -> bool {
    failure.status == AIRSSYS_ERROR_ENGINE_STOPPED
}

#[test]
fn the_callback_for_last_words_obeys_the_same_rules() {
    // An unfinished line is written when its instance is dropped.
    let (engine, results) = with_callback(|engine, record| {
        (record.message == "last words").then(|| {
            let own = own_handle(engine, record);
            let call = engine.call_with(own, "echo x", SOON).err().map(|failure| failure.status);
            let load = engine.try_load("app/m/0", b"\0asm\x0d\0\x01\0", None);
            (call, load.err(), record.native_stack)
        })
    });
    let wasi = engine.load("app/wasi/0", "wasi");
    for on_worker in [false, true] {
        engine.text(wasi, "partial last words");
        if on_worker {
            engine.send(wasi, "exit 1").unwrap();
        } else {
            engine.failure(wasi, "exit 1");
        }
        let count = usize::from(on_worker) + 1;
        eventually("it came", || (results.lock().unwrap().len() == count).then_some(()));
    }
    let expected = (Some(AIRSSYS_ERROR_WOULD_DEADLOCK), None, true);
    assert_eq!(*results.lock().unwrap(), [expected.clone(), expected]);
}

/// Ends a test whose deadlock the library misses.
const PATIENT: With<'static> = With { timeout_ms: 10_000, ..With::nothing() };

/// A component `app/caller/0` and a pool of two members with room for one message each. The record
/// `call` makes its callback call the pool, `back` makes it call the caller.
struct Scene {
    engine: Arc<OnceLock<Engine>>,
    caller: u64,
    pool: u64,
    begin: Gate,
    gates: [Gate; 2],
    called: Arc<Mutex<Vec<Outcome>>>,
}

impl Scene {
    fn new(when_full: &str) -> Self {
        let engine = Arc::<OnceLock<Engine>>::default();
        let (begin, gates) = (Gate::default(), [Gate::default(), Gate::default()]);
        let called = Arc::<Mutex<Vec<Outcome>>>::default();
        let config = Config::new();
        let (within, first, others, kept) =
            (Arc::clone(&engine), begin.clone(), gates.clone(), Arc::clone(&called));
        set_logger(&config, AIRSSYS_LOG_TRACE, move |record| {
            let engine = within.get().unwrap();
            match &*record.message {
                "gate 0" => others[0].pass(),
                "gate 1" => others[1].pass(),
                "back" => {
                    let caller = engine.find("app/caller/0").unwrap();
                    let _ = engine.call(caller, "millis");
                }
                "call" => {
                    first.pass();
                    let pool = engine.find("app/pool/0").unwrap();
                    let outcome = engine.call_with(pool, "millis", PATIENT).map(drop);
                    kept.lock().unwrap().push(outcome);
                }
                _ => {}
            }
        });
        let made = engine.get_or_init(|| config.engine());
        let limits = json!({ "max-execution-time-ms": 600_000 });
        let caller =
            made.load_with("app/caller/0", "chatty", &json!({ "limits": limits }).to_string());
        let mailbox = json!({ "capacity": 1, "when-full": when_full });
        let options = json!({ "instances": 2, "mailbox": mailbox, "limits": limits }).to_string();
        let pool = made.load_with("app/pool/0", "chatty", &options);
        made.send(caller, "log info call").unwrap();
        begin.reached();
        Self { engine, caller, pool, begin, gates, called }
    }

    fn engine(&self) -> &Engine {
        self.engine.get().unwrap()
    }

    /// One member waits at its gate and is full; the other waits for the caller and has room.
    fn one_full_and_one_waiting(&self) {
        for (n, gate) in self.gates.iter().enumerate() {
            self.engine().send(self.pool, format!("log info gate {n}")).unwrap();
            gate.reached();
        }
        for _ in 0..2 {
            self.engine().send(self.pool, "log info back").unwrap();
        }
        self.gates[1].open();
        self.until_waited_for(1);
    }

    fn until_waited_for(&self, callers: u64) {
        eventually("members wait for the caller", || {
            let described = self.engine().describe(self.caller).unwrap();
            (described["mailbox"]["depth"] == callers).then_some(())
        });
    }

    fn outcome(&self) -> Outcome {
        eventually("the call has ended", || self.called.lock().unwrap().first().cloned())
    }
}

#[test]
fn a_call_waits_for_room_in_a_member_that_does_not_wait_for_it() {
    let scene = Scene::new("block");
    scene.one_full_and_one_waiting();
    scene.begin.open();
    eventually("the call waits for room, or has ended", || {
        let described = scene.engine().describe(scene.pool).unwrap();
        let ended = !scene.called.lock().unwrap().is_empty();
        (ended || described["mailbox"]["waiting"] == 1 || described["mailbox"]["depth"] == 2)
            .then_some(())
    });
    scene.gates[0].open();
    assert_eq!(scene.outcome(), Ok(()));
}

#[test]
fn a_call_is_refused_if_only_a_member_that_waits_for_it_has_room() {
    let scene = Scene::new("reject");
    scene.one_full_and_one_waiting();
    scene.begin.open();
    assert_eq!(scene.outcome().unwrap_err().status, AIRSSYS_ERROR_QUEUE_FULL);
    scene.gates[0].open();
}

#[test]
fn a_call_to_a_pool_whose_members_all_wait_for_it_would_deadlock() {
    for when_full in ["block", "reject", "drop-oldest"] {
        let scene = Scene::new(when_full);
        for callers in 1..=2 {
            scene.engine().send(scene.pool, "log info back").unwrap();
            scene.until_waited_for(callers);
        }
        scene.begin.open();
        let failure = scene.outcome().unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_WOULD_DEADLOCK, "{when_full}: {failure}");
        assert_eq!(failure.detail["component"], "app/pool/0");
    }
}
