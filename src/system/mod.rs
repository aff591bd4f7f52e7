//! Composition: an engine made of the layers below, and its configuration.

pub mod blocking;
pub mod callbacks;
pub mod components;
pub mod config;
pub mod engine;
pub mod error;
pub mod events;
pub mod json;
pub mod loading;
pub mod options;
pub mod sending;
pub mod shutdown;
pub mod snapshot;
pub mod stderr_log;
