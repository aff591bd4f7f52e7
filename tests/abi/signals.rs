//! Signal handlers that a host installs after the engine has installed its own.

use std::ffi::{c_int, c_void};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use airssys_wasm::*;

use crate::harness::child::{config, passes};
use crate::harness::engine::{Engine, eventually};

/// The exit code of the host's handler.
const REPORTED: c_int = 42;

static SEEN: AtomicUsize = AtomicUsize::new(0);

static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn report(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: a system call that does not return.
    unsafe { libc::_exit(REPORTED) }
}

/// Handles the signal once, like a handler that repairs the fault; then the default action applies.
extern "C" fn count(signal: c_int) {
    SEEN.fetch_add(1, Ordering::SeqCst);
    // SAFETY: a system call.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

fn take_over(handler: usize, flags: c_int) {
    for signal in [libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGBUS] {
        take(signal, handler, flags);
    }
}

fn take(signal: c_int, handler: usize, flags: c_int) {
    // SAFETY: all zeros is an action, and the handlers above do what handlers may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
    }
}

fn action(signal: c_int) -> libc::sigaction {
    // SAFETY: all zeros is an action, which the call writes over.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(signal, std::ptr::null(), &raw mut action), 0);
        action
    }
}

fn traps(engine: &Engine, handle: u64) {
    for (command, expected) in [("oob", "out of bounds"), ("unreachable", "unreachable")] {
        let failure = engine.failure(handle, command);
        assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{failure}");
        assert!(failure.message.contains(expected), "{failure}");
    }
}

/// Like Python's `faulthandler`: reports the fault and restores the previous handler.
extern "C" fn report_and_raise(signal: c_int) {
    SEEN.fetch_add(1, Ordering::SeqCst);
    let before = BEFORE.load(Ordering::SeqCst);
    // SAFETY: system calls, and an action that is never freed.
    unsafe {
        libc::sigaction(signal, before, std::ptr::null_mut());
        libc::raise(signal);
    }
}

#[test]
fn traps_never_reach_a_handler_installed_later() {
    passes("signals::handlers_are_installed_later");
    passes("signals::a_handler_is_installed_right_before_the_trap");
}

#[test]
#[ignore = "run by traps_never_reach_a_handler_installed_later"]
fn a_handler_is_installed_right_before_the_trap() {
    let engine = config().engine();
    let trapper = engine.load("app/trapper/0", "trapper");
    for (command, signal) in [("oob", libc::SIGSEGV), ("unreachable", libc::SIGILL)] {
        let before = Box::leak(Box::new(action(signal)));
        BEFORE.store(before, Ordering::SeqCst);
        let flags = libc::SA_NODEFER | libc::SA_ONSTACK;
        take(signal, (report_and_raise as *const ()).addr(), flags);
        assert_eq!(engine.failure(trapper, command).status, AIRSSYS_ERROR_TRAP);
    }
}

#[test]
#[ignore = "run by traps_never_reach_a_handler_installed_later"]
fn handlers_are_installed_later() {
    let engine = config().engine();
    let trapper = engine.load("app/trapper/0", "trapper");
    traps(&engine, trapper);
    for _ in 0..3 {
        take_over((report as *const ()).addr(), libc::SA_SIGINFO | libc::SA_ONSTACK);
        eventually("they are found", || {
            assert_eq!(engine.text(trapper, "ok"), "ok");
            (action(libc::SIGSEGV).sa_sigaction != (report as *const ()).addr()).then_some(())
        });
        traps(&engine, trapper);
        take_over(libc::SIG_DFL, 0);
        let other = config().engine();
        traps(&other, other.load("app/trapper/1", "trapper"));
        traps(&engine, trapper);
    }
}

/// Runs a part that must end with its own fault.
fn ending(part: &str) -> std::process::ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", part, "--ignored", "--nocapture"]).output().unwrap().status
}

fn fault() -> ! {
    // SAFETY: the fault is what is tested, and ends the process.
    unsafe { std::ptr::null_mut::<u8>().wrapping_add(8).write_volatile(1) };
    std::process::exit(1)
}

#[test]
fn faults_of_the_host_reach_its_latest_handler() {
    assert_eq!(ending("signals::faults_with_a_handler").code(), Some(REPORTED));
    let counted = ending("signals::faults_with_a_handler_that_passes_them_on");
    assert_eq!(counted.signal(), Some(libc::SIGSEGV));
    assert_eq!(ending("signals::faults_with_a_handler_from_before").code(), Some(REPORTED));
}

#[test]
#[ignore = "run by faults_of_the_host_reach_its_latest_handler"]
fn faults_with_a_handler() {
    let engine = config().engine();
    let trapper = engine.load("app/trapper/0", "trapper");
    take_over((report as *const ()).addr(), libc::SA_SIGINFO | libc::SA_ONSTACK);
    let _second = config().engine();
    traps(&engine, trapper);
    fault();
}

#[test]
#[ignore = "run by faults_of_the_host_reach_its_latest_handler"]
fn faults_with_a_handler_that_passes_them_on() {
    let engine = config().engine();
    let trapper = engine.load("app/trapper/0", "trapper");
    take_over((count as *const ()).addr(), libc::SA_ONSTACK);
    let _second = config().engine();
    traps(&engine, trapper);
    assert_eq!(SEEN.load(Ordering::SeqCst), 0);
    fault();
}

#[test]
#[ignore = "run by faults_of_the_host_reach_its_latest_handler"]
fn faults_with_a_handler_from_before() {
    take_over((report as *const ()).addr(), libc::SA_SIGINFO | libc::SA_ONSTACK);
    let engine = config().engine();
    let trapper = engine.load("app/trapper/0", "trapper");
    traps(&engine, trapper);
    fault();
}
