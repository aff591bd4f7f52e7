//! Threads that give way to all others.

use std::sync::{Mutex, MutexGuard, PoisonError};

use system::ThreadId;

/// The threads of one task, which share their priority.
#[derive(Debug, Default)]
pub struct Crew(Mutex<Members>);

#[derive(Debug, Default)]
struct Members {
    nice: Nice,
    threads: Vec<ThreadId>,
}

/// How far a thread stands back; a higher number gives way.
#[derive(Debug, Clone, Copy, Default)]
enum Nice {
    /// Somebody waits for its work, which is long.
    #[default]
    BehindCalls = 5,
    /// Nobody does.
    BehindAll = 19,
}

/// Has the calling thread give way to those that handle short calls.
pub fn stand_behind_calls() {
    system::set(system::current(), Nice::BehindCalls);
}

impl Crew {
    /// Adds the calling thread, at the priority that the crew has by now.
    pub fn join(&self) {
        let mut members = self.members();
        let thread = system::current();
        system::set(thread, members.nice);
        members.threads.push(thread);
    }

    /// Puts all threads of the crew, and those that join later, behind all others.
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

    /// Which thread of the system.
    #[derive(Debug, Clone, Copy)]
    pub struct ThreadId(i32);

    #[expect(unsafe_code, reason = "a system call")]
    pub fn current() -> ThreadId {
        // SAFETY: the call takes nothing and can not fail.
        ThreadId(unsafe { libc::gettid() })
    }

    #[expect(unsafe_code, reason = "a system call")]
    pub fn set(ThreadId(thread): ThreadId, nice: Nice) {
        // A thread that has ended is no thread any more, which the call reports; nothing is lost by that.
        // SAFETY: the call takes three numbers, and on Linux it changes the one thread that has this id.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, thread.cast_unsigned(), nice as i32) };
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::Nice;

    /// Threads of other systems keep their priority.
    #[derive(Debug, Clone, Copy)]
    pub struct ThreadId;

    pub fn current() -> ThreadId {
        ThreadId
    }

    pub fn set(_thread: ThreadId, _nice: Nice) {}
}
