//! Tells from a task's past turns whether its work is short or long.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use pin_project_lite::pin_project;

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
    /// The deadline of a guest call that takes several turns.
    deadline: Mutex<Option<Instant>>,
    /// Whether the next turn must not wait behind the workers. Set and taken under the lock of
    /// the queue behind the workers, so that no task slips past.
    expedited: AtomicBool,
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

    /// Sets the deadline of a guest call; what expedited an earlier call has no effect on this one.
    pub fn begin_deadline(&self, at: Instant) {
        *self.lock_deadline() = Some(at);
        self.expedited.store(false, Ordering::Relaxed);
    }

    /// Marks the end of that guest call.
    pub fn end_deadline(&self) {
        *self.lock_deadline() = None;
    }

    /// Returns whether a guest call takes several turns.
    pub fn is_in_call(&self) -> bool {
        self.lock_deadline().is_some()
    }

    /// Returns the ticks of the guest's next slice: fewer than a long slice if its deadline comes
    /// earlier, or is not known yet.
    pub fn next_slice_ticks(&self) -> u64 {
        let Some(deadline) = *self.lock_deadline() else { return SHORT_SLICE_TICKS };
        let left = deadline.saturating_duration_since(Instant::now());
        let whole_ticks = left.as_nanos() / TICK.as_nanos();
        u64::try_from(whole_ticks).map_or(LONG_SLICE_TICKS, |whole| LONG_SLICE_TICKS.min(whole + 1))
    }

    /// Keeps the next turn from waiting behind the workers.
    pub(super) fn set_expedited(&self) {
        self.expedited.store(true, Ordering::Relaxed);
    }

    /// Returns whether the next turn must not wait behind the workers, once.
    pub(super) fn take_expedited(&self) -> bool {
        self.expedited.swap(false, Ordering::Relaxed)
    }

    fn lock_deadline(&self) -> MutexGuard<'_, Option<Instant>> {
        self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
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
