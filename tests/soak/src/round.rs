//! The life of an engine: random calls from many threads, then its end.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, Outcome, With, eventually, status_name};
use crate::harness::events::Events;
use crate::harness::log::set_logger;
use crate::harness::requests::Inbox;
use crate::harness::router::Letter;
use crate::harness::store::Store;
use crate::random::Random;
use crate::shortage::{self, Resource};

pub const THREADS: usize = 6;
const SLOTS: usize = 24;
const GUESTS: [&str; 6] = ["echo", "counter", "requester", "trapper", "storage-user", "probe"];
const RESTARTS: [&str; 4] = ["on-demand", "permanent", "transient", "temporary"];
const STRATEGIES: [&str; 3] = ["one-for-one", "one-for-all", "rest-for-one"];
/// Each is in the one before.
const GROUPS: [&str; 3] = ["outer", "middle", "inner"];
const POLICIES: [&str; 3] = ["reject", "block", "drop-oldest"];

/// How long the threads make calls.
const TIME: Duration = Duration::from_millis(1500);

/// Counts of statuses per function, and of accepted requests.
#[derive(Default)]
pub struct Tally {
    pub requests: usize,
    statuses: BTreeMap<(&'static str, airssys_status_t), u64>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((function, status), count) in &self.statuses {
            writeln!(f, "soak: {count:>9} {function}: {}", status_name(*status))?;
        }
        Ok(())
    }
}

/// Statuses that no shortage may cause.
const NEVER: [airssys_status_t; 5] = [
    AIRSSYS_ERROR_PANIC,
    AIRSSYS_ERROR_FORKED,
    AIRSSYS_ERROR_INVALID_ARGUMENT,
    AIRSSYS_ERROR_INVALID_ID,
    AIRSSYS_ERROR_INVALID_COMPONENT,
];

fn guest(name: &str) -> &'static [u8] {
    static ALL: OnceLock<BTreeMap<&'static str, Vec<u8>>> = OnceLock::new();
    &ALL.get_or_init(|| GUESTS.map(|name| (name, airssys_wasm_guests::bytes(name))).into())[name]
}

fn pick<'a>(random: &mut Random, all: &[&'a str]) -> &'a str {
    all[random.below(all.len())]
}

fn id(slot: usize) -> String {
    format!("app/s/{slot}")
}

/// A configuration that all threads use.
struct Shared(Config);

// SAFETY: any thread may call any function of the library, also concurrently.
unsafe impl Sync for Shared {}

pub struct Round {
    random: Random,
    inboxes: &'static [Inbox],
    config: Shared,
    events: &'static Events,
    engine: OnceLock<Engine>,
    slots: Vec<AtomicU64>,
    groups: [AtomicU64; GROUPS.len()],
    asked: Mutex<Vec<u64>>,
    statuses: Mutex<BTreeMap<(&'static str, airssys_status_t), u64>>,
    /// Some of the host's callbacks fail.
    failing: Arc<AtomicBool>,
}

impl Round {
    pub fn new(random: Random, inboxes: &'static [Inbox]) -> Self {
        guest("echo");
        let failing = Arc::<AtomicBool>::default();
        let (config, fails) = (Config::new(), Arc::clone(&failing));
        let calls = AtomicU64::new(0);
        Store::scripted(move |_, _, _| {
            let call = calls.fetch_add(1, SeqCst);
            let fails = fails.load(SeqCst) && call.is_multiple_of(3);
            fails.then(|| (AIRSSYS_STORAGE_IO_ERROR, b"it fails now and then".to_vec()))
        })
        .attach(&config);
        set_logger(&config, AIRSSYS_LOG_WARN, |_| {});
        let events = Events::attach(&config, |_| {});
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        let (asked, statuses) = (Mutex::default(), Mutex::default());
        let engine = OnceLock::new();
        Self {
            random,
            inboxes,
            config: Shared(config),
            events,
            engine,
            slots,
            groups: Default::default(),
            asked,
            statuses,
            failing,
        }
    }

    pub fn run(mut self, short: &[Resource], tally: &mut Tally) {
        assert!(self.engine.set(self.config.0.engine()).is_ok());
        let until = Instant::now() + TIME;
        let mut seeds = self.random.clone();
        (0..GROUPS.len()).for_each(|at| self.renew_group(at, &mut seeds));
        std::thread::scope(|scope| {
            for own in &self.inboxes[1..] {
                let (round, mut random) = (&self, Random::new(seeds.next()));
                scope.spawn(move || {
                    while Instant::now() < until {
                        round.step(&mut random, *own);
                    }
                });
            }
            let mut random = Random::new(seeds.next());
            while Instant::now() < until {
                moment(&mut random, short, &self.failing);
            }
            shortage::end();
            self.failing.store(false, SeqCst);
        });
        self.random = seeds;
        self.end(tally);
    }

    /// The inbox of the round's engine, followed by one inbox per thread for the engines that
    /// threads create.
    fn inbox(&self) -> Inbox {
        self.inboxes[0]
    }

    fn engine(&self) -> &Engine {
        self.engine.get().expect("it was made")
    }

    fn count<T>(&self, function: &'static str, outcome: Outcome<T>) -> Option<T> {
        let status = outcome.as_ref().map_or_else(|failure| failure.status, |_| AIRSSYS_OK);
        *self.statuses.lock().unwrap().entry((function, status)).or_default() += 1;
        match outcome {
            Ok(value) => Some(value),
            Err(failure) => {
                assert!(!NEVER.contains(&status), "{function}: {failure}");
                None
            }
        }
    }

    /// After all shortages the engine works normally and ends.
    fn end(mut self, tally: &mut Tally) {
        let engine = self.engine();
        let echo = engine.try_load("app/echo/0", guest("echo"), None);
        let echo = echo.unwrap_or_else(|failure| panic!("after all shortages: {failure}"));
        let reply = engine.call(echo, "x").unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(reply.as_deref(), Some(&b"x"[..]));
        // Half of the engines are freed with open requests.
        let frees_at_once = self.random.one_in(2);
        let engine = self.engine();
        if !frees_at_once {
            self.outcomes();
            eventually("the components' own requests are done", || {
                (engine.stats()["requests"]["outstanding"] == 0).then_some(())
            });
            for slot in &self.slots {
                self.count("unload", engine.unload(slot.load(SeqCst)));
            }
            engine.unload(echo).unwrap();
            assert_eq!(engine.list(), json!([]));
            engine.shutdown(60_000).unwrap();
        }
        engine.free();
        self.events.forget();
        let asked = self.outcomes();
        self.inbox().take(asked);
        tally.requests += asked;
        for (key, count) in self.statuses.into_inner().unwrap() {
            *tally.statuses.entry(key).or_default() += count;
        }
    }

    /// Checks that every request has exactly one outcome.
    fn outcomes(&self) -> usize {
        let asked = self.asked.lock().unwrap().clone();
        for completed in self.inbox().exactly(&asked).values() {
            assert_ne!(completed.status(), AIRSSYS_ERROR_PANIC, "{completed:?}");
        }
        asked.len()
    }

    fn step(&self, random: &mut Random, own: Inbox) {
        const SEND: Range<usize> = 0..15;
        const CALL: Range<usize> = 15..35;
        const REQUEST: Range<usize> = 35..60;
        const CANCEL: Range<usize> = 60..66;
        const BROADCAST: Range<usize> = 66..71;
        const REPLACE: Range<usize> = 71..80;
        const RIGHTS: Range<usize> = 80..86;
        const DELIVER: Range<usize> = 86..90;
        let slot = random.below(SLOTS);
        let handle = self.slots[slot].load(SeqCst);
        // Of a component or a group.
        let either = match random.one_in(4) {
            true => random.pick(&self.groups).load(SeqCst),
            false => handle,
        };
        let with = With { timeout_ms: *random.pick(&[0, 1, 5, 60_000]), ..With::default() };
        let (engine, command) = (self.engine(), command(random));
        match random.below(100) {
            n if SEND.contains(&n) => {
                _ = self.count("send", engine.send_with(handle, command, with))
            }
            n if CALL.contains(&n) => {
                _ = self.count("call", engine.call_with(handle, command, with))
            }
            n if REQUEST.contains(&n) => {
                self.ask("request", engine.request_with(handle, command, with, self.inbox()));
            }
            n if CANCEL.contains(&n) => {
                let asked = self.asked.lock().unwrap();
                let recent = &asked[asked.len().saturating_sub(20)..];
                let request = if recent.is_empty() { 1 } else { *random.pick(recent) };
                drop(asked);
                self.count("cancel", engine.cancel(request));
            }
            n if BROADCAST.contains(&n) => {
                let all = (0..5).map(|_| self.slots[random.below(SLOTS)].load(SeqCst));
                self.count("broadcast", engine.broadcast(&all.collect::<Vec<_>>(), command, with));
            }
            n if REPLACE.contains(&n) => self.replace(random, slot),
            n if RIGHTS.contains(&n) => self.change_rights(random, handle),
            n if DELIVER.contains(&n) => {
                let letter = Letter {
                    source: "far/away/0".into(),
                    target: id(slot),
                    request: true,
                    payload: command.into(),
                    ..Letter::default()
                };
                self.ask("deliver", engine.deliver(&letter, Some(self.inbox())));
            }
            90 => _ = self.count("describe", engine.describe(handle)),
            91 => _ = self.count("find", engine.find(&id(slot))),
            92 => _ = self.count("health", engine.health(handle)),
            93 => drop((engine.list(), engine.stats())),
            94..97 => self.another_engine(random, own),
            97 => _ = self.count("restart", engine.restart(either, *random.pick(&[0, 60_000]))),
            99 if random.one_in(2) => {
                let wasm = guest(pick(random, &GUESTS));
                self.count("replace", engine.replace(handle, wasm, Some(r#"{"timeout-ms": 50}"#)));
                // There may be no earlier version, which is an invalid argument.
                let back = engine.roll_back(handle);
                let back = back.or_else(|failure| match failure.status {
                    AIRSSYS_ERROR_INVALID_ARGUMENT => Ok(()),
                    _ => Err(failure),
                });
                self.count("rollback", back);
            }
            99 => {
                let wasm = guest(pick(random, &GUESTS));
                let canary = json!({ "timeout-ms": 50, "canary": {
                    "share-percent": 1 + random.below(100), "messages": 1 + random.below(20),
                    "time-ms": 50, "max-error-percent": 50,
                } });
                self.count("replace", engine.replace(handle, wasm, Some(&canary.to_string())));
                let ended = match random.below(3) {
                    0 => engine.promote(handle, 50),
                    1 => engine.abort(handle, 50),
                    _ => Ok(()),
                };
                // It may have ended by itself, which is an invalid argument.
                let ended = ended.or_else(|failure| match failure.status {
                    AIRSSYS_ERROR_INVALID_ARGUMENT => Ok(()),
                    _ => Err(failure),
                });
                self.count("canary", ended);
            }
            98 => {
                self.count("stop", engine.stop(either, *random.pick(&[0, 60_000])));
                self.count("status", engine.status(AIRSSYS_ALL_COMPONENTS));
                self.count("start", engine.start(either));
                self.count("status", engine.status(either));
            }
            _ if random.one_in(4) => {
                let at = random.below(GROUPS.len());
                self.renew_group(at, random);
            }
            _ => _ = self.count("unload", engine.unload(handle)),
        }
    }

    fn ask(&self, function: &'static str, outcome: Outcome<u64>) {
        if let Some(request) = self.count(function, outcome) {
            self.asked.lock().unwrap().push(request);
        }
    }

    /// Loads a component into a slot and unloads the previous one.
    fn replace(&self, random: &mut Random, slot: usize) {
        let mut options = json!({
            "mailbox": { "capacity": 1 + random.below(8), "when-full": pick(random, &POLICIES) },
            "instances": 1 + random.below(3),
            "limits": { "max-execution-time-ms": 30 },
        });
        if random.one_in(2) {
            options["supervision"] = json!({
                "restart": pick(random, &RESTARTS),
                "max-restarts": 100,
                "backoff": { "first-ms": random.below(20), "max-ms": 50 },
            });
        }
        if random.one_in(3) {
            options["idle-timeout-ms"] = (1 + random.below(20)).into();
            options["recycle-after-messages"] = (1 + random.below(20)).into();
            options["health"] = json!({ "interval-ms": 5, "timeout-ms": 50 });
        }
        if random.one_in(4) {
            options["activation"] = "on-demand".into();
        }
        if random.one_in(3) {
            options["group"] = pick(random, &GROUPS).into();
        }
        let wasm = guest(pick(random, &GUESTS));
        let loaded = self.engine().try_load(&id(slot), wasm, Some(&options.to_string()));
        let Some(handle) = self.count("load", loaded) else { return };
        let before = self.slots[slot].swap(handle, SeqCst);
        self.count("unload", self.engine().unload(before));
    }

    /// Unloads a group with its members, if there is one, and adds another of that name.
    fn renew_group(&self, at: usize, random: &mut Random) {
        self.count("unload", self.engine().unload(self.groups[at].swap(0, SeqCst)));
        let mut options = json!({ "strategy": pick(random, &STRATEGIES), "max-restarts": 100 });
        if random.one_in(4) {
            options["max-restarts"] = random.below(3).into();
        }
        if let Some(around) = at.checked_sub(1) {
            options["group"] = GROUPS[around].into();
        }
        // Another thread may have added it, which makes the name an invalid argument.
        let added = self.engine().add_group(GROUPS[at], &options.to_string());
        let added = added.or_else(|failure| match failure.status {
            AIRSSYS_ERROR_INVALID_ARGUMENT => Ok(0),
            _ => Err(failure),
        });
        if let Some(group @ 1..) = self.count("add_group", added) {
            self.groups[at].store(group, SeqCst);
        }
    }

    fn change_rights(&self, random: &mut Random, handle: u64) {
        let engine = self.engine();
        let more = r#"{"messaging": {"send": ["app/**"]}, "filesystem": {"/tmp": ["read"]}}"#;
        match random.below(4) {
            0 => _ = self.count("revoke", engine.revoke(handle, None)),
            1 => _ = self.count("explain", engine.explain(handle, "storage.read", "")),
            2 => {
                let rules = r#"{"rules": [{"effect": "deny", "action": "messaging.broadcast"}]}"#;
                let policies = if random.one_in(2) { r#"{"rules": []}"# } else { rules };
                self.count("set_policies", engine.set_policies(policies));
            }
            _ => _ = self.count("grant", engine.grant(handle, more)),
        }
    }

    /// Creates another engine and frees it with open requests.
    fn another_engine(&self, random: &mut Random, inbox: Inbox) {
        let Some(engine) = self.count("new", self.config.0.try_engine()) else { return };
        let wasm = guest(pick(random, &GUESTS));
        let loaded = engine.try_load("app/other/0", wasm, None);
        let Some(handle) = self.count("load", loaded) else { return };
        let asked: Vec<u64> = (0..random.below(5))
            .filter_map(|_| {
                let asked = engine.request_with(handle, command(random), With::default(), inbox);
                self.count("request", asked)
            })
            .collect();
        engine.free();
        inbox.exactly(&asked);
        inbox.take(asked.len());
    }
}

/// A random command. Guests answer commands that they do not know with an error.
fn command(random: &mut Random) -> String {
    let (one, other) = (id(random.below(SLOTS)), id(random.below(SLOTS)));
    match random.below(14) {
        0 => "unreachable".into(),
        1 => "spin 20000".into(),
        2 => "sleep 1".into(),
        3 => format!("send {one} note x"),
        4 => format!("request {one} {} ok", random.below(4)),
        5 => format!("request {one} 600000 request {other} 600000 inc"),
        6 => format!("broadcast {one},{other},no/such/one note x"),
        7 => "blob 10000".into(),
        8 => "alloc".into(),
        9 => "recurse".into(),
        10 => "set k v".into(),
        11 => "get k".into(),
        12 => "incr n".into(),
        _ => "inc".into(),
    }
}

/// A few milliseconds with a shortage, then a few without.
fn moment(random: &mut Random, short: &[Resource], failing: &AtomicBool) {
    for resource in short {
        if random.one_in(3) {
            shortage::set(*resource, *random.pick(&[20, 200, 1000]));
        }
    }
    failing.store(random.one_in(2), SeqCst);
    std::thread::sleep(Duration::from_millis(1 + random.below(20) as u64));
    shortage::end();
    std::thread::sleep(Duration::from_millis(random.below(20) as u64));
}
