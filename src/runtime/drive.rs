//! Driving one guest call to its end: its host jobs, its waits and its time limit.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::runtime::off_fiber::OffFiber;
use crate::runtime::timers::{Interrupted, Timers};

/// A time that no guest call lives to see, for limits that are longer than the clock reaches.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Polls a guest call, and between polls runs the host jobs that it left.
///
/// A guest yields at every epoch tick, so its time limit is noticed while it computes as well as
/// while it waits. Clock and timer are used only by calls that do not end in their first turn,
/// which is one tick at most.
pub fn drive<F: Future>(
    mut call: Pin<&mut F>,
    off_fiber: &OffFiber,
    limit: Duration,
    timers: &Timers,
) -> impl Future<Output = Result<F::Output, Interrupted>> {
    let mut deadline: Option<Instant> = None;
    let mut interruption: Option<Pin<Box<dyn Future<Output = Interrupted> + Send>>> = None;
    poll_fn(move |cx| {
        loop {
            if let Poll::Ready(output) = call.as_mut().poll(cx) {
                off_fiber.run_jobs();
                return Poll::Ready(Ok(output));
            }
            let deadline = *deadline.get_or_insert_with(|| {
                let now = Instant::now();
                now.checked_add(limit).unwrap_or(now + FOREVER)
            });
            let resumable = off_fiber.run_jobs();
            timers.check(deadline)?;
            if !resumable {
                let interruption =
                    interruption.get_or_insert_with(|| Box::pin(timers.interruption(deadline)));
                return interruption.as_mut().poll(cx).map(Err);
            }
        }
    })
}
