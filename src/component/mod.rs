//! Components as actors.

pub mod actor;
pub mod status;
