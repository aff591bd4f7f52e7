//! Screens a binary before Wasmtime sees it.
//!
//! One pass over the raw sections, which neither recurses nor allocates more than the binary's
//! size. It bounds everything that could cost Wasmtime more stack, time or memory than a binary of
//! that size should.

pub mod function;
pub mod limits;
pub mod module;
pub mod pass;
pub mod refusal;
pub mod scope;
pub mod types;
pub mod weight;
