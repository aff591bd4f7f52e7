//! What a binary has to pass before Wasmtime sees it.
//!
//! A pass over the raw sections that neither recurses nor allocates more than the binary's size. It bounds
//! all that takes Wasmtime more stack, time or memory than a binary of its size should.

pub mod function;
pub mod limits;
pub mod module;
pub mod pass;
pub mod refusal;
pub mod scope;
pub mod types;
pub mod weight;
