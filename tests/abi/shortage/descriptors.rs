//! Shortage of descriptors, and descriptors that a host closes.

use std::fs;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::child::{Limited, config, passes};
use crate::harness::engine::{Engine, Failure};

/// Opens descriptors until only `free` are left.
fn take_all_but(free: usize) -> Vec<File> {
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    taken.truncate(taken.len() - free);
    taken
}

fn load_with_directory(engine: &Engine, wasm: &[u8], path: &str) -> Result<u64, Failure> {
    let granted = json!({ "filesystem": { path: ["read", "write"] } });
    let options = json!({ "capabilities": granted }).to_string();
    engine.try_load("app/wasi/0", wasm, Some(&options))
}

#[test]
fn a_load_fails_without_a_descriptor_for_its_directory() {
    passes("shortage::descriptors::grants");
}

#[test]
#[ignore = "run by a_load_fails_without_a_descriptor_for_its_directory"]
fn grants() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().canonicalize().unwrap();
    let path = path.to_str().unwrap();
    fs::write(root.path().join("a"), "content").unwrap();
    let (engine, wasm) = (config().engine(), airssys_wasm_guests::bytes("wasi"));
    let load = || load_with_directory(&engine, &wasm, path);
    let read = |handle| engine.text(handle, &format!("read {path}/a"));
    let first = load().unwrap();
    assert_eq!(read(first), "content");
    let _limit = Limited::to(libc::RLIMIT_NOFILE, 64);
    let mut refused = 0;
    for free in 0..4 {
        let taken = take_all_but(free);
        let loaded = load();
        drop(taken);
        match loaded {
            Ok(handle) => assert_eq!(read(handle), "content", "{free}"),
            Err(failure) => {
                refused += 1;
                assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{free}: {failure}");
                assert_eq!(failure.detail["resource"], "descriptors", "{free}: {failure}");
                let named = failure.message.contains("RLIMIT_NOFILE (ulimit -n) is 64: raise it");
                assert!(named, "{free}: {failure}");
            }
        }
    }
    assert!((2..4).contains(&refused), "{refused}");
    assert_eq!(read(load().unwrap()), "content");
}

fn close_stderr() {
    // SAFETY: nothing in this process holds it open for longer.
    assert_eq!(unsafe { libc::close(2) }, 0);
}

fn open_at_2(path: &std::path::Path) -> OwnedFd {
    let file = OwnedFd::from(File::create(path).unwrap());
    if file.as_raw_fd() == 2 {
        return file;
    }
    // SAFETY: both are descriptors of this process.
    assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), 2) }, 2);
    // SAFETY: the call above has made it, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(2) }
}

#[test]
fn records_go_to_stderr_and_never_to_a_file_with_its_number() {
    passes("shortage::descriptors::logs_without_stderr");
    passes("shortage::descriptors::logs_to_the_first_stderr");
}

#[test]
#[ignore = "run by records_go_to_stderr_and_never_to_a_file_with_its_number"]
fn logs_without_stderr() {
    let directory = tempfile::tempdir().unwrap();
    close_stderr();
    // The engine starts without stderr. The next file that is opened gets its number.
    let engine = config().engine();
    let path = directory.path().join("file");
    let _file = open_at_2(&path);
    let chatty = engine.load("app/chatty/0", "chatty");
    assert_eq!(engine.text(chatty, "log error secret"), "ok");
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}

#[test]
#[ignore = "run by records_go_to_stderr_and_never_to_a_file_with_its_number"]
fn logs_to_the_first_stderr() {
    let directory = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| directory.path().join(name));
    close_stderr();
    let stderr = open_at_2(&first);
    let engine = config().engine();
    drop(stderr);
    let _other = open_at_2(&second);
    let chatty = engine.load("app/chatty/0", "chatty");
    assert_eq!(engine.text(chatty, "log error secret"), "ok");
    assert!(fs::read_to_string(&first).unwrap().contains("secret"));
    assert_eq!(fs::read_to_string(&second).unwrap(), "");
}

#[test]
fn a_broken_pipe_on_stderr_does_not_end_the_process() {
    passes("shortage::descriptors::logs_to_a_dead_pipe");
}

#[test]
#[ignore = "run by a_broken_pipe_on_stderr_does_not_end_the_process"]
fn logs_to_a_dead_pipe() {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, one of which takes the place of stderr.
    let mut reader = unsafe {
        // The default action, as in programs that are not written in Rust.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        assert_eq!(libc::dup2(ends[1], 2), 2);
        libc::close(ends[1]);
        File::from_raw_fd(ends[0])
    };
    let engine = config().engine();
    let chatty = engine.load("app/chatty/0", "chatty");
    assert_eq!(engine.text(chatty, "log error one"), "ok");
    let mut line = [0; 64];
    let len = reader.read(&mut line).unwrap();
    assert!(String::from_utf8_lossy(&line[..len]).contains("one"));
    drop(reader);
    // On this thread and on a thread of the library.
    assert_eq!(engine.text(chatty, "log error two"), "ok");
    engine.send(chatty, "log error three").unwrap();
    assert_eq!(engine.text(chatty, "log error four"), "ok");
    let mut mask = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: an output that is valid for writing, and read once it was written.
    unsafe {
        libc::sigpending(mask.as_mut_ptr());
        assert_eq!(libc::sigismember(mask.as_ptr(), libc::SIGPIPE), 0, "no SIGPIPE is pending");
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), mask.as_mut_ptr());
        assert_eq!(libc::sigismember(mask.as_ptr(), libc::SIGPIPE), 0, "it is not blocked");
    }
}
