//! An engine that loads arbitrary binaries.

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, NO_BYTES, Outcome, With, check, eventually, take};
use crate::harness::log::set_logger;
use crate::harness::requests::Inbox;
use crate::target::{assert_sound, sound};

/// Messages for guests: commands of our own guests, and garbage.
const PAYLOADS: [&str; 16] = [
    "ok",
    "",
    "self",
    "x",
    "spin 1000",
    "callbacks",
    "raw-get 6b",
    "set a b",
    "get a",
    "list",
    "send fuzz/echo/0 hello",
    "request fuzz/echo/0 50 hello",
    "sleep-then 1 x",
    "blob 100000",
    "log-many 3 10",
    "alloc 1000000",
];

/// The engine, and a component that nothing may disturb.
pub struct Host {
    engine: Engine,
    echo: u64,
    cases: u64,
    loaded: u64,
}

impl Host {
    pub fn new() -> Self {
        let options = json!({
            "limits": { "max-memory-bytes": 8 << 20, "max-execution-time-ms": 100, "max-fuel": 3_000_000 },
            "quotas": { "log-bytes-per-second": 10_000, "messages-per-second": 1000,
                        "outstanding-requests": 10, "storage-bytes": 100_000 },
            "capabilities": {
                "messaging": { "send": "**", "request": "**", "broadcast": "**" },
                "storage": ["read", "write", "delete"],
            },
        });
        let config = Config::bare().with(&options.to_string());
        set_logger(&config, airssys_wasm::AIRSSYS_LOG_TRACE, |_| {});
        let engine = config.engine();
        let limits = r#"{"limits": {"max-execution-time-ms": 20000, "max-fuel": null}}"#;
        let echo = engine.load_with("fuzz/echo/0", "echo", limits);
        Self { engine, echo, cases: 0, loaded: 0 }
    }

    /// Loads, uses and unloads a binary.
    pub fn try_out(&mut self, wasm: &[u8]) {
        let Self { engine, echo, cases, loaded } = self;
        *cases += 1;
        let inspected = sound(inspected(wasm));
        if let Ok(handle) = sound(engine.try_load("fuzz/guest/0", wasm, None)) {
            *loaded += 1;
            assert!(inspected.is_ok(), "loaded, and not to be inspected");
            let inbox = Inbox::new();
            let mut requests = Vec::new();
            // A few messages per case; all of them over many cases.
            for n in 0..4 {
                let payload = PAYLOADS[(*cases * 3 + n) as usize % PAYLOADS.len()];
                let with = With { timeout_ms: 1000, ..With::default() };
                _ = sound(engine.call_with(handle, payload, with));
                requests.extend(sound(engine.request(handle, payload, inbox)));
                _ = sound(engine.send(handle, payload));
            }
            _ = sound(engine.health(handle));
            _ = sound(engine.describe(handle));
            inbox.exactly(&requests).values().for_each(|completed| {
                completed.outcome.as_ref().err().into_iter().for_each(assert_sound);
            });
            _ = sound(engine.unload(handle));
        }
        assert_eq!(engine.text(*echo, "unmoved"), "unmoved");
        eventually("it is gone", || (engine.stats()["components"] == 1).then_some(()));
    }
}

/// What the library tells of a binary.
fn inspected(wasm: &[u8]) -> Outcome<Vec<u8>> {
    let mut json = NO_BYTES;
    // SAFETY: bytes, and outputs that are valid for writing.
    check(|error| unsafe {
        airssys_component_inspect(wasm.as_ptr(), wasm.len(), &raw mut json, error)
    })?;
    Ok(take(json).expect("a document"))
}

impl Drop for Host {
    fn drop(&mut self) {
        eprintln!("{} of {} were loaded", self.loaded, self.cases);
    }
}
