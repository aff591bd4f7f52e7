//! How long a message takes while others are at work: the middle and the slowest.

mod common;

use std::ffi::c_void;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use airssys_wasm::airssys_completion_t;
use common::host::Host;
use common::pairs::{PAYLOAD, Pairs, hops};
use common::rounds::Samples;

const WORKERS: &str = r#"{"workers": 2}"#;
const ECHOES: usize = 100;
const CALLS: usize = 40_000;
const CALLERS: usize = 4;
/// Under guests that compute, a request may wait for a turn of each of them.
const FAIRNESS: Duration = Duration::from_secs(4);
const PAIRS: usize = 4;

fn main() {
    let [echo, relay, trapper] = ["echo", "relay", "trapper"].map(airssys_wasm_guests::bytes);
    println!("{ECHOES} echo components, one after another, {PAYLOAD} B, 2 workers, in µs\n");
    println!("{:>46} {:>8} {:>9} {:>9} {:>9} {:>9}", "", "samples", "p50", "p99", "p99.9", "most");

    let host = Host::new(WORKERS);
    let echoes = load(&host, &echo);
    report("call, nothing else runs", calls(&host, &echoes, CALLS));
    let at_once = thread::scope(|scope| {
        let caller = || calls(&host, &echoes, CALLS / CALLERS);
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    report(&format!("call, {CALLERS} threads at once"), at_once);
    report("request, nothing else runs", requests(&host, &echoes, Duration::from_secs(1)));

    // The two take the place of everything else that a host may run, and never give way by themselves.
    let endless = r#"{"limits": {"max-execution-time-ms": 3600000}}"#;
    for i in 0..2 {
        let computes = host.load(&format!("bench/computes/{i}"), &trapper, endless);
        host.send(computes, b"loop");
    }
    report("call, two components compute", calls(&host, &echoes, CALLS / 4));
    report("request, two components compute", requests(&host, &echoes, FAIRNESS));
    drop(host);

    let pairs = Pairs::new(&relay, WORKERS, PAIRS);
    let echoes = load(&pairs.host, &echo);
    let busy = "components write to each other";
    // More hops than there is time for.
    pairs.rallies.iter().for_each(|ping| pairs.host.send(*ping, &hops(1 << 30)));
    report(&format!("call, {PAIRS} pairs of {busy}"), calls(&pairs.host, &echoes, CALLS / 4));
    let requests = requests(&pairs.host, &echoes, Duration::from_secs(1));
    report(&format!("request, {PAIRS} pairs of {busy}"), requests);
}

fn load(host: &Host, echo: &[u8]) -> Vec<u64> {
    (0..ECHOES).map(|i| host.load(&format!("bench/echo/{i}"), echo, "{}")).collect()
}

fn report(what: &str, samples: Vec<f64>) {
    let count = samples.len();
    let samples = Samples::from(samples);
    let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(|at| samples.quantile(at) / 1e3);
    println!("{what:>46} {count:>8} {p50:>9.2} {p99:>9.2} {p999:>9.2} {most:>9.2}");
}

/// Nanoseconds of each call, which runs on this thread.
fn calls(host: &Host, echoes: &[u64], count: usize) -> Vec<f64> {
    let payload = [7; PAYLOAD];
    let call = |i: usize| {
        let start = Instant::now();
        host.call_and_free(echoes[i % ECHOES], &payload);
        start.elapsed().as_nanos() as f64
    };
    (0..count).map(call).collect()
}

/// Nanoseconds until the callback of each request, which a worker runs.
fn requests(host: &Host, echoes: &[u64], time: Duration) -> Vec<f64> {
    unsafe extern "C" fn done(answered: *mut c_void, _: *const airssys_completion_t) {
        // SAFETY: the sender below, which is never freed.
        let _ = unsafe { &*answered.cast::<Sender<Instant>>() }.send(Instant::now());
    }

    let payload = [7; PAYLOAD];
    let (answered, answer) = mpsc::channel::<Instant>();
    // Leaked: a callback that has sent its message is not at its end yet.
    let answered: *mut Sender<Instant> = Box::into_raw(Box::new(answered));
    let begin = Instant::now();
    let mut samples = Vec::new();
    while begin.elapsed() < time {
        let start = Instant::now();
        // SAFETY: any thread may use `answered`, at any time.
        unsafe { host.request(echoes[samples.len() % ECHOES], &payload, done, answered.cast()) };
        samples.push((answer.recv().unwrap() - start).as_nanos() as f64);
    }
    samples
}
