//! The host functions: the 17 of `airssys:core@1.0.0`, and those of other packages that are mapped on
//! the same.

pub mod config;
pub mod functions;
pub mod interface;
pub mod keyvalue;
pub mod logging;
pub mod messaging;
pub mod offered;
pub mod pending_answers;
pub mod services;
pub mod storage;
pub mod work;
