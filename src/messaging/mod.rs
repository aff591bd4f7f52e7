//! Mailboxes, their owners, and pending requests.

pub mod correlation;
pub mod mail;
pub mod mailbox;
pub mod members;
pub mod messenger;
mod permutation;
pub mod queue;
pub mod registry;
pub mod reply;
#[cfg(test)]
mod simulation;
pub mod slab;
pub mod wheel;
