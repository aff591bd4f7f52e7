//! A system that is temporarily short of resources.
//!
//! A limit applies to the whole process, so each test runs in a child process.

mod address_space;
mod descriptors;
mod memory;
mod thread_bounds;
mod threads;
