//! The C ABI. The header `include/airssys_wasm.h` is generated from these files; their comments
//! are its comments.
//!
//! All raw pointers of the project are handled here, and nearly all its `unsafe`: arguments become
//! references and owned values in `arguments`, everything else works with those.

pub mod arguments;
pub mod audit;
pub mod boundary;
pub mod bytes;
pub mod codec;
pub mod config;
pub mod document;
pub mod engine;
pub mod error;
pub mod events;
pub mod failure;
pub mod fork;
pub mod gate;
pub mod host_call;
pub mod inspect;
pub mod logger;
pub mod message;
pub mod request;
pub mod router;
pub mod security;
pub mod stack;
pub mod status;
pub mod storage;
pub mod user_data;
pub mod version;
pub mod writer;
