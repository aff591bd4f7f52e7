//! Detects that a process is a child of the one that made an engine.
//!
//! A fork copies one thread and all locks. In the child, the engine's workers are gone and its
//! locks may be held forever. A counter of forks costs nothing per call; asking for the process id
//! would be a system call.

use std::sync::atomic::{AtomicU64, Ordering};

use once_cell::sync::Lazy;

static FORKS: AtomicU64 = AtomicU64::new(0);

#[cfg(unix)]
static WATCH: Lazy<()> = Lazy::new(|| {
    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler only adds to an atomic, which is allowed in the child of a process with
    // several threads. An engine works without the handler, so a failure is ignored.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
});

#[cfg(not(unix))]
static WATCH: Lazy<()> = Lazy::new(|| ());

/// Returns the number of forks between the first process with an engine and this one.
pub fn generation() -> u64 {
    Lazy::force(&WATCH);
    FORKS.load(Ordering::Relaxed)
}
