//! Compiles that take too long, and engines that end during a compile.

use std::process::Command;
use std::thread;

use airssys_wasm::*;

use crate::harness::binaries::{function, nested_loops};
use crate::harness::engine::{Config, Engine, PATIENCE, eventually};

/// Takes minutes to compile: the time grows with the cube of the number of loops.
pub fn endless(n: usize) -> Vec<u8> {
    nested_loops(6_000 + n)
}

pub fn patient(max_time_ms: u64) -> Config {
    let limits = serde_json::json!({
        "max-block-depth": 100_000, "max-function-blocks": 100_000, "max-function-cost": 1_u64 << 60,
        "max-cost": 1_u64 << 60, "max-time-ms": max_time_ms,
    });
    Config::bare().with(&serde_json::json!({ "compile": limits, "workers": 2 }).to_string())
}

/// The nice values of the compiler threads.
pub fn compiling() -> Vec<i32> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    threads
        .filter_map(|thread| {
            let path = thread.unwrap().path();
            // The thread may have ended.
            let name = std::fs::read_to_string(path.join("comm")).ok()?;
            let stat = std::fs::read_to_string(path.join("stat")).ok()?;
            let behind_name = stat.rsplit_once(") ")?.1;
            let nice = behind_name.split(' ').nth(16)?.parse().expect("a number");
            name.starts_with("airssys-compile").then_some(nice)
        })
        .collect()
}

pub fn until_compiling() {
    eventually("it is compiled", || (!compiling().is_empty()).then_some(()));
}

#[test]
fn freeing_an_engine_waits_for_no_compile() {
    let engine = patient(10_000_000).engine();
    let echo = engine.load("app/echo/0", "echo");
    thread::scope(|scope| {
        let loads = [0, 1].map(|n| {
            let engine = &engine;
            scope.spawn(move || engine.try_load("app/endless/0", &endless(n), None))
        });
        // Two threads per load. A thread lowers its own priority as its first step.
        eventually("both are compiled behind all calls", || {
            let threads = compiling();
            (threads.len() == 4 && threads.iter().all(|nice| *nice > 0)).then_some(())
        });
        assert_eq!(engine.text(echo, "meanwhile"), "meanwhile");
        engine.free();
        for load in loads {
            let failure = load.join().unwrap().expect_err("it is not compiled");
            assert_eq!(failure.status, AIRSSYS_ERROR_ENGINE_STOPPED, "{failure}");
        }
    });
    // The compiles go on for minutes at the lowest priority.
    assert_eq!(compiling(), [19; 4]);
    let another = Engine::bare();
    let echo = another.load("app/echo/0", "echo");
    assert_eq!(another.text(echo, "as before"), "as before");
}

#[test]
fn a_shutdown_ends_a_running_load() {
    let engine = patient(10_000_000).engine();
    thread::scope(|scope| {
        let load = scope.spawn(|| engine.try_load("app/endless/0", &endless(0), None));
        until_compiling();
        engine.shutdown(PATIENCE.as_millis() as u64).unwrap();
        let failure = load.join().unwrap().expect_err("it is not compiled");
        assert_eq!(failure.status, AIRSSYS_ERROR_ENGINE_STOPPED, "{failure}");
    });
}

#[test]
fn a_compile_that_takes_too_long_ends_its_load() {
    let engine = patient(300).engine();
    let times_out = |wasm: &[u8]| {
        let failure = engine.try_load("app/endless/0", wasm, None).expect_err("it takes minutes");
        assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
        assert_eq!(failure.detail["limit"], "compile.max-time-ms", "{failure}");
        assert_eq!(failure.detail["value"], 300, "{failure}");
    };
    times_out(&endless(0));
    let both = || (compiling() == [19; 2]).then_some(());
    eventually("its threads are behind all others", both);
    // The abandoned compile of this binary is still running, so no other one starts.
    times_out(&endless(0));
    assert_eq!(compiling(), [19; 2]);
    times_out(&endless(1));
    let failure = engine.try_load("app/endless/0", &endless(2), None).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
    assert_eq!(failure.detail["limit"], "abandoned-compiles", "{failure}");
    assert_eq!(engine.stats()["binaries"], 0);
    assert_eq!(engine.stats()["components"], 0);
}

#[test]
fn an_abandoned_compile_is_forgotten_when_it_ends() {
    let engine = patient(1).engine();
    for n in 0..5 {
        // Takes a little more than a millisecond to compile.
        let wasm = function(&b"\x20\0\x04\x40\x0b".repeat(1_500 + n));
        let failure = engine.try_load("app/slow/0", &wasm, None).expect_err("it takes longer");
        assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "load {n}: {failure}");
        eventually("its threads end", || compiling().is_empty().then_some(()));
    }
    assert_eq!(engine.stats()["binaries"], 0, "abandoned code is dropped");
}

#[test]
fn a_load_without_threads_fails_and_works_later() {
    // Nothing is compiled before, because the C library keeps the stacks of ended threads.
    let engine = Engine::bare();
    let set = |limit: &libc::rlimit| {
        // SAFETY: a live struct.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, limit) }, 0);
    };
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a live struct.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut before) }, 0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize:")).expect("a size");
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().expect("a number");
    // Room for a small binary, but not for a stack.
    set(&libc::rlimit { rlim_cur: (kib + 8 * 1024) * 1024, ..before });
    let failure = engine.try_load("app/new/0", &nested_loops(3), None);
    set(&before);
    let failure = failure.expect_err("there is no room for a stack");
    assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
    eventually("no thread is left", || compiling().is_empty().then_some(()));
    engine.try_load("app/new/0", &nested_loops(3), None).unwrap();
    let echo = engine.load("app/echo/0", "echo");
    assert_eq!(engine.text(echo, "x"), "x");
}

/// Runs in a child process of the test below.
#[test]
#[ignore = "run by stack_sizes_do_not_depend_on_the_environment"]
fn with_small_stacks() {
    let run = || {
        let engine = Engine::bare();
        let echo = engine.load("app/echo/0", "echo");
        assert_eq!(engine.text(echo, "x"), "x");
        let requester = engine.load("app/requester/0", "requester");
        assert_eq!(engine.text(requester, "callbacks"), "[]");
    };
    // RUST_MIN_STACK also sets the stack of the test's own thread.
    let test = thread::Builder::new().stack_size(8 << 20).spawn(run).unwrap();
    test.join().unwrap();
}

#[test]
fn stack_sizes_do_not_depend_on_the_environment() {
    for bytes in ["16384", "65536", "131072"] {
        let test = std::env::current_exe().unwrap();
        let output = Command::new(test)
            .args(["--exact", "compiling::time_limit::with_small_stacks", "--ignored"])
            .env("RUST_MIN_STACK", bytes)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{bytes}: {output:?}");
    }
}
