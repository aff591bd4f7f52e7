//! The sleep of the ticker's thread, against guests that begin to run and against its end.
//!
//! Loom reports a thread that waits in vain as a deadlock.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use loom::model;
use loom::sync::{Condvar, Mutex};
use loom::thread::{self, JoinHandle};

use airssys_wasm_models::bounded_model;
use airssys_wasm_models::runtime::idle_sleep::{IdleSleep, Pause};

/// The thread sleeps after this many pauses without a guest.
const PATIENCE: u32 = 1;

struct Ticker {
    sleep: IdleSleep,
    ticks: Mutex<u32>,
    ticked: Condvar,
}

impl Ticker {
    fn start() -> (Arc<Self>, JoinHandle<()>) {
        let (ticks, ticked) = (Mutex::new(0), Condvar::new());
        let ticker = Arc::new(Self { sleep: IdleSleep::new(PATIENCE), ticks, ticked });
        let thread = Arc::clone(&ticker);
        (ticker, thread::spawn(move || thread.run()))
    }

    fn run(&self) {
        loop {
            match self.sleep.pause(Duration::ZERO) {
                Pause::Over => {
                    *self.ticks.lock().unwrap() += 1;
                    self.ticked.notify_all();
                }
                Pause::Slept => {}
                Pause::Ended => return,
            }
        }
    }

    /// Runs a guest that yields after the last tick that it is sure to get: that of the pause in
    /// progress and [`PATIENCE`] more. Its deadline is set first, as in `runtime/instance.rs`.
    fn run_guest(&self) {
        let deadline = *self.ticks.lock().unwrap() + PATIENCE + 1;
        self.sleep.keep_awake(|| ());
        let mut ticks = self.ticks.lock().unwrap();
        while *ticks < deadline {
            ticks = self.ticked.wait(ticks).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[test]
fn a_guest_gets_its_ticks_while_the_thread_goes_to_sleep() {
    bounded_model(5, || {
        let (ticker, thread) = Ticker::start();
        ticker.run_guest();
        ticker.run_guest();
        ticker.sleep.end();
        thread.join().unwrap();
    });
}

#[test]
fn two_guests_get_their_ticks() {
    bounded_model(3, || {
        let (ticker, thread) = Ticker::start();
        let other = Arc::clone(&ticker);
        let guest = thread::spawn(move || other.run_guest());
        ticker.run_guest();
        guest.join().unwrap();
        ticker.sleep.end();
        thread.join().unwrap();
    });
}

#[test]
fn the_thread_ends_although_a_guest_begins() {
    model(|| {
        let (ticker, thread) = Ticker::start();
        let other = Arc::clone(&ticker);
        let guest = thread::spawn(move || other.sleep.keep_awake(|| ()));
        ticker.sleep.end();
        thread.join().unwrap();
        guest.join().unwrap();
    });
}
