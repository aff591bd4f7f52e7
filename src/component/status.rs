//! What is known of a component without asking it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::core::account::Charge;
use crate::core::metadata::ComponentMetadata;
use crate::runtime::contract::HealthStatus;

/// Where a component is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Its instance is made and `initialize` runs.
    Initializing,
    /// It takes messages.
    Running,
    /// Its instance is gone; the next message gets a new one.
    Crashed,
    /// A new instance is made and `initialize` runs.
    Restarting,
    /// It takes no more messages, `shutdown` is to be called.
    Stopping,
    /// `shutdown` has been called.
    Stopped,
}

impl State {
    const ALL: [Self; 6] = [
        Self::Initializing,
        Self::Running,
        Self::Crashed,
        Self::Restarting,
        Self::Stopping,
        Self::Stopped,
    ];

    /// The lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Running => "running",
            Self::Crashed => "crashed",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// The state, the last health, the metadata and the counts of a component.
pub struct Status {
    state: AtomicU8,
    health: AtomicU8,
    metadata: OnceLock<(ComponentMetadata, Charge)>,
    handled: AtomicU64,
    failed: AtomicU64,
    restarts: AtomicU64,
    memory_bytes: AtomicU64,
    fuel: AtomicU64,
    nanos: AtomicU64,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            state: AtomicU8::new(State::Initializing as u8),
            health: AtomicU8::new(HealthStatus::Unknown as u8),
            metadata: OnceLock::new(),
            handled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
            fuel: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
        }
    }
}

impl Status {
    /// Where it is now.
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::Acquire))]
    }

    /// Moves it on.
    pub fn enter(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// What `health` said last; unhealthy after a crash.
    pub fn health(&self) -> HealthStatus {
        HealthStatus::ALL[usize::from(self.health.load(Ordering::Acquire))]
    }

    /// Remembers what `health` said.
    pub fn set_health(&self, health: HealthStatus) {
        self.health.store(health as u8, Ordering::Release);
    }

    /// What `metadata` said at load; `None` without a life cycle.
    pub fn metadata(&self) -> Option<&ComponentMetadata> {
        self.metadata.get().map(|(metadata, _)| metadata)
    }

    /// Keeps what `metadata` said, once, and what that costs.
    pub fn set_metadata(&self, metadata: ComponentMetadata, charge: Charge) {
        let first = self.metadata.set((metadata, charge)).is_ok();
        debug_assert!(first, "metadata is asked once");
    }

    /// Counts a message or callback that was handled.
    pub fn count_handled(&self, ok: bool) {
        add(if ok { &self.handled } else { &self.failed }, 1);
    }

    /// Counts a new instance after a crash.
    pub fn count_restart(&self) {
        add(&self.restarts, 1);
    }

    /// Counts fuel that was used.
    pub fn count_fuel(&self, fuel: u64) {
        add(&self.fuel, fuel);
    }

    /// Counts time for handling mail.
    pub fn count_time(&self, nanos: u64) {
        add(&self.nanos, nanos);
    }

    /// Remembers how much memory the instance uses.
    pub fn set_memory(&self, bytes: u64) {
        self.memory_bytes.store(bytes, Ordering::Relaxed);
    }

    /// How much memory the instance used after its last call.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// What has been counted.
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            handled: read(&self.handled),
            failed: read(&self.failed),
            restarts: read(&self.restarts),
            fuel: read(&self.fuel),
            nanos: read(&self.nanos),
        }
    }
}

/// What a component has done since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages and callbacks that were handled without an error.
    pub handled: u64,
    /// Messages and callbacks whose handling failed.
    pub failed: u64,
    /// New instances after crashes.
    pub restarts: u64,
    /// Fuel used, about one unit an instruction.
    pub fuel: u64,
    /// Time for handling mail, host functions and waits included.
    pub nanos: u64,
}

/// Only the holder of the right to run counts: no other write can come between.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}
