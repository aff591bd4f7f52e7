//! Key-value storage: the backend trait, the built-in backends, and a component's view of its own
//! namespace.

pub mod backend;
pub mod component_storage;
pub mod durable;
pub mod memory;
pub mod reservations;
pub mod saved_states;

#[cfg(test)]
pub mod model;
