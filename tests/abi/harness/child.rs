//! Processes of their own, and what is taken away from them.

use std::process::Command;

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, eventually};

/// Runs a part of a test, which is an ignored test, in a process of its own.
#[track_caller]
pub fn passes(part: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", part, "--ignored", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let ran = output.status.success() && text.contains("1 passed");
    assert!(ran, "{part}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// A limit of the process, taken back when it is dropped.
pub struct Limited {
    resource: libc::__rlimit_resource_t,
    before: libc::rlimit,
}

impl Limited {
    pub fn to(resource: libc::__rlimit_resource_t, value: u64) -> Self {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a live struct.
        assert_eq!(unsafe { libc::getrlimit(resource, &raw mut before) }, 0);
        let limit = libc::rlimit { rlim_cur: value.min(before.rlim_max), ..before };
        // SAFETY: a live struct.
        assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
        Self { resource, before }
    }

    /// So many threads more than there are; `become_somebody` comes first.
    pub fn to_more_threads(more: usize) -> Self {
        // Those of a load end after it.
        let compiling = || named("airssys-compile") + named("airssys-start");
        eventually("none ends any more", || (compiling() == 0).then_some(()));
        Self::to(libc::RLIMIT_NPROC, (threads().len() + more) as u64)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // SAFETY: a live struct.
        unsafe { libc::setrlimit(self.resource, &raw const self.before) };
    }
}

/// Has limits hold, which they do not for root, and the number of threads be this process's alone.
pub fn become_somebody() {
    // SAFETY: system calls without memory of ours.
    unsafe {
        if libc::geteuid() == 0 {
            let id = 200_000 + libc::getpid() as u32;
            assert_eq!(libc::setresgid(id, id, id), 0);
            assert_eq!(libc::setresuid(id, id, id), 0);
            // The files in /proc are this user's only then.
            assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1), 0);
        }
    }
}

/// The names of the threads of this process.
pub fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(task.ok()?.path().join("comm")).ok()?;
        Some(name.trim().to_owned())
    };
    tasks.filter_map(name).collect()
}

/// How many threads have names that begin so.
pub fn named(prefix: &str) -> usize {
    threads().iter().filter(|name| name.starts_with(prefix)).count()
}

/// Without the cache of other tests, which is not this user's.
pub fn config() -> Config {
    let messages = json!({ "send": "**", "request": "**", "broadcast": "**" });
    let granted = json!({ "messaging": messages, "storage": ["read", "write", "delete"] });
    Config::bare().with(&json!({ "capabilities": granted, "workers": 2 }).to_string())
}

#[track_caller]
pub fn assert_names_the_limit(failure: &crate::harness::engine::Failure) {
    assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
    assert_eq!(failure.detail["resource"], "threads", "{failure}");
    assert!(failure.message.contains("RLIMIT_NPROC (ulimit -u) is "), "{failure}");
    assert!(failure.message.contains("raise"), "{failure}");
}
