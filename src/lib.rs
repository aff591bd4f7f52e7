//! WebAssembly components as actors behind a C ABI.
//!
//! The library's interface is `include/airssys_wasm.h`; this crate's own interface is the same
//! functions, for tests and for Rust programs that want exactly what C gets. The layers, each of
//! which uses only those below it:
//!
//! | layer | what it is |
//! | --- | --- |
//! | `ffi` | the C ABI |
//! | `system` | the engine: configuration, loading, calling, ending |
//! | `component` | a component as an actor |
//! | `runtime` | Wasmtime: compiling, linking, limits, host functions, WASI |
//! | `messaging` | mailboxes, the registry, requests |
//! | `storage` | backends, and a component's view of one |
//! | `security` | rights, policies, quotas, and the record of decisions |
//! | `core` | names, messages, limits, errors |
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod component;
mod core;
#[expect(unsafe_code, reason = "the C ABI is made of raw pointers")]
#[expect(non_camel_case_types, reason = "types are named as C names them")]
#[expect(
    clippy::missing_safety_doc,
    reason = "the comments are the header's, whose rules it states"
)]
mod ffi;
mod messaging;
mod runtime;
mod security;
mod storage;
mod system;

pub use ffi::audit::*;
pub use ffi::bytes::*;
pub use ffi::canary::*;
pub use ffi::codec::*;
pub use ffi::config::*;
pub use ffi::engine::*;
pub use ffi::engine_storage::*;
pub use ffi::error::*;
pub use ffi::events::*;
pub use ffi::groups::*;
pub use ffi::host_interface::*;
pub use ffi::inspect::*;
pub use ffi::interface::*;
pub use ffi::invoke::*;
pub use ffi::lifecycle::*;
pub use ffi::logger::*;
pub use ffi::message::*;
pub use ffi::on_engine::airssys_engine_t;
pub use ffi::precompile::*;
pub use ffi::request::*;
pub use ffi::router::*;
pub use ffi::security::*;
pub use ffi::status::*;
pub use ffi::storage::*;
pub use ffi::storage_file::*;
pub use ffi::storage_selftest::*;
pub use ffi::storage_transfer::*;
pub use ffi::version::*;
pub use ffi::writer::*;
