//! Messages and spawning of rusm, as `key value` lines: `otp.` are its native processes (crate
//! rusm-otp, no WebAssembly), `wasm.` the same processes as components (crate rusm-wasm).
//!
//!     rusm-bench GUEST.wasm

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusm_otp::{Context, ExitReason, Pid, ProcessHandle, Received, Runtime};
use rusm_wasm::{PreparedComponent, WasmRuntime};

const ROUNDS: usize = 15;
const ROUND_TRIPS: u64 = 30_000;
const FLOOD: u64 = 100_000;
const SPAWNS: usize = 1_024;
/// Below the number of instances that rusm-wasm keeps room for.
const AT_ONCE: usize = 256;

const PING: u64 = 0;
const PONG: u64 = 1;
const SINK: u64 = 2;
const END: u64 = 3;

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).expect("usage: rusm-bench GUEST.wasm");
    // Worker threads: as many as cores, tokio's default.
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _inside = tokio.enter();
    let processes = Runtime::new();
    let wasm = WasmRuntime::new(processes.clone())?;
    let component = wasm.compile_component(std::fs::read(path)?)?;
    let prepared = wasm.prepare_component(&component, "run")?;

    let native = Bench { tokio: &tokio, processes: &processes, wasm: None };
    let components = Bench { wasm: Some((&wasm, &prepared)), ..native };
    measure("otp", &native);
    measure("wasm", &components);
    Ok(())
}

fn measure(name: &str, bench: &Bench<'_>) {
    bench.check();
    let nanoseconds = |time: Duration, count: u64| time.as_nanos() as f64 / count as f64;
    let per_second = |time: Duration, count: u64| count as f64 / time.as_secs_f64();

    let pingpong = median(|| [nanoseconds(bench.ping_pong(), 2 * ROUND_TRIPS)]);
    let [accept, consume] = medians(|| bench.flood().map(|time| per_second(time, FLOOD)));
    let spawn = median(|| [nanoseconds(bench.spawn_one_by_one(), SPAWNS as u64)]);
    let spawn_many = median(|| [nanoseconds(bench.spawn_many(), SPAWNS as u64)]);
    println!("{name}.pingpong_ns {pingpong:.1}");
    println!("{name}.accept_per_s {accept:.0}");
    println!("{name}.consume_per_s {consume:.0}");
    println!("{name}.spawn_ns {spawn:.0}");
    println!("{name}.spawn_many_ns {spawn_many:.0}");
}

fn median(sample: impl FnMut() -> [f64; 1]) -> f64 {
    let [median] = medians(sample);
    median
}

fn medians<const N: usize>(mut sample: impl FnMut() -> [f64; N]) -> [f64; N] {
    // One unmeasured round: threads, pools and caches begin cold.
    sample();
    let samples: Vec<[f64; N]> = (0..ROUNDS).map(|_| sample()).collect();
    std::array::from_fn(|i| {
        let mut values: Vec<f64> = samples.iter().map(|sample| sample[i]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}

#[derive(Clone, Copy)]
struct Bench<'a> {
    tokio: &'a tokio::runtime::Runtime,
    processes: &'a Runtime,
    wasm: Option<(&'a WasmRuntime, &'a PreparedComponent)>,
}

impl Bench<'_> {
    /// A native process or a component, both of which wait for their order.
    fn spawn(&self) -> ProcessHandle {
        match self.wasm {
            Some((runtime, prepared)) => runtime.spawn_component(prepared),
            None => {
                let processes = self.processes.clone();
                self.processes.spawn(|context| run(processes, context))
            }
        }
    }

    fn order(&self, process: &ProcessHandle, role: u64, peer: Pid, count: u64) {
        let order = [role, peer.raw(), count].map(u64::to_le_bytes).concat();
        assert!(self.processes.send(process.pid(), order));
    }

    fn join(&self, process: ProcessHandle) {
        self.tokio.block_on(process.join());
    }

    /// A process that crashes has ended too, and quickly: all of them must end as they should.
    fn check(&self) {
        let (tell, told) = mpsc::channel();
        let watcher = self.processes.spawn(move |mut context| async move {
            loop {
                if let Received::Down { reason, .. } = context.recv().await {
                    let _ = tell.send(reason);
                }
            }
        });
        let processes: Vec<ProcessHandle> = (0..AT_ONCE).map(|_| self.spawn()).collect();
        for process in &processes {
            self.processes.monitor(watcher.pid(), process.pid());
            self.order(process, END, process.pid(), 0);
        }
        processes.iter().for_each(|_| assert_eq!(told.recv(), Ok(ExitReason::Normal)));
        watcher.kill();
    }

    /// Two processes that write to each other in turns.
    fn ping_pong(&self) -> Duration {
        let (ping, pong) = (self.spawn(), self.spawn());
        let start = Instant::now();
        self.order(&pong, PONG, ping.pid(), ROUND_TRIPS);
        self.order(&ping, PING, pong.pid(), ROUND_TRIPS);
        self.join(ping);
        self.join(pong);
        start.elapsed()
    }

    /// This thread sends all it can: until everything is accepted, and until everything is handled.
    fn flood(&self) -> [Duration; 2] {
        let sink = self.spawn();
        self.order(&sink, SINK, sink.pid(), FLOOD);
        let start = Instant::now();
        for _ in 0..FLOOD {
            assert!(self.processes.send(sink.pid(), vec![7; 16]));
        }
        let accepted = start.elapsed();
        self.join(sink);
        [accepted, start.elapsed()]
    }

    /// From the start of a process to its end, with one message in between.
    fn spawn_one_by_one(&self) -> Duration {
        let start = Instant::now();
        for _ in 0..SPAWNS {
            let process = self.spawn();
            self.order(&process, END, process.pid(), 0);
            self.join(process);
        }
        start.elapsed()
    }

    /// The same with many at once, which keeps all cores busy.
    fn spawn_many(&self) -> Duration {
        let start = Instant::now();
        for _ in 0..SPAWNS / AT_ONCE {
            let processes: Vec<ProcessHandle> = (0..AT_ONCE).map(|_| self.spawn()).collect();
            for process in &processes {
                self.order(process, END, process.pid(), 0);
            }
            processes.into_iter().for_each(|process| self.join(process));
        }
        start.elapsed()
    }
}

/// What the guest does, in native code.
async fn run(processes: Runtime, mut context: Context) {
    let order = receive(&mut context).await;
    let number = |i: usize| u64::from_le_bytes(order[8 * i..8 * i + 8].try_into().unwrap());
    let (role, peer, count) = (number(0), Pid::from_raw(number(1)), number(2));
    for _ in 0..count {
        match role {
            PING => {
                processes.send(peer, vec![7; 16]);
                receive(&mut context).await;
            }
            PONG => {
                let message = receive(&mut context).await;
                processes.send(peer, message);
            }
            _ => drop(receive(&mut context).await),
        }
    }
}

async fn receive(context: &mut Context) -> Vec<u8> {
    loop {
        if let Received::Message(message) = context.recv().await {
            return message;
        }
    }
}
