//! Allocations per message, on all threads, until the message is handled.

mod common;

use std::hint::black_box;

use common::allocations::{Counting, allocated};
use common::host::Host;
use common::pairs::{BURST, PAYLOAD, Pairs, hops};
use common::raw::{Raw, Send};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const COUNT: u32 = 20_000;

fn main() {
    let [echo, relay] = ["echo", "relay"].map(airssys_wasm_guests::bytes);
    let payload = [7; PAYLOAD];
    println!("allocations for each, {PAYLOAD} B, echo and relay components\n");
    println!("{:>44} {:>12} {:>8}", "", "allocations", "bytes");

    let mut raw = Raw::new(&echo, Send::Trap).start(&[]);
    let calls = || drop(black_box(raw.call(&payload)));
    line("wasmtime call_async, echo", COUNT, repeat(calls));
    for (words, send) in [("send", Send::Sync), ("func_wrap_async", Send::Async)] {
        let mut raw = Raw::new(&relay, send).start(&[("TARGET", "bench/pong/0")]);
        let calls = || drop(black_box(raw.call(&hops(1))));
        line(&format!("wasmtime call_async, relay, {words}"), COUNT, repeat(calls));
    }

    let host = Host::new(r#"{"workers": 1}"#);
    let handle = host.load("bench/echo/0", &echo, "{}");
    line("airssys_engine_call", COUNT, repeat(|| host.call_and_free(handle, &payload)));
    let deep = r#"{"mailbox": {"capacity": 1048576, "max-bytes": 1073741824}}"#;
    let sink = host.load("bench/sink/0", &relay, deep);
    line("airssys_engine_send", COUNT, || {
        (0..COUNT).for_each(|_| host.send(sink, &[0; PAYLOAD]));
        host.count(sink);
    });

    let pairs = Pairs::new(&relay, r#"{"workers": 1}"#, 1);
    line("component to component, in turns", COUNT, || pairs.ping_pong(COUNT));
    line("component to component, one way", BURST as u32, || pairs.bursts());
}

fn repeat(mut work: impl FnMut()) -> impl FnMut() {
    move || (0..COUNT).for_each(|_| work())
}

/// Runs it twice, so that one-time allocations do not count.
fn line(what: &str, count: u32, mut work: impl FnMut()) {
    work();
    let before = allocated();
    work();
    let after = allocated();
    let [allocations, bytes] = [after.count - before.count, after.bytes - before.bytes]
        .map(|all| all as f64 / f64::from(count));
    println!("{what:>44} {allocations:>12.2} {bytes:>8.0}");
}
