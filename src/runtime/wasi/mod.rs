//! WASI p2 for components built against it: nothing but what was granted, output as log records.

pub mod ambient;
pub mod connections;
pub mod context;
pub mod file_rights;
pub mod files;
pub mod guarded_streams;
pub mod link;
pub mod output;
pub mod places;
pub mod sockets;
pub mod tcp;
