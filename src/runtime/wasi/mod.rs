//! WASI p2 for components built against it: nothing but what was granted, output as log records.

pub mod ambient;
pub mod blocking;
pub mod bounded;
pub mod connections;
pub mod context;
pub mod desk;
pub mod file_rights;
pub mod file_streams;
pub mod files;
pub mod guarded_streams;
pub mod link;
pub mod listing;
pub mod lookups;
pub mod opening;
pub mod output;
pub mod paths;
pub mod placeholder;
pub mod places;
pub mod root;
mod settings;
pub mod sockets;
pub mod tcp;
pub mod udp;
