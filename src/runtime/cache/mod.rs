//! A disk cache of compiled components.

pub mod directory;
mod key;
pub mod store;
