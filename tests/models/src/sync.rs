//! The primitives of `src/core/sync.rs`, made of loom's.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::LockResult;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub use loom::sync::atomic;

use loom::sync::atomic::{AtomicBool, Ordering};

/// Loom's lock. A guard knows its lock, so that [`Condvar::wait_timeout`] can release it.
#[derive(Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

pub struct MutexGuard<'a, T> {
    lock: &'a Mutex<T>,
    held: loom::sync::MutexGuard<'a, T>,
}

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let held = self.0.lock().expect("loom's locks are never poisoned");
        Ok(MutexGuard { lock: self, held })
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.held
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.held
    }
}

/// Loom's condition variable. In loom's own `wait_timeout` the time never passes.
#[derive(Default)]
pub struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let MutexGuard { lock, held } = guard;
        let held = self.0.wait(held).expect("loom's locks are never poisoned");
        Ok(MutexGuard { lock, held })
    }

    /// Releases the lock and takes it again: the time may pass before or after any step of another
    /// thread. It passes even if a signal comes first, and the caller must not care: it gets no
    /// answer.
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        let MutexGuard { lock, held } = guard;
        drop(held);
        Ok((lock.lock().expect("loom's locks are never poisoned"), ()))
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A cell that is set once. Loom has none. The flag makes loom switch threads around each use.
#[derive(Default)]
pub struct OnceLock<T> {
    is_set: AtomicBool,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub fn new() -> Self {
        Self { is_set: AtomicBool::new(false), value: std::sync::OnceLock::new() }
    }

    pub fn get(&self) -> Option<&T> {
        if self.is_set.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    pub fn set(&self, value: T) -> Result<(), T> {
        self.value.set(value)?;
        self.is_set.store(true, Ordering::Release);
        Ok(())
    }

    /// Two threads must not call this at once: both would initialize.
    pub fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        if self.get().is_none() {
            assert!(self.set(init()).is_ok(), "initialized twice");
        }
        self.value.get().expect("it is set")
    }
}

/// What the library uses of Tokio's `Notify`, which loom cannot look into: `notify_waiters` wakes
/// every future that `notified` made before, polled or not.
#[derive(Default)]
pub struct Notify(loom::sync::Mutex<Waiters>);

#[derive(Default)]
struct Waiters {
    /// The number of notifications.
    notified: u64,
    wakers: Vec<Waker>,
}

pub struct Notified<'a> {
    notify: &'a Notify,
    /// The number of notifications when the future was made.
    notified: u64,
}

impl Notify {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn notified(&self) -> Notified<'_> {
        Notified { notify: self, notified: self.waiters().notified }
    }

    pub fn notify_waiters(&self) {
        let mut waiters = self.waiters();
        waiters.notified += 1;
        let wakers = std::mem::take(&mut waiters.wakers);
        drop(waiters);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn waiters(&self) -> loom::sync::MutexGuard<'_, Waiters> {
        self.0.lock().expect("loom's locks are never poisoned")
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut waiters = self.notify.waiters();
        if waiters.notified != self.notified {
            return Poll::Ready(());
        }
        waiters.wakers.push(waker);
        Poll::Pending
    }
}
