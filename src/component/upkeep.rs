//! What an actor needs while it has no mail: checks of its health, and passivation.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::component::actor::Actor;
use crate::component::instances::end;
use crate::component::lifecycle::{Cause, State};
use crate::core::account::Charge;
use crate::core::error::CallError;
use crate::core::log::LogLevel;
use crate::runtime::contract::HealthStatus;
use crate::runtime::instance::Instance;
use crate::storage::saved_states::SavedState;

/// How the health of a component is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The time between two checks.
    pub interval: Duration,
    /// The longest time for one check.
    pub timeout: Duration,
    /// After this many unhealthy checks in a row the instance is given up; `None`: never.
    pub unhealthy_after: Option<u32>,
}

/// When a component has an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activation {
    /// Whether the first message makes the first instance, not the load.
    pub on_demand: bool,
    /// The time without received messages after which the component is passivated.
    pub idle_timeout: Option<Duration>,
}

impl Activation {
    /// Returns whether the component may be without an instance.
    pub fn is_passivable(&self) -> bool {
        self.on_demand || self.idle_timeout.is_some()
    }
}

/// The state of a passive component that exports `component-state`.
pub struct Saved {
    /// The state.
    pub(super) state: Arc<SavedState>,
    /// Its charge.
    pub(super) charge: Charge,
}

impl Actor {
    /// Asks the instance for its health, if there is one. The caller holds the right to run.
    pub(super) async fn probe(&self) {
        let Some(check) = &self.spec().health_check else { return };
        if self.status.state() != State::Running {
            return;
        }
        let Some(mut instance) = self.take_ready() else { return };
        let asked = instance.health_within(check.timeout).await;
        let health = match asked {
            Ok(health) => health,
            Err(error) => {
                let error = match error {
                    CallError::ExecutionTime { limit } => CallError::HealthTimeout { limit },
                    other => other,
                };
                if let Some(crash) = self.put_back(instance, &Err::<(), _>(error)) {
                    crash.await;
                }
                return;
            }
        };
        self.status.report_health(health);
        let times = match health {
            HealthStatus::Unhealthy => self.unhealthy.fetch_add(1, Ordering::Relaxed) + 1,
            _ => {
                self.unhealthy.store(0, Ordering::Relaxed);
                0
            }
        };
        if check.unhealthy_after.is_none_or(|most| times < most) {
            return self.put(instance);
        }
        if let Err(error) = end(instance).await {
            self.report(LogLevel::Warn, "shutdown of an unhealthy instance failed", &error).await;
        }
        let error = CallError::Unhealthy { times };
        self.lost(&error);
        self.report(LogLevel::Error, "given up", &error).await;
    }

    /// Saves the state of an idle component, if it has one, and ends the instance. The next message
    /// makes a new one. The caller holds the right to run.
    pub(super) async fn passivate(&self) {
        if let Some(instance) = self.savable().await {
            if let Err(error) = end(instance).await {
                self.report(LogLevel::Warn, "shutdown before passivation failed", &error).await;
            }
            self.reserved.take();
            self.status.set_memory(0);
            self.status.change(Cause::Idle);
        }
    }

    /// Takes the instance of an idle component, once its state is saved.
    async fn savable(&self) -> Option<Box<Instance>> {
        let live = self.spec().live.as_ref();
        if self.mailbox.depth().0 > 0 {
            live.inspect(|live| live.keep(self));
            return None;
        }
        let waits = self.spec().context.guard.has_requests();
        let instance = (!waits && self.status.state() == State::Running).then(|| self.take_ready());
        let Some(mut instance) = instance.flatten() else {
            live.inspect(|live| live.keep_for_now(self));
            return None;
        };
        if !instance.has_state() {
            return Some(instance);
        }
        let saved = match &self.spec().durable {
            Some(_) => self.leave_state(&mut instance).await,
            None => self.save(&mut instance).await.map(|it| self.saved.store(Some(Box::new(it)))),
        };
        match saved {
            Ok(()) => Some(instance),
            Err(error) => {
                match self.put_back(instance, &Err::<(), _>(error.clone())) {
                    Some(crash) => crash.await,
                    None => self.report(LogLevel::Warn, "passivation failed", &error).await,
                }
                live.inspect(|live| live.keep_for_now(self));
                None
            }
        }
    }

    /// Calls `save`, and charges the account for the state.
    pub(super) async fn save(&self, instance: &mut Instance) -> Result<Saved, CallError> {
        let bytes = instance.save().await?;
        let charge = self.charge_state(bytes.len())?;
        let from_version = self.version_text();
        Ok(Saved { state: Arc::new(SavedState { bytes, from_version }), charge })
    }

    /// Restores the state of a passive component. It stays saved if that fails.
    pub(super) async fn restore(&self, instance: &mut Instance) -> Result<(), CallError> {
        if let Some(durable) = &self.spec().durable {
            return self.resume(durable, instance).await;
        }
        let Some(saved) = self.saved.take() else { return Ok(()) };
        if !instance.has_state() {
            return Ok(());
        }
        let restored = instance.restore(&saved.state.bytes, &saved.state.from_version).await;
        if restored.is_err() {
            self.saved.store(Some(saved));
        }
        restored
    }
}
