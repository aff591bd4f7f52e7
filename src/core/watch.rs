//! A caller that is asked now and then, while it waits, whether to give up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How often it is asked.
pub const PERIOD: Duration = Duration::from_millis(50);

/// One call's caller. Belongs to the thread that waits.
pub struct Watch {
    /// Whether it gives up.
    asks: Box<dyn Fn() -> bool>,
    asked: Cell<Instant>,
    state: Cell<State>,
    /// What ends the call.
    end: RefCell<Option<Box<dyn Fn() -> State>>>,
}

/// What became of the caller's patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It waits.
    Patient,
    /// It has given up, and the outcome comes soon.
    Ending,
    /// It has given up, and there will be no outcome.
    GivenUp,
}

thread_local! {
    static WATCH: RefCell<Option<Rc<Watch>>> = const { RefCell::new(None) };
}

/// Does what may wait, with `asks` asked now and then. A call within the call of a watched one is not
/// watched itself.
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

/// Whether somebody is asked on this thread.
pub fn is_watched() -> bool {
    WATCH.with_borrow(Option::is_some)
}

/// Says how the call that this thread waits for is ended.
pub fn set_end(end: impl FnOnce() -> Box<dyn Fn() -> State>) {
    WATCH.with_borrow(|watch| {
        if let Some(watch) = watch {
            *watch.end.borrow_mut() = Some(end());
        }
    });
}

/// Asks, if it is time to; what is then so.
pub fn check() -> State {
    // Taken out, as code of the host runs.
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

struct Outer(Option<Rc<Watch>>);

impl Drop for Outer {
    fn drop(&mut self) {
        WATCH.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Until it has been asked.
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
    fn what_has_not_begun_is_given_up() {
        watched(Some(Box::new(|| true)), || assert_eq!(checked(), State::GivenUp));
    }
}
