//! The C ABI. `build.rs` generates the header `include/airssys_wasm.h` from these files and their
//! comments.
//!
//! This layer holds all raw pointers of the project and nearly all its `unsafe`. `arguments` states
//! what C passes and turns it into references and copies; all other code works with those.

pub mod arguments;
pub mod audit;
pub mod boundary;
pub mod bytes;
pub mod canary;
pub mod codec;
pub mod config;
pub mod engine;
pub mod engine_storage;
pub mod error;
pub mod events;
pub mod failure;
pub mod fork;
pub mod groups;
pub mod host_call;
pub mod host_interface;
pub mod host_storage;
pub mod inspect;
pub mod interface;
pub mod invoke;
pub mod key_turns;
pub mod lifecycle;
pub mod logger;
pub mod message;
pub mod on_engine;
pub mod precompile;
pub mod request;
pub mod router;
pub mod rundown;
pub mod security;
pub mod serialized;
pub mod stack;
pub mod status;
pub mod storage;
pub mod storage_file;
pub mod storage_selftest;
pub mod storage_transfer;
pub mod user_data;
pub mod version;
pub mod writer;
