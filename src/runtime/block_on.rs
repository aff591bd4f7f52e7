//! Running a guest's future to its end on the thread that waits for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::core::watch;
use crate::runtime::off_fiber::while_waiting;
use crate::runtime::timers::Timers;

/// Polls `future` until it is done; between polls the thread is parked, and a caller that is watched is
/// asked now and then. `context`: timers that the
/// future may need in the way of an ambient runtime, as WASI does.
///
/// Tokio's own `block_on` does more than most calls take time for, and refuses to run inside of
/// another runtime. The future is pinned by the caller, so that it is not moved here.
pub fn block_on<F: Future>(context: Option<&Timers>, mut future: Pin<&mut F>) -> F::Output {
    let _context = context.map(|timers| timers.workers().enter());
    // Most calls are done at once and need no waker.
    let mut context = Context::from_waker(Waker::noop());
    if let Poll::Ready(output) = while_waiting(|| future.as_mut().poll(&mut context)) {
        return output;
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = while_waiting(|| future.as_mut().poll(&mut context)) {
            return output;
        }
        if watch::is_watched() {
            thread::park_timeout(watch::PERIOD);
            watch::check();
        } else {
            thread::park();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
