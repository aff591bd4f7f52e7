//! Mailboxes, who they belong to, and requests under way.

pub mod correlation;
pub mod mailbox;
pub mod post;
pub mod registry;
pub mod reply;
