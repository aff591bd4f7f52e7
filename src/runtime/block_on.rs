//! Blocks a thread on a guest's future.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::core::caller_watch;
use crate::runtime::call_end::Timers;
use crate::runtime::off_fiber::while_waiting;

/// Polls `future` until it is done. Between polls the thread is parked, and a watched caller is
/// polled for cancellation. `context` provides timers to a future that expects an ambient runtime,
/// as WASI's do.
///
/// Tokio's own `block_on` does more work than most calls take, and refuses to run inside another
/// runtime. The caller pins the future, so that it does not move here.
pub fn block_on<F: Future>(context: Option<&Timers>, mut future: Pin<&mut F>) -> F::Output {
    let _context = context.map(|timers| timers.workers().enter());
    // Most calls finish at once and need no waker.
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
        if caller_watch::is_watched() {
            thread::park_timeout(caller_watch::PERIOD);
            caller_watch::check();
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
