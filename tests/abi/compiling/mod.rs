//! Limits on compiling: what is refused before it costs time or memory, what ends a compile, and
//! what is kept of it.

mod accepted;
mod ahead;
mod kept_code;
mod screen;
pub mod time_limit;
