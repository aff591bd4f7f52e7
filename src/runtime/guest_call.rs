//! Drives one guest call to completion: its host jobs, its waits and its time limit.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use crate::core::deadline::deadline_in;
use crate::core::interrupts::Seen;
use crate::runtime::call_end::{EndOfCall, Interrupted, Timers};
use crate::runtime::off_fiber::{OffFiber, may_block};
use crate::runtime::signals;
use crate::runtime::threads::job::{self, NotRun, Running};
use crate::runtime::ticker::{AtomicMoment, Moment, TICK, Ticker, Ticks};

pin_project! {
    /// A guest call and everything needed to complete it.
    ///
    /// Polls the call, and between polls runs the host jobs that it left. A guest yields at every
    /// epoch tick, so its time limit is noticed during computation as well as during waits. Clock
    /// and timer are used only for calls longer than their first turn, which is at most one tick. A
    /// host job is never cut short: its time counts once it is over.
    #[must_use = "futures do nothing unless polled"]
    pub struct GuestCall<'a, F: Future> {
        #[pin]
        call: F,
        output: Option<F::Output>,
        ticker: &'a Ticker,
        off_fiber: &'a OffFiber,
        timers: &'a Timers,
        deadline: Deadline,
        seen: Seen,
        progress: Option<&'a Progress>,
        jobs: Option<Running<()>>,
        end: Option<EndOfCall>,
    }
}

impl<'a, F: Future> GuestCall<'a, F> {
    /// Drives `call` for at most `limit`. `ticker` makes the guest yield.
    #[inline(always)]
    pub fn new(
        call: F,
        ticker: &'a Ticker,
        off_fiber: &'a OffFiber,
        limit: Duration,
        timers: &'a Timers,
    ) -> Self {
        Self {
            call,
            output: None,
            ticker,
            off_fiber,
            timers,
            deadline: Deadline::new(limit, ticker.ticks().now()),
            seen: timers.interrupts().seen(),
            progress: None,
            jobs: None,
            end: None,
        }
    }

    /// Configures a call that handles message after message, each with the full time limit.
    #[inline(always)]
    pub fn renewed_by(self, progress: &'a Progress) -> Self {
        Self { progress: Some(progress), ..self }
    }
}

/// The progress of a call that handles message after message. The guest's thread and the polling
/// thread take turns, so relaxed ordering suffices.
#[derive(Default)]
pub struct Progress {
    waiting: AtomicBool,
    renewed: AtomicBool,
    /// The start of the message in progress, and the interrupts seen at it.
    began: AtomicMoment,
    seen: AtomicU64,
}

impl Progress {
    /// Marks the start of another message.
    pub fn renew(&self, began: Moment, Seen(interrupts): Seen) {
        self.began.store(began);
        self.seen.store(interrupts, Ordering::Relaxed);
        self.renewed.store(true, Ordering::Relaxed);
    }

    /// Marks whether the call waits for a message; such time is not counted.
    pub fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    fn take_renewed(&self) -> Option<(Moment, Seen)> {
        let renewed = self.renewed.load(Ordering::Relaxed);
        if renewed {
            self.renewed.store(false, Ordering::Relaxed);
        }
        renewed.then(|| (self.began.load(), Seen(self.seen.load(Ordering::Relaxed))))
    }
}

impl<F: Future> Future for GuestCall<'_, F> {
    type Output = Result<F::Output, Interrupted>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        this.ticker.keep_awake();
        let ticks = this.ticker.ticks();
        let mut turn = None;
        loop {
            if let Some(running) = this.jobs {
                let ended = match Pin::new(&mut *running).poll(cx) {
                    Poll::Ready(ended) => ended,
                    // A job that has not started can be withdrawn in time.
                    Poll::Pending if running.has_to_wait() && this.output.is_none() => {
                        let (timers, deadline) = (*this.timers, this.deadline.get(ticks));
                        let end = this
                            .end
                            .get_or_insert_with(|| timers.end_of_call(deadline, *this.seen));
                        let interrupted = ready!(Pin::new(end).poll(cx));
                        if running.withdraw() {
                            return Poll::Ready(Err(interrupted));
                        }
                        *this.end = None;
                        return Poll::Pending;
                    }
                    Poll::Pending => return Poll::Pending,
                };
                *this.jobs = None;
                match ended {
                    Err(NotRun) => return Poll::Ready(Err(Interrupted::Stopping)),
                    Ok(()) if this.output.is_none() => {
                        this.timers.check(this.deadline.get(ticks), *this.seen)?
                    }
                    Ok(()) => {}
                }
            }
            // A guest whose time is over gets no further turn.
            if this.output.is_none() && this.end.is_some() {
                this.timers.check(this.deadline.get(ticks), *this.seen)?;
            }
            if this.output.is_none()
                && let Poll::Ready(value) = signals::in_guest(|| this.call.as_mut().poll(cx))
            {
                *this.end = None;
                // A call that renews its time checks the time itself.
                if this.progress.is_none() && this.deadline.has_passed(ticks) {
                    return Poll::Ready(Err(Interrupted::DeadlinePassed));
                }
                if !this.off_fiber.has_jobs() {
                    return Poll::Ready(Ok(value));
                }
                *this.output = Some(value);
            }
            let mut waiting = false;
            if let Some(progress) = this.progress {
                if let Some((began, seen)) = progress.take_renewed() {
                    this.deadline.restart(began);
                    *this.seen = seen;
                    *this.end = None;
                }
                waiting = progress.is_waiting();
                if waiting {
                    *this.end = None;
                }
            }
            if this.off_fiber.has_jobs() {
                this.deadline.get(ticks);
                if may_block() {
                    let began = *turn.get_or_insert_with(Instant::now);
                    this.off_fiber.run_jobs();
                    if this.output.is_none() {
                        this.timers.check(this.deadline.get(ticks), *this.seen)?;
                        if began.elapsed() > TICK {
                            // The poller may have other things to check.
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                    }
                } else {
                    let off_fiber = this.off_fiber.clone();
                    let run = move || off_fiber.run_jobs();
                    match job::run(this.off_fiber.threads(), run) {
                        Ok(running) => *this.jobs = Some(running),
                        Err(_) => return Poll::Ready(Err(Interrupted::Stopping)),
                    }
                }
                continue;
            }
            if let Some(output) = this.output.take() {
                return Poll::Ready(Ok(output));
            }
            if waiting {
                return Poll::Pending;
            }
            let deadline = this.deadline.get(ticks);
            this.timers.check(deadline, *this.seen)?;
            let (timers, seen) = (this.timers, *this.seen);
            let end = this.end.get_or_insert_with(|| timers.end_of_call(deadline, seen));
            return Pin::new(end).poll(cx).map(Err);
        }
    }
}

/// Runs host jobs that no guest call left. If all threads of the pool are busy, leaves the jobs to
/// the pool: whoever waits for the component may be in one of those threads. A stopping engine
/// drops them.
pub async fn run_host_jobs(off_fiber: &OffFiber) {
    if !off_fiber.has_jobs() {
        return;
    }
    if may_block() {
        return off_fiber.run_jobs();
    }
    let own = off_fiber.clone();
    match job::run(off_fiber.threads(), move || own.run_jobs()) {
        Ok(running) if running.has_to_wait() => running.detach(),
        Ok(running) => _ = running.await,
        Err(_) => {}
    }
}

/// The deadline of a call. The clock is read only once it is asked for.
pub struct Deadline {
    limit: Duration,
    began: Moment,
    at: Option<Instant>,
}

impl Deadline {
    /// Creates a deadline `limit` after `began`.
    pub fn new(limit: Duration, began: Moment) -> Self {
        Self { limit, began, at: None }
    }

    /// Grants the full time once more, from `began`.
    pub fn restart(&mut self, began: Moment) {
        *self = Self::new(self.limit, began);
    }

    /// Returns whether a finished call took too long. Its last step may have been one long
    /// instruction, during which no one checks the time.
    pub fn has_passed(&self, ticks: &Ticks) -> bool {
        match self.at {
            Some(at) => Instant::now() >= at,
            None => ticks.have_passed(self.began, self.limit),
        }
    }

    /// Returns the deadline, to a tick and never too early.
    pub fn get(&mut self, ticks: &Ticks) -> Instant {
        let left = || self.limit.saturating_sub(ticks.whole_since(self.began));
        *self.at.get_or_insert_with(|| deadline_in(left()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_counts_from_the_start_of_the_call() {
        let ticks = Ticks::default();
        let began = ticks.now();
        ticks.advance(5);
        let mut deadline = Deadline::new(10 * TICK, began);
        let before = Instant::now();
        let at = deadline.get(&ticks);
        // The first tick may have come right after the start.
        assert!(at >= before + 6 * TICK && at <= Instant::now() + 6 * TICK);
        ticks.advance(100);
        assert_eq!(deadline.get(&ticks), at, "asked for once, it stays");
        assert!(Deadline::new(10 * TICK, began).get(&ticks) <= Instant::now(), "it has passed");
        deadline.restart(ticks.now());
        assert!(deadline.get(&ticks) > at);
    }
}
