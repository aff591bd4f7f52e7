//! Shortage of address space and mappings.

use std::fmt::Write as _;

use airssys_wasm::*;
use serde_json::json;

use crate::compiling::time_limit::compiling;
use crate::harness::child::{Limited, config, named, passes};
use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::process::mappings;
use crate::harness::process::status_kib;
use crate::harness::requests::Inbox;

const GIB: u64 = 1 << 30;

/// Uses components like any host.
fn works(engine: &Engine) {
    let [counter, trapper] =
        ["counter", "trapper"].map(|it| engine.load(&format!("app/{it}/0"), it));
    assert_eq!(engine.text(counter, "inc"), "1");
    assert_eq!(engine.failure(trapper, "oob").status, AIRSSYS_ERROR_TRAP);
    assert_eq!(engine.failure(trapper, "unreachable").status, AIRSSYS_ERROR_TRAP);
    let inbox = Inbox::new();
    let ids: Vec<u64> = (0..50).map(|_| engine.request(counter, "inc", inbox).unwrap()).collect();
    inbox.exactly(&ids);
}

/// Makes a memory without a large reservation grow until it has to move.
fn moves_a_memory(engine: &Engine) {
    let options = r#"{"limits": {"max-memory-bytes": 100000000}}"#;
    let trapper = engine.load_with("app/trapper/1", "trapper", options);
    engine.call(trapper, "alloc 50000000").unwrap();
}

#[test]
fn little_address_space_leads_to_small_reservations() {
    passes("shortage::address_space::loads_in_3_gib");
}

#[test]
#[ignore = "run by little_address_space_leads_to_small_reservations"]
fn loads_in_3_gib() {
    let _limit = Limited::to(libc::RLIMIT_AS, 3 * GIB);
    for signals in [true, false] {
        let configured = json!({ "signals-based-traps": signals }).to_string();
        let engine = config().with(&configured).engine();
        works(&engine);
        for number in 0..100 {
            engine.load(&format!("app/counter/{number}"), "counter");
        }
    }
}

#[test]
fn without_address_space_the_error_names_the_option() {
    passes("shortage::address_space::refuses_large_reservations");
}

#[test]
#[ignore = "run by without_address_space_the_error_names_the_option"]
fn refuses_large_reservations() {
    let _limit = Limited::to(libc::RLIMIT_AS, 3 * GIB);
    let engine = config().with(r#"{"memory-reservation": "large"}"#).engine();
    let echo = airssys_wasm_guests::bytes("echo");
    let failure = engine.try_load("app/echo/0", &echo, None).expect_err("4 GiB of 3");
    assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
    assert_eq!(failure.detail["resource"], "memory", "{failure}");
    for part in ["RLIMIT_AS (ulimit -v) is 3221225472 bytes", r#""memory-reservation": "small""#] {
        assert!(failure.message.contains(part), "{failure}");
    }
    assert_eq!(engine.list(), json!([]));
}

#[test]
fn small_reservations_are_an_option() {
    let before = status_kib("VmSize:");
    let engine = Config::new().with(r#"{"memory-reservation": "small"}"#).engine();
    works(&engine);
    assert!(status_kib("VmSize:") < before + (1 << 20), "less than a large one");
    moves_a_memory(&engine);
}

#[test]
fn memories_without_a_reservation_are_an_option() {
    let engine = Config::new().with(r#"{"memory-reservation": "none"}"#).engine();
    works(&engine);
    moves_a_memory(&engine);
}

#[test]
fn forty_thousand_components_live_in_one_process() {
    passes("shortage::address_space::loads_forty_thousand");
}

#[test]
#[ignore = "run by forty_thousand_components_live_in_one_process"]
fn loads_forty_thousand() {
    const COMPONENTS: usize = 40_000;
    let engine = config().with(r#"{"memory-reservation": "none"}"#).engine();
    let [counter, chatty] = ["counter", "chatty"].map(airssys_wasm_guests::bytes);
    let before = mappings();
    let live: Vec<u64> = (0..COMPONENTS)
        .map(|number| {
            // Every other component may wait, so it has its own stack.
            let wasm = if number % 2 == 0 { &counter } else { &chatty };
            engine.try_load(&format!("app/many/{number}"), wasm, None).unwrap()
        })
        .collect();
    // Makes all of them run on workers, so on their own stacks.
    let inbox = Inbox::new();
    let counters = live.iter().step_by(2);
    let ids: Vec<u64> = counters.map(|it| engine.request(*it, "inc", inbox).unwrap()).collect();
    let outcomes = inbox.exactly(&ids);
    assert!(outcomes.values().all(|it| it.outcome.is_ok()));
    let taken = mappings() - before;
    assert!(taken < COMPONENTS / 4, "{taken} mappings");
    // Any one can be unloaded and another loaded.
    for (number, handle) in live.iter().enumerate().step_by(1000) {
        engine.unload(*handle).unwrap();
        engine.try_load(&format!("app/many/{number}"), &counter, None).unwrap();
    }
}

#[test]
fn a_call_from_a_thread_without_a_signal_stack_runs_on_a_worker() {
    passes("shortage::address_space::calls_without_a_signal_stack");
}

#[test]
#[ignore = "run by a_call_from_a_thread_without_a_signal_stack_runs_on_a_worker"]
fn calls_without_a_signal_stack() {
    let engine = config().with(r#"{"memory-reservation": "large"}"#).engine();
    let [counter, user] =
        ["counter", "storage-user"].map(|it| engine.load(&format!("app/{it}/0"), it));
    assert_eq!(engine.text(counter, "inc"), "1");
    // Their stacks would free address space.
    eventually("the threads that compiled are gone", || compiling().is_empty().then_some(()));
    let start = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let calls = scope.spawn(|| {
            start.wait();
            (engine.text(user, "set k v"), engine.failure(counter, "inc"))
        });
        // Leaves the allocator enough free memory for everything else that the calls need.
        drop(vec![0_u8; 100 << 10]);
        let _limit = Limited::to(libc::RLIMIT_AS, (status_kib("VmSize:") + 128) << 10);
        start.wait();
        let (done, failure) = calls.join().unwrap();
        assert_eq!(done, "ok");
        // It has not run on a worker, and there is no room for its fiber stack.
        assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
        assert!(failure.message.contains("RLIMIT_AS"), "{failure}");
    });
    assert_eq!(engine.text(counter, "inc"), "2", "its state is kept");
}

#[test]
fn loads_leave_mappings_for_running_components() {
    passes("shortage::address_space::loads_until_refused");
}

fn with_memories(count: usize) -> Vec<u8> {
    let mut text = String::from("(component (core module $m ");
    (0..count).for_each(|_| text.push_str("(memory 1)"));
    write!(text, ") (core instance (instantiate $m)))").unwrap();
    wat::parse_str(&text).unwrap()
}

#[test]
#[ignore = "run by loads_leave_mappings_for_running_components"]
fn loads_until_refused() {
    let most: usize =
        std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
    if most > 300_000 {
        // Without the memories, so many components would take too much memory.
        return;
    }
    let engine = config().engine();
    let wasm = with_memories(100);
    let [counter, chatty] = ["counter", "chatty"].map(airssys_wasm_guests::bytes);
    let failure = (0..).find_map(|number| {
        let wasm = if number % 20 == 0 { &counter } else { &wasm };
        engine.try_load(&format!("app/many/{number}"), wasm, None).err()
    });
    let failure = failure.unwrap();
    assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
    assert_eq!(failure.detail["resource"], "mappings", "{failure}");
    assert_eq!(failure.detail["value"], most, "{failure}");
    assert!(failure.message.contains("vm.max_map_count"), "{failure}");
    assert!(mappings() < most - most / 20, "{} of {most}", mappings());
    // Smaller components, until they are refused, too.
    let mut small = Vec::new();
    while let Ok(handle) = engine.try_load("app/small/0", &counter, None) {
        small.push(handle);
    }
    // Makes all of them run on workers, so on their own stacks.
    let inbox = Inbox::new();
    let ids: Vec<u64> = small.iter().map(|it| engine.request(*it, "inc", inbox).unwrap()).collect();
    let outcomes = inbox.exactly(&ids);
    assert!(outcomes.values().all(|it| it.outcome.is_ok()));
    assert!(named("airssys-worker") > 0);
    let refused = engine.try_load("app/chatty/0", &chatty, None).unwrap_err();
    assert_eq!(refused.detail["resource"], "mappings", "{refused}");
    for handle in small.drain(..) {
        engine.unload(handle).unwrap();
    }
    eventually("there is room again", || engine.try_load("app/chatty/0", &chatty, None).ok());
}
