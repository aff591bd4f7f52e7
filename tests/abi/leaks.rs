//! Memory and threads come back. Counts those of the whole process: nextest gives each test one of
//! its own.

use crate::harness::{Config, Engine, With, eventually};
use crate::partners::{Events, Inbox};

/// As many rounds as `AIRSSYS_LEAK_ROUNDS` says, 3,000 by default; 100,000 are the full measure.
fn rounds() -> usize {
    let rounds = std::env::var("AIRSSYS_LEAK_ROUNDS").ok();
    rounds.map_or(3_000, |text| text.parse().expect("a number of rounds"))
}

pub fn resident_kib() -> u64 {
    status_kib("VmRSS:")
}

/// The most memory since [`forget_peak`].
pub fn peak_kib() -> u64 {
    status_kib("VmHWM:")
}

pub fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).expect("a size");
    line.split_whitespace().nth(1).unwrap().parse().expect("a number")
}

pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

pub fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Runs `round` until memory has its level, then as often as wanted, and holds the two against
/// each other.
fn assert_level(mut round: impl FnMut(usize)) {
    let rounds = rounds();
    for n in 0..rounds / 3 {
        round(n);
    }
    let before = resident_kib();
    for n in 0..rounds {
        round(n);
    }
    let after = resident_kib();
    // What leaks even 1 KiB a round is above this; the allocator's own ups and downs are below.
    let room = (rounds as u64 / 2).max(8 * 1024);
    assert!(after <= before + room, "{before} KiB before, {after} KiB after {rounds} rounds");
}

#[test]
fn loading_and_unloading_leaves_memory_level() {
    let engine = Engine::new();
    let wasm = airssys_wasm_guests::bytes("counter");
    let (start, mut mapped) = (threads(), 0);
    assert_level(|n| {
        let options = (n % 10 == 0).then_some(r#"{"instances": 2}"#);
        let handle = engine.try_load("app/counter/0", &wasm, options).unwrap();
        assert_eq!(engine.text(handle, "inc"), "1");
        engine.send(handle, "inc").unwrap();
        engine.unload(handle).unwrap();
        mapped = if n == 100 { mappings() } else { mapped };
    });
    assert!(mappings() <= mapped + 100, "{mapped} mappings, then {}", mappings());
    assert_eq!(engine.stats()["components"], 0);
    let workers = std::thread::available_parallelism().unwrap().get();
    eventually("idle threads are gone", || (threads() <= start + workers + 2).then_some(()));
}

#[test]
fn requests_leave_memory_level_however_they_end() {
    let config = Config::new();
    let events = Events::attach(&config, |_| {});
    let engine = config.engine();
    let options = r#"{"mailbox": {"capacity": 2, "when-full": "drop-oldest"}}"#;
    let echo = engine.load_with("app/echo/0", "echo", options);
    let asker = engine.load("app/asker/0", "requester");
    let with = With { timeout_ms: 1, ..With::default() };
    let inbox = Inbox::new();
    assert_level(|_| {
        let ids = [(); 4].map(|()| engine.request_with(echo, "x", with, inbox).unwrap());
        let _ = engine.cancel(ids[0]);
        inbox.take(ids.len());
        engine.text(asker, "send app/echo/0 x");
        events.forget();
    });
    eventually("nothing is open", || {
        (engine.stats()["requests"]["outstanding"] == 0).then_some(())
    });
}

#[test]
fn crashes_and_restarts_leave_memory_level() {
    let config = Config::new();
    crate::hosts::set_logger(&config, airssys_wasm::AIRSSYS_LOG_OFF, |_| {});
    let engine = config.engine();
    let trapper = engine.load("app/trapper/0", "trapper");
    assert_level(|n| {
        if n % 4 == 0 {
            engine.failure(trapper, "unreachable");
        } else {
            engine.text(trapper, "ok");
        }
    });
}

#[test]
fn engines_that_come_and_go_leave_nothing_behind() {
    let config = Config::new();
    let cycle = || {
        let engine = config.engine();
        let echo = engine.load("app/echo/0", "echo");
        let inbox = Inbox::new();
        engine.request(echo, "x", inbox).unwrap();
        inbox.only();
    };
    for _ in 0..5 {
        cycle();
    }
    let before = (resident_kib(), threads(), mappings());
    for _ in 0..rounds() / 100 {
        cycle();
    }
    eventually("threads are back", || (threads() <= before.1).then_some(()));
    let after = (resident_kib(), mappings());
    assert!(after.0 <= before.0 + 24 * 1024, "{} KiB, then {} KiB", before.0, after.0);
    assert!(after.1 <= before.2 + 200, "{} mappings, then {}", before.2, after.1);
}
