//! Tells what a component imports and exports, without compiling it.

mod document;
pub mod inspect;
mod needs;
pub mod outline;
mod producers;
mod types;
mod wit;
