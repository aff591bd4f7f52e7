//! The status of a component, known without asking it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::component::groups::InstanceKey;
use crate::component::lifecycle::{Cause, State};
use crate::component::recycling::{Recycling, SaveAfter};
use crate::core::account::{Account, Charge};
use crate::core::bounds::{MAX_ERROR_TEXT_BYTES, bounded};
use crate::core::error::CallError;
use crate::core::message::Timestamp;
use crate::core::ports::{HealthChange, Identity, SoFar, StateChange, StateChanges};
use crate::messaging::mail::Mail;
use crate::runtime::contract::HealthStatus;

/// The state, the last health, the metadata and the counts of a component.
pub struct Status {
    component: Identity,
    instance: usize,
    changes: Arc<dyn StateChanges>,
    state: AtomicU8,
    /// Held during a change of the state, so that each is reported before the next.
    last_failure: Mutex<Option<LastFailure>>,
    health: AtomicU8,
    version: AtomicU64,
    /// `None`: an instance is never recycled.
    recycling: Option<Recycling>,
    /// `None`: an instance is not saved by its messages.
    saving: Option<SaveAfter>,
    handled: AtomicU64,
    failed: AtomicU64,
    restarts: AtomicU64,
    memory_bytes: AtomicU64,
    trial_bytes: AtomicU64,
    fuel: AtomicU64,
    nanos: AtomicU64,
}

impl Status {
    /// Creates the status of a new instance, the one with number `instance` of `component`.
    /// `changes` is told of its state.
    pub fn new(
        component: Identity,
        instance: usize,
        changes: Arc<dyn StateChanges>,
        recycling: Option<Recycling>,
        saving: Option<SaveAfter>,
    ) -> Self {
        Self {
            component,
            instance,
            changes,
            state: AtomicU8::new(State::Initializing as u8),
            last_failure: Mutex::default(),
            health: AtomicU8::new(HealthStatus::Unknown as u8),
            version: AtomicU64::new(1),
            recycling,
            saving,
            handled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
            trial_bytes: AtomicU64::new(0),
            fuel: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
        }
    }

    /// Goes on with a state, a health and counts from before, without an event.
    pub fn go_on(&self, state: State, health: HealthStatus, counts: Counts) {
        self.state.store(state as u8, Ordering::Release);
        self.set_health(health);
        self.handled.store(counts.handled, Ordering::Relaxed);
        self.failed.store(counts.failed, Ordering::Relaxed);
        self.restarts.store(counts.restarts, Ordering::Relaxed);
        self.fuel.store(counts.fuel, Ordering::Relaxed);
        self.nanos.store(counts.nanos, Ordering::Relaxed);
    }

    /// Returns the current state.
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::Acquire))]
    }

    /// Changes the state, as [`State::after`] says.
    pub fn change(&self, cause: Cause) {
        self.change_for(cause, None);
    }

    /// As [`Status::change`], because of a failure.
    pub fn change_for(&self, cause: Cause, failure: Option<LastFailure>) {
        let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        let code = failure.as_ref().map(|failure| failure.code);
        if failure.is_some() {
            *last = failure;
        }
        let from = self.state();
        let Some(to) = from.after(cause) else { return };
        self.state.store(to as u8, Ordering::Release);
        let change = StateChange { from: from.name(), to: to.name(), cause: cause.name(), code };
        let so_far =
            SoFar { version: self.version(), restarts: self.restarts.load(Ordering::Relaxed) };
        self.changes.changed(&self.component, self.instance, change, so_far);
    }

    /// Calls `look` on the last failure of an instance, if there was one.
    pub fn with_last_failure<R>(&self, look: impl FnOnce(&LastFailure) -> R) -> Option<R> {
        let last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(look)
    }

    /// Returns the last result of `health`; unhealthy after a crash.
    pub fn health(&self) -> HealthStatus {
        HealthStatus::ALL[usize::from(self.health.load(Ordering::Acquire))]
    }

    /// Stores what the component reports of its health, which is an event if it has changed.
    pub fn report_health(&self, health: HealthStatus) {
        let from = self.health();
        self.set_health(health);
        if from != health {
            let change = HealthChange { from: from.name(), to: health.name() };
            self.changes.health_changed(&self.component, self.instance, change);
        }
    }

    /// Stores a health, without an event.
    pub fn set_health(&self, health: HealthStatus) {
        self.health.store(health as u8, Ordering::Release);
    }

    /// Returns the number of the version.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Stores the number of the version.
    pub fn set_version(&self, number: u64) {
        self.version.store(number, Ordering::Relaxed);
    }

    /// Returns what is to be done with the instance between two messages; once for each attempt.
    pub fn due(&self) -> Option<Mail> {
        let recycles = |it: &Recycling| it.is_due(self.all_handled(), self.memory_bytes());
        if self.recycling.as_ref().is_some_and(recycles) {
            return Some(Mail::Recycle);
        }
        let saves = |it: &SaveAfter| it.is_due(self.all_handled());
        self.saving.as_ref().is_some_and(saves).then_some(Mail::Save)
    }

    /// Notes that the instance was saved, or begins.
    pub fn save_later(&self) {
        if let Some(saving) = &self.saving {
            saving.begin(self.all_handled());
        }
    }

    /// Notes that the instance, with its present memory, is to be recycled only later.
    pub fn recycle_later(&self) {
        if let Some(recycling) = &self.recycling {
            recycling.begin(self.all_handled(), self.memory_bytes());
        }
    }

    /// Returns the number of messages and callbacks handled, with and without an error.
    pub fn all_handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }

    /// Returns the component.
    pub fn component(&self) -> &Identity {
        &self.component
    }

    /// Returns what tells the instance from all others of the engine.
    pub fn key(&self) -> InstanceKey {
        (self.component.handle, self.instance)
    }

    /// Counts a handled message or callback.
    pub fn count_handled(&self, ok: bool) {
        add(if ok { &self.handled } else { &self.failed }, 1);
    }

    /// Counts a new instance.
    pub fn count_restart(&self) {
        add(&self.restarts, 1);
    }

    /// Counts used fuel.
    pub fn count_fuel(&self, fuel: u64) {
        add(&self.fuel, fuel);
    }

    /// Counts time spent on mail.
    pub fn count_time(&self, nanos: u64) {
        add(&self.nanos, nanos);
    }

    /// Stores the memory use of the instance.
    pub fn set_memory(&self, bytes: u64) {
        self.memory_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Stores the memory use of the instance on trial.
    pub fn set_trial_memory(&self, bytes: u64) {
        self.trial_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Returns the memory use of the instance after its last call.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Returns the memory use with that of an instance on trial.
    pub fn all_memory_bytes(&self) -> u64 {
        self.memory_bytes() + self.trial_bytes.load(Ordering::Relaxed)
    }

    /// Returns the counts.
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

/// Why an instance was lost, or could not be made.
pub struct LastFailure {
    code: &'static str,
    at: Timestamp,
    /// `None` if the component has no room for it in its `max-host-bytes`.
    text: Option<(String, Charge)>,
}

impl LastFailure {
    /// Notes `error`; its text is charged to `account`.
    pub fn new(error: &CallError, account: &Arc<Account>) -> Self {
        let text = bounded(error, MAX_ERROR_TEXT_BYTES);
        let charge = account.charge(text.len() as u64).ok();
        let text = charge.map(|charge| (text, charge));
        Self { code: error.code(), at: Timestamp::now(), text }
    }

    /// Returns the WIT case name of the error.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Returns when it happened.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Returns the text of the error.
    pub fn text(&self) -> Option<&str> {
        self.text.as_ref().map(|(text, _)| text.as_str())
    }
}

/// The counts of a component since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages and callbacks handled without an error.
    pub handled: u64,
    /// Messages and callbacks that failed.
    pub failed: u64,
    /// New instances after crashes.
    pub restarts: u64,
    /// Fuel used, about one unit per instruction.
    pub fuel: u64,
    /// Time spent on mail, host functions and waits included.
    pub nanos: u64,
}

/// Not an atomic add: only the holder of the right to run counts.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}
