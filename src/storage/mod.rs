//! Key-value storage: the backend trait, the built-in backends, and a component's view of its own
//! namespace.

pub mod backend;
pub mod component_changes;
pub mod component_storage;
pub mod conformance;
pub mod durable;
pub mod expiry;
pub mod export_format;
pub mod memory;
pub mod namespace;
pub mod read_cache;
pub mod reservations;
pub mod saved_states;

#[cfg(test)]
pub mod model;
