//! What the scheduler takes from Tokio and the system: where a simulation stands in for both.

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

/// Workers for tasks that take turns, threads behind them, and the time.
pub trait Platform: Clone + Send + Sync + 'static {
    /// What threads wait for.
    type Signal: Signal;

    /// A signal that nobody waits for yet.
    fn signal(&self) -> Self::Signal;

    /// Has the workers run `work`.
    fn spawn(&self, work: impl Future<Output: Send + 'static> + Send + 'static);

    /// Starts a thread behind the workers. Returns once it has all that it needs.
    fn start_thread(&self, run: impl FnOnce() + Send + 'static) -> io::Result<()>;

    /// The time now.
    fn now(&self) -> Instant;

    /// A thread is about to take a lock: another one may come before it.
    #[inline(always)]
    fn before_lock(&self) {}
}

/// A condition variable.
pub trait Signal: Send + Sync + 'static {
    /// Gives the lock away until the signal comes, or for so long; whether the time was over.
    fn wait<'a, T>(
        &self,
        held: MutexGuard<'a, T>,
        lock: impl FnOnce() -> MutexGuard<'a, T>,
        most: Duration,
    ) -> (MutexGuard<'a, T>, bool);

    /// For one that waits.
    fn notify_one(&self);

    /// For all that wait.
    fn notify_all(&self);
}

/// Tokio's workers, and threads of the system that are inside of their runtime: guests use its timers.
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
            // It is waited for.
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
