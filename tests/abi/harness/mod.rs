//! What the tests share: the C ABI in Rust, host callbacks, components and processes.

pub mod audit;
pub mod binaries;
pub mod callback;
pub mod child;
pub mod engine;
pub mod events;
pub mod gates;
pub mod handmade;
pub mod interfaces;
pub mod log;
pub mod process;
pub mod properties;
pub mod published;
pub mod raw;
pub mod requests;
pub mod router;
pub mod server;
pub mod stage;
pub mod store;
pub mod stored;
pub mod tree;
pub mod typed;
