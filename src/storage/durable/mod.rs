//! The durable backend: one file, which survives the process.

pub mod backend;
pub mod data_file;
pub mod open_error;
pub mod options;

mod changing;
mod keeper;
mod record;
mod store;
mod tables;
mod turns;

#[cfg(test)]
pub mod tests;
