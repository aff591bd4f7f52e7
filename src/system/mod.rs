//! The engine, composed of the layers below, and its configuration.

pub mod audit;
pub mod binary_file;
pub mod call;
pub mod callbacks;
pub mod capabilities;
pub mod component_data;
pub mod components;
pub mod config;
#[cfg(test)]
mod defects;
pub mod documents;
pub mod engine;
pub mod error;
pub mod events;
pub mod interrupt;
pub mod json;
pub mod lifecycle;
pub mod loading;
pub mod notifier;
pub mod options;
pub mod permissions;
pub mod policies;
pub mod replacing;
pub mod run_here_first;
pub mod sending;
pub mod shutdown;
pub mod sigpipe;
pub mod snapshot;
pub mod state_watch;
pub mod stderr_log;
pub mod storage_transfer;
