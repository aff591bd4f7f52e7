//! Components as actors.

pub mod actor;
pub mod busy_time;
pub mod lifecycle;
pub mod mail_feed;
pub mod panics;
pub mod pool;
pub mod recycling;
pub mod status;
pub mod supervision;
pub mod turnover;
pub mod version;
