//! The primitives that the rundown uses.

pub use std::sync::{Condvar, Mutex, MutexGuard, atomic};
