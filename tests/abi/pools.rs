//! Several instances behind one handle.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, PATIENCE, eventually};
use crate::harness::gates::Gate;
use crate::harness::log::{Journal, set_logger};
use crate::harness::process::mappings;
use crate::harness::published::needs_storage;
use crate::harness::requests::Inbox;
use crate::harness::store::Store;

fn pool(instances: usize) -> String {
    let limits = json!({ "max-execution-time-ms": 600_000 });
    json!({ "instances": instances, "limits": limits }).to_string()
}

/// A barrier in the log callback: counts arrivals, and reports whether enough were there at the
/// same time.
#[derive(Clone)]
struct Barrier(Arc<(Mutex<(usize, usize)>, Condvar)>, usize);

impl Barrier {
    fn attach(config: &Config, wanted: usize) -> Self {
        let barrier = Self(Arc::default(), wanted);
        let here = barrier.clone();
        set_logger(config, AIRSSYS_LOG_TRACE, move |record| {
            if record.message == "barrier" {
                here.wait();
            }
        });
        barrier
    }

    fn wait(&self) {
        let (state, changed) = &*self.0;
        let mut there = state.lock().unwrap();
        there.0 += 1;
        there.1 = there.1.max(there.0);
        changed.notify_all();
        let waited = changed.wait_timeout_while(there, PATIENCE, |(_, most)| *most < self.1);
        let (mut there, _) = waited.unwrap();
        there.0 -= 1;
    }

    fn most(&self) -> usize {
        self.0.0.lock().unwrap().1
    }
}

#[test]
fn one_message_per_instance_runs_at_the_same_time() {
    // More instances than workers, because a callback holds no worker. More messages than
    // instances, so that some wait.
    for (instances, messages) in [(4, 4), (3, 7), (4, 2)] {
        let config = Config::new().with(r#"{"workers": 1}"#);
        let parallel = instances.min(messages);
        let barrier = Barrier::attach(&config, parallel);
        let engine = config.engine();
        let handle = engine.load_with("app/pool/0", "chatty", &pool(instances));
        let inbox = Inbox::new();
        let ids: Vec<u64> = (0..messages)
            .map(|_| engine.request(handle, "log info barrier", inbox).unwrap())
            .collect();
        for completed in inbox.exactly(&ids).values() {
            assert_eq!(completed.outcome, Ok(Some(b"ok".to_vec())));
        }
        assert_eq!(barrier.most(), parallel, "{instances} instances, {messages} messages");
    }
}

#[test]
fn one_call_per_instance_runs_at_the_same_time() {
    for (instances, threads) in [(3, 3), (2, 5), (4, 2)] {
        let (config, parallel) = (Config::new(), instances.min(threads));
        let barrier = Barrier::attach(&config, parallel);
        let engine = config.engine();
        let handle = engine.load_with("app/pool/0", "chatty", &pool(instances));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| engine.text(handle, "log info barrier"));
            }
        });
        assert_eq!(barrier.most(), parallel, "{instances} instances, {threads} threads");
    }
}

#[test]
fn instances_share_handle_and_id_but_not_memory() {
    let engine = Engine::new();
    let handle = engine.load_with("app/pool/0", "counter", &pool(4));
    assert_eq!(engine.find("app/pool/0"), Ok(handle));
    let row = &engine.list()[0];
    assert_eq!((&row["handle"], &row["id"]), (&handle.into(), &"app/pool/0".into()));
    assert_eq!((&row["state"], &row["instances"]), (&"running".into(), &4.into()));
    // One after the other, so that the equally busy instances take turns.
    let numbers: Vec<u64> = (0..8).map(|_| engine.text(handle, "inc").parse().unwrap()).collect();
    assert_eq!(numbers, [1, 1, 1, 1, 2, 2, 2, 2]);
    let described = engine.describe(handle).unwrap();
    assert_eq!(described["instances"], 4);
    assert_eq!(described["messages"]["handled"], 8);
    let one = engine.load("app/one/0", "counter");
    let memory = |handle| engine.describe(handle).unwrap()["memory-bytes"].as_u64().unwrap();
    assert_eq!(memory(handle), 4 * memory(one));
    assert_eq!(engine.stats()["components"], 2);
}

#[test]
fn a_call_waits_for_an_instance_with_room() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let options = json!({ "instances": 2, "mailbox": { "max-bytes": 1500 } });
    let handle = engine.load_with("app/pool/0", "chatty", &options.to_string());
    for _ in 0..2 {
        engine.send(handle, "log info gate").unwrap();
    }
    engine.until_busy(handle, 2, 0);
    // The one with fewer messages has no room.
    engine.send(handle, format!("log info {}", "x".repeat(2000))).unwrap();
    for _ in 0..2 {
        engine.send(handle, "log info small").unwrap();
    }
    std::thread::scope(|scope| {
        let call = scope.spawn(|| engine.call(handle, "log info last"));
        engine.until_busy(handle, 6, 4);
        gate.open();
        assert_eq!(call.join().unwrap(), Ok(Some(b"ok".to_vec())));
    });
}

#[test]
fn the_least_busy_instance_gets_the_message() {
    let (gate, config) = (Gate::default(), Config::new());
    let journal = gate.attach(&config);
    let engine = config.engine();
    let handle = engine.load_with("app/pool/0", "chatty", &pool(2));
    engine.send(handle, "log info gate").unwrap();
    gate.reached();
    for n in 0..20 {
        // The idle instance takes messages of hosts and of components.
        assert_eq!(engine.text(handle, &format!("log info {n}")), "ok");
        let asker = engine.load("app/asker/0", "requester");
        engine.text(asker, "request app/pool/0 60000 log info asked");
        assert_eq!(engine.callbacks(asker, 1)[0]["payload"], "ok");
        engine.unload(asker).unwrap();
    }
    assert_eq!(journal.of("app/pool/0").len(), 40);
    gate.open();
}

#[test]
fn callbacks_go_to_the_instance_that_made_the_request() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    engine.load("app/slow/0", "chatty");
    let askers = engine.load_with("app/asker/0", "requester", &pool(4));
    // No instance has a callback yet, so they take turns: request n comes from instance n mod 4.
    let made: Vec<String> =
        (0..12).map(|_| engine.text(askers, "request app/slow/0 600000 log info gate")).collect();
    gate.open();
    eventually("all requests and callbacks are handled", || {
        (engine.describe(askers).unwrap()["messages"]["handled"] == 24).then_some(())
    });
    let mut seen = BTreeSet::new();
    eventually("each instance was asked", || {
        let callbacks = engine.json(askers, "callbacks");
        let number = |callback: &Value| {
            made.iter().position(|made| callback["correlation"] == **made).expect("one of ours")
        };
        let numbers: Vec<_> = callbacks.as_array().unwrap().iter().map(number).collect();
        assert_eq!(numbers.len(), 3, "each instance made three");
        assert!(numbers.iter().all(|n| n % 4 == numbers[0] % 4), "{numbers:?}");
        seen.extend(numbers);
        (seen.len() == made.len()).then_some(())
    });
}

#[test]
fn an_instance_cannot_cancel_the_request_of_another() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    engine.load("app/slow/0", "chatty");
    let askers = engine.load_with("app/asker/0", "requester", &pool(2));
    let request = engine.text(askers, "request app/slow/0 600000 log info gate");
    gate.reached();
    let replies = [(); 2].map(|()| engine.text(askers, &format!("cancel {request}")));
    assert!(replies[0].starts_with("error: invalid-message("), "{replies:?}");
    assert_eq!(replies[1], "ok");
    gate.open();
}

#[test]
fn a_load_that_fails_half_way_frees_its_instances() {
    let sets = Arc::<AtomicUsize>::default();
    let (config, count) = (Config::new(), Arc::clone(&sets));
    // Fails the third instance of each of the 30 loads.
    Store::scripted(move |operation, _, _| {
        let number = if operation == "set" { count.fetch_add(1, Ordering::SeqCst) } else { 0 };
        let fails = number % 3 == 2 && number < 90;
        fails.then(|| (AIRSSYS_STORAGE_IO_ERROR, b"broken".to_vec()))
    })
    .attach(&config);
    let engine = config.engine();
    let wasm = needs_storage();
    let options = r#"{"instances": 5}"#;
    let mut before = 0;
    for round in 1..=30 {
        let failure = engine.try_load("bad/guest/0", &wasm, Some(options)).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{failure}");
        assert_eq!(failure.detail["during"], "initialize", "{failure}");
        assert_eq!(
            sets.load(Ordering::SeqCst),
            3 * round,
            "the remaining instances were not started"
        );
        before = if round == 1 { mappings() } else { before };
    }
    // Counts the whole process: nextest runs each test in its own.
    assert!(mappings() < before + 58, "instances of failed loads are still there");
    assert_eq!(engine.list(), json!([]));
    assert_eq!(engine.find("bad/guest/0").unwrap_err().status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    let handle = engine.try_load("bad/guest/0", &wasm, Some(options)).unwrap();
    assert_eq!(engine.text(handle, "works"), "works");
}

#[test]
fn unloading_ends_every_instance() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    let handle = engine.load_with("app/pool/0", "probe", &pool(5));
    engine.unload(handle).unwrap();
    assert_eq!(journal.of("app/pool/0"), ["probe shut down"; 5]);
    assert_eq!(engine.call(handle, "x").unwrap_err().status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    assert_eq!(engine.list(), json!([]));
}

#[test]
fn a_graceful_shutdown_ends_every_instance_after_its_mail() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    let options = json!({ "instances": 3, "mailbox": { "capacity": 100 } }).to_string();
    let handle = engine.load_with("app/pool/0", "chatty", &options);
    for n in 0..200 {
        engine.send(handle, format!("log info {n}")).unwrap();
    }
    engine.shutdown(60_000).unwrap();
    assert_eq!(journal.of("app/pool/0").len(), 200);
}

#[test]
fn a_crash_costs_one_instance() {
    let engine = Engine::new();
    let handle = engine.load_with("app/pool/0", "trapper", &pool(3));
    assert_eq!(engine.failure(handle, "unreachable").status, AIRSSYS_ERROR_TRAP);
    let described = engine.describe(handle).unwrap();
    assert_eq!(
        (&described["state"], &described["health"]),
        (&json!("crashed"), &json!("unhealthy"))
    );
    for _ in 0..3 {
        assert_eq!(engine.text(handle, "ok"), "ok");
    }
    let described = engine.describe(handle).unwrap();
    assert_eq!((&described["state"], &described["restarts"]), (&json!("running"), &json!(1)));
}

#[test]
fn health_asks_every_instance_and_the_worst_counts() {
    let engine = Engine::new();
    let handle = engine.load_with("app/pool/0", "probe", &pool(3));
    assert_eq!(engine.health(handle).unwrap()["health"], "healthy");
    engine.text(handle, "health degraded");
    assert_eq!(engine.health(handle).unwrap()["health"], "degraded");
    engine.text(handle, "health unhealthy");
    assert_eq!(engine.health(handle).unwrap()["health"], "unhealthy");
}

#[test]
fn storage_is_shared_by_all_instances() {
    let engine = Engine::new();
    let handle = engine.load_with("app/pool/0", "storage-user", &pool(3));
    assert_eq!(engine.text(handle, "set k value"), "ok");
    for _ in 0..6 {
        assert_eq!(engine.text(handle, "get k"), "value");
    }
    assert_eq!(engine.text(handle, "delete k"), "ok");
    for _ in 0..3 {
        assert_eq!(engine.text(handle, "exists k"), "false");
    }
}

#[test]
fn each_instance_has_its_own_mailbox() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let options = json!({
        "instances": 2, "mailbox": { "capacity": 3 }, "limits": { "max-execution-time-ms": 600_000 },
    });
    let handle = engine.load_with("app/pool/0", "chatty", &options.to_string());
    for _ in 0..2 {
        engine.send(handle, "log info gate").unwrap();
    }
    engine.until_busy(handle, 2, 0);
    for n in 0..6 {
        engine.send(handle, format!("log info {n}")).unwrap();
    }
    assert_eq!(engine.send(handle, "log info x").unwrap_err().status, AIRSSYS_ERROR_QUEUE_FULL);
    gate.open();
}

#[test]
fn the_number_of_instances_has_bounds() {
    let engine = Engine::new();
    let wasm = airssys_wasm_guests::bytes("echo");
    for instances in ["0", "4097", "-1", "1.5", "\"2\""] {
        let options = format!(r#"{{"instances": {instances}}}"#);
        let failure = engine.try_load("app/pool/0", &wasm, Some(&options)).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_OPTIONS, "{instances}");
        assert_eq!(failure.detail["place"], "options.instances", "{failure}");
    }
    let many = engine.load_with("app/many/0", "echo", r#"{"instances": 300}"#);
    assert_eq!(engine.text(many, "x"), "x");
    assert_eq!(engine.describe(many).unwrap()["instances"], 300);
}
