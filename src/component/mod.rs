//! Components as actors.

pub mod actor;
pub mod busy_time;
pub mod canary;
pub mod dormant;
pub mod durable_state;
pub mod expectation;
pub mod group_restart;
pub mod group_tree;
pub mod groups;
pub mod instances;
pub mod lifecycle;
pub mod live_instances;
pub mod mail_feed;
pub mod own_requests;
pub mod panics;
pub mod pool;
pub mod program_run;
pub mod recycling;
pub mod restart_budget;
pub mod rounds;
pub mod status;
pub mod supervision;
pub mod takeover;
pub mod trial;
pub mod upkeep;
pub mod version;
