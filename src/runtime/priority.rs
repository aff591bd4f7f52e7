//! Threads that give way to all others.

/// Which thread of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadId(i32);

#[cfg(target_os = "linux")]
mod system {
    use super::ThreadId;

    /// How far a thread stands back that compiles for somebody who waits.
    const BEHIND_CALLS: i32 = 5;

    /// How far one stands back for whom nobody waits.
    const BEHIND_ALL: i32 = 19;

    /// Has the calling thread give way to those that run components.
    pub fn stand_back() -> ThreadId {
        let thread = current();
        set(thread, BEHIND_CALLS);
        thread
    }

    /// Has a thread give way to all others.
    pub fn stand_last(thread: ThreadId) {
        set(thread, BEHIND_ALL);
    }

    #[expect(unsafe_code, reason = "a system call")]
    fn current() -> ThreadId {
        // SAFETY: the call takes nothing and can not fail.
        ThreadId(unsafe { libc::gettid() })
    }

    #[expect(unsafe_code, reason = "a system call")]
    fn set(ThreadId(thread): ThreadId, nice: i32) {
        // A thread that has ended is no thread any more, which the call reports; nothing is lost by that.
        // SAFETY: the call takes three numbers, and on Linux it changes the one thread that has this id.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, thread.cast_unsigned(), nice) };
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::ThreadId;

    /// Has the calling thread give way to those that run components, where the system can.
    pub fn stand_back() -> ThreadId {
        ThreadId(0)
    }

    /// Has a thread give way to all others, where the system can.
    pub fn stand_last(_thread: ThreadId) {}
}

pub use system::{stand_back, stand_last};
