//! Components as actors.

pub mod actor;
pub mod defects;
pub mod mail_feed;
pub mod pool;
pub mod status;
pub mod stopwatch;
