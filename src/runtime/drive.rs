//! Driving one guest call to its end: its host jobs, its waits and its time limit.

use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::core::deadline::deadline_in;
use crate::runtime::off_fiber::{OffFiber, may_block};
use crate::runtime::ticker::TICK;
use crate::runtime::timers::{Interrupted, Timers};

/// Polls a guest call, and between polls runs the host jobs that it left.
///
/// A guest yields at every epoch tick, so its time limit is noticed while it computes as well as
/// while it waits. Clock and timer are used only by calls that do not end in their first turn,
/// which is one tick at most. A host job is never cut short: its time counts once it is over.
pub fn drive<F: Future>(
    mut call: Pin<&mut F>,
    off_fiber: &OffFiber,
    limit: Duration,
    timers: &Timers,
) -> impl Future<Output = Result<F::Output, Interrupted>> {
    let mut output = None;
    let mut jobs: Option<JoinHandle<()>> = None;
    let mut deadline = Deadline { limit, at: None };
    let mut interruption: Option<Pin<Box<dyn Future<Output = Interrupted> + Send>>> = None;
    poll_fn(move |cx| {
        let mut turn = None;
        loop {
            if let Some(running) = &mut jobs {
                let ended = ready!(Pin::new(running).poll(cx));
                jobs = None;
                match ended {
                    Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
                    Err(_) => return Poll::Ready(Err(Interrupted::Stopping)),
                    Ok(()) if output.is_none() => timers.check(deadline.get())?,
                    Ok(()) => {}
                }
            }
            if output.is_none()
                && let Poll::Ready(value) = call.as_mut().poll(cx)
            {
                output = Some(value);
            }
            if off_fiber.has_jobs() {
                deadline.get();
                if may_block() {
                    let began = *turn.get_or_insert_with(Instant::now);
                    off_fiber.run_jobs();
                    if output.is_none() {
                        timers.check(deadline.get())?;
                        if began.elapsed() > TICK {
                            // Who polls may have something else to look at.
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                    }
                } else {
                    let off_fiber = off_fiber.clone();
                    jobs = Some(timers.workers().spawn_blocking(move || off_fiber.run_jobs()));
                }
                continue;
            }
            if let Some(output) = output.take() {
                return Poll::Ready(Ok(output));
            }
            timers.check(deadline.get())?;
            let interruption =
                interruption.get_or_insert_with(|| Box::pin(timers.interruption(deadline.get())));
            return interruption.as_mut().poll(cx).map(Err);
        }
    })
}

/// Runs host jobs that no guest call has left. An engine that stops drops them.
pub async fn run_host_jobs(off_fiber: &OffFiber, timers: &Timers) {
    let nothing = pin!(std::future::ready(()));
    let _ = drive(nothing, off_fiber, Duration::MAX, timers).await;
}

/// The end of a call's time, which begins to run when it is first asked for.
struct Deadline {
    limit: Duration,
    at: Option<Instant>,
}

impl Deadline {
    fn get(&mut self) -> Instant {
        *self.at.get_or_insert_with(|| deadline_in(self.limit))
    }
}
