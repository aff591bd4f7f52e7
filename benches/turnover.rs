//! What it takes to make an instance by a restart, an activation and a replacement, beside Wasmtime
//! alone; and what a caller notices of a replacement.

mod common;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::host::Host;
use common::pairs::PAYLOAD;
use common::raw::{Raw, Send};
use common::rounds::{Samples, in_turns, nanoseconds};

const ROUNDS: usize = 40;
const BATCH: u32 = 64;
const REPLACEMENTS: usize = 400;
/// Calls of each component in a round.
const CALLS: u32 = 50;

fn main() {
    let wasm = airssys_wasm_guests::bytes("echo");
    let raw = Raw::new(&wasm, Send::Trap);
    let host = Host::new("{}");
    let load = |n: u32, options: &str| host.load(&format!("bench/echo/{n}"), &wasm, options);
    let handles: Vec<u64> = (0..BATCH).map(|n| load(n, "{}")).collect();
    let upkeep = r#"{"supervision": {}, "health": {}, "idle-timeout-ms": 3600000,
                     "recycle-after-messages": 1000000000}"#;
    let kept: Vec<u64> = (BATCH..2 * BATCH).map(|n| load(n, upkeep)).collect();
    let mut next = 2 * BATCH;

    let measure = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        nanoseconds(start.elapsed(), BATCH)
    };
    let [[instantiate], [restart], [replace], [activate]] = in_turns(
        ROUNDS,
        [
            &mut || {
                let mut all = Vec::with_capacity(BATCH as usize);
                let taken = measure(&mut || all.extend((0..BATCH).map(|_| raw.start(&[]))));
                drop(black_box(all));
                [taken]
            },
            &mut || [measure(&mut || handles.iter().for_each(|handle| host.restart(*handle)))],
            &mut || {
                let replace = |handle: &u64| host.replace(*handle, &wasm);
                [measure(&mut || handles.iter().for_each(replace))]
            },
            &mut || {
                let lazy = r#"{"activation": "on-demand"}"#;
                let passive: Vec<_> = (next..next + BATCH).map(|n| load(n, lazy)).collect();
                next += BATCH;
                let call = |handle: &u64| host.call_and_free(*handle, &[7; PAYLOAD]);
                let taken = measure(&mut || passive.iter().for_each(call));
                passive.into_iter().for_each(|handle| host.unload(handle));
                [taken]
            },
        ],
    );
    let calls = |handles: &[u64]| {
        let start = Instant::now();
        for _ in 0..CALLS {
            handles.iter().for_each(|handle| host.call_and_free(*handle, &[7; PAYLOAD]));
        }
        [nanoseconds(start.elapsed(), BATCH * CALLS)]
    };
    let [[plain], [with_upkeep]] =
        in_turns(ROUNDS, [&mut || calls(&handles), &mut || calls(&kept)]);

    println!("instances of echo, {} bytes, {BATCH} in a row\n", wasm.len());
    let line = |what: &str, samples: &Samples| {
        let (each, more) = (samples.median() / 1e3, samples.minus(&instantiate) / 1e3);
        println!("{what:>44} {each:>8.2} µs {more:>9.2} µs more");
    };
    line("wasmtime: instantiate, look up, initialize", &instantiate);
    line("airssys: restart", &restart);
    line("airssys: replace, the binary known", &replace);
    line("airssys: first call of a passive component", &activate);
    println!();
    let line = |what: &str, samples: &Samples, ratio: &str| {
        println!("{what:>44} {:>8.0} ns {ratio:>9}", samples.median());
    };
    line("a call", &plain, "");
    let ratio = format!("{:.3}x", with_upkeep.over(&plain));
    line("with supervision, health, idle timeout", &with_upkeep, &ratio);
    println!();
    notice(&host, handles[0], &wasm);
}

/// Replaces a component while another thread calls it, and prints the longest call of each
/// replacement.
fn notice(host: &Host, handle: u64, wasm: &[u8]) {
    let (longest, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let pauses = |replaces: bool| {
        let pause = |_| {
            longest.store(0, Ordering::Relaxed);
            let start = Instant::now();
            if replaces {
                host.replace(handle, wasm);
            }
            while start.elapsed() < Duration::from_micros(400) {
                std::hint::spin_loop();
            }
            longest.load(Ordering::Relaxed) as f64
        };
        Samples::from((0..REPLACEMENTS).map(pause).collect::<Vec<_>>())
    };
    let [with, without] = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let start = Instant::now();
                host.call_and_free(handle, &[7; PAYLOAD]);
                let taken = start.elapsed().as_nanos() as u64;
                longest.fetch_max(taken, Ordering::Relaxed);
            }
        });
        let both = [pauses(true), pauses(false)];
        over.store(true, Ordering::Relaxed);
        both
    });
    println!("the longest call within 400 µs, from another thread, {REPLACEMENTS} times\n");
    for (what, samples) in [("with a replacement", &with), ("without", &without)] {
        let (median, late) = (samples.median() / 1e3, samples.quantile(0.9) / 1e3);
        println!("{what:>44} {median:>8.2} µs at the median, {late:.2} at p90");
    }
}
