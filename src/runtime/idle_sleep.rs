//! The sleep of the ticker's thread while no guest runs.

use std::sync::PoisonError;
use std::time::Duration;

use crate::core::sync::atomic::{AtomicU8, Ordering};
use crate::core::sync::{Condvar, Mutex, MutexGuard};

/// Pauses a thread, and lets it sleep when guests no longer run.
pub struct IdleSleep {
    /// The number of pauses without a guest before the thread sleeps.
    patience: u32,
    /// An [`Activity`]. Guests and the thread change it in single steps: either the thread sees the
    /// guest and stays awake, or the guest sees the sleeping thread and wakes it.
    activity: AtomicU8,
    thread: Mutex<Thread>,
    wake: Condvar,
}

#[repr(u8)]
enum Activity {
    /// No guest was announced since the last pause.
    Quiet,
    /// A guest was. One that computes is announced again and again, because ticks make it yield.
    Active,
    /// The thread sleeps, or is about to.
    Asleep,
}

#[derive(Default)]
struct Thread {
    /// The number of pauses since the last one with a guest.
    quiet_pauses: u32,
    /// Whether the thread has to end.
    ended: bool,
}

/// The result of [`IdleSleep::pause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// The time has passed.
    Over,
    /// The thread slept until a guest woke it.
    Slept,
    /// The thread has to end.
    Ended,
}

impl IdleSleep {
    /// Creates a sleep that begins after `patience` pauses without a guest.
    pub fn new(patience: u32) -> Self {
        Self {
            patience,
            activity: AtomicU8::new(Activity::Quiet as u8),
            thread: Mutex::new(Thread::default()),
            wake: Condvar::new(),
        }
    }

    /// Announces a guest that is about to run: the thread stays awake for the pause in progress and
    /// `patience` more. Calls `first` unless another guest was announced during this pause.
    #[inline]
    pub fn keep_awake(&self, first: impl FnOnce()) {
        // Nearly always a read of a value that rarely changes. An outdated value does no harm: it
        // is nanoseconds old, and a pause takes a millisecond.
        if self.activity.load(Ordering::Relaxed) != Activity::Active as u8 {
            self.activate(first);
        }
    }

    #[cold]
    fn activate(&self, first: impl FnOnce()) {
        first();
        if self.activity.swap(Activity::Active as u8, Ordering::SeqCst) == Activity::Asleep as u8 {
            // The thread holds the lock from its last look until it waits.
            drop(self.lock());
            self.wake.notify_one();
        }
    }

    /// Waits for `time`, or sleeps. Called by the thread.
    pub fn pause(&self, time: Duration) -> Pause {
        let mut thread = self.lock();
        if thread.quiet_pauses >= self.patience && self.fall_asleep() {
            while !thread.ended && self.is_asleep() {
                thread = self.wake.wait(thread).unwrap_or_else(PoisonError::into_inner);
            }
            return if thread.ended { Pause::Ended } else { Pause::Slept };
        }
        if !thread.ended {
            let waited = self.wake.wait_timeout(thread, time);
            thread = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let activity = self.activity.swap(Activity::Quiet as u8, Ordering::SeqCst);
        let was_active = activity == Activity::Active as u8;
        thread.quiet_pauses = if was_active { 0 } else { thread.quiet_pauses + 1 };
        if thread.ended { Pause::Ended } else { Pause::Over }
    }

    /// Enters the state `Asleep`, unless a guest is active.
    fn fall_asleep(&self) -> bool {
        let (from, to) = (Activity::Quiet as u8, Activity::Asleep as u8);
        self.activity.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn is_asleep(&self) -> bool {
        self.activity.load(Ordering::SeqCst) == Activity::Asleep as u8
    }

    /// Wakes the thread for its end.
    pub fn end(&self) {
        self.lock().ended = true;
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Thread> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
