//! Bugs of this library: a panic fails the message that triggered it, and no other.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::component::status::Status;
use crate::core::bounds::{MAX_REPEATED_BYTES, bounded};
use crate::core::error::CallError;

/// Returns a future's output, or the panic that ended it as an error.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, CallError> {
    let mut future = pin!(future);
    poll_fn(|cx| match caught_here(|| future.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(defect) => Poll::Ready(Err(defect)),
    })
    .await
}

/// Returns the result of `run`, or the panic that ended it as an error.
pub fn caught_here<R>(run: impl FnOnce() -> R) -> Result<R, CallError> {
    // Unwind safe: the half-done state is gone with the message. Its reply answers for itself, and
    // its instance is dropped.
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| defect(&*panic))
}

fn defect(panic: &(dyn Any + Send)) -> CallError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    CallError::Internal { panic: text.map(|text| bounded(&text, MAX_REPEATED_BYTES)) }
}

/// Counts a message as failed if a panic ends its handler before it is counted.
pub struct Uncounted<'a>(&'a Status);

impl<'a> Uncounted<'a> {
    /// Creates the guard for a message about to be handled.
    pub fn new(status: &'a Status) -> Self {
        Self(status)
    }
}

impl Drop for Uncounted<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.count_handled(false);
        }
    }
}
