//! Runs a future for a blocked thread: on that thread while the future makes progress, on the
//! workers once it has to wait or its turn is over.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::core::error::CallError;
use crate::core::oneshot::{NotGiven, Oneshot};
use crate::runtime::off_fiber::while_waiting;
use crate::runtime::threads::signal_stack;
use crate::runtime::timers::Timers;

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// The timeout passed; the future continues unattended.
    TimedOut(Duration),
    /// The caller gave up.
    GivenUp,
    /// The workers were stopped.
    Stopped,
}

impl From<Missed> for CallError {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::TimedOut(timeout) => Self::CallerTimeout { timeout, unstarted: None },
            Missed::GivenUp => Self::Interrupted,
            Missed::Stopped => Self::EngineStopped,
        }
    }
}

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
    let meeting = Arc::new(Oneshot::default());
    let promise = Promise(Some(Arc::clone(&meeting)));
    // A worker polls again, so no wake-up is lost with the no-op waker above.
    timers.spawn(async move { promise.keep(future.await) });
    let spent = began.map_or(Duration::ZERO, |began| began.elapsed());
    match meeting.wait_watched(timeout.map(|timeout| timeout.saturating_sub(spent))) {
        Ok(output) => output.ok_or(Missed::Stopped),
        Err(NotGiven::TimedOut(left)) => Err(Missed::TimedOut(timeout.unwrap_or(left))),
        Err(NotGiven::GivenUp) => Err(Missed::GivenUp),
    }
}

/// Delivers a result. Dropped without one, because the workers stopped, it delivers `None`.
struct Promise<T>(Option<Arc<Oneshot<Option<T>>>>);

impl<T> Promise<T> {
    fn keep(mut self, value: T) {
        if let Some(meeting) = self.0.take() {
            meeting.give(Some(value));
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if let Some(meeting) = self.0.take() {
            meeting.give(None);
        }
    }
}
