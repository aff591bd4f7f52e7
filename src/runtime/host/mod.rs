//! The 17 host functions of `airssys:core@1.0.0`.

pub mod functions;
pub mod interface;
pub mod messaging;
pub mod pending_answers;
pub mod services;
pub mod storage;
pub mod work;
