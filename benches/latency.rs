//! The latency of messages while other components compute, and how late time limits fire: medians
//! and maxima.

mod common;

use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use airssys_wasm::*;
use common::host::Host;
use common::pairs::{PAYLOAD, Pairs, hops};
use common::rounds::Samples;

const WORKERS: &str = r#"{"workers": 2}"#;
const ECHOES: usize = 100;
const CALLS: usize = 40_000;
const CALLERS: usize = 4;
const PAIRS: usize = 4;
/// Components that compute endlessly.
const SPINNERS: [usize; 5] = [0, 1, 2, 4, 100];
const PHASE: Duration = Duration::from_secs(1);
const LIMIT_MS: u64 = 20;
/// A guest's time limit is noticed when it yields.
const LIMITS: usize = 100;

fn main() {
    let [echo, relay, trapper] = ["echo", "relay", "trapper"].map(airssys_wasm_guests::bytes);
    println!("{ECHOES} echo components, one after another, {PAYLOAD} B, 2 workers, in µs\n");
    header("");

    let host = Host::new(WORKERS);
    let echoes = load(&host, &echo);
    report("call, nothing else runs", calls(&host, &echoes, CALLS));
    let at_once = thread::scope(|scope| {
        let caller = || calls(&host, &echoes, CALLS / CALLERS);
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    report(&format!("call, {CALLERS} threads at once"), at_once);
    drop(host);

    for spinners in SPINNERS {
        beside(spinners, &echo, &trapper);
    }

    let pairs = Pairs::new(&relay, WORKERS, PAIRS);
    let echoes = load(&pairs.host, &echo);
    let busy = "components write to each other";
    println!();
    header(&format!("{PAIRS} pairs of {busy}"));
    // More hops than fit into the time.
    pairs.rallies.iter().for_each(|ping| pairs.host.send(*ping, &hops(1 << 30)));
    report("call", calls(&pairs.host, &echoes, CALLS / 4));
    report(
        "request",
        completions(|i, to| request(&pairs.host, echoes[i % ECHOES], b"16 bytes of text", 0, to)),
    );
}

/// Messages and time limits beside `spinners` computing components.
fn beside(spinners: usize, echo: &[u8], trapper: &[u8]) {
    println!();
    header(&format!("{spinners} components compute"));
    let host = Host::new(WORKERS);
    let echoes = load(&host, echo);
    let endless = r#"{"limits": {"max-execution-time-ms": 3600000, "max-fuel": null}}"#;
    for i in 0..spinners {
        let computes = host.load(&format!("bench/computes/{i}"), trapper, endless);
        host.send(computes, b"loop");
    }
    // Waits until the scheduler knows that they compute.
    thread::sleep(Duration::from_millis(200));

    report("call", calls(&host, &echoes, CALLS / 4));
    let payload = [7; PAYLOAD];
    report("request", completions(|i, to| request(&host, echoes[i % ECHOES], &payload, 0, to)));
    report(
        "deliver",
        completions(|i, to| deliver(&host, &format!("bench/echo/{}", i % ECHOES), &payload, to)),
    );

    let sleeper = host.load("bench/sleeps/0", trapper, endless);
    let nap = format!("sleep {LIMIT_MS}");
    report("a guest's sleep, late", late(|to| request(&host, sleeper, nap.as_bytes(), 0, to)));
    host.send(sleeper, b"sleep 3600000");
    report(
        "a request's deadline, late",
        late(|to| request(&host, sleeper, &payload, LIMIT_MS, to)),
    );
    let limited =
        format!(r#"{{"limits": {{"max-execution-time-ms": {LIMIT_MS}, "max-fuel": null}}}}"#);
    let limited = host.load("bench/limited/0", trapper, &limited);
    report(
        "a computing guest's time limit, late",
        late(|to| request(&host, limited, b"loop", 0, to)),
    );
}

fn load(host: &Host, echo: &[u8]) -> Vec<u64> {
    (0..ECHOES).map(|i| host.load(&format!("bench/echo/{i}"), echo, "{}")).collect()
}

fn header(what: &str) {
    println!("{what:>46} {:>8} {:>9} {:>9} {:>9} {:>9}", "samples", "p50", "p99", "p99.9", "most");
}

fn report(what: &str, samples: Vec<f64>) {
    let count = samples.len();
    let samples = Samples::from(samples);
    let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(|at| samples.quantile(at) / 1e3);
    println!("{what:>46} {count:>8} {p50:>9.2} {p99:>9.2} {p999:>9.2} {most:>9.2}");
}

/// Nanoseconds per call on this thread.
fn calls(host: &Host, echoes: &[u64], count: usize) -> Vec<f64> {
    let payload = [7; PAYLOAD];
    let call = |i: usize| {
        let start = Instant::now();
        host.call_and_free(echoes[i % ECHOES], &payload);
        start.elapsed().as_nanos() as f64
    };
    (0..count).map(call).collect()
}

/// Receives completions.
struct Inbox {
    /// Leaked: a callback may still run after it has sent its time.
    to: *mut Sender<Instant>,
    from: Receiver<Instant>,
}

impl Inbox {
    fn new() -> Self {
        let (to, from) = mpsc::channel();
        Self { to: Box::into_raw(Box::new(to)), from }
    }
}

unsafe extern "C" fn done(to: *mut c_void, _: *const airssys_completion_t) {
    // SAFETY: the sender of an `Inbox`, which is never freed.
    let _ = unsafe { &*to.cast::<Sender<Instant>>() }.send(Instant::now());
}

/// Nanoseconds from `begin` to its completion, in sequence.
fn completions(mut begin: impl FnMut(usize, &Inbox)) -> Vec<f64> {
    let inbox = Inbox::new();
    let began = Instant::now();
    let mut samples = Vec::new();
    while began.elapsed() < PHASE {
        let start = Instant::now();
        begin(samples.len(), &inbox);
        samples.push((inbox.from.recv().unwrap() - start).as_nanos() as f64);
    }
    samples
}

/// Nanoseconds from the time limit to the completion of `begin`.
fn late(mut begin: impl FnMut(&Inbox)) -> Vec<f64> {
    let inbox = Inbox::new();
    let limit = Duration::from_millis(LIMIT_MS);
    let sample = |_| {
        let start = Instant::now();
        begin(&inbox);
        (inbox.from.recv().unwrap() - start).saturating_sub(limit).as_nanos() as f64
    };
    (0..LIMITS).map(sample).collect()
}

fn request(host: &Host, handle: u64, payload: &[u8], timeout_ms: u64, inbox: &Inbox) {
    let options = airssys_message_options_t {
        size: size_of::<airssys_message_options_t>(),
        sender: ptr::null(),
        content_type: ptr::null(),
        timeout_ms,
        flags: 0,
        progress: None,
        progress_data: ptr::null_mut(),
    };
    let (mut id, error) = (0, ptr::null_mut());
    // SAFETY: a live engine and valid arguments; any thread may use the sender, at any time.
    let status = unsafe {
        airssys_engine_request(
            host.engine,
            handle,
            payload.as_ptr(),
            payload.len(),
            &options,
            Some(done),
            inbox.to.cast(),
            &mut id,
            error,
        )
    };
    assert_eq!(status, AIRSSYS_OK);
}

fn deliver(host: &Host, target: &str, payload: &[u8], inbox: &Inbox) {
    let (source, target) = (c"bench/remote/0", CString::new(target).unwrap());
    let envelope = airssys_envelope_t {
        size: size_of::<airssys_envelope_t>(),
        source: source.as_ptr(),
        target: target.as_ptr(),
        kind: AIRSSYS_KIND_REQUEST,
        correlation: 1,
        token: 0,
        deadline_ms: 0,
        content_type: ptr::null(),
        payload: payload.as_ptr(),
        payload_len: payload.len(),
    };
    let (to, id, error) = (inbox.to.cast(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: as above.
    let status =
        unsafe { airssys_engine_deliver(host.engine, &envelope, Some(done), to, id, error) };
    assert_eq!(status, AIRSSYS_OK);
}
