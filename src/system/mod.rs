//! The engine, composed of the layers below, and its configuration.

pub mod audit;
pub mod binary_file;
pub mod blueprint;
pub mod call;
pub mod callbacks;
pub mod canaries;
pub mod capabilities;
pub mod component_data;
pub mod components;
pub mod config;
#[cfg(test)]
mod defects;
pub mod documents;
pub mod dormant;
pub mod engine;
pub mod error;
pub mod events;
pub mod factory;
pub mod groups;
pub mod host_functions;
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
#[cfg(test)]
mod slow_disk;
pub mod snapshot;
pub mod state_watch;
pub mod stderr_log;
pub mod storage;
pub mod storage_transfer;
pub mod trust;
