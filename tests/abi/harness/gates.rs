//! Points where a log callback waits for the test or for another callback.

use std::sync::{Arc, Condvar, Mutex};

use airssys_wasm::*;

use crate::harness::engine::{Config, Engine, Outcome, PATIENCE};
use crate::harness::log::{Journal, set_logger};

/// A point where callbacks wait until the test opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    /// Called by the callback: announces it and waits.
    pub fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.0 += 1;
        changed.notify_all();
        drop(changed.wait_timeout_while(state, PATIENCE, |(_, open)| !*open).unwrap());
    }

    /// Called by the test: waits until a callback has arrived.
    pub fn reached(&self) {
        let (state, changed) = &*self.0;
        let state = state.lock().unwrap();
        let waited = changed.wait_timeout_while(state, PATIENCE, |(count, _)| *count == 0);
        assert!(!waited.unwrap().1.timed_out(), "no callback came to the gate");
    }

    pub fn open(&self) {
        self.0.0.lock().unwrap().1 = true;
        self.0.1.notify_all();
    }

    /// Registers a logger that waits at the gate on each record `gate`, and records everything.
    pub fn attach(&self, config: &Config) -> Journal {
        let (gate, journal) = (self.clone(), Journal::default());
        let keep = journal.clone();
        set_logger(config, AIRSSYS_LOG_TRACE, move |record| {
            if record.message == "gate" {
                gate.pass();
            }
            keep.push(record);
        });
        journal
    }
}

/// Two log callbacks that wait for each other: both must run at the same time.
#[derive(Clone, Default)]
pub struct Meeting(Arc<(Mutex<usize>, Condvar)>);

impl Meeting {
    pub fn attach(&self, config: &Config) {
        let here = self.clone();
        set_logger(config, AIRSSYS_LOG_TRACE, move |_| {
            *here.0.0.lock().unwrap() += 1;
            here.0.1.notify_all();
            here.wait();
        });
    }

    fn wait(&self) -> bool {
        let there = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(there, PATIENCE, |count| *count < 2);
        !waited.unwrap().1.timed_out()
    }

    pub fn assert_met(&self) {
        assert!(self.wait(), "no two callbacks ran at the same time");
    }
}

/// Two calls to one component, the first of them at a gate. Returns their outcomes after `end`.
pub fn calls_that_wait(end: impl FnOnce(&Engine, &Gate)) -> (Outcome, Outcome) {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    let chatty = engine.load_with("app/chatty/0", "chatty", options);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| engine.call(chatty, "log info gate").map(drop));
        gate.reached();
        let waiting = scope.spawn(|| engine.call(chatty, "log info x").map(drop));
        engine.until_busy(chatty, 2, 1);
        end(&engine, &gate);
        gate.open();
        (running.join().unwrap(), waiting.join().unwrap())
    })
}
