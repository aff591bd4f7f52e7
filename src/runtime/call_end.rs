//! Timers on an engine's workers, and the signal that the engine stops.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::core::interrupts::{Interrupts, Seen};
use crate::runtime::pace::{CallTime, Pace};
use crate::runtime::scheduler::Scheduler;

/// Notifies guest calls in progress that their engine stops.
#[derive(Default)]
pub struct StopSignal {
    given: AtomicBool,
    wake: Notify,
}

impl StopSignal {
    /// Signals the stop: every guest call ends at its next turn.
    pub fn give(&self) {
        self.given.store(true, Ordering::SeqCst);
        self.wake.notify_waiters();
    }

    /// Returns whether the signal was given.
    pub fn is_given(&self) -> bool {
        self.given.load(Ordering::SeqCst)
    }
}

/// Why a guest call was cut short. The guest was unwound; its store is unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Interrupted {
    /// It reached its deadline.
    #[error("its time limit has passed")]
    DeadlinePassed,
    /// The host interrupted it.
    #[error("the host interrupted it")]
    ByHost,
    /// The engine stops.
    #[error("the engine stops")]
    Stopping,
}

/// The wait for what ends a guest call. The task that polls it then gets its turn before others that
/// compute.
pub struct EndOfCall {
    wait: Pin<Box<dyn Future<Output = Interrupted> + Send>>,
    timers: Timers,
    /// The waker of the task, and the one made of it.
    wakers: Option<(Waker, Waker)>,
}

impl Future for EndOfCall {
    type Output = Interrupted;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Interrupted> {
        let Self { wait, timers, wakers } = &mut *self;
        let (_, expediting) = match wakers.take() {
            Some(made) if made.0.will_wake(cx.waker()) => wakers.insert(made),
            _ => {
                let task = cx.waker().clone();
                let expedite = Expedite { timers: timers.clone(), task: task.clone() };
                wakers.insert((task, Arc::new(expedite).into()))
            }
        };
        wait.as_mut().poll(&mut Context::from_waker(expediting))
    }
}

impl Drop for EndOfCall {
    fn drop(&mut self) {
        self.timers.pace.end_call();
    }
}

/// Wakes a task, wherever it waits for its turn.
struct Expedite {
    timers: Timers,
    task: Waker,
}

impl Wake for Expedite {
    fn wake(self: Arc<Self>) {
        let Timers { scheduler, pace, interrupts, stop, .. } = &self.timers;
        expedite(scheduler, pace, interrupts, stop);
        self.task.wake_by_ref();
    }
}

/// Waits of guests. A stopping engine allows no waits: if a host callback outlasts the workers, its
/// guest's timer no longer has a driver.
#[derive(Clone)]
pub struct Timers {
    scheduler: Scheduler,
    pace: Arc<Pace>,
    interrupts: Arc<Interrupts>,
    /// Notified of each interrupt.
    interrupted: Arc<Notify>,
    stop: Arc<StopSignal>,
}

impl Timers {
    /// Creates the timers of a component on these workers, until `stop` is given.
    pub fn new(scheduler: Scheduler, interrupts: Arc<Interrupts>, stop: Arc<StopSignal>) -> Self {
        let (pace, interrupted) = (Arc::<Pace>::default(), Arc::<Notify>::default());
        interrupts.tell({
            let (scheduler, pace) = (scheduler.clone(), Arc::clone(&pace));
            let (interrupted, stop) = (Arc::clone(&interrupted), Arc::clone(&stop));
            move |interrupts| {
                interrupted.notify_waiters();
                // An interrupted component must not queue behind others that compute.
                expedite(&scheduler, &pace, interrupts, &stop);
            }
        });
        Self { scheduler, pace, interrupts, interrupted, stop }
    }

    /// Returns the workers.
    pub fn workers(&self) -> &Handle {
        self.scheduler.workers()
    }

    /// Runs `work` of the component on the workers.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.scheduler.spawn(Arc::clone(&self.pace), work);
    }

    /// Returns the pace of the component.
    pub fn pace(&self) -> &Arc<Pace> {
        &self.pace
    }

    /// Returns whether the engine stops.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_given()
    }

    /// Returns the interrupts of the component.
    pub fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    /// Checks that a guest call may continue.
    pub fn check(&self, deadline: Instant, seen: Seen) -> Result<(), Interrupted> {
        check(CallTime { deadline, seen }, &self.interrupts, &self.stop)
    }

    /// Returns a timer that can be polled on any thread; `None` if the engine stops.
    pub fn sleep_until(&self, deadline: Instant) -> Option<Sleep> {
        if self.stop.is_given() {
            return None;
        }
        let _workers = self.workers().enter();
        Some(tokio::time::sleep_until(deadline.into()))
    }

    /// Waits for what ends a guest call that takes several turns: the deadline, the stop of the
    /// engine, or the next interrupt after `seen`.
    pub fn end_of_call(&self, deadline: Instant, seen: Seen) -> EndOfCall {
        self.pace.begin_call(CallTime { deadline, seen });
        let wait = Box::pin(self.interruption(deadline, Some(seen)));
        EndOfCall { wait, timers: self.clone(), wakers: None }
    }

    /// Waits for the first of: the deadline, the stop of the engine, and, given `seen`, the next
    /// interrupt after it. Can be polled on any thread.
    pub fn interruption(
        &self,
        deadline: Instant,
        seen: Option<Seen>,
    ) -> impl Future<Output = Interrupted> + Send + 'static {
        let (sleep, stop) = (self.sleep_until(deadline), Arc::clone(&self.stop));
        let (interrupts, next) = (Arc::clone(&self.interrupts), Arc::clone(&self.interrupted));
        async move {
            let Some(sleep) = sleep else { return Interrupted::Stopping };
            let (mut sleep, mut stopped) = (pin!(sleep), pin!(stop.wake.notified()));
            let mut interrupted = pin!(next.notified());
            // Listen before checking, or a signal between the two would be missed.
            stopped.as_mut().enable();
            interrupted.as_mut().enable();
            if stop.is_given() {
                return Interrupted::Stopping;
            }
            if seen.is_some_and(|seen| interrupts.since(seen)) {
                return Interrupted::ByHost;
            }
            poll_fn(|cx| {
                if stopped.as_mut().poll(cx).is_ready() {
                    Poll::Ready(Interrupted::Stopping)
                } else if seen.is_some() && interrupted.as_mut().poll(cx).is_ready() {
                    Poll::Ready(Interrupted::ByHost)
                } else {
                    sleep.as_mut().poll(cx).map(|()| Interrupted::DeadlinePassed)
                }
            })
            .await
        }
    }
}

fn check(call: CallTime, interrupts: &Interrupts, stop: &StopSignal) -> Result<(), Interrupted> {
    if stop.is_given() {
        Err(Interrupted::Stopping)
    } else if interrupts.since(call.seen) {
        Err(Interrupted::ByHost)
    } else if Instant::now() >= call.deadline {
        Err(Interrupted::DeadlinePassed)
    } else {
        Ok(())
    }
}

/// Gets a task its turn before others that compute, if its guest's call must end.
fn expedite(scheduler: &Scheduler, pace: &Arc<Pace>, interrupts: &Interrupts, stop: &StopSignal) {
    scheduler.expedite(pace, |call| check(call, interrupts, stop).is_err());
}
