//! Calls of the C ABI from several threads, in any order and with any arguments.

use std::ptr;
use std::sync::Mutex;

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, NO_BYTES, With, check, take};
use crate::harness::log::set_logger;
use crate::harness::requests::Inbox;
use crate::harness::router::Letter;
use crate::random::Random;
use crate::target::{Target, assert_sound, sound};

const GUESTS: [&str; 9] = [
    "requester",
    "echo",
    "hostile",
    "relay",
    "trapper",
    "storage-user",
    "minimal",
    "ledger",
    "probe",
];

const IDS: [&str; 6] = ["a/b/0", "a/b/1", "a/c/0", "", "no id", "x/y/z/w"];

fn any_id(random: &mut Random) -> &'static str {
    let id: &&str = random.pick(&IDS);
    id
}

const PAYLOADS: [&str; 16] = [
    "ok",
    "self",
    "send a/b/0 note x",
    "request a/b/1 20 ok",
    "request a/b/0 0 self",
    "broadcast a/b/0,a/b/1,a/c/0 note y",
    "unreachable",
    "loop",
    "recurse",
    "callbacks",
    "sleep-then 5 x",
    "blob 3000",
    "set k v",
    "send-many 20 a/b/0 x",
    "list",
    "",
];

const REPLACE: [&str; 6] = [
    "{}",
    r#"{"timeout-ms": 1, "env": {"AT_RESTORE": "trap"}}"#,
    r#"{"health-gate-ms": 1, "env": {"HEALTH": "degraded"}}"#,
    r#"{"newer": true}"#,
    r#"{"canary": {"share-percent": 50, "messages": 3, "max-error-percent": null}}"#,
    r#"{"timeout-ms": 5, "canary": {"time-ms": 5, "promote": "by-call"}}"#,
];

const GROUPS: [&str; 4] = ["g0", "g1", "g2", "no/name"];

const GROUP_OPTIONS: [&str; 6] = [
    "{}",
    r#"{"strategy": "one-for-all", "max-restarts": null}"#,
    r#"{"strategy": "one-for-all", "max-restarts": 1, "group": "g0"}"#,
    r#"{"strategy": "rest-for-one", "window-ms": 1, "group": "g1"}"#,
    r#"{"max-restarts": 0, "group": "g2"}"#,
    r#"{"strategy": 1}"#,
];

const OPTIONS: [&str; 17] = [
    "{}",
    r#"{"instances": 3}"#,
    r#"{"mailbox": {"capacity": 2}}"#,
    r#"{"mailbox": {"capacity": 2, "when-full": "block"}}"#,
    r#"{"mailbox": {"capacity": 2, "when-full": "drop-oldest"}}"#,
    r#"{"quotas": {"outstanding-requests": 1, "messages-per-second": 3}}"#,
    r#"{"limits": {"max-memory-bytes": 1}}"#,
    r#"{"supervision": {"max-restarts": 1, "backoff": {"growth": "none"}}}"#,
    r#"{"supervision": {"restart": "transient", "backoff": {"first-ms": 20}}, "instances": 2}"#,
    r#"{"supervision": {"restart": "temporary"}}"#,
    r#"{"idle-timeout-ms": 1, "recycle-after-messages": 2}"#,
    r#"{"activation": "on-demand", "recycle-above-bytes": 1}"#,
    r#"{"health": {"interval-ms": 1, "timeout-ms": 5, "unhealthy-after": 1}}"#,
    r#"{"group": "g0", "supervision": {"max-restarts": 1, "backoff": {"growth": "none"}}}"#,
    r#"{"group": "g1", "instances": 2, "recycle-after-messages": 2}"#,
    r#"{"group": "g2", "idle-timeout-ms": 1, "supervision": {"restart": "transient"}}"#,
    r#"{"nonsense": 1}"#,
];

pub struct Calls {
    guests: Vec<Vec<u8>>,
}

impl Calls {
    pub fn new() -> Self {
        Self { guests: GUESTS.iter().map(|name| airssys_wasm_guests::bytes(name)).collect() }
    }
}

/// The state that the threads of a case share.
struct Shared<'a> {
    engine: &'a Engine,
    guests: &'a [Vec<u8>],
    handles: Mutex<Vec<u64>>,
    requests: Mutex<Vec<u64>>,
    inbox: Inbox,
}

impl Target for Calls {
    fn input(&self, random: &mut Random) -> Vec<u8> {
        random.bytes(8)
    }

    fn run(&mut self, input: &[u8]) {
        let mut random = Random::from_bytes(input);
        let options = json!({
            "workers": 1 + random.below(2),
            "limits": { "max-memory-bytes": 4 << 20, "max-execution-time-ms": 50 },
            "capabilities": { "messaging": { "send": "**", "request": "**", "broadcast": "a/**" },
                              "storage": ["read", "write"] },
        });
        let config = Config::closed().with(&options.to_string());
        set_logger(&config, AIRSSYS_LOG_TRACE, |_| {});
        let engine = config.engine();
        let shared = Shared {
            engine: &engine,
            guests: &self.guests,
            handles: Mutex::default(),
            requests: Mutex::default(),
            inbox: Inbox::new(),
        };
        for _ in 0..2 {
            shared.add_group(&mut random);
            shared.load(&mut random);
        }
        let shutdown = random.one_in(4);
        std::thread::scope(|scope| {
            for n in 0..3 {
                let (mut random, shared) = (Random::new(random.next()), &shared);
                scope.spawn(move || {
                    for _ in 0..20 {
                        shared.any(&mut random);
                    }
                    if n == 0 && shutdown {
                        _ = sound(shared.engine.shutdown(random.below(100) as u64));
                    }
                });
            }
        });
        engine.free();
        let requests = shared.requests.into_inner().expect("no thread panicked");
        let outcomes = shared.inbox.exactly(&requests);
        outcomes.values().filter_map(|one| one.outcome.as_ref().err()).for_each(assert_sound);
    }
}

impl Shared<'_> {
    fn load(&self, random: &mut Random) {
        let wasm = random.pick(self.guests);
        let wasm = if random.one_in(8) { &wasm[..random.below(wasm.len())] } else { wasm };
        let options = (!random.one_in(2)).then(|| *random.pick(&OPTIONS));
        if let Ok(handle) = sound(self.engine.try_load(any_id(random), wasm, options)) {
            self.handles.lock().unwrap().push(handle);
        }
    }

    fn add_group(&self, random: &mut Random) {
        let (name, options) = (*random.pick(&GROUPS), *random.pick(&GROUP_OPTIONS));
        if let Ok(group) = sound(self.engine.add_group(name, options)) {
            self.handles.lock().unwrap().push(group);
        }
    }

    /// The engine may be stopped.
    fn groups(&self) {
        let (engine, mut out) = (self.engine.raw(), NO_BYTES);
        // SAFETY: a live engine, and a place for the document.
        let groups = check(|error| unsafe { airssys_engine_groups(engine, &raw mut out, error) });
        assert_eq!(sound(groups).is_ok(), take(out).is_some());
    }

    /// A handle of a component or a group, of one that is gone, or of none.
    fn handle(&self, random: &mut Random) -> u64 {
        let handles = self.handles.lock().unwrap();
        if handles.is_empty() || random.one_in(10) {
            random.number()
        } else {
            *random.pick(&handles)
        }
    }

    fn any(&self, random: &mut Random) {
        let (engine, handle, payload) = (self.engine, self.handle(random), *random.pick(&PAYLOADS));
        let with = With {
            sender: random.one_in(4).then(|| any_id(random)),
            content_type: random.one_in(4).then_some("text/plain"),
            timeout_ms: [0, 1, 20, 200][random.below(4)],
            flags: u64::from(random.one_in(4)) * AIRSSYS_MESSAGE_ENDS_WITH_SENDER,
            gives_up: None,
        };
        let all = if random.one_in(4) { AIRSSYS_ALL_COMPONENTS } else { handle };
        match random.below(33) {
            0 | 1 => self.load(random),
            2 => {
                let timeout = [0, 20][random.below(2)];
                _ = match random.one_in(2) {
                    true => sound(engine.unload(handle)),
                    false => sound(engine.unload_within(handle, timeout)),
                };
            }
            19 => _ = sound(engine.interrupt(handle)),
            21 => _ = sound(engine.restart(handle, [0, 20][random.below(2)])),
            23 => _ = sound(engine.stop(all, [0, 20][random.below(2)])),
            24 | 25 => _ = sound(engine.start(all)),
            26 => _ = sound(engine.status(all)),
            27 => {
                let options = *random.pick(&REPLACE);
                let wasm = random.pick(self.guests);
                _ = sound(engine.replace(handle, wasm, Some(options)));
            }
            28 => _ = sound(engine.roll_back(handle)),
            29 => self.add_group(random),
            30 => self.groups(),
            31 => _ = sound(engine.promote(handle, [0, 20][random.below(2)])),
            32 => _ = sound(engine.abort(handle, [0, 20][random.below(2)])),
            22 => {
                let states = ["running", "crashed", "restarting", "stopped", "failed", "gone"];
                let state = *random.pick(&states);
                _ = sound(engine.wait(handle, state, [0, 20][random.below(2)]));
            }
            3 | 4 => _ = sound(engine.call_with(handle, payload, With { timeout_ms: 200, ..with })),
            5..=8 => {
                // Counted before any outcome is checked.
                let mut requests = self.requests.lock().unwrap();
                requests.extend(sound(engine.request_with(handle, payload, with, self.inbox)));
            }
            9 => {
                let requests = self.requests.lock().unwrap();
                let request =
                    if requests.is_empty() { random.number() } else { *random.pick(&requests) };
                drop(requests);
                _ = sound(engine.cancel(request));
            }
            10 | 11 => _ = sound(engine.send_with(handle, payload, with)),
            12 => {
                let handles = [handle, self.handle(random), self.handle(random)];
                _ = sound(engine.broadcast(&handles[..random.below(4)], payload, with));
            }
            13 => {
                let grants = r#"{"messaging": {"send": "a/**"}, "storage": ["delete"]}"#;
                _ = sound(engine.grant(handle, grants));
            }
            14 => {
                let grants = random.one_in(2).then_some(r#"{"storage": ["read"]}"#);
                _ = sound(engine.revoke(handle, grants));
            }
            15 => {
                let rules = *random.pick(&[
                    r#"{"rules": []}"#,
                    r#"{"rules": [{"effect": "deny", "action": "messaging.*"}]}"#,
                    "[",
                ]);
                _ = sound(engine.set_policies(rules));
            }
            16 => {
                _ = sound(engine.describe(handle));
                _ = sound(engine.explain(handle, payload, any_id(random)));
            }
            17 => {
                _ = (engine.stats(), engine.list());
                _ = sound(engine.health(handle));
                _ = sound(engine.find(any_id(random)));
            }
            18 => self.deliver(random, payload),
            _ => self.garbage(random),
        }
    }

    fn deliver(&self, random: &mut Random, payload: &str) {
        let letter = Letter {
            source: any_id(random).to_string(),
            target: any_id(random).to_string(),
            request: random.one_in(2),
            correlation: random.number(),
            deadline_ms: random.below(30) as u64,
            payload: payload.into(),
            ..Letter::default()
        };
        let mut requests = self.requests.lock().unwrap();
        let inbox = letter.request.then_some(self.inbox);
        let delivered = sound(self.engine.deliver(&letter, inbox));
        requests.extend(delivered.into_iter().filter(|_| letter.request));
        _ = sound(self.engine.complete(random.number(), Some(b"x")));
    }

    /// NULL, and invalid strings.
    fn garbage(&self, random: &mut Random) {
        let (engine, handle) = (self.engine.raw(), self.handle(random));
        let not_utf8 = c"\xff\xfe".as_ptr();
        let text = if random.one_in(2) { ptr::null() } else { not_utf8 };
        let (mut out, wasm) = (0, &self.guests[0]);
        // SAFETY: the library refuses NULL and invalid UTF-8; everything else is live.
        unsafe {
            let (data, len, none) = (wasm.as_ptr(), wasm.len(), ptr::null());
            let load =
                check(|e| airssys_engine_load(engine, text, data, len, none, &raw mut out, e));
            let send =
                check(|e| airssys_engine_send(engine, handle, ptr::null(), 1, none.cast(), e));
            let find = check(|e| airssys_engine_find(engine, text, &raw mut out, e));
            let list = check(|e| airssys_engine_list(engine, ptr::null_mut(), e));
            let null = check(|e| airssys_engine_unload(ptr::null_mut(), handle, e));
            let group =
                check(|e| airssys_engine_add_group(engine, text, none.cast(), &raw mut out, e));
            let groups = check(|e| airssys_engine_groups(engine, ptr::null_mut(), e));
            for outcome in [load, send, find, list, null, group, groups] {
                assert_sound(&outcome.expect_err("an invalid argument"));
            }
            airssys_engine_free(ptr::null_mut());
            airssys_config_free(ptr::null_mut());
            airssys_bytes_free(ptr::null_mut());
        }
    }
}
