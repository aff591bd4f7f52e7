//! Components as actors.

pub mod actor;
pub mod defects;
pub mod intake;
pub mod pool;
pub mod status;
pub mod stopwatch;
