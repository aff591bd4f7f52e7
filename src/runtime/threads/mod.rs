//! Threads for what may block: a bounded number, each made before something is left to it.

pub mod job;
pub mod plan;
pub mod pool;
pub mod signal_stack;
pub mod workers;
