//! `wasi:keyvalue` in two versions of its draft, on the component's storage.

mod atomics;
mod batch;
mod bucket;
mod errors;
pub mod link;
mod store;
