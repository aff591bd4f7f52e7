//! WASI p2: components reach only what was granted, and their output becomes log records.

pub mod ambient;
pub mod blocking;
pub mod bounded;
pub mod connections;
pub mod context;
pub mod descriptor_table;
pub mod desk;
pub mod file_rights;
pub mod file_streams;
pub mod files;
pub mod guarded_streams;
pub mod last_words;
pub mod link;
pub mod listing;
pub mod lookups;
pub mod opening;
pub mod output;
pub mod paths;
pub mod placeholder;
pub mod preopens;
pub mod root;
mod settings;
pub mod sockets;
pub mod tcp;
pub mod udp;
