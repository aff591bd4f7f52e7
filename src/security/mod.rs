//! The rights and quotas of components, and the audit of every decision.

pub mod action;
pub mod address;
pub mod audit;
pub mod capability;
pub mod directory;
pub mod guard;
pub mod host_pattern;
pub mod pattern;
pub mod policy;
pub mod pseudo_files;
pub mod quota;
pub mod resource;
pub mod signature;
