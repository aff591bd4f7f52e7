//! What the scheduler needs from Tokio and the system. A simulation replaces both.

use std::future::Future;
use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Condvar, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::runtime::priority;
use crate::runtime::threads::pool::STACK_BYTES;
use crate::runtime::threads::signal_stack;

/// Workers that run tasks in turns, threads behind the workers, and a clock.
pub trait Platform: Clone + Send + Sync + 'static {
    /// The condition variable that threads wait on.
    type Signal: Signal;

    fn signal(&self) -> Self::Signal;

    /// Runs `work` on the workers.
    fn spawn(&self, work: impl Future<Output: Send + 'static> + Send + 'static);

    /// Starts a thread behind the workers. Returns once the thread has allocated everything it
    /// needs.
    fn start_thread(&self, run: impl FnOnce() + Send + 'static) -> io::Result<()>;

    fn now(&self) -> Instant;

    /// Called before a thread takes a lock. A simulation lets another thread go first.
    #[inline(always)]
    fn before_lock(&self) {}
}

/// A condition variable.
pub trait Signal: Send + Sync + 'static {
    /// Releases the lock and waits for the signal, at most for `most`. Returns whether the wait
    /// timed out.
    fn wait<'a, T>(
        &self,
        held: MutexGuard<'a, T>,
        lock: impl FnOnce() -> MutexGuard<'a, T>,
        most: Duration,
    ) -> (MutexGuard<'a, T>, bool);

    /// Wakes one waiting thread.
    fn notify_one(&self);

    /// Wakes all waiting threads.
    fn notify_all(&self);
}

/// Tokio's workers, and system threads that enter their runtime because guests use its timers.
#[derive(Clone)]
pub struct Tokio(pub Handle);

impl Platform for Tokio {
    type Signal = Condvar;

    fn signal(&self) -> Condvar {
        Condvar::new()
    }

    #[inline]
    fn spawn(&self, work: impl Future<Output: Send + 'static> + Send + 'static) {
        self.0.spawn(work);
    }

    fn start_thread(&self, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let workers = self.0.clone();
        let (ready, is_ready) = sync_channel(1);
        let thread = Builder::new().name("airssys-compute".into()).stack_size(STACK_BYTES);
        thread.spawn(move || {
            let stack = signal_stack::ensure();
            let go = stack.is_ok();
            // The receiver waits, so the send succeeds.
            let _ = ready.send(stack);
            if go {
                priority::stand_behind_calls();
                let _workers = workers.enter();
                run();
            }
        })?;
        is_ready.recv().unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()))
    }

    #[inline]
    fn now(&self) -> Instant {
        Instant::now()
    }
}

impl Signal for Condvar {
    fn wait<'a, T>(
        &self,
        held: MutexGuard<'a, T>,
        _: impl FnOnce() -> MutexGuard<'a, T>,
        most: Duration,
    ) -> (MutexGuard<'a, T>, bool) {
        let waited = self.wait_timeout(held, most);
        let (held, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        (held, timeout.timed_out())
    }

    fn notify_one(&self) {
        self.notify_one();
    }

    fn notify_all(&self) {
        self.notify_all();
    }
}
