//! Components as actors.

pub mod actor;
pub mod pool;
pub mod status;
pub mod stopwatch;
