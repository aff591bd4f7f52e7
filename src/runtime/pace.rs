//! Whether a task's work is short or long, as it was so far.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use pin_project_lite::pin_project;

use crate::runtime::ticker::{AtomicMoment, Ticks};

/// What is known of a task's turns.
#[derive(Debug, Default)]
pub struct Pace {
    computes: AtomicBool,
    turn_began: AtomicMoment,
    /// The end of its last turn that was longer than a short slice.
    computed_until: AtomicMoment,
    /// Of a guest that has computed for a whole slice.
    due: Mutex<Option<Instant>>,
}

impl Pace {
    /// Whether its last turn was longer than a short slice.
    pub fn computes(&self) -> bool {
        self.computes.load(Ordering::Relaxed)
    }

    /// Whether it has not computed for as long as a long slice.
    pub fn has_rested(&self, ticks: &Ticks) -> bool {
        ticks.long_slice_is_over(self.computed_until.load())
    }

    /// Whether its turn has taken a short slice already.
    pub fn turn_is_over(&self, ticks: &Ticks) -> bool {
        ticks.short_slice_is_over(self.turn_began.load())
    }

    /// Asks for another turn by then.
    pub fn set_due(&self, at: Instant) {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// By when another turn was asked for.
    pub fn take_due(&self) -> Option<Instant> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).take()
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
        let computes = this.ticks.short_slice_is_over(began);
        if computes {
            this.pace.computed_until.store(this.ticks.now());
        }
        // Read by whom its wake-ups schedule, and rarely changed.
        if computes != this.pace.computes() {
            this.pace.computes.store(computes, Ordering::Relaxed);
        }
        polled
    }
}
