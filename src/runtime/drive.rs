//! Driving one guest call to its end: its host jobs, its waits and its time limit.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Instant;

use tokio::time::Sleep;

use crate::runtime::off_fiber::OffFiber;
use crate::runtime::timers::{Stopping, Timers};

/// Why a call did not come to its end. The guest was unwound, its store can not be used again.
#[derive(Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// It took until its deadline.
    DeadlinePassed,
    /// The workers are being stopped.
    Stopping,
}

impl From<Stopping> for Interrupted {
    fn from(_: Stopping) -> Self {
        Self::Stopping
    }
}

/// Polls a guest call, and between polls runs the host jobs that it left.
///
/// A guest yields at every epoch tick, so a deadline is noticed while it computes as well as
/// while it waits. The timer is made only for a call that really waits.
pub async fn drive<F: Future>(
    call: F,
    off_fiber: &OffFiber,
    deadline: Instant,
    timers: &Timers,
) -> Result<F::Output, Interrupted> {
    let mut call = pin!(call);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(output) = call.as_mut().poll(cx) {
                off_fiber.run_jobs();
                return Poll::Ready(Ok(output));
            }
            let resumable = off_fiber.run_jobs();
            timers.check()?;
            if Instant::now() >= deadline {
                return Poll::Ready(Err(Interrupted::DeadlinePassed));
            }
            if resumable {
                continue;
            }
            let timer = match &mut timer {
                Some(timer) => timer,
                None => timer.insert(Box::pin(timers.sleep_until(deadline)?)),
            };
            return match timer.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(Interrupted::DeadlinePassed)),
                Poll::Pending => Poll::Pending,
            };
        }
    })
    .await
}
