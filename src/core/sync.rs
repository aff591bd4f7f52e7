//! The synchronization primitives of files that have a model: `tests/models` replaces this file by
//! one with loom's.

pub use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, atomic};

pub use tokio::sync::Notify;
