//! Memory, threads and descriptors are released.

use crate::harness::engine::{Config, Engine, With, eventually};
use crate::harness::events::Events;
use crate::harness::process::{mappings, resident_kib, threads};
use crate::harness::requests::Inbox;

/// `AIRSSYS_LEAK_ROUNDS`, 3,000 by default. A full measurement takes 100,000.
fn rounds() -> usize {
    let rounds = std::env::var("AIRSSYS_LEAK_ROUNDS").ok();
    rounds.map_or(3_000, |text| text.parse().expect("a number of rounds"))
}

/// Warms up, then checks that further rounds do not add memory.
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
    // A leak of 1 KiB per round is above this bound, the noise of the allocator below.
    let room = (rounds as u64 / 2).max(8 * 1024);
    assert!(after <= before + room, "{before} KiB before, {after} KiB after {rounds} rounds");
}

#[test]
fn loading_and_unloading_keep_memory_level() {
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
fn requests_keep_memory_level_however_they_end() {
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
fn crashes_and_restarts_keep_memory_level() {
    let config = Config::new();
    crate::harness::log::set_logger(&config, airssys_wasm::AIRSSYS_LOG_OFF, |_| {});
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
fn freed_engines_leave_nothing_behind() {
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

#[test]
fn descriptors_and_threads_are_released_after_many_loads_and_engines() {
    // Counts the whole process: nextest runs each test in its own.
    let wasm = airssys_wasm_guests::bytes("counter");
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let cycle = || {
        let engine = Engine::new();
        for _ in 0..20 {
            let handle = engine.try_load("app/counter/0", &wasm, None).unwrap();
            assert_eq!(engine.text(handle, "inc"), "1");
            engine.unload(handle).unwrap();
        }
        assert_eq!(engine.stats()["components"], 0);
    };
    cycle();
    let before = (open(), threads());
    for _ in 0..3 {
        cycle();
    }
    eventually("threads and files are back", || ((open(), threads()) <= before).then_some(()));
}
