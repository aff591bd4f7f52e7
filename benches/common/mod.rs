//! What the benches share: the library through its C functions, Wasmtime alone, and rounds.
#![allow(dead_code, reason = "each bench uses a part of it")]

pub mod allocations;
pub mod contract;
pub mod host;
pub mod host_map;
pub mod pairs;
pub mod raw;
pub mod rounds;
