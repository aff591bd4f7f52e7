//! Key-value storage: the backend trait, the built-in backend, and a component's view of its own
//! namespace.

pub mod backend;
pub mod memory;
pub mod namespaced;
pub mod reservations;
