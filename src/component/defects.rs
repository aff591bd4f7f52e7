//! Defects of this library: a panic costs the message that ran into it, and no other.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::component::status::Status;
use crate::core::bounds::{MAX_REPEATED_BYTES, bounded};
use crate::core::error::CallError;

/// The output of a future, or the panic that ended it.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, CallError> {
    let mut future = pin!(future);
    poll_fn(|cx| match caught_here(|| future.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(defect) => Poll::Ready(Err(defect)),
    })
    .await
}

/// What `run` returns, or the panic that ended it.
pub fn caught_here<R>(run: impl FnOnce() -> R) -> Result<R, CallError> {
    // What a panic has left half-done went with the message: its reply answers for itself, and its
    // instance is gone.
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| defect(&*panic))
}

fn defect(panic: &(dyn Any + Send)) -> CallError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    CallError::Internal { panic: text.map(|text| bounded(&text, MAX_REPEATED_BYTES)) }
}

/// Counts a message as failed if a panic ends its handling before it is counted.
pub struct Uncounted<'a>(&'a Status);

impl<'a> Uncounted<'a> {
    /// For a message that is to be handled.
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
