//! Tests of the durable store.

pub mod disk;

mod basics;
mod crash;
mod damage;
mod faults;
mod files;
mod opened;
