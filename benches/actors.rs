//! Messages: from the host, between components, and what Wasmtime alone takes for as much.
//!
//! `cargo bench --bench actors -- --keys` prints what `benches/peers/actors.py` reads.

mod common;

use std::hint::black_box;
use std::time::Instant;

use common::host::Host;
use common::pairs::{BURST, PAYLOAD, Pairs, hops};
use common::raw::{Raw, Send};
use common::rounds::{Samples, in_turns, nanoseconds, per_second, time};

const HOPS: u32 = 20_000;
const FLOOD: u64 = 500_000;
/// As many as the bench of the peers sends.
const PEERS_FLOOD: u64 = 100_000;
const SPAWNS: u64 = 1_024;
const AT_ONCE: u64 = 256;
/// Independent pairs that keep two workers busy.
const PAIRS: usize = 4;

/// A mailbox that takes a flood.
const DEEP: &str = r#"{"mailbox": {"capacity": 1048576, "max-bytes": 1073741824}}"#;

fn main() {
    let wasm = airssys_wasm_guests::bytes("relay");
    if std::env::args().any(|argument| argument == "--keys") {
        return keys(&wasm);
    }
    println!(
        "payloads of {PAYLOAD} B; medians of rounds in turns; ratios: medians of the rounds'\n"
    );
    flood(&wasm);
    ping_pong(&wasm);
    throughput(&wasm);
    spawn(&wasm);
}

fn keys(wasm: &[u8]) {
    const ROUNDS: usize = 15;
    let flood = Flood::new(wasm, PEERS_FLOOD);
    let [[accept, consume]] = in_turns(ROUNDS, [&mut || flood.round()]);
    let pair = Pairs::new(wasm, "{}", 1);
    let [[ping_pong]] = in_turns(ROUNDS, [&mut || [pair.ping_pong(3 * HOPS)]]);
    let spawn = Spawn::new(wasm);
    let [[one]] = in_turns(ROUNDS, [&mut || [spawn.one_by_one()]]);
    let [[many]] = in_turns(ROUNDS, [&mut || [spawn.many()]]);
    println!("accept_per_s {:.0}", accept.median());
    println!("consume_per_s {:.0}", consume.median());
    println!("pingpong_ns {:.1}", ping_pong.median());
    println!("spawn_ns {:.0}", one.median());
    println!("spawn_many_ns {:.0}", many.median());
}

fn flood(wasm: &[u8]) {
    let flood = Flood::new(wasm, FLOOD);
    let channel = Channel::new();
    let mut raw = Raw::new(wasm, Send::Trap).start(&[]);
    let message = [0; PAYLOAD];
    let [[accept, consume], [channel_accept, channel_consume], [_, raw_consume]] = in_turns(
        7,
        [&mut || flood.round(), &mut || channel.round(), &mut || {
            let once = || drop(black_box(raw.call(&message)));
            let rate = per_second(time(FLOOD as u32, once), FLOOD);
            [rate, rate]
        }],
    );
    println!("host to component, {FLOOD} messages from one thread, in million/s");
    println!("{:>34} {:>10} {:>10}", "", "accepted", "handled");
    let line = |side: &str, accept: Option<&Samples>, consume: &Samples| {
        let accept = accept.map_or("".into(), |rate| format!("{:.2}", rate.median() / 1e6));
        println!("{side:>34} {accept:>10} {:>10.2}", consume.median() / 1e6);
    };
    line("airssys_engine_send", Some(&accept), &consume);
    line("tokio's unbounded channel, no guest", Some(&channel_accept), &channel_consume);
    line("wasmtime call_async, no messages", None, &raw_consume);
    println!(
        "{:>34} {:>9.2}x {:>9.2}x\n",
        "against the channel, wasmtime",
        accept.over(&channel_accept),
        consume.over(&raw_consume)
    );
}

fn ping_pong(wasm: &[u8]) {
    let [one, two] = [1, 2].map(|workers| Pairs::new(wasm, &config(workers), 1));
    let mut raw = [Send::Sync, Send::Async]
        .map(|send| Raw::new(wasm, send).start(&[("TARGET", "bench/pong/0")]));
    let [sync, in_async] = &mut raw;
    let message = hops(HOPS);
    let [[sync], [in_async], [one], [two]] = in_turns(
        21,
        [
            &mut || [nanoseconds(time(HOPS, || drop(black_box(sync.call(&message)))), HOPS)],
            &mut || [nanoseconds(time(HOPS, || drop(black_box(in_async.call(&message)))), HOPS)],
            &mut || [one.ping_pong(HOPS)],
            &mut || [two.ping_pong(HOPS)],
        ],
    );
    println!("component to component, in turns, per message");
    println!("{:>34} {:>10} {:>22}", "", "", "more than wasmtime");
    println!("{:>34} {:>7.0} ns", "wasmtime: handle-message, send", sync.median());
    println!("{:>34} {:>7.0} ns", "the same with func_wrap_async", in_async.median());
    for (side, samples) in [("airssys, 1 worker", &one), ("airssys, 2 workers", &two)] {
        let [over_sync, over_async] = [&sync, &in_async].map(|raw| samples.minus(raw));
        let median = samples.median();
        println!("{side:>34} {median:>7.0} ns {over_sync:>10.0} ns {over_async:>8.0} ns");
    }
    println!();
}

fn throughput(wasm: &[u8]) {
    let hosts = [1, 2].map(|workers| Pairs::new(wasm, &config(workers), PAIRS));
    println!("component to component, {PAIRS} pairs at once, in million/s");
    println!("{:>34} {:>10} {:>10} {:>8}", "", "1 worker", "2 workers", "ratio");
    let line = |what: &str, one: Samples, two: Samples| {
        let [first, second] = [&one, &two].map(|rate| rate.median() / 1e6);
        println!("{what:>34} {first:>10.2} {second:>10.2} {:>7.2}x", two.over(&one));
    };
    let [one, two] = &hosts;
    let bursts = |pairs: &Pairs| per_second(pairs.bursts(), BURST * PAIRS as u64);
    let [[first], [second]] = in_turns(15, [&mut || [bursts(one)], &mut || [bursts(two)]]);
    line("one way", first, second);
    let turns = |pairs: &Pairs| 1e9 / pairs.ping_pong(HOPS) * PAIRS as f64;
    let [[first], [second]] = in_turns(15, [&mut || [turns(one)], &mut || [turns(two)]]);
    line("in turns", first, second);
    println!();
}

fn spawn(wasm: &[u8]) {
    let spawn = Spawn::new(wasm);
    let raw = Raw::new(wasm, Send::Trap);
    let message = [0; PAYLOAD];
    let raw_round = || {
        let once = || drop(black_box(raw.start(&[]).call(&message)));
        [nanoseconds(time(SPAWNS as u32, once), SPAWNS)]
    };
    let [[raw], [one], [many]] =
        in_turns(9, [&mut || raw_round(), &mut || [spawn.one_by_one()], &mut || [spawn.many()]]);
    println!("load, call and unload of a binary that is loaded already");
    println!("{:>34} {:>7.1} µs", "wasmtime: instance, initialize, call", raw.median() / 1e3);
    for (side, samples) in [("airssys, one after another", &one), ("airssys, 256 at once", &many)] {
        println!("{side:>34} {:>7.1} µs {:>7.2}x", samples.median() / 1e3, samples.over(&raw));
    }
}

fn config(workers: usize) -> String {
    format!(r#"{{"workers": {workers}}}"#)
}

/// One thread sends all it can to one component.
struct Flood {
    host: Host,
    sink: u64,
    messages: u64,
}

impl Flood {
    fn new(wasm: &[u8], messages: u64) -> Self {
        let host = Host::new("{}");
        let sink = host.load("bench/sink/0", wasm, DEEP);
        Self { host, sink, messages }
    }

    /// Messages a second: until all are accepted, and until all are handled.
    fn round(&self) -> [f64; 2] {
        let before = self.host.count(self.sink);
        let message = [0; PAYLOAD];
        let start = Instant::now();
        (0..self.messages).for_each(|_| self.host.send(self.sink, &message));
        let accepted = start.elapsed();
        let after = self.host.count(self.sink);
        let handled = start.elapsed();
        assert_eq!(after - before, self.messages);
        [accepted, handled].map(|time| per_second(time, self.messages))
    }
}

/// The least that carries bytes from a thread to a task.
struct Channel {
    tokio: tokio::runtime::Runtime,
}

impl Channel {
    fn new() -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        Self { tokio }
    }

    fn round(&self) -> [f64; 2] {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
        let task = self.tokio.spawn(async move {
            while let Some(message) = receiver.recv().await {
                black_box(message);
            }
        });
        let message = [0; PAYLOAD];
        let start = Instant::now();
        (0..FLOOD).for_each(|_| sender.send(message.to_vec()).unwrap());
        let accepted = start.elapsed();
        drop(sender);
        self.tokio.block_on(task).unwrap();
        [accepted, start.elapsed()].map(|time| per_second(time, FLOOD))
    }
}

/// Short lives of components whose binary is known.
struct Spawn {
    host: Host,
    wasm: Vec<u8>,
}

impl Spawn {
    fn new(wasm: &[u8]) -> Self {
        let host = Host::new("{}");
        host.load("bench/first/0", wasm, "{}");
        Self { host, wasm: wasm.to_vec() }
    }

    fn one_by_one(&self) -> f64 {
        let once = || {
            let handle = self.host.load("bench/spawned/0", &self.wasm, "{}");
            self.host.call_and_free(handle, &[0; PAYLOAD]);
            self.host.unload(handle);
        };
        nanoseconds(time(SPAWNS as u32, once), SPAWNS)
    }

    fn many(&self) -> f64 {
        let ids: Vec<String> = (0..AT_ONCE).map(|i| format!("bench/spawned/{i}")).collect();
        let start = Instant::now();
        for _ in 0..SPAWNS / AT_ONCE {
            let handles: Vec<u64> =
                ids.iter().map(|id| self.host.load(id, &self.wasm, "{}")).collect();
            for handle in &handles {
                self.host.call_and_free(*handle, &[0; PAYLOAD]);
            }
            handles.into_iter().for_each(|handle| self.host.unload(handle));
        }
        nanoseconds(start.elapsed(), SPAWNS)
    }
}
