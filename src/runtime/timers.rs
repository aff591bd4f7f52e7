//! Timers of an engine's workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::time::Sleep;

/// Where guests wait. Once the workers are being stopped there is no waiting any more: a guest
/// whose host callback has outlasted the workers would find its timer's driver gone.
#[derive(Clone)]
pub struct Timers {
    workers: Handle,
    stopping: Arc<AtomicBool>,
}

/// The workers are being stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopping;

impl Timers {
    /// Timers of these workers, until `stopping` is set.
    pub fn new(workers: Handle, stopping: Arc<AtomicBool>) -> Self {
        Self { workers, stopping }
    }

    /// The workers themselves.
    pub fn workers(&self) -> &Handle {
        &self.workers
    }

    /// Whether the workers are being stopped.
    pub fn check(&self) -> Result<(), Stopping> {
        if self.stopping.load(Ordering::Acquire) { Err(Stopping) } else { Ok(()) }
    }

    /// A timer that can be polled on any thread.
    pub fn sleep_until(&self, deadline: Instant) -> Result<Sleep, Stopping> {
        self.check()?;
        let _workers = self.workers.enter();
        Ok(tokio::time::sleep_until(deadline.into()))
    }
}
