//! Driving one guest call to its end: its host jobs, its waits and its time limit.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Instant;

use crate::runtime::off_fiber::OffFiber;
use crate::runtime::timers::{Interrupted, Timers};

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
    let mut interruption: Option<Pin<Box<dyn Future<Output = Interrupted> + Send>>> = None;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(output) = call.as_mut().poll(cx) {
                off_fiber.run_jobs();
                return Poll::Ready(Ok(output));
            }
            let resumable = off_fiber.run_jobs();
            timers.check(deadline)?;
            if !resumable {
                let interruption =
                    interruption.get_or_insert_with(|| Box::pin(timers.interruption(deadline)));
                return interruption.as_mut().poll(cx).map(Err);
            }
        }
    })
    .await
}
