//! Vocabulary of all layers: names, messages, limits, errors, and the traits through which host
//! functions reach the layers above them.

pub mod account;
pub mod bounds;
pub mod caller_watch;
pub mod clock;
pub mod codec;
pub mod deadline;
pub mod error;
pub mod id;
pub mod interrupts;
pub mod latch;
pub mod limits;
pub mod log;
pub mod message;
pub mod metadata;
pub mod payload;
pub mod ports;
#[cfg(test)]
pub mod simulation;
pub mod sync;
pub mod versioned;
pub mod wait_graph;
