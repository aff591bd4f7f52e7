//! A system that has nothing to give for a while.
//!
//! What a test takes away from its process is gone for all tests in it: each runs in a process of its own.

mod address_space;
mod descriptors;
mod memory;
mod thread_bounds;
mod threads;
