//! Mailboxes, their owners, and pending requests.

pub mod group_restart;
pub mod mail;
pub mod mailbox;
pub mod members;
pub mod messenger;
pub mod pending_requests;
mod permutation;
pub mod queue;
pub mod registry;
pub mod reply;
#[cfg(test)]
mod simulation;
pub mod slab;
pub mod wheel;
