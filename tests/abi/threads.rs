//! Many threads, threads with small stacks, and forked processes.

use std::ffi::c_void;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, NO_BYTES, eventually};
use crate::harness::gates::Meeting;

const THREADS: usize = 8;
const ROUNDS: usize = 150;

/// The number of engine threads. nextest runs each test in its own process.
fn workers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("airssys-worker")).count()
}

#[test]
fn the_configured_number_of_workers_runs_from_the_first_load_to_the_free() {
    let config = Config::new().with(r#"{"workers": 3}"#);
    let engine = config.engine();
    assert_eq!(engine.stats()["components"], 0);
    assert_eq!(workers(), 0, "none before they are needed");
    let echo = engine.load("app/echo/0", "echo");
    assert_eq!(engine.text(echo, "x"), "x");
    eventually("they are there", || (workers() == 3).then_some(()));
    engine.free();
    eventually("they are gone", || (workers() == 0).then_some(()));
}

#[test]
fn eight_threads_call_one_component_and_no_call_is_lost() {
    let engine = Engine::new();
    let counter = engine.load("app/counter/0", "counter");
    let start = Barrier::new(THREADS);
    let mut seen: Vec<u64> = std::thread::scope(|scope| {
        let call = || {
            start.wait();
            (0..ROUNDS).map(|_| engine.text(counter, "inc").parse().unwrap()).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(call)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    seen.sort_unstable();
    assert!(seen.into_iter().eq(1..=(THREADS * ROUNDS) as u64), "each number once");
}

#[test]
fn eight_threads_use_separate_components_of_one_engine() {
    let engine = Engine::new();
    std::thread::scope(|scope| {
        for n in 0..THREADS {
            let engine = &engine;
            scope.spawn(move || {
                let id = format!("app/own/{n}");
                for round in 0..20 {
                    let handle = engine.load(&id, if n % 2 == 0 { "counter" } else { "echo" });
                    for _ in 0..5 {
                        engine.call(handle, "get").unwrap();
                    }
                    assert_eq!(engine.find(&id), Ok(handle), "round {round}");
                    engine.describe(handle).unwrap();
                    engine.unload(handle).unwrap();
                    assert!(engine.call(handle, "get").is_err());
                }
            });
        }
    });
    assert_eq!(engine.list(), json!([]));
    assert_eq!(engine.stats()["binaries"], 2);
}

#[test]
fn sends_of_every_thread_stay_in_order() {
    let options = r#"{"mailbox": {"capacity": 10000}}"#;
    let engine = Engine::new();
    let receiver = engine.load_with("app/r/0", "requester", options);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let engine = &engine;
            scope.spawn(move || {
                for n in 0..ROUNDS {
                    engine.send(receiver, format!("note {thread} {n}")).unwrap();
                }
            });
        }
    });
    let notes = engine.json(receiver, "received");
    let mut next = [0; THREADS];
    for note in notes.as_array().unwrap() {
        let (thread, n) = note.as_str().unwrap().split_once(' ').unwrap();
        let thread: usize = thread.parse().unwrap();
        assert_eq!(n.parse::<usize>().unwrap(), next[thread], "thread {thread}");
        next[thread] += 1;
    }
    assert_eq!(next, [ROUNDS; THREADS]);
}

#[test]
fn calls_that_race_with_an_unload_are_answered_or_not_found() {
    let engine = Engine::new();
    let answered = AtomicU64::new(0);
    for _ in 0..10 {
        let counter = engine.load("app/counter/0", "counter");
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for n in 0..THREADS {
                let (engine, start, answered) = (&engine, &start, &answered);
                scope.spawn(move || {
                    start.wait();
                    if n < 2 {
                        engine.unload(counter).unwrap();
                        return;
                    }
                    for _ in 0..20 {
                        match engine.call(counter, "inc") {
                            Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                            Err(failure) => {
                                assert_eq!(
                                    failure.status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND,
                                    "{failure}"
                                );
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(engine.stats()["components"], 0);
    }
    let echo = engine.load("app/echo/0", "echo");
    assert_eq!(engine.text(echo, "on"), "on");
}

#[test]
fn the_same_binary_loaded_by_eight_threads_at_once_is_compiled_once() {
    let engine = Engine::new();
    let start = Barrier::new(THREADS);
    let mut handles: Vec<u64> = std::thread::scope(|scope| {
        let load = || {
            start.wait();
            engine.load("app/counter/0", "counter")
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(load)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(engine.stats()["binaries"], 1);
    handles.sort_unstable();
    handles.dedup();
    assert_eq!(handles.len(), THREADS);
    for handle in handles {
        assert_eq!(engine.text(handle, "inc"), "1", "each has a memory of its own");
    }
}

#[test]
fn calls_of_two_threads_run_at_the_same_time() {
    let (config, meeting) = (Config::new(), Meeting::default());
    meeting.attach(&config);
    let engine = config.engine();
    std::thread::scope(|scope| {
        for n in 0..2 {
            let handle = engine.load(&format!("app/{n}/0"), "chatty");
            let engine = &engine;
            scope.spawn(move || engine.call(handle, "log info x"));
        }
        meeting.assert_met();
    });
}

#[test]
fn threads_may_create_engines_with_one_cache_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let cache = json!({ "cache-dir": dir.path().join("cache") }).to_string();
                let config = Config::bare().with(&cache);
                start.wait();
                for _ in 0..50 {
                    config.engine();
                }
                let engine = config.engine();
                let echo = engine.load("app/echo/0", "echo");
                assert_eq!(engine.text(echo, "x"), "x");
            });
        }
    });
}

struct SmallCall<'a> {
    engine: &'a Engine,
    /// 0: make no call.
    handle: u64,
    status: airssys_status_t,
}

extern "C" fn small_call(argument: *mut c_void) -> *mut c_void {
    // SAFETY: the argument of `on_small_stack`, which waits for this thread.
    let call = unsafe { &mut *argument.cast::<SmallCall<'_>>() };
    if call.handle != 0 {
        let mut reply = NO_BYTES;
        let (data, none, error) = (b"hello".as_ptr(), std::ptr::null(), std::ptr::null_mut());
        // SAFETY: a live engine, bytes, and an output that is valid for writing.
        unsafe {
            let (engine, out) = (call.engine.raw(), &raw mut reply);
            call.status = airssys_engine_call(engine, call.handle, data, 5, none, out, error);
            airssys_bytes_free(&raw mut reply);
        }
    }
    std::ptr::null_mut()
}

/// How many bytes of stack a thread with one call writes to.
fn stack_used(engine: &Engine, handle: u64) -> usize {
    const SIZE: usize = 512 * 1024;
    let mut call = SmallCall { engine, handle, status: AIRSSYS_OK };
    // SAFETY: a mapping of our own is the stack of a thread that is joined before it is read and
    // unmapped.
    let untouched = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let stack = libc::mmap(std::ptr::null_mut(), SIZE, access, flags, -1, 0);
        assert_ne!(stack, libc::MAP_FAILED);
        let mut attributes = std::mem::MaybeUninit::uninit();
        assert_eq!(libc::pthread_attr_init(attributes.as_mut_ptr()), 0);
        assert_eq!(libc::pthread_attr_setstack(attributes.as_mut_ptr(), stack, SIZE), 0);
        let mut thread = std::mem::MaybeUninit::uninit();
        let argument = (&raw mut call).cast();
        let made =
            libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), small_call, argument);
        assert_eq!(made, 0);
        assert_eq!(libc::pthread_join(thread.assume_init(), std::ptr::null_mut()), 0);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        let bytes = std::slice::from_raw_parts(stack.cast::<u8>(), SIZE);
        let untouched = bytes.iter().take_while(|byte| **byte == 0).count();
        libc::munmap(stack, SIZE);
        untouched
    };
    assert_eq!(call.status, AIRSSYS_OK);
    SIZE - untouched
}

#[test]
fn a_call_uses_no_more_stack_than_the_header_says() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    let nothing = stack_used(&engine, 0);
    let call = stack_used(&engine, echo);
    assert!(call > nothing, "the measurement sees the call");
    let needed = call - nothing;
    assert!(needed <= 64 * 1024, "{needed} bytes");
}

#[test]
fn a_forked_child_gets_an_error_and_may_create_its_own_engine() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    let wasm = airssys_wasm_guests::bytes("echo");
    // SAFETY: the child calls this library and `_exit`, and an alarm ends it if it hangs.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe { libc::alarm(60) };
        let forked = |status: airssys_status_t| status == AIRSSYS_ERROR_FORKED;
        let outcomes = [
            engine.call(echo, "x").map(drop),
            engine.send(echo, "x"),
            engine.find("app/echo/0").map(drop),
            engine.describe(echo).map(drop),
            engine.health(echo).map(drop),
            engine.unload(echo),
            engine.shutdown(10),
            engine.try_load("app/echo/1", &wasm, None).map(drop),
        ];
        let told = outcomes.iter().all(|o| o.as_ref().is_err_and(|f| forked(f.status)));
        engine.free();
        let own = Engine::new();
        let works = own
            .try_load("app/echo/0", &wasm, None)
            .and_then(|handle| own.call(handle, "child"))
            .is_ok_and(|reply| reply.as_deref() == Some(b"child"));
        // SAFETY: `_exit` runs none of the parent's exit handlers.
        unsafe { libc::_exit(if told && works { 42 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: a child of ours.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42, "{status:#x}");
    assert_eq!(engine.text(echo, "parent"), "parent");
}
