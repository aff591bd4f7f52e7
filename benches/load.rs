//! Loading a binary that is already compiled, and the steps of a load in Wasmtime alone.

mod common;

use std::hint::black_box;
use std::time::Instant;

use common::host::Host;
use common::raw::{Raw, Send};
use common::rounds::{Samples, in_turns, nanoseconds, time};

const ROUNDS: usize = 40;
/// Instances per batch: creation and destruction are measured separately.
const BATCH: u32 = 64;

/// The steps of a load. Each is done for a whole batch before the next.
const STEPS: [&str; 7] = [
    "store, instantiate_async",
    "functions looked up",
    "their types checked",
    "initialize",
    "metadata",
    "health",
    "end",
];

fn main() {
    let wasm = airssys_wasm_guests::bytes("echo");
    let known = wasm.clone();
    let raw = Raw::new(&wasm, Send::Trap);
    let host = Host::new("{}");
    host.load("bench/echo/0", &wasm, "{}");
    let ids: Vec<String> = (1..=BATCH).map(|i| format!("bench/echo/{i}")).collect();

    let [steps, [load, .., unload], [comparison, ..]] = in_turns(
        ROUNDS,
        [&mut || by_steps(&raw), &mut || through_the_library(&host, &ids, &wasm), &mut || {
            let once = || {
                black_box(black_box(&wasm) == black_box(&known));
            };
            [nanoseconds(time(BATCH, once), BATCH), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        }],
    );

    println!("a binary that is loaded already, echo, {} bytes, {BATCH} in a row\n", wasm.len());
    let line = |what: &str, samples: &Samples| {
        println!("{what:>44} {:>7.2} µs", samples.median() / 1e3);
    };
    line("airssys: load", &load);
    line("airssys: unload", &unload);
    println!("{:>44} {:>9.2}x", "load against instantiate_async", load.over(&steps[0]));
    println!();
    line("the binary compared with a known one", &comparison);
    for (step, samples) in STEPS.iter().zip(&steps) {
        line(&format!("wasmtime: {step}"), samples);
    }
    let [.., end] = &steps;
    let parts: f64 = steps.iter().map(Samples::median).sum::<f64>() - end.median();
    let rest = load.median() - comparison.median() - parts;
    println!("{:>44} {:>7.2} µs", "all else that a load does", rest / 1e3);
}

fn by_steps(raw: &Raw) -> [f64; STEPS.len()] {
    let mut clock = Clock::new();
    let made: Vec<_> = (0..BATCH).map(|_| raw.instantiate()).collect();
    clock.lap();
    let mut all: Vec<_> = made.into_iter().map(|instance| raw.look_up(instance)).collect();
    clock.lap();
    all.iter().for_each(|instance| instance.check());
    clock.lap();
    all.iter_mut().for_each(|instance| instance.initialize(&[]));
    clock.lap();
    all.iter_mut().for_each(|instance| drop(black_box(instance.metadata())));
    clock.lap();
    all.iter_mut().for_each(|instance| {
        black_box(instance.health());
    });
    clock.lap();
    drop(all);
    clock.lap();
    clock.laps.try_into().unwrap()
}

fn through_the_library(host: &Host, ids: &[String], wasm: &[u8]) -> [f64; STEPS.len()] {
    let mut clock = Clock::new();
    let handles: Vec<u64> = ids.iter().map(|id| host.load(id, wasm, "{}")).collect();
    clock.lap();
    handles.into_iter().for_each(|handle| host.unload(handle));
    clock.lap();
    [clock.laps[0], 0.0, 0.0, 0.0, 0.0, 0.0, clock.laps[1]]
}

/// Nanoseconds per instance of a batch, per step.
struct Clock {
    start: Instant,
    laps: Vec<f64>,
}

impl Clock {
    fn new() -> Self {
        Self { start: Instant::now(), laps: Vec::new() }
    }

    fn lap(&mut self) {
        self.laps.push(nanoseconds(self.start.elapsed(), BATCH));
        self.start = Instant::now();
    }
}
