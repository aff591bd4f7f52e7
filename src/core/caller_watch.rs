//! Cancellable waits: a blocked call polls its caller.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use oneshot::RecvTimeoutError;

use crate::core::error::CallError;

/// How often the caller is polled.
pub const PERIOD: Duration = Duration::from_millis(50);

/// The caller of one call. Belongs to the waiting thread.
pub struct Watch {
    /// Returns whether the caller gives up.
    asks: Box<dyn Fn() -> bool>,
    asked: Cell<Instant>,
    state: Cell<State>,
    /// Ends the call.
    end: RefCell<Option<Box<dyn Fn() -> State>>>,
}

/// The state of a watched call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The caller still waits.
    Patient,
    /// The caller gave up; an outcome follows shortly.
    Ending,
    /// The caller gave up; no outcome follows.
    GivenUp,
}

thread_local! {
    static WATCH: RefCell<Option<Rc<Watch>>> = const { RefCell::new(None) };
}

/// Runs `wait` and polls `asks` meanwhile. A call made from inside a watched one is not watched
/// itself.
pub fn watched<R>(asks: Option<Box<dyn Fn() -> bool>>, wait: impl FnOnce() -> R) -> R {
    let watch = asks.map(|asks| {
        let (asked, state) = (Cell::new(Instant::now()), Cell::new(State::Patient));
        Rc::new(Watch { asks, asked, state, end: RefCell::default() })
    });
    if watch.is_none() && !is_watched() {
        return wait();
    }
    let _outer = Outer(WATCH.replace(watch));
    wait()
}

/// Returns whether a caller is watched on this thread.
pub fn is_watched() -> bool {
    WATCH.with_borrow(Option::is_some)
}

/// Sets the function that ends the call on this thread.
pub fn set_end(end: impl FnOnce() -> Box<dyn Fn() -> State>) {
    WATCH.with_borrow(|watch| {
        if let Some(watch) = watch {
            *watch.end.borrow_mut() = Some(end());
        }
    });
}

/// Polls the caller if [`PERIOD`] has passed, and returns the state.
pub fn check() -> State {
    // Clone it: host code runs below, and the cell must not stay borrowed.
    let Some(watch) = WATCH.with_borrow(Clone::clone) else { return State::Patient };
    if watch.state.get() == State::Patient && watch.asked.get().elapsed() >= PERIOD {
        if (watch.asks)() {
            let end = watch.end.borrow();
            watch.state.set(end.as_ref().map_or(State::GivenUp, |end| end()));
        }
        watch.asked.set(Instant::now());
    }
    watch.state.get()
}

/// Why a thread got no value from a oneshot channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// The timeout passed.
    TimedOut(Duration),
    /// The watched caller gave up.
    GivenUp,
    /// The sender was dropped.
    Dropped,
}

impl From<Missed> for CallError {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::TimedOut(timeout) => Self::CallerTimeout { timeout, unstarted: None },
            Missed::GivenUp => Self::Interrupted,
            Missed::Dropped => Self::EngineStopped,
        }
    }
}

/// Blocks until the value arrives, `timeout` passes, or the watched caller of this thread gives up.
pub fn receive<T>(from: &oneshot::Receiver<T>, timeout: Option<Duration>) -> Result<T, Missed> {
    let began = Instant::now();
    let left = |timeout: Duration| timeout.saturating_sub(began.elapsed());
    loop {
        let piece = match (is_watched(), timeout.map(left)) {
            (false, left) => left,
            (true, left) => Some(left.map_or(PERIOD, |left| left.min(PERIOD))),
        };
        let received = match piece {
            None => from.recv_ref().map_err(|_| RecvTimeoutError::Disconnected),
            Some(piece) => from.recv_timeout(piece),
        };
        match received {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Disconnected) => return Err(Missed::Dropped),
            Err(RecvTimeoutError::Timeout) if check() == State::GivenUp => {
                return Err(Missed::GivenUp);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(timeout) = timeout
            && left(timeout).is_zero()
        {
            return Err(Missed::TimedOut(timeout));
        }
    }
}

struct Outer(Option<Rc<Watch>>);

impl Drop for Outer {
    fn drop(&mut self) {
        WATCH.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks until the caller is no longer patient.
    fn checked() -> State {
        loop {
            match check() {
                State::Patient => std::thread::yield_now(),
                other => return other,
            }
        }
    }

    #[test]
    fn a_caller_that_gives_up_ends_its_own_call_once() {
        assert_eq!(check(), State::Patient, "nobody is asked");
        let ended = Rc::new(Cell::new(0));
        watched(Some(Box::new(|| true)), || {
            let count = Rc::clone(&ended);
            set_end(|| {
                Box::new(move || {
                    count.set(count.get() + 1);
                    State::Ending
                })
            });
            watched(None, || assert!(!is_watched(), "a call within it is another one"));
            assert_eq!(checked(), State::Ending);
            assert_eq!(check(), State::Ending);
        });
        assert_eq!(ended.get(), 1);
        assert!(!is_watched());
    }

    #[test]
    fn a_call_without_an_end_is_given_up() {
        watched(Some(Box::new(|| true)), || assert_eq!(checked(), State::GivenUp));
    }
}
