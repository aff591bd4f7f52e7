//! What host callbacks may do, on which stack they run, and when their data is released.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use airssys_wasm::*;

use crate::harness::{Config, Engine, Failure, With, eventually};
use crate::hosts::{Gate, Journal, Meeting, Record, Store, set_logger};

/// An engine whose log callback gets the engine; it keeps what the callback returns. It is leaked,
/// because a callback that is the last to use an engine could not free it.
fn with_callback<R: Send + 'static>(
    act: impl Fn(&Engine, &Record) -> Option<R> + Send + Sync + 'static,
) -> (&'static Engine, Arc<Mutex<Vec<R>>>) {
    let engine: Arc<OnceLock<&'static Engine>> = Arc::default();
    let results: Arc<Mutex<Vec<R>>> = Arc::default();
    let (config, within, kept) = (Config::new(), Arc::clone(&engine), Arc::clone(&results));
    set_logger(&config, AIRSSYS_LOG_TRACE, move |record| {
        if let Some(result) = act(within.get().expect("it was made"), record) {
            kept.lock().unwrap().push(result);
        }
    });
    let made = Box::leak(Box::new(config.engine()));
    assert!(engine.set(made).is_ok());
    (made, results)
}

/// A timeout in case that the library does not see the deadlock.
const SOON: With<'static> = With { timeout_ms: 3000, ..With::nothing() };

fn own_handle(engine: &Engine, record: &Record) -> u64 {
    engine.find(record.component.as_deref().unwrap()).unwrap()
}

#[test]
fn callbacks_run_on_the_caller_s_native_stack() {
    let (config, journal, store) = (Config::new(), Journal::default(), Store::new());
    journal.attach(&config);
    store.attach(&config);
    let engine = config.engine();
    let chatty = engine.load("app/chatty/0", "chatty");
    let user = engine.load("app/user/0", "storage-user");
    let wasi = engine.load("app/wasi/0", "wasi");
    engine.text(chatty, "flood 20");
    engine.text(wasi, "print x");
    for command in ["get k", "set k v", "delete k", "exists k", "list", "usage"] {
        engine.call(user, command).unwrap();
    }
    let records = journal.records();
    assert_eq!(records.len(), 21);
    assert!(records.iter().all(|record| record.native_stack));
    let here = std::thread::current().id();
    assert!(records.iter().all(|record| record.thread == here), "an idle component runs here");
    let stacks = store.native_stack.lock().unwrap();
    assert!(stacks.len() == 6 && stacks.iter().all(|native| *native));
}

#[test]
fn callbacks_on_workers_run_on_a_native_stack_too() {
    let (config, journal, store) = (Config::new(), Journal::default(), Store::new());
    journal.attach(&config);
    store.attach(&config);
    let engine = config.engine();
    for (guest, command) in
        [("chatty", "log info x"), ("storage-user", "set k v"), ("wasi", "print x")]
    {
        let handle = engine.load(&format!("app/{guest}/0"), guest);
        engine.send(handle, command).unwrap();
    }
    eventually("all three callbacks came", || {
        (journal.records().len() == 2 && !store.calls.lock().unwrap().is_empty()).then_some(())
    });
    let here = std::thread::current().id();
    assert!(journal.records().iter().all(|record| record.native_stack && record.thread != here));
    assert!(store.native_stack.lock().unwrap().iter().all(|native| *native));
}

#[test]
fn a_callback_may_use_the_engine() {
    let (engine, results) = with_callback(|engine, record| {
        if record.component.as_deref() != Some("app/chatty/0") {
            return None;
        }
        let echo = engine.find("app/echo/0").unwrap();
        assert_eq!(engine.text(echo, "from a callback"), "from a callback");
        assert_eq!(engine.health(echo).unwrap()["health"], "healthy");
        let own = own_handle(engine, record);
        assert_eq!(engine.describe(own).unwrap()["state"], "running");
        engine.send(own, "time").unwrap();
        assert_eq!(engine.stats()["components"], 2);
        assert_eq!(engine.list().as_array().unwrap().len(), 2);
        let extra = engine.load("app/extra/0", "counter");
        assert_eq!(engine.text(extra, "inc"), "1");
        engine.unload(extra).unwrap();
        let other = Engine::new();
        let counter = other.load("app/counter/0", "counter");
        assert_eq!(other.text(counter, "inc"), "1");
        Some(())
    });
    engine.load("app/echo/0", "echo");
    let chatty = engine.load("app/chatty/0", "chatty");
    assert_eq!(engine.text(chatty, "log info x"), "ok");
    engine.send(chatty, "log info x").unwrap();
    eventually("it works on a worker too", || (results.lock().unwrap().len() == 2).then_some(()));
}

#[test]
fn a_blocking_call_to_the_component_that_is_calling_would_deadlock() {
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
    assert_eq!(engine.text(chatty, "log info done"), "ok", "and nothing is stopped");
}

/// Components whose callbacks call the next one, the last one the first.
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
    // The innermost is refused, the others are answered.
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
fn a_load_in_a_callback_whose_component_calls_back_would_deadlock() {
    // `a` waits for the load, the load for the `initialize` of the new component, and that for
    // its own callback, which calls `a`.
    let (engine, results) =
        with_callback(|engine, record| match record.component.as_deref().unwrap() {
            "app/a/0" => {
                let wasm = crate::published::component(crate::published::WIT);
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
fn a_callback_of_an_instance_waits_for_another_of_its_pool() {
    // Whichever of the two the search for the least busy begins with.
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
fn of_a_shutdown_and_a_call_that_wait_for_each_other_one_would_deadlock() {
    // `a` shuts the other engine down, whose component then calls `a`.
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
fn a_callback_of_one_engine_may_call_any_component_of_another() {
    let other = Engine::new();
    // The same handle as that of the calling component, in another engine.
    let counter = other.load("app/counter/0", "counter");
    let results: Arc<Mutex<Vec<Result<_, Failure>>>> = Arc::default();
    let (config, kept) = (Config::new(), Arc::clone(&results));
    set_logger(&config, AIRSSYS_LOG_TRACE, move |_| {
        kept.lock().unwrap().push(other.call(counter, "inc"));
    });
    let engine = config.engine();
    let chatty = engine.load("app/chatty/0", "chatty");
    assert_eq!(chatty, counter);
    engine.text(chatty, "log info x");
    assert_eq!(*results.lock().unwrap(), [Ok(Some(b"1".to_vec()))]);
}

#[test]
fn the_callback_for_last_words_follows_the_same_rules() {
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

#[test]
fn user_data_is_dropped_once_after_its_last_user() {
    let config = Config::new();
    let first = set_logger(&config, AIRSSYS_LOG_TRACE, |_| ());
    let second = set_logger(&config, AIRSSYS_LOG_TRACE, |_| ());
    let store = Store::new();
    store.attach(&config);
    let counts = || {
        [&first, &second]
            .map(|count| count.load(Ordering::SeqCst))
            .into_iter()
            .chain([store.dropped.load(Ordering::SeqCst)])
    };
    assert!(counts().eq([1, 0, 0]), "the second took the place of the first");
    let engines = [config.engine(), config.engine()];
    drop(config);
    for engine in engines {
        assert!(counts().eq([1, 0, 0]), "an engine uses it");
        let chatty = engine.load("app/chatty/0", "chatty");
        engine.text(chatty, "log info x");
        drop(engine);
    }
    assert!(counts().eq([1, 1, 1]));
}

#[test]
fn callbacks_of_different_components_run_at_once() {
    // On one worker: a callback that waits must not be the end of it.
    let (config, meeting) = (Config::new(), Meeting::default());
    meeting.attach(&config);
    let engine = config.with(r#"{"workers": 1}"#).engine();
    for id in ["app/a/0", "app/b/0"] {
        let handle = engine.load(id, "chatty");
        engine.send(handle, "log info x").unwrap();
    }
    meeting.assert_met();
}

/// Callbacks that wait for each other's components need as many threads.
#[test]
fn hundreds_of_callbacks_of_workers_run_at_once() {
    const COMPONENTS: usize = 600;
    let (gate, config) = (Gate::default(), Config::new());
    let (waits, inside) = (gate.clone(), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&inside);
    set_logger(&config, AIRSSYS_LOG_TRACE, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        waits.pass();
    });
    let engine = config.engine();
    for number in 0..COMPONENTS {
        let chatty = engine.load(&format!("app/chatty/{number}"), "chatty");
        engine.send(chatty, "log info x").unwrap();
    }
    eventually("all are in their callbacks", || {
        (inside.load(Ordering::SeqCst) == COMPONENTS).then_some(())
    });
    gate.open();
    engine.shutdown(60_000).unwrap();
}
