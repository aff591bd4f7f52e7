//! The JSON documents of the ABI: their keys, values and meaning.

pub mod config;
pub mod grants;
pub mod group;
pub mod options;
pub mod policies;
pub mod reader;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod schema;
pub mod values;
