//! Wakes threads that wait for a component's state.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::core::ports::{
    CanaryChange, GroupChange, HealthChange, Identity, SoFar, StateChange, StateChanges,
};
use crate::system::events::Events;

/// Passes state changes on to the host's events and to waiting threads.
pub struct StateWatch {
    events: Events,
    /// Held between a look at a state and the wait for the next change.
    lock: Mutex<()>,
    changed: Condvar,
}

impl StateWatch {
    /// Creates a watch without waiting threads.
    pub fn new(events: Events) -> Arc<Self> {
        Arc::new(Self { events, lock: Mutex::new(()), changed: Condvar::new() })
    }

    /// Blocks until `look` returns a value or `deadline` passes. Looks again after each change.
    pub fn until<T>(&self, deadline: Instant, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = look() {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return None;
            }
            let waited = self.changed.wait_timeout(held, left);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Makes all waiting threads look again.
    pub fn look_again(&self) {
        // A thread that has looked and does not wait yet holds the lock.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

impl StateChanges for StateWatch {
    fn changed(&self, component: &Identity, instance: usize, change: StateChange, so_far: SoFar) {
        self.events.state(component, instance, change, so_far);
        self.look_again();
    }

    fn health_changed(&self, component: &Identity, instance: usize, change: HealthChange) {
        self.events.health(component, instance, change);
    }

    fn group_changed(&self, change: GroupChange, component: Option<&Identity>) {
        self.events.group(change, component);
    }

    fn canary_changed(&self, component: &Identity, change: CanaryChange) {
        self.events.canary(component, change);
        self.look_again();
    }
}
