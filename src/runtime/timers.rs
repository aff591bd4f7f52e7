//! Timers of an engine's workers, and the news that the engine stops.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Sleep;

/// Tells guest calls under way that their engine stops.
#[derive(Default)]
pub struct StopSignal {
    given: AtomicBool,
    wake: Notify,
}

impl StopSignal {
    /// From now on every guest call ends at its next turn.
    pub fn give(&self) {
        self.given.store(true, Ordering::SeqCst);
        self.wake.notify_waiters();
    }

    /// Whether it was given.
    pub fn is_given(&self) -> bool {
        self.given.load(Ordering::SeqCst)
    }
}

/// Why a guest call did not come to its end. The guest was unwound, its store can not be used
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Interrupted {
    /// It took until its deadline.
    #[error("its time is over")]
    DeadlinePassed,
    /// The engine stops.
    #[error("the engine stops")]
    Stopping,
}

/// Where guests wait. Once the engine stops there is no waiting any more: a guest whose host
/// callback has outlasted the workers would find its timer's driver gone.
#[derive(Clone)]
pub struct Timers {
    workers: Handle,
    stop: Arc<StopSignal>,
}

impl Timers {
    /// Timers of these workers, until `stop` is given.
    pub fn new(workers: Handle, stop: Arc<StopSignal>) -> Self {
        Self { workers, stop }
    }

    /// The workers themselves.
    pub fn workers(&self) -> &Handle {
        &self.workers
    }

    /// Whether the engine stops.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_given()
    }

    /// Whether a guest call may go on now.
    pub fn check(&self, deadline: Instant) -> Result<(), Interrupted> {
        if self.stop.is_given() {
            Err(Interrupted::Stopping)
        } else if Instant::now() >= deadline {
            Err(Interrupted::DeadlinePassed)
        } else {
            Ok(())
        }
    }

    /// A timer that can be polled on any thread; `None` if the engine stops.
    pub fn sleep_until(&self, deadline: Instant) -> Option<Sleep> {
        if self.stop.is_given() {
            return None;
        }
        let _workers = self.workers.enter();
        Some(tokio::time::sleep_until(deadline.into()))
    }

    /// Waits for the end of a guest call that waits itself. Can be polled on any thread.
    pub fn interruption(
        &self,
        deadline: Instant,
    ) -> impl Future<Output = Interrupted> + Send + 'static {
        let (sleep, stop) = (self.sleep_until(deadline), Arc::clone(&self.stop));
        async move {
            let Some(sleep) = sleep else { return Interrupted::Stopping };
            let (mut sleep, mut stopped) = (pin!(sleep), pin!(stop.wake.notified()));
            // Listening comes before the look, or a signal between the two would be missed.
            stopped.as_mut().enable();
            if stop.is_given() {
                return Interrupted::Stopping;
            }
            poll_fn(|cx| {
                if stopped.as_mut().poll(cx).is_ready() {
                    Poll::Ready(Interrupted::Stopping)
                } else {
                    sleep.as_mut().poll(cx).map(|()| Interrupted::DeadlinePassed)
                }
            })
            .await
        }
    }
}
