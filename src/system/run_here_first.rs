//! Runs a future for a blocked thread: on that thread while the future makes progress, on the
//! workers once it has to wait or its turn is over.

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::core::caller_watch::{self, Missed};
use crate::runtime::call_end::Timers;
use crate::runtime::off_fiber::while_waiting;
use crate::runtime::threads::signal_stack;

/// Polls `future` once here, which suffices for most calls, and hands it to the workers if it is
/// not done. `ambient` provides the workers' timers to that first poll.
pub fn run_here_first<F>(
    timers: &Timers,
    ambient: bool,
    future: F,
    timeout: Option<Duration>,
) -> Result<F::Output, Missed>
where
    F: Future<Output: Send> + Send + 'static,
{
    let began = timeout.map(|_| Instant::now());
    let mut future = Box::pin(future);
    let polled = {
        let _ambient = ambient.then(|| timers.workers().enter());
        match signal_stack::ensure() {
            Ok(()) => {
                while_waiting(|| future.as_mut().poll(&mut Context::from_waker(Waker::noop())))
            }
            // Worker threads have a signal stack.
            Err(_) => Poll::Pending,
        }
    };
    if let Poll::Ready(output) = polled {
        return Ok(output);
    }
    let (sender, receiver) = oneshot::channel();
    // A worker polls again, so no wake-up is lost with the no-op waker above. Workers that stop drop
    // the sender.
    timers.spawn(async move { _ = sender.send(future.await) });
    let spent = began.map_or(Duration::ZERO, |began| began.elapsed());
    let left = timeout.map(|timeout| timeout.saturating_sub(spent));
    caller_watch::receive(&receiver, left).map_err(|missed| match missed {
        Missed::TimedOut(left) => Missed::TimedOut(timeout.unwrap_or(left)),
        other => other,
    })
}
