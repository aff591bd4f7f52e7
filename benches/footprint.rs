//! Memory of idle components and of unanswered requests.
//!
//! Each figure comes from its own process, which the bench starts with the name of a case.

mod common;

use std::ffi::c_void;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use airssys_wasm::airssys_completion_t;
use common::allocations::{Counting, allocated};
use common::host::{Host, doorbell};
use common::pairs::PAYLOAD;
use common::raw::{Raw, Send};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUESTS: u64 = 1_000_000;

const COMPONENTS: u64 = 10_000;
/// More than the limit on mappings allows.
const PACKED_COMPONENTS: u64 = 40_000;
/// Registered, and made by their first message.
const PASSIVE_COMPONENTS: u64 = 1_000_000;
/// How many of the process's mappings are left for everything else.
const SPARE_MAPPINGS: usize = 4_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, case, count] = &arguments[..]
        && let Ok(count) = count.parse()
    {
        return run(case, count);
    }
    println!("resident, mapped and allocated for each, in processes of their own\n");
    println!("{:>48} {:>12} {:>9} {:>12}", "", "resident", "mappings", "allocated");
    child("raw", COMPONENTS);
    child("airssys", COMPONENTS);
    child("packed", PACKED_COMPONENTS);
    child("passive", PASSIVE_COMPONENTS);
    child("turns", PASSIVE_COMPONENTS);
    child("routed", REQUESTS);
    child("queued", REQUESTS);
}

fn child(case: &str, count: u64) {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args([case, &count.to_string()]).output().unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|line| !line.starts_with("thread")).unwrap_or_default();
        println!("{:>48} ended early: {line}", format!("{count} x {case}"));
    }
}

fn run(case: &str, count: u64) {
    match case {
        "raw" => raw(count),
        "airssys" => airssys(count, "{}"),
        "packed" => airssys(count, r#"{"memory-reservation": "none"}"#),
        "passive" => passive(count),
        "turns" => in_turns(count),
        "routed" => routed(count),
        "queued" => queued(count),
        other => panic!("no such case: {other}"),
    }
}

fn raw(count: u64) {
    let raw = Raw::new(&airssys_wasm_guests::bytes("echo"), Send::Trap);
    let once = || {
        let mut instance = raw.start(&[]);
        instance.call(&[7; PAYLOAD]);
        instance
    };
    let first = once();
    let mut all = Vec::with_capacity(count as usize);
    let before = Now::look();
    let count = as_many_as_fit(count, |_| all.push(once()));
    before.report(&format!("{count} instances of wasmtime, called once"), count, "KiB");
    drop((all, first));
}

fn airssys(count: u64, config: &str) {
    let wasm = airssys_wasm_guests::bytes("echo");
    let host = Host::new(config);
    let once = |i: u64| {
        let handle = host.load(&format!("bench/echo/{i}"), &wasm, "{}");
        host.call_and_free(handle, &[7; PAYLOAD]);
    };
    once(count);
    let before = Now::look();
    let count = as_many_as_fit(count, once);
    before.report(&format!("{count} components, called once"), count, "KiB");
}

/// Components that wait for their first message; some get it.
fn passive(count: u64) {
    let wasm = airssys_wasm_guests::bytes("echo");
    let host = Host::new(r#"{"memory-reservation": "none"}"#);
    let options = r#"{"activation": "on-demand"}"#;
    let load = |i: u64| host.load(&format!("bench/echo/{i}"), &wasm, options);
    load(count);
    let before = Now::look();
    let start = Instant::now();
    let handles: Vec<u64> = (0..count).map(load).collect();
    let loaded = start.elapsed();
    before.report(&format!("{count} passive components"), count, "B");
    print_rate("loaded", count, loaded);
    let start = Instant::now();
    let listed = host.list().len();
    print_rate(&format!("listed, in {} MB", listed / 1_000_000), count, start.elapsed());
    for handle in handles.iter().step_by(9973) {
        host.call_and_free(*handle, &[7; PAYLOAD]);
    }
    let start = Instant::now();
    handles.iter().step_by(2).for_each(|handle| host.unload(*handle));
    print_rate("unloaded", count.div_ceil(2), start.elapsed());
    let start = Instant::now();
    drop(host);
    print_rate("freed with the engine", count / 2, start.elapsed());
}

/// Passive components, all called in turn, of which few may have an instance at a time.
fn in_turns(count: u64) {
    let wasm = airssys_wasm_guests::bytes("echo");
    let host = Host::new(r#"{"memory-reservation": "none", "max-live-instances": 1000}"#);
    let options = r#"{"activation": "on-demand"}"#;
    let load = |i: u64| host.load(&format!("bench/echo/{i}"), &wasm, options);
    load(count);
    let before = Now::look();
    let handles: Vec<u64> = (0..count).map(load).collect();
    let start = Instant::now();
    handles.iter().for_each(|handle| host.call_and_free(*handle, &[7; PAYLOAD]));
    let called = start.elapsed();
    before.report(&format!("{count} passive components, all called"), count, "B");
    print_rate("called", count, called);
}

fn print_rate(what: &str, count: u64, time: Duration) {
    let (seconds, each) = (time.as_secs_f64(), time.as_nanos() as f64 / count as f64 / 1e3);
    println!("{:>48} {seconds:.2} s, {each:.2} µs each", what);
}

/// Stops before the limit on mappings, at which even small allocations fail.
fn as_many_as_fit(count: u64, mut make: impl FnMut(u64)) -> u64 {
    let allowed = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    let allowed: usize = allowed.trim().parse().unwrap();
    for i in 0..count {
        if i % 500 == 0 && Now::look().mappings + SPARE_MAPPINGS > allowed {
            return i;
        }
        make(i);
    }
    count
}

/// Requests of a component that the host's router accepts and never answers.
fn routed(count: u64) {
    let (router, taken) = doorbell();
    let host = Host::with("{}", Some(router));
    let options = r#"{"limits": {"max-host-bytes": 4294967296}}"#;
    let handle = host.load("bench/asks/0", &airssys_wasm_guests::bytes("requester"), options);
    let request = format!("request bench/far/0 3600000 {}", "7".repeat(PAYLOAD));
    let before = Now::look();
    for _ in 0..count {
        host.call_and_free(handle, request.as_bytes());
        taken.recv().unwrap();
    }
    before.report(&format!("{count} requests that a router has"), count, "B");
    assert_eq!(outstanding(&host), count);
}

/// Requests of the host in the mailbox of a sleeping component.
fn queued(count: u64) {
    unsafe extern "C" fn done(_: *mut c_void, _: *const airssys_completion_t) {}

    let host = Host::new("{}");
    let options = r#"{"limits": {"max-execution-time-ms": 3600000},
                      "mailbox": {"capacity": 1048576, "max-bytes": 1073741824}}"#;
    let handle = host.load("bench/sleeps/0", &airssys_wasm_guests::bytes("trapper"), options);
    host.send(handle, b"sleep 3600000");
    let before = Now::look();
    for _ in 0..count {
        // SAFETY: the callback uses no data.
        unsafe { host.request(handle, &[7; PAYLOAD], done, std::ptr::null_mut()) };
    }
    before.report(&format!("{count} requests in one mailbox"), count, "B");
    assert_eq!(outstanding(&host), count);
}

fn outstanding(host: &Host) -> u64 {
    host.stats()["requests"]["outstanding"].as_u64().unwrap()
}

/// The current memory of the process.
struct Now {
    resident: u64,
    mappings: usize,
    allocated: u64,
}

impl Now {
    fn look() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        let mappings = fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        Self { resident: resident << 10, mappings, allocated: allocated().live }
    }

    fn report(&self, what: &str, count: u64, unit: &str) {
        let now = Self::look();
        let scale = if unit == "KiB" { 1024.0 } else { 1.0 };
        let each = |now: u64, before: u64| (now as f64 - before as f64) / count as f64 / scale;
        let resident = each(now.resident, self.resident);
        let mappings = (now.mappings as f64 - self.mappings as f64) / count as f64;
        let allocated = each(now.allocated, self.allocated);
        println!("{what:>48} {resident:>8.1} {unit:<3} {mappings:>9.2} {allocated:>8.1} {unit:<3}");
    }
}
