//! The loop in a component, compared with direct calls: the same messages must have the same
//! effects.

use std::sync::Arc;

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, Outcome, status_name};
use crate::harness::handmade::Code;
use crate::harness::log::Journal;
use crate::harness::requests::Inbox;
use crate::harness::store::Store;
use crate::random::Random;
use crate::target::{Target, assert_sound};

/// Code of allocators, most of them correct. `{n}`, `{len}` and `{out}` become numbers.
const REALLOC: [&str; 8] = [
    "(return (i32.const {out}))",
    "(if (i32.eq (local.get $size) (i32.const {n})) (then (return (i32.const {out}))))",
    "(if (i32.eqz (local.get $size)) (then (return (i32.const {n}))))",
    "(if (i32.eq (local.get $align) (i32.const 8)) (then (return (i32.const {out}))))",
    "(if (i32.eq (local.get $size) (i32.const 5)) (then (call $leave)))",
    "(drop (memory.grow (i32.const 1)))",
    "unreachable",
    "(if (i32.gt_u (local.get $size) (i32.const 40)) (then (loop $on (br $on))))",
];

/// Code that a handler runs before it returns.
const WORK: [&str; 6] = [
    "(call $leave)",
    "(call $set (i32.const 16) (i32.const 3) (i32.load offset=24 (local.get $message))
        (i32.load offset=28 (local.get $message)) (i32.const 512))",
    "(call $log (i32.const 2) (i32.load offset=24 (local.get $message))
        (i32.load offset=28 (local.get $message)) (i32.const 0) (i32.const 0) (i32.const 0))",
    "(call $set (i32.const {n}) (i32.const {n}) (i32.const 0) (i32.const 1) (i32.const 512))",
    "(global.set $posts (i32.add (global.get $posts) (i32.const 1)))",
    "(if (i32.eq (i32.load offset=28 (local.get $message)) (i32.const 3)) (then unreachable))",
];

/// Return values of a handler.
const RESULT: [&str; 9] = [
    "(i32.const {n})",
    "(call $reply (i32.load offset=24 (local.get $message)) (i32.load offset=28 (local.get $message)))",
    "(call $reply (i32.const {n}) (i32.const {len}))",
    "(i32.store (i32.const 2048) (global.get $posts)) (call $reply (i32.const 2048) (i32.const 4))",
    "(call $fail (i32.const {n}) (i32.const {n}) (i32.const {len}))",
    "(call $fail (i32.const 6) (i32.load offset=24 (local.get $message))
        (i32.load offset=28 (local.get $message)))",
    "(i32.store8 (i32.const 768) (i32.const {n})) (i32.const 768)",
    "(i64.store (i32.const 768) (i64.const {n})) (i32.const 768)",
    "(i32.store8 (i32.const 772) (i32.const {n})) (i32.const 768)",
];

/// Code of the post-return.
const POST: [&str; 6] = [
    "(call $leave)",
    "unreachable",
    "(if (i32.eq (global.get $posts) (i32.const 2)) (then (call $leave)))",
    "(if (i32.eq (global.get $posts) (i32.const 3)) (then unreachable))",
    "(i32.store (i32.const {n}) (i32.const 1))",
    "(call_indirect (i32.const 0))",
];

/// Numbers next to a bound, in particular of the handmade component's memory.
const NUMBERS: [i64; 19] =
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 64, 255, 768, 1026, 262_128, 262_132, 262_140, 262_144, -1, -8];

/// The same for lengths. A message through the loop leaves more in memory, which no reply may show.
const LENGTHS: [i64; 6] = [0, 1, 4, 5, -1, -8];

/// Invalid places: out of bounds or unaligned. Overlapping places are left out, because the loop
/// writes in another order.
const OUTSIDE: [i64; 4] = [262_145, 262_148, -1, -8];

/// Commands for the guest `requester`.
const COMMANDS: [&str; 15] = [
    "ok",
    "note a",
    "note b",
    "received",
    "unreachable",
    "panic x",
    "oob",
    "div0",
    "spin 10",
    "nonsense",
    "recurse",
    "",
    "sleep-then 1 x",
    "callbacks",
    "alloc 100000",
];

pub struct Ways {
    engine: Engine,
    journal: Journal,
    store: Arc<Store>,
    observed: u64,
}

impl Ways {
    pub fn new() -> Self {
        let options = json!({
            "limits": { "max-memory-bytes": 16 << 20, "max-execution-time-ms": 10_000,
                        "max-fuel": 1_000_000 },
            "capabilities": { "storage": ["read", "write", "delete"] },
        });
        let config = Config::bare().with(&options.to_string());
        let (journal, store) = (Journal::default(), Store::new());
        journal.attach(&config);
        store.attach(&config);
        Self { engine: config.engine(), journal, store, observed: 0 }
    }

    /// Everything observable of a component that got these messages.
    fn observe(&mut self, wasm: &[u8], messages: &[Vec<u8>], way: Way) -> Value {
        self.observed += 1;
        let Self { engine, journal, store, observed } = self;
        // All messages have the same length.
        let id = format!("app/guest/{observed:016}");
        let handle = match engine.try_load(&id, wasm, None) {
            Ok(handle) => handle,
            Err(failure) => {
                assert_sound(&failure);
                return json!({ "load": status_name(failure.status) });
            }
        };
        let outcomes: Vec<Value> = messages
            .iter()
            .map(|payload| match way(engine, handle, payload) {
                Ok(reply) => json!({ "reply": reply }),
                Err(failure) => {
                    assert_sound(&failure);
                    // The text of a trap differs if the loop detects it.
                    let text = (failure.status != AIRSSYS_ERROR_TRAP)
                        .then(|| failure.message.replace(&id, "the guest"));
                    json!({ "status": status_name(failure.status), "text": text })
                }
            })
            .collect();
        let described = engine.describe(handle).expect("it is loaded");
        engine.unload(handle).expect("it is unloaded");
        let log: Vec<String> = journal
            .of(&id)
            .into_iter()
            .map(|line| if line.starts_with("crashed: ") { "crashed".into() } else { line })
            .collect();
        json!({
            "outcomes": outcomes,
            "state": described["state"],
            "restarts": described["restarts"],
            "messages": described["messages"],
            "log": log,
            "stored": store.value(&id, "app"),
        })
    }
}

/// One way to send a message and get its outcome.
type Way = fn(&Engine, u64, &[u8]) -> Outcome<Option<Vec<u8>>>;

impl Target for Ways {
    fn input(&self, random: &mut Random) -> Vec<u8> {
        random.bytes(8)
    }

    fn run(&mut self, input: &[u8]) {
        let mut random = Random::from_bytes(input);
        let (wasm, messages, what) = if random.one_in(3) {
            let count = 1 + random.below(12);
            let commands = (0..count).map(|_| random.pick(&COMMANDS).as_bytes().to_vec());
            (airssys_wasm_guests::bytes("requester"), commands.collect(), "requester".to_string())
        } else {
            let [realloc, work, result, post] =
                [(&REALLOC[..], 4), (&WORK[..], 2), (&RESULT[..], 1), (&POST[..], 3)]
                    .map(|(from, rarely)| some(from, rarely, &mut random));
            let result = if result.is_empty() { "(i32.const 256)" } else { &result };
            let message = format!("{work} {result}");
            let code = Code {
                realloc: &realloc,
                message: &message,
                post: &post,
                more: "(table funcref (elem $leave))",
                ..Code::default()
            };
            let messages = (0..1 + random.below(6)).map(|_| {
                let len = *random.pick(&[0, 1, 3, 5, 20, 40, 60, 100, 300]);
                if random.one_in(4) { random.bytes(len) } else { vec![b'x'; len] }
            });
            (code.component(), messages.collect::<Vec<_>>(), format!("{code:?}"))
        };
        let called: Way = |engine, handle, payload| engine.call(handle, payload);
        let mailed: Way = |engine, handle, payload| {
            let inbox = Inbox::new();
            engine.request(handle, payload, inbox)?;
            inbox.only().outcome
        };
        let [called, mailed] = [called, mailed].map(|way| self.observe(&wasm, &messages, way));
        assert_eq!(mailed, called, "{what}\n{messages:?}");
    }
}

/// Random code once in `rarely` times, otherwise none.
fn some(from: &[&str], rarely: usize, random: &mut Random) -> String {
    if rarely > 1 && !random.one_in(rarely) {
        return String::new();
    }
    let mut code = random.pick(from).to_string();
    for (place, numbers) in [("{n}", &NUMBERS[..]), ("{len}", &LENGTHS), ("{out}", &OUTSIDE)] {
        while code.contains(place) {
            code = code.replacen(place, &random.pick(numbers).to_string(), 1);
        }
    }
    code
}
