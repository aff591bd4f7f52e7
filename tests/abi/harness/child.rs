//! Child processes, and limits on them.

use std::process::Command;

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, eventually};

/// Runs `part`, an ignored test, in a child process.
#[track_caller]
pub fn passes(part: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", part, "--ignored", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let ran = output.status.success() && text.contains("1 passed");
    assert!(ran, "{part}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// A resource limit of this process, restored on drop.
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

    /// Allows `more` additional threads. Call `become_somebody` first.
    pub fn to_more_threads(more: usize) -> Self {
        // Compiler threads may outlive the load.
        let compiling = || named("airssys-compile") + named("airssys-start");
        eventually("the compiler threads have ended", || (compiling() == 0).then_some(()));
        Self::to(libc::RLIMIT_NPROC, (threads().len() + more) as u64)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // SAFETY: a live struct.
        unsafe { libc::setrlimit(self.resource, &raw const self.before) };
    }
}

/// Changes to a user that no other process has: root ignores limits, and RLIMIT_NPROC counts
/// threads per user.
pub fn become_somebody() {
    // SAFETY: system calls without memory of ours.
    unsafe {
        if libc::geteuid() == 0 {
            let id = 200_000 + libc::getpid() as u32;
            assert_eq!(libc::setresgid(id, id, id), 0);
            assert_eq!(libc::setresuid(id, id, id), 0);
            // Otherwise /proc/self belongs to root.
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

/// The number of threads whose names start with `prefix`.
pub fn named(prefix: &str) -> usize {
    threads().iter().filter(|name| name.starts_with(prefix)).count()
}

/// A configuration without the tests' shared cache, which belongs to another user.
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
