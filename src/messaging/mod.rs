//! Mailboxes, who they belong to, and requests under way.

pub mod correlation;
pub mod mailbox;
pub mod members;
pub mod outbox;
mod permutation;
pub mod registry;
pub mod reply;
pub mod wheel;
