//! Writes to a pipe without readers, without the signal that would end the process.

/// Runs `write` so that a broken pipe is only an error.
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

    /// Runs `write` so that a broken pipe is only an error: SIGPIPE goes to the writing thread,
    /// where it is blocked and then consumed. A signal already pending for the host stays pending.
    pub fn without_sigpipe<R>(write: impl FnOnce() -> R) -> R {
        let signal = only_sigpipe();
        let waited = is_waiting();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the set is initialized, and the output is valid for writing.
        let blocked = unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signal, before.as_mut_ptr())
        };
        let result = write();
        if blocked != 0 {
            return result;
        }
        if !waited && is_waiting() {
            let mut number = 0;
            // SAFETY: the signal is pending and blocked on this thread, so this returns at once.
            unsafe { libc::sigwait(&raw const signal, &raw mut number) };
        }
        // SAFETY: the call above wrote the mask.
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

    /// Returns whether SIGPIPE is pending, for this thread or the process.
    fn is_waiting() -> bool {
        let mut waiting = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the output is valid for writing and is read only after it is written.
        unsafe {
            libc::sigpending(waiting.as_mut_ptr()) == 0
                && libc::sigismember(waiting.as_ptr(), libc::SIGPIPE) == 1
        }
    }
}
