//! Messages from the host and between components, compared with Wasmtime alone.
//!
//! `cargo bench --bench actors -- --keys` prints what `benches/peers/actors.py` reads.

mod common;

use std::hint::black_box;
use std::time::Instant;

use common::host::Host;
use common::pairs::{BURST, PAYLOAD, Pairs, hops};
use common::raw::{Raw, RawInstance, Send};
use common::rounds::{
    Samples, both_times, in_turns, nanoseconds, own_processor_time, per_second, repeat, time,
};

const HOPS: u32 = 20_000;
const FLOOD: u64 = 500_000;
/// The same number as in the benches of the peers.
const PEERS_FLOOD: u64 = 100_000;
const SPAWNS: u64 = 1_024;
const AT_ONCE: u64 = 256;
/// Independent pairs that keep two workers busy.
const PAIRS: usize = 4;

/// The id that the guests on Wasmtime alone send to.
const TARGET: &[(&str, &str)] = &[("TARGET", "bench/pong/0")];

/// Options of a mailbox large enough for a flood.
const DEEP: &str = r#"{"mailbox": {"capacity": 1048576, "max-bytes": 1073741824}}"#;

fn main() {
    let wasm = airssys_wasm_guests::bytes("relay");
    let asked = |for_it: &str| std::env::args().any(|argument| argument == for_it);
    if asked("--keys") {
        return keys(&wasm);
    }
    if asked("--spawn") {
        return spawn(&wasm);
    }
    println!(
        "payloads of {PAYLOAD} B; medians of rounds in turns; ratios: medians of the rounds'\n"
    );
    flood(&wasm);
    between_two(&wasm);
    throughput(&wasm);
    spawn(&wasm);
}

fn keys(wasm: &[u8]) {
    const ROUNDS: usize = 15;
    let flood = Flood::new(wasm, PEERS_FLOOD);
    let [[accept, consume, _]] = in_turns(ROUNDS, [&mut || flood.round()]);
    let pair = Pairs::new(wasm, "{}", 1);
    let [[ping_pong, _]] =
        in_turns(ROUNDS, [&mut || both_times(3 * HOPS, || pair.ping_pong(3 * HOPS))]);
    let spawn = Spawn::new(wasm);
    let [[one]] = in_turns(ROUNDS, [&mut || [spawn.one_by_one()]]);
    let [[many], [threads]] =
        in_turns(ROUNDS, [&mut || [spawn.many()], &mut || [spawn.many_from_threads()]]);
    println!("accept_per_s {:.0}", accept.median());
    println!("consume_per_s {:.0}", consume.median());
    println!("pingpong_ns {:.1}", ping_pong.median());
    println!("spawn_ns {:.0}", one.median());
    println!("spawn_many_ns {:.0}", many.median());
    println!("spawn_many_threads_ns {:.0}", threads.median());
}

fn flood(wasm: &[u8]) {
    let flood = Flood::new(wasm, FLOOD);
    let channel = Channel::new();
    let mut raw = Raw::new(wasm, Send::Trap).start(&[]);
    let message = [0; PAYLOAD];
    let [ours, channel, raw] = in_turns(
        7,
        [&mut || flood.round(), &mut || channel.round(), &mut || {
            let once = || drop(black_box(raw.call(&message)));
            [f64::NAN, per_second(time(FLOOD as u32, once), FLOOD), f64::NAN]
        }],
    );
    println!("host to component, {FLOOD} messages from one thread, in million/s");
    println!("{:>36} {:>9} {:>9} {:>20}", "", "accepted", "handled", "sender's processor");
    let sides = [
        ("airssys_engine_send", &ours),
        ("tokio's unbounded channel, no guest", &channel),
        ("wasmtime call_async, no messages", &raw),
    ];
    for (side, [accept, consume, used]) in sides {
        let million = |rate: &Samples| shown(rate.median() / 1e6, "");
        let (accept, consume, used) = (million(accept), million(consume), used.median());
        println!("{side:>36} {accept:>9} {consume:>9} {:>20}", shown(used, " ns"));
    }
    let (accept, consume) = (ours[0].over(&channel[0]), ours[1].over(&raw[1]));
    println!("{:>36} {accept:>8.2}x {consume:>8.2}x\n", "against the channel, wasmtime");
}

/// Empty for a value that a side does not have.
fn shown(value: f64, unit: &str) -> String {
    if value.is_nan() { String::new() } else { format!("{value:.2}{unit}") }
}

fn between_two(wasm: &[u8]) {
    let [one, two] = [1, 2].map(|workers| Pairs::new(wasm, &config(workers), 1));
    let mut raw = [Send::Sync, Send::Async].map(|send| Raw::new(wasm, send).start(TARGET));
    let [sync, in_async] = &mut raw;
    let message = hops(HOPS);
    let rounds = in_turns(
        21,
        [
            &mut || both_times(HOPS, || repeat(HOPS, || drop(black_box(sync.call(&message))))),
            &mut || both_times(HOPS, || repeat(HOPS, || drop(black_box(in_async.call(&message))))),
            &mut || both_times(HOPS, || one.ping_pong(HOPS)),
            &mut || both_times(HOPS, || two.ping_pong(HOPS)),
            &mut || both_times(BURST, || one.bursts()),
            &mut || both_times(BURST, || two.bursts()),
        ],
    );
    println!("component to component, ns a message (and how much more than wasmtime)");
    println!("{:>34} {:>10} {:>8} {:>10} {:>8}", "", "time", "more", "processors", "more");
    let [baseline, ..] = &rounds;
    let sides = [
        "wasmtime: handle-message, send",
        "the same with func_wrap_async",
        "airssys, in turns, 1 worker",
        "airssys, in turns, 2 workers",
        "airssys, one way, 1 worker",
        "airssys, one way, 2 workers",
    ];
    for (side, times) in sides.iter().zip(&rounds) {
        print!("{side:>34}");
        for (time, baseline) in times.iter().zip(baseline) {
            print!(" {:>10.0} {:>8.0}", time.median(), time.minus(baseline));
        }
        println!();
    }
    println!();
}

fn throughput(wasm: &[u8]) {
    const ROUNDS: usize = 15;
    const COUNT: u64 = HOPS as u64 * PAIRS as u64;
    let [one, two] = [1, 2].map(|workers| Pairs::new(wasm, &config(workers), PAIRS));
    let raw = Raw::new(wasm, Send::Sync);
    let mut alone = [raw.start(TARGET)];
    let mut both = [0, 1].map(|_| raw.start(TARGET));
    let rounds = in_turns(
        ROUNDS,
        [
            &mut || both_times(COUNT, || at_once(&mut alone, HOPS * PAIRS as u32)),
            &mut || both_times(COUNT, || at_once(&mut both, HOPS * PAIRS as u32 / 2)),
            &mut || both_times(BURST * PAIRS as u64, || one.bursts()),
            &mut || both_times(BURST * PAIRS as u64, || two.bursts()),
            &mut || both_times(COUNT, || one.ping_pong(HOPS)),
            &mut || both_times(COUNT, || two.ping_pong(HOPS)),
        ],
    );
    println!(
        "component to component, {PAIRS} pairs at once: time of one message, and of processors;"
    );
    println!("wasmtime: as many threads, which share nothing");
    println!("{:>16} {:>20} {:>20} {:>24}", "", "1 worker", "2 workers", "1 worker over 2");
    for (what, [one, two]) in ["wasmtime", "one way", "in turns"].iter().zip(rounds.as_chunks().0) {
        print!("{what:>16}");
        for [time, used] in [one, two] {
            print!(" {:>8.0} ns {:>6.0} ns", time.median(), used.median());
        }
        println!(" {:>15.2}x {:>6.2}x", one[0].over(&two[0]), one[1].over(&two[1]));
    }
    println!();
}

/// Runs each pair on its own thread.
fn at_once(instances: &mut [RawInstance], calls: u32) {
    let message = hops(HOPS);
    std::thread::scope(|scope| {
        for instance in instances {
            scope.spawn(|| repeat(calls, || drop(black_box(instance.call(&message)))));
        }
    });
}

fn spawn(wasm: &[u8]) {
    let spawn = Spawn::new(wasm);
    let raw = Raw::new(wasm, Send::Trap);
    let message = [0; PAYLOAD];
    let raw_round = || {
        let once = || drop(black_box(raw.start(&[]).call(&message)));
        [nanoseconds(time(SPAWNS as u32, once), SPAWNS)]
    };
    let [[raw], [one], [many], [threads]] = in_turns(
        9,
        [&mut || raw_round(), &mut || [spawn.one_by_one()], &mut || [spawn.many()], &mut || {
            [spawn.many_from_threads()]
        }],
    );
    println!("load, call and unload of a binary that is loaded already");
    println!("{:>38} {:>7.1} µs", "wasmtime: instance, initialize, call", raw.median() / 1e3);
    for (side, samples) in [
        ("airssys, one after another", &one),
        ("airssys, 256 at once", &many),
        ("the same, from a thread for each core", &threads),
    ] {
        println!("{side:>38} {:>7.1} µs {:>7.2}x", samples.median() / 1e3, samples.over(&raw));
    }
}

fn config(workers: usize) -> String {
    format!(r#"{{"workers": {workers}}}"#)
}

/// One thread floods one component.
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

    /// Messages per second until all are accepted and until all are handled, and the sender's CPU
    /// time per message in nanoseconds.
    fn round(&self) -> [f64; 3] {
        let before = self.host.count(self.sink);
        let message = [0; PAYLOAD];
        let (start, used) = (Instant::now(), own_processor_time());
        (0..self.messages).for_each(|_| self.host.send(self.sink, &message));
        let (accepted, used) = (start.elapsed(), own_processor_time() - used);
        let after = self.host.count(self.sink);
        let handled = start.elapsed();
        assert_eq!(after - before, self.messages);
        let [accepted, handled] = [accepted, handled].map(|time| per_second(time, self.messages));
        [accepted, handled, nanoseconds(used, self.messages)]
    }
}

/// The cheapest way to move bytes from a thread to a task.
struct Channel {
    tokio: tokio::runtime::Runtime,
}

impl Channel {
    fn new() -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        Self { tokio }
    }

    fn round(&self) -> [f64; 3] {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
        let task = self.tokio.spawn(async move {
            while let Some(message) = receiver.recv().await {
                black_box(message);
            }
        });
        let message = [0; PAYLOAD];
        let (start, used) = (Instant::now(), own_processor_time());
        (0..FLOOD).for_each(|_| sender.send(message.to_vec()).unwrap());
        let (accepted, used) = (start.elapsed(), own_processor_time() - used);
        drop(sender);
        self.tokio.block_on(task).unwrap();
        let [accepted, handled] = [accepted, start.elapsed()].map(|time| per_second(time, FLOOD));
        [accepted, handled, nanoseconds(used, FLOOD)]
    }
}

/// Components with a compiled binary that live briefly.
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
        let start = Instant::now();
        self.rounds_of(AT_ONCE, 0);
        nanoseconds(start.elapsed(), SPAWNS)
    }

    /// As many at once, from a thread for each core: a load runs on the thread that calls it.
    fn many_from_threads(&self) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..cores {
                scope.spawn(move || self.rounds_of(AT_ONCE / cores, thread));
            }
        });
        nanoseconds(start.elapsed(), SPAWNS / cores * cores)
    }

    fn rounds_of(&self, at_once: u64, thread: u64) {
        let id = |i| format!("bench/spawned-{thread}/{i}");
        let ids: Vec<String> = (0..at_once).map(id).collect();
        for _ in 0..SPAWNS / AT_ONCE {
            let handles: Vec<u64> =
                ids.iter().map(|id| self.host.load(id, &self.wasm, "{}")).collect();
            for handle in &handles {
                self.host.call_and_free(*handle, &[0; PAYLOAD]);
            }
            handles.into_iter().for_each(|handle| self.host.unload(handle));
        }
    }
}
