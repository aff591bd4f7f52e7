//! Many messages in one call of a guest, by a loop that runs inside it.

pub mod attach;
pub mod mail;
pub mod small;
