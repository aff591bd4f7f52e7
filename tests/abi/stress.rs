//! Many threads use many components in every way at once.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, Outcome, PATIENCE, With, eventually, status_name};
use crate::harness::events::Events;
use crate::harness::log::set_logger;
use crate::harness::requests::Inbox;
use crate::harness::router::Letter;

const THREADS: u64 = 8;
const COMPONENTS: usize = 200;
const GUESTS: [&str; 6] = ["echo", "counter", "requester", "requester", "trapper", "probe"];
const POLICIES: [&str; 3] = ["reject", "block", "drop-oldest"];

/// Rounds per thread; `AIRSSYS_STRESS_ROUNDS` changes it.
fn rounds() -> usize {
    let rounds = std::env::var("AIRSSYS_STRESS_ROUNDS").ok();
    rounds.map_or(1_500, |text| text.parse().expect("a number of rounds"))
}

/// Xorshift: a thread's actions depend only on its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

fn id(slot: usize) -> String {
    format!("app/s/{slot}")
}

struct Stress {
    engine: Engine,
    slots: Vec<AtomicU64>,
    inbox: Inbox,
    asked: Mutex<Vec<u64>>,
    cancelled: Mutex<BTreeSet<u64>>,
    statuses: Mutex<BTreeSet<(&'static str, airssys_status_t)>>,
}

/// The statuses that the header lists for these functions, without those that these arguments can
/// not cause.
fn documented(function: &str) -> &'static [airssys_status_t] {
    const DELIVERY: &[airssys_status_t] = &[
        AIRSSYS_ERROR_QUEUE_FULL,
        AIRSSYS_ERROR_COMPONENT_NOT_FOUND,
        AIRSSYS_ERROR_INVALID_MESSAGE,
    ];
    match function {
        "send" | "request" | "deliver" => DELIVERY,
        "broadcast" => &[AIRSSYS_ERROR_DELIVERY_FAILED],
        "call" => &[
            AIRSSYS_ERROR_RUNTIME,
            AIRSSYS_ERROR_TRAP,
            AIRSSYS_ERROR_TIMEOUT,
            AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED,
            AIRSSYS_ERROR_QUEUE_FULL,
            AIRSSYS_ERROR_COMPONENT_NOT_FOUND,
            AIRSSYS_ERROR_INVALID_MESSAGE,
            AIRSSYS_ERROR_INSTANTIATION_FAILED,
        ],
        "load" => &[AIRSSYS_ERROR_TIMEOUT],
        "unload" => &[AIRSSYS_ERROR_SHUTDOWN_FAILED],
        "cancel" => &[AIRSSYS_ERROR_REQUEST_NOT_FOUND],
        "describe" | "find" => &[AIRSSYS_ERROR_COMPONENT_NOT_FOUND],
        "health" => &[
            AIRSSYS_ERROR_COMPONENT_NOT_FOUND,
            AIRSSYS_ERROR_TRAP,
            AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED,
            AIRSSYS_ERROR_TIMEOUT,
            AIRSSYS_ERROR_INSTANTIATION_FAILED,
        ],
        _ => &[],
    }
}

impl Stress {
    fn check<T>(&self, function: &'static str, outcome: Outcome<T>) -> Option<T> {
        let status = outcome.as_ref().map_or_else(|failure| failure.status, |_| AIRSSYS_OK);
        self.statuses.lock().unwrap().insert((function, status));
        match outcome {
            Ok(value) => Some(value),
            Err(failure) => {
                assert!(documented(function).contains(&failure.status), "{function}: {failure}");
                if failure.status == AIRSSYS_ERROR_SHUTDOWN_FAILED {
                    // No guest's shutdown fails, but it may exceed its time limit.
                    assert_eq!(failure.detail["code"], "timeout", "{function}: {failure}");
                }
                None
            }
        }
    }

    /// Loads a component into a slot and unloads the previous one.
    fn replace(&self, random: &mut Random, slot: usize) {
        let options = json!({
            "mailbox": { "capacity": 1 + random.below(8), "when-full": random.of(&POLICIES) },
            "instances": 1 + random.below(3),
            "limits": { "max-execution-time-ms": 30 },
        });
        let wasm = airssys_wasm_guests::bytes(random.of(&GUESTS));
        let loaded = self.engine.try_load(&id(slot), &wasm, Some(&options.to_string()));
        // Under load its time limit may pass before it gets a worker.
        let Some(handle) = self.check("load", loaded) else { return };
        let before = self.slots[slot].swap(handle, Ordering::SeqCst);
        self.check("unload", self.engine.unload(before));
    }

    /// A random command. Guests answer commands that they do not know with an error.
    fn command(&self, random: &mut Random) -> String {
        let (one, other) = (id(random.below(COMPONENTS)), id(random.below(COMPONENTS)));
        match random.below(10) {
            0 => "unreachable".into(),
            1 => "spin 20000".into(),
            2 => "sleep 1".into(),
            3 => format!("send {one} note x"),
            4 => format!("request {one} {} ok", random.below(4)),
            5 => format!("request {one} 600000 request {other} 600000 inc"),
            6 => format!("broadcast {one},{other},no/such/one note x"),
            7 => "blob 10000".into(),
            _ => "inc".into(),
        }
    }

    fn step(&self, random: &mut Random) {
        let slot = random.below(COMPONENTS);
        let handle = self.slots[slot].load(Ordering::SeqCst);
        let timeout_ms = [0, 1, 5, 60_000][random.below(4)];
        let with = With { timeout_ms, ..With::default() };
        let command = self.command(random);
        let engine = &self.engine;
        match random.below(100) {
            0..20 => drop(self.check("send", engine.send_with(handle, command, with))),
            20..40 => drop(self.check("call", engine.call_with(handle, command, with))),
            40..65 => {
                let asked = engine.request_with(handle, command, with, self.inbox);
                if let Some(request) = self.check("request", asked) {
                    self.asked.lock().unwrap().push(request);
                }
            }
            65..75 => {
                let asked = self.asked.lock().unwrap();
                let recent = asked.len().min(50);
                let request =
                    if recent == 0 { 1 } else { asked[asked.len() - 1 - random.below(recent)] };
                drop(asked);
                if self.check("cancel", engine.cancel(request)).is_some() {
                    assert!(self.cancelled.lock().unwrap().insert(request), "cancelled twice");
                }
            }
            75..80 => {
                let handles: Vec<u64> = (0..5)
                    .map(|_| self.slots[random.below(COMPONENTS)].load(Ordering::SeqCst))
                    .collect();
                self.check("broadcast", engine.broadcast(&handles, command, with));
            }
            80..90 => self.replace(random, slot),
            90..94 => {
                let letter = Letter {
                    source: "far/away/0".into(),
                    target: id(slot),
                    request: true,
                    payload: command.into(),
                    ..Letter::default()
                };
                if let Some(request) =
                    self.check("deliver", engine.deliver(&letter, Some(self.inbox)))
                {
                    self.asked.lock().unwrap().push(request);
                }
            }
            94 => drop(self.check("describe", engine.describe(handle))),
            95 => drop(self.check("find", engine.find(&id(slot)))),
            96 => drop(self.check("health", engine.health(handle))),
            97 => drop(engine.list()),
            98 => drop(engine.stats()),
            _ => {
                // Two threads unload the same component.
                self.check("unload", engine.unload(handle));
            }
        }
    }
}

/// Ends the process if the test hangs, because its threads could not be joined.
struct Watchdog(std::sync::Arc<AtomicBool>);

impl Watchdog {
    fn new() -> Self {
        let done = std::sync::Arc::<AtomicBool>::default();
        let (watched, began) = (std::sync::Arc::clone(&done), Instant::now());
        std::thread::spawn(move || {
            while !watched.load(Ordering::SeqCst) {
                if began.elapsed() > 5 * PATIENCE {
                    eprintln!("the stress test hangs");
                    std::process::abort();
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        Self(done)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn many_threads_do_everything_at_once_and_the_engine_shuts_down_cleanly() {
    let _watchdog = Watchdog::new();
    let config = Config::new();
    set_logger(&config, AIRSSYS_LOG_WARN, |_| {});
    let events = Events::attach(&config, |_| {});
    let stress = Stress {
        engine: config.engine(),
        slots: (0..COMPONENTS).map(|_| AtomicU64::new(0)).collect(),
        inbox: Inbox::new(),
        asked: Mutex::default(),
        cancelled: Mutex::default(),
        statuses: Mutex::default(),
    };
    drop(config);
    let mut random = Random(0x5eed);
    for slot in 0..COMPONENTS {
        stress.replace(&mut random, slot);
    }
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let stress = &stress;
            scope.spawn(move || {
                let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (thread + 1));
                for _ in 0..rounds() {
                    stress.step(&mut random);
                }
            });
        }
    });
    let engine = &stress.engine;
    let asked = stress.asked.lock().unwrap().clone();
    let cancelled = stress.cancelled.lock().unwrap().clone();
    for (request, completed) in stress.inbox.exactly(&asked) {
        let was_cancelled = completed.status() == AIRSSYS_ERROR_CANCELLED;
        assert_eq!(was_cancelled, cancelled.contains(&request), "{completed:?}");
        assert_ne!(completed.status(), AIRSSYS_ERROR_PANIC, "{completed:?}");
    }
    eventually("the components' own requests are done", || {
        (engine.stats()["requests"]["outstanding"] == 0).then_some(())
    });
    for slot in &stress.slots {
        stress.check("unload", engine.unload(slot.load(Ordering::SeqCst)));
    }
    assert_eq!(engine.list(), json!([]));
    assert_eq!(engine.stats()["components"], 0);
    engine.shutdown(60_000).unwrap();
    engine.free();
    assert_eq!(stress.inbox.all().len(), asked.len(), "still one each");
    assert_eq!(events.dropped.load(Ordering::SeqCst), 1);
    let seen = stress.statuses.lock().unwrap();
    for (function, status) in [
        ("send", AIRSSYS_ERROR_QUEUE_FULL),
        ("call", AIRSSYS_ERROR_TRAP),
        ("request", AIRSSYS_OK),
        ("cancel", AIRSSYS_OK),
        ("cancel", AIRSSYS_ERROR_REQUEST_NOT_FOUND),
        ("broadcast", AIRSSYS_ERROR_DELIVERY_FAILED),
    ] {
        assert!(
            seen.contains(&(function, status)),
            "{function} never returned {}",
            status_name(status)
        );
    }
}
