//! Compiling under limits: what is refused before it takes time or memory, what ends a compile, and what is
//! kept of it.

mod binaries;

pub mod ending;
mod kept;
mod real;
mod screen;
