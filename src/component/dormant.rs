//! What remains of a component that is registered, has no instance and gives up its actor.

use std::sync::Arc;

use crate::component::actor::{Actor, ActorSpec};
use crate::component::lifecycle::State;
use crate::component::status::{Counts, Status};
use crate::component::upkeep::Saved;
use crate::component::version::Source;
use crate::core::id::ComponentHandle;
use crate::core::metadata::ComponentMetadata;
use crate::messaging::mailbox::Mailbox;
use crate::messaging::queue::{Intake, Traffic};
use crate::runtime::contract::HealthStatus;
use crate::security::capability::Capabilities;
use crate::security::guard::GuardPast;
use crate::storage::saved_states::SavedState;

/// Holders of a component's guard: its host context, its messenger and its storage.
const GUARD_HOLDERS: usize = 3;

/// Holders of a mailbox: its actor, and the groups of its pool and of the registry.
const MAILBOX_HOLDERS: usize = 3;

/// Makes passive components dormant.
pub trait Hibernation: Send + Sync {
    /// Makes a component dormant, if nobody but its engine and `caller` holds it and it has nothing
    /// to remember but a [`Past`].
    fn hibernate(&self, handle: ComponentHandle, caller: Caller);
}

/// Who makes a component dormant, and what of it the caller holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The actor's task, within its right to run.
    Task,
    /// A thread that holds the actor.
    ActorHolder,
    /// A thread that holds the pool.
    PoolHolder,
}

/// What a dormant component has to remember.
pub struct Past {
    state: State,
    health: HealthStatus,
    counts: Counts,
    traffic: Traffic,
    sent: u64,
    /// The metadata, and the bytes charged for it; `None` before the first instance.
    metadata: Option<(Arc<ComponentMetadata>, u64)>,
    saved: Option<Arc<SavedState>>,
    guard: Option<Box<GuardPast>>,
}

impl Past {
    /// The past of a component that was loaded to be activated on demand.
    pub const UNTOUCHED: Self = Self {
        state: State::Passive,
        health: HealthStatus::Unknown,
        counts: Counts { handled: 0, failed: 0, restarts: 0, fuel: 0, nanos: 0 },
        traffic: Traffic { accepted: 0, refused: 0, dropped: 0 },
        sent: 0,
        metadata: None,
        saved: None,
        guard: None,
    };

    /// Returns the state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns the last health.
    pub fn health(&self) -> HealthStatus {
        self.health
    }

    /// Returns what its guard goes on from, if it is not a new one.
    pub fn guard(&self) -> Option<&GuardPast> {
        self.guard.as_deref()
    }

    /// Returns the past after a stop of a passive component, whose saved state is dropped.
    pub fn stopped(&self) -> Self {
        Self {
            state: State::Stopped,
            metadata: self.metadata.clone(),
            saved: None,
            guard: self.guard.clone(),
            ..*self
        }
    }

    /// Changes a status to that of the dormant component, without an event.
    pub fn apply_to(&self, status: &Status) {
        status.go_on(self.state, self.health, self.counts);
    }
}

impl Actor {
    /// Creates the actor of a dormant component, which takes no mail until [`Actor::rouse`].
    pub fn dormant(
        mailbox: Arc<Mailbox>,
        spec: ActorSpec,
        source: Source,
        status: Status,
        past: &Past,
    ) -> Arc<Self> {
        past.apply_to(&status);
        let intake = if past.state == State::Stopped { Intake::Stopped } else { Intake::Open };
        mailbox.go_on(past.traffic, intake);
        spec.messenger.go_on(past.sent);
        let account = &spec.context.account;
        if let Some((metadata, bytes)) = &past.metadata {
            source.set_shared_metadata(Arc::clone(metadata), account.charge_again(*bytes));
        }
        let saved = past.saved.as_ref().map(|state| {
            let charge = account.charge_again(state.bytes.len() as u64);
            Box::new(Saved { state: Arc::clone(state), charge })
        });
        let actor = Self::assemble(mailbox, spec, source, status);
        actor.saved.store(saved);
        actor
    }

    /// Starts taking mail. The caller holds the mailbox's right to run.
    pub fn rouse(self: &Arc<Self>) {
        self.connect();
        self.mailbox.release();
    }

    /// Closes the mailbox for good and returns what the component has to remember; `None`, without
    /// a change, if it is in use or has more to remember. `initial` are the grants of its load. The
    /// pool is held by nobody, and nobody can get it.
    pub fn give_up(self: &Arc<Self>, initial: &Arc<Capabilities>, caller: Caller) -> Option<Past> {
        let (spec, status, source) = (self.spec(), &self.status, self.source());
        let context = &spec.context;
        let attended = self.mailbox.is_attended();
        let holders = 1 + usize::from(attended) + usize::from(caller == Caller::ActorHolder);
        let is_held = Arc::strong_count(self) != holders
            || Arc::strong_count(&self.mailbox) != MAILBOX_HOLDERS
            || Arc::strong_count(context) != 1
            || Arc::strong_count(&context.guard) != GUARD_HOLDERS
            || self.mailbox.waiting() > 0
            || !context.jobs.are_idle();
        let is_first = source.version.number == 1 && status.version() == 1;
        // A supervisor that remembers something has seen a failure.
        if is_held || !is_first || status.with_last_failure(|_| ()).is_some() {
            return None;
        }
        let guard = context.guard.past(initial)?;
        let saved = self.saved.take();
        let state_of = |saved: &Saved| Arc::clone(&saved.state);
        let past = Past {
            state: status.state(),
            health: status.health(),
            counts: status.counts(),
            traffic: self.mailbox.traffic(),
            sent: spec.messenger.sent(),
            metadata: source.charged_metadata().map(|(it, bytes)| (Arc::clone(it), bytes)),
            saved: saved.as_deref().map(state_of),
            guard: (!guard.is_empty()).then(|| Box::new(guard)),
        };
        let charged = past.metadata.as_ref().map_or(0, |(_, bytes)| *bytes)
            + saved.as_ref().map_or(0, |saved| saved.charge.bytes());
        self.saved.store(saved);
        if context.account.charged() != charged || self.has_instances() {
            return None;
        }
        let intake = match past.state {
            State::Passive => Intake::Open,
            State::Stopped => Intake::Stopped,
            _ => return None,
        };
        self.mailbox.close_unused(caller == Caller::Task, intake).then_some(past)
    }

    /// Returns whether there is an instance of any kind.
    fn has_instances(&self) -> bool {
        let own = self.instance.take();
        let candidate = self.candidate.take();
        let retired = self.retired.take();
        let any = own.is_some() || candidate.is_some() || retired.is_some();
        self.instance.store(own);
        self.candidate.store(candidate);
        self.retired.store(retired);
        any
    }

    /// Makes the component dormant if it can be. Called after a passivation.
    pub(super) fn hibernate(&self, caller: Caller) {
        if let Some(hibernation) = self.spec().hibernation.as_ref().and_then(|it| it.upgrade()) {
            hibernation.hibernate(self.mailbox.handle(), caller);
        }
    }
}
