//! Thread pools for blocking work: bounded, with each thread started before it gets a job.

pub mod job;
pub mod plan;
pub mod pool;
pub mod signal_stack;
pub mod workers;
