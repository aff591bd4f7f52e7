//! Many messages in one call of a guest, through a loop that runs inside it.

pub mod attach;
mod leaving;
pub mod link;
mod outline;
pub mod small;
pub mod source;
