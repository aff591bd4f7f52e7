//! Compiled components on disk.

pub mod directory;
mod key;
pub mod store;
