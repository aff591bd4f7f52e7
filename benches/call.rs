//! The cost of a `call` through the C ABI over Wasmtime's own.
//!
//! The library and Wasmtime's `call_async` call the same component with the same engine
//! configuration, in turns within one run: the machines are noisy, ratios are not.

mod common;

use std::hint::black_box;
use std::time::Duration;

use common::host::Host;
use common::raw::{Raw, Send};
use common::rounds::{calibrate, in_turns, nanoseconds, time};

const ROUNDS: usize = 40;
const ROUND: Duration = Duration::from_millis(20);

fn main() {
    let wasm = airssys_wasm_guests::bytes("echo");
    let mut raw = Raw::new(&wasm, Send::Trap).start(&[]);
    let host = Host::new("{}");
    let echo = host.load("bench/echo/0", &wasm, "{}");
    println!("one call, echo component: airssys_engine_call against wasmtime call_async");
    println!("(medians of {ROUNDS} rounds in turns; ratio: median of the ratios of each round)\n");
    println!("{:>10} {:>14} {:>14} {:>8}", "payload", "wasmtime", "airssys", "ratio");
    for size in [16, 1 << 10, 64 << 10, 1 << 20] {
        let payload = vec![7_u8; size];
        assert_eq!(raw.call(&payload).as_deref(), Some(payload.as_slice()));
        assert_eq!(host.call(echo, &payload).as_deref(), Some(payload.as_slice()));
        let mut theirs = || drop(black_box(raw.call(&payload)));
        let ours = || host.call_and_free(echo, &payload);
        let count = calibrate(ROUND, &mut theirs).min(calibrate(ROUND, ours));
        let [[theirs], [ours]] = in_turns(
            ROUNDS,
            [&mut || [nanoseconds(time(count, &mut theirs), count)], &mut || {
                [nanoseconds(time(count, ours), count)]
            }],
        );
        let (their_time, our_time) = (theirs.median(), ours.median());
        let ratio = ours.over(&theirs);
        println!("{size:>8} B {their_time:>11.0} ns {our_time:>11.0} ns {ratio:>7.2}x");
    }
}
