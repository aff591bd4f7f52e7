//! Tells from a task's past turns whether its work is short or long.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use pin_project_lite::pin_project;

use crate::core::interrupts::Seen;
use crate::runtime::ticker::{AtomicMoment, LONG_SLICE_TICKS, SHORT_SLICE_TICKS, TICK, Ticks};

/// Fuel below which a guest cannot have filled a slice: the system held up its thread. A slice has
/// room for ten times as much, except with the slowest instructions.
pub const SHORT_WORK_FUEL: u64 = 100_000;

/// The record of a task's turns.
#[derive(Debug, Default)]
pub struct Pace {
    computes: AtomicBool,
    /// Whether a guest did more than short work in this turn.
    worked: AtomicBool,
    turn_began: AtomicMoment,
    /// The end of the last turn longer than a short slice.
    computed_until: AtomicMoment,
    /// The guest call that takes several turns.
    call: Mutex<Option<CallTime>>,
    /// Whether that call is over, so that its next turn must not wait behind the workers. Set under
    /// the lock of `call`, and set and taken under that of the queue: no task slips past.
    expedited: AtomicBool,
}

/// What ends a guest call.
#[derive(Debug, Clone, Copy)]
pub struct CallTime {
    /// Its deadline.
    pub deadline: Instant,
    /// The interrupts before it.
    pub seen: Seen,
}

impl Pace {
    /// Returns whether the last turn was longer than a short slice and full of work.
    pub fn computes(&self) -> bool {
        self.computes.load(Ordering::Relaxed)
    }

    /// Returns whether the task has not computed for the length of a long slice.
    pub fn has_rested(&self, ticks: &Ticks) -> bool {
        ticks.long_slice_is_over(self.computed_until.load())
    }

    /// Records the fuel that a guest used in this turn.
    pub fn note_work(&self, fuel: u64) {
        if fuel >= SHORT_WORK_FUEL {
            self.worked.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether the current turn has used up a short slice.
    pub fn turn_is_over(&self, ticks: &Ticks) -> bool {
        ticks.short_slice_is_over(self.turn_began.load())
    }

    /// Marks the start of a guest call that takes several turns.
    pub fn begin_call(&self, call: CallTime) {
        self.set_call(Some(call));
    }

    /// Marks the end of that call.
    pub fn end_call(&self) {
        self.set_call(None);
    }

    fn set_call(&self, new: Option<CallTime>) {
        let mut call = self.lock_call();
        *call = new;
        self.expedited.store(false, Ordering::Relaxed);
    }

    /// Returns whether a guest call takes several turns.
    pub fn is_in_call(&self) -> bool {
        self.lock_call().is_some()
    }

    /// Returns the ticks of the guest's next slice: fewer than a long slice if its deadline comes
    /// earlier, or is not known yet.
    pub fn next_slice_ticks(&self) -> u64 {
        let Some(CallTime { deadline, .. }) = *self.lock_call() else { return SHORT_SLICE_TICKS };
        let left = deadline.saturating_duration_since(Instant::now());
        let whole_ticks = left.as_nanos() / TICK.as_nanos();
        u64::try_from(whole_ticks).unwrap_or(u64::MAX).clamp(1, LONG_SLICE_TICKS)
    }

    /// Keeps the next turn of a call from waiting behind the workers if `is_over`; returns whether.
    pub(super) fn expedite_if(&self, is_over: impl FnOnce(CallTime) -> bool) -> bool {
        let call = self.lock_call();
        let over = call.is_some_and(is_over);
        if over {
            self.expedited.store(true, Ordering::Relaxed);
        }
        over
    }

    /// Returns whether the next turn must not wait behind the workers, once.
    pub(super) fn take_expedited(&self) -> bool {
        self.expedited.swap(false, Ordering::Relaxed)
    }

    fn lock_call(&self) -> MutexGuard<'_, Option<CallTime>> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pin_project! {
    /// Work whose turns are measured.
    pub struct Paced<F> {
        #[pin]
        work: F,
        pace: Arc<Pace>,
        ticks: Ticks,
    }
}

impl<F> Paced<F> {
    /// Measures the turns of `work` for `pace`.
    pub fn new(work: F, pace: Arc<Pace>, ticks: Ticks) -> Self {
        Self { work, pace, ticks }
    }
}

impl<F: Future> Future for Paced<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let began = this.ticks.now();
        this.pace.turn_began.store(began);
        let polled = this.work.poll(cx);
        let worked = this.pace.worked.load(Ordering::Relaxed);
        if worked {
            this.pace.worked.store(false, Ordering::Relaxed);
        }
        let computes = worked && this.ticks.short_slice_is_over(began);
        if computes {
            this.pace.computed_until.store(this.ticks.now());
        }
        // Other threads read it with each wake-up; it rarely changes.
        if computes != this.pace.computes() {
            this.pace.computes.store(computes, Ordering::Relaxed);
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_not_longer_than_the_time_left() {
        let pace = Pace::default();
        assert_eq!(pace.next_slice_ticks(), SHORT_SLICE_TICKS, "the deadline is not known yet");
        let call = |left| CallTime { deadline: Instant::now() + left, seen: Seen(0) };
        for (left, most) in [(TICK * 1000, LONG_SLICE_TICKS), (TICK * 3, 3), (TICK / 2, 1)] {
            pace.begin_call(call(left));
            assert!((1..=most).contains(&pace.next_slice_ticks()), "{left:?}");
        }
        pace.begin_call(call(TICK * 1000));
        assert_eq!(pace.next_slice_ticks(), LONG_SLICE_TICKS);
        pace.end_call();
        assert_eq!(pace.next_slice_ticks(), SHORT_SLICE_TICKS);
    }
}
