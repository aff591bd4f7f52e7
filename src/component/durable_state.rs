//! State that outlives the process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::component::actor::Actor;
use crate::component::lifecycle::State;
use crate::core::error::CallError;
use crate::core::log::LogLevel;
use crate::runtime::guest_call::run_host_jobs;
use crate::runtime::instance::Instance;
use crate::runtime::off_fiber::OffFiber;
use crate::storage::backend::StorageError;
use crate::storage::saved_states::{Claim, Found, SavedState, SavedStates, StateKey};

/// How a component keeps its state beyond the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durability {
    /// Whether the last saved state is restored after a crash as well.
    pub restore_after_crash: bool,
    /// A running component is saved after this many messages and callbacks.
    pub save_after_messages: Option<u64>,
    /// A running component that has handled something is saved this often.
    pub save_every: Option<Duration>,
}

/// The place of one instance's state.
pub struct DurableState {
    /// When it is saved and restored.
    pub durability: Durability,
    /// The right to the id.
    pub claim: Arc<Claim>,
    /// Where it is.
    pub key: StateKey,
}

impl Actor {
    /// Saves the state of a running component. The caller holds the right to run.
    pub(super) async fn keep_state(&self) {
        if self.status.state() != State::Running {
            return;
        }
        let Some(mut instance) = self.take_ready() else { return };
        let kept = self.save_with(&mut instance, SavedStates::keep).await;
        if let Some(crash) = self.put_back(instance, &kept) {
            crash.await;
        }
        self.status.save_later();
        if let Err(error) = kept {
            self.report(LogLevel::Warn, "saving the state failed", &error).await;
        }
    }

    /// Saves the state of an instance that is about to end in order.
    pub(super) async fn leave_state(&self, instance: &mut Instance) -> Result<(), CallError> {
        self.save_with(instance, SavedStates::leave).await
    }

    async fn save_with(
        &self,
        instance: &mut Instance,
        save: fn(&SavedStates, &StateKey, &SavedState) -> Result<(), StorageError>,
    ) -> Result<(), CallError> {
        let Some(durable) = &self.spec().durable else { return Ok(()) };
        if !instance.has_state() {
            return Ok(());
        }
        let saved = self.save(instance).await?;
        // Charged until it is stored.
        self.stored(durable, "saved", move |states, key| save(states, key, &saved.state)).await
    }

    /// Restores the state that the last instance left, or that was in use in a crash if the options
    /// say so.
    pub(super) async fn resume(
        &self,
        durable: &DurableState,
        instance: &mut Instance,
    ) -> Result<(), CallError> {
        if !instance.has_state() {
            return Ok(());
        }
        let room = self.spec().context.account.room();
        let found = self.stored(durable, "read", move |states, key| states.find(key, room)).await?;
        match found {
            Found::Left(state) => {
                self.restore_from(instance, &state).await?;
                self.stored(durable, "marked as in use", |states, key| states.use_up(key)).await
            }
            Found::InUse(state) if durable.durability.restore_after_crash => {
                self.restore_from(instance, &state).await
            }
            Found::InUse(_) | Found::Nothing => Ok(()),
        }
    }

    async fn restore_from(
        &self,
        instance: &mut Instance,
        state: &SavedState,
    ) -> Result<(), CallError> {
        let _charge = self.charge_state(state.bytes.len())?;
        instance.restore(&state.bytes, &state.from_version).await
    }

    /// Forgets the saved state: the host wants the component to begin anew.
    pub(super) async fn forget_state(&self) -> Result<(), CallError> {
        let Some(durable) = &self.spec().durable else { return Ok(()) };
        self.stored(durable, "forgotten", |states, key| states.forget(key)).await
    }

    /// Does something in storage, on a native stack.
    async fn stored<R: Send + 'static>(
        &self,
        durable: &DurableState,
        what: &'static str,
        job: impl FnOnce(&SavedStates, &StateKey) -> Result<R, StorageError> + Send + 'static,
    ) -> Result<R, CallError> {
        let context = &self.spec().context;
        let off_fiber = OffFiber::new(Arc::clone(&context.node), context.threads.clone());
        let (answer, answered) = oneshot::channel();
        let (claim, key) = (Arc::clone(&durable.claim), durable.key.clone());
        off_fiber.defer(move || _ = answer.send(job(claim.states(), &key)));
        run_host_jobs(&off_fiber).await;
        // A stopping engine drops the job.
        let Ok(result) = answered.await else { return Err(CallError::EngineStopped) };
        result.map_err(|error| CallError::StateStorage { what, reason: error.to_string() })
    }
}
