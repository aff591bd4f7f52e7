//! Writing to what may be a pipe that nobody reads, without the signal that ends the process.

/// Has a write to such a pipe be an error and nothing else.
#[cfg(not(unix))]
pub fn without_sigpipe<R>(write: impl FnOnce() -> R) -> R {
    write()
}

#[cfg(unix)]
pub use unix::without_sigpipe;

#[cfg(unix)]
#[expect(unsafe_code, reason = "signal masks are a matter of system calls")]
mod unix {
    use std::mem::MaybeUninit;
    use std::ptr;

    /// Has a write to such a pipe be an error and nothing else: the signal goes to the thread that writes, on
    /// which it is held back and then taken. One that the host has waiting stays.
    pub fn without_sigpipe<R>(write: impl FnOnce() -> R) -> R {
        let signal = only_sigpipe();
        let waited = is_waiting();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: a set that was initialized, and an output that is valid for writing.
        let blocked = unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signal, before.as_mut_ptr())
        };
        let result = write();
        if blocked != 0 {
            return result;
        }
        if !waited && is_waiting() {
            let mut number = 0;
            // SAFETY: the signal waits for this thread, where it is blocked, so that this returns at once.
            unsafe { libc::sigwait(&raw const signal, &raw mut number) };
        }
        // SAFETY: the call above has written the mask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
        result
    }

    fn only_sigpipe() -> libc::sigset_t {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the first call initializes the set.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE);
            set.assume_init()
        }
    }

    /// Whether the signal waits, for this thread or for the process.
    fn is_waiting() -> bool {
        let mut waiting = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: an output that is valid for writing, and read only once it was written.
        unsafe {
            libc::sigpending(waiting.as_mut_ptr()) == 0
                && libc::sigismember(waiting.as_ptr(), libc::SIGPIPE) == 1
        }
    }
}
