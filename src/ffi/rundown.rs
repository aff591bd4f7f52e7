//! Counts the calls inside an object, so that it is freed after the last of them.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError};

use crate::core::sync::atomic::{AtomicUsize, Ordering};
use crate::core::sync::{Condvar, Mutex, MutexGuard};

/// Set in [`Rundown::inside`] once the object is being freed.
const CLOSING: usize = 1 << (usize::BITS - 1);

/// The rundown of one object `T`. It outlives the object, for calls that are just leaving.
pub struct Rundown<T> {
    /// The number of calls inside, and [`CLOSING`].
    inside: AtomicUsize,
    /// The object, dropped by the last call to leave if the freeing call could not wait.
    left_behind: Mutex<Option<Owned<T>>>,
    empty: Condvar,
}

impl<T> Default for Rundown<T> {
    fn default() -> Self {
        Self { inside: AtomicUsize::new(0), left_behind: Mutex::new(None), empty: Condvar::new() }
    }
}

/// An object to be dropped. A `Box` would claim exclusive use of it, also while calls are inside.
pub struct Owned<T>(NonNull<T>);

// SAFETY: as for a `Box`, which it replaces.
unsafe impl<T: Send> Send for Owned<T> {}

impl<T> Owned<T> {
    /// Wraps the object behind a raw pointer; `None` for NULL.
    ///
    /// # Safety
    ///
    /// `pointer` is NULL, or came from `Box::into_raw`; all other users are inside its rundown.
    pub unsafe fn new(pointer: *mut T) -> Option<Self> {
        NonNull::new(pointer).map(Self)
    }
}

impl<T> From<Box<T>> for Owned<T> {
    fn from(object: Box<T>) -> Self {
        Self(NonNull::from(Box::leak(object)))
    }
}

impl<T> Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: it lives until this is dropped, and calls inside have only shared references.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: it came from a `Box`, and the rundown drops it only when no call is inside.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// A call inside.
pub struct RundownGuard<'a, T>(&'a Arc<Rundown<T>>);

impl<T> Rundown<T> {
    /// Lets a call in. By the caller's contract, none enters while the object is being freed.
    pub fn protect(self: &Arc<Self>) -> RundownGuard<'_, T> {
        self.inside.fetch_add(1, Ordering::Acquire);
        RundownGuard(self)
    }

    /// Closes the rundown: from now on, calls that leave check whether they are the last.
    pub fn close(&self) {
        self.inside.fetch_or(CLOSING, Ordering::AcqRel);
    }

    /// Waits until a closed rundown is empty.
    pub fn wait_empty(&self) {
        let mut lock = self.lock();
        while self.inside.load(Ordering::Acquire) != CLOSING {
            lock = self.empty.wait(lock).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Drops `object` when a closed rundown is empty: now, or when the last call leaves.
    pub fn drop_when_empty(&self, object: impl Into<Owned<T>>) {
        let object = object.into();
        let mut left_behind = self.lock();
        if self.inside.load(Ordering::Acquire) != CLOSING {
            *left_behind = Some(object);
        } else {
            drop(left_behind);
            drop(object);
        }
    }

    fn release_closed(&self) {
        let mut left_behind = self.lock();
        let last = self.inside.fetch_sub(1, Ordering::AcqRel) == CLOSING + 1;
        let object = if last { left_behind.take() } else { None };
        drop(left_behind);
        if last {
            self.empty.notify_all();
        }
        drop(object);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Owned<T>>> {
        self.left_behind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for RundownGuard<'_, T> {
    fn drop(&mut self) {
        let rundown = self.0;
        let mut inside = rundown.inside.load(Ordering::Relaxed);
        while inside & CLOSING == 0 {
            // In one step, so that the object cannot be freed between the check and leaving.
            match rundown.inside.compare_exchange_weak(
                inside,
                inside - 1,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => inside = now,
            }
        }
        // The object, with its reference to the rundown, can be freed as soon as this call is out.
        let rundown = Arc::clone(rundown);
        rundown.release_closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Object(Arc<AtomicUsize>);

    impl Drop for Object {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_last_call_drops_the_object_if_the_freeing_call_cannot_wait() {
        let (rundown, drops) = (Arc::<Rundown<Object>>::default(), Arc::<AtomicUsize>::default());
        let (first, second) = (rundown.protect(), rundown.protect());
        rundown.close();
        rundown.drop_when_empty(Box::new(Object(Arc::clone(&drops))));
        drop(first);
        assert_eq!(drops.load(Ordering::SeqCst), 0);
        drop(second);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_empty_rundown_drops_at_once() {
        let (rundown, drops) = (Arc::<Rundown<Object>>::default(), Arc::<AtomicUsize>::default());
        drop(rundown.protect());
        rundown.close();
        rundown.wait_empty();
        rundown.drop_when_empty(Box::new(Object(Arc::clone(&drops))));
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn waiting_ends_after_all_calls_have_left() {
        for _ in 0..200 {
            let rundown = Arc::<Rundown<Object>>::default();
            let done = Arc::<AtomicUsize>::default();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    let inside = rundown.protect();
                    let done = &done;
                    scope.spawn(move || {
                        done.fetch_add(1, Ordering::SeqCst);
                        drop(inside);
                    });
                }
                rundown.close();
                rundown.wait_empty();
                assert_eq!(done.load(Ordering::SeqCst), 4);
            });
        }
    }
}
