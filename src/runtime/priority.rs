//! Thread priorities.

use std::sync::{Mutex, MutexGuard, PoisonError};

use system::ThreadId;

/// The threads of one task, which share a priority.
#[derive(Debug, Default)]
pub struct Crew(Mutex<Members>);

#[derive(Debug, Default)]
struct Members {
    nice: Nice,
    threads: Vec<ThreadId>,
}

/// A thread's nice value; higher values yield to lower ones.
#[derive(Debug, Clone, Copy, Default)]
enum Nice {
    /// Long work that a caller waits for.
    #[default]
    BehindCalls = 5,
    /// Work that no caller waits for.
    BehindAll = 19,
}

/// Lowers the calling thread below those that handle short calls.
pub fn stand_behind_calls() {
    system::set(system::current(), Nice::BehindCalls);
}

impl Crew {
    /// Adds the calling thread, at the crew's current priority.
    pub fn join(&self) {
        let mut members = self.members();
        let thread = system::current();
        system::set(thread, members.nice);
        members.threads.push(thread);
    }

    /// Lowers all threads of the crew, present and future, below all others.
    pub fn stand_last(&self) {
        let mut members = self.members();
        members.nice = Nice::BehindAll;
        members.threads.iter().for_each(|thread| system::set(*thread, members.nice));
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::Nice;

    /// A thread's id in the system.
    #[derive(Debug, Clone, Copy)]
    pub struct ThreadId(i32);

    #[expect(unsafe_code, reason = "a system call")]
    pub fn current() -> ThreadId {
        // SAFETY: the call takes no arguments and cannot fail.
        ThreadId(unsafe { libc::gettid() })
    }

    #[expect(unsafe_code, reason = "a system call")]
    pub fn set(ThreadId(thread): ThreadId, nice: Nice) {
        // Fails harmlessly for a thread that has ended.
        // SAFETY: the call takes three numbers; on Linux it affects only the thread with this id.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, thread.cast_unsigned(), nice as i32) };
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::Nice;

    /// Threads on other systems keep their priority.
    #[derive(Debug, Clone, Copy)]
    pub struct ThreadId;

    pub fn current() -> ThreadId {
        ThreadId
    }

    pub fn set(_thread: ThreadId, _nice: Nice) {}
}
