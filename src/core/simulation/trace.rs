//! The last events before a failure.

use std::collections::VecDeque;
use std::time::Duration;

const LENGTH: usize = 60;

/// The last events, each with its time and two numbers.
#[derive(Default)]
pub struct Trace(VecDeque<(Duration, &'static str, u64, u64)>);

impl Trace {
    pub fn note(&mut self, at: Duration, what: &'static str, a: u64, b: u64) {
        if self.0.len() == LENGTH {
            self.0.pop_front();
        }
        self.0.push_back((at, what, a, b));
    }

    /// One line per event.
    pub fn text(&self) -> String {
        self.0.iter().map(|(at, what, a, b)| format!("  {at:?} {what} {a} {b}\n")).collect()
    }
}
