//! Key-value storage: the backend trait, the built-in backend, and a component's view of its own
//! namespace.

pub mod backend;
pub mod component_storage;
pub mod memory;
pub mod reservations;
pub mod saved_states;
