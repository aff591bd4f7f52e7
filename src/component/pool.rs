//! The actors behind one handle: one, or several that share the work.

use std::sync::Arc;

use crate::component::actor::Actor;
use crate::component::status::State;
use crate::core::id::{ComponentHandle, ComponentId};
use crate::messaging::mail::Refusal;
use crate::messaging::mailbox::{Entry, Mailbox};
use crate::messaging::members::Members;
use crate::messaging::queue::Place;
use crate::runtime::contract::HealthStatus;

/// One or more actors of one binary, with one handle and one id.
pub struct Pool {
    handle: ComponentHandle,
    actors: Box<[Arc<Actor>]>,
    members: Arc<Members>,
}

/// What [`Pool::try_enter`] found.
pub enum Chosen<'a> {
    /// This actor is idle, and the right to run is the caller's, for mail of this place.
    Entered(&'a Arc<Actor>, Place),
    /// All are busy.
    Busy,
    /// None accepts anything any more.
    Closed,
}

impl Pool {
    /// Actors of one id, of which there is at least one.
    pub fn new(handle: ComponentHandle, actors: Vec<Arc<Actor>>) -> Self {
        let members = Members::new(actors.iter().map(|actor| Arc::clone(actor.mailbox())));
        Self { handle, actors: actors.into(), members: Arc::new(members) }
    }

    /// The handle.
    pub fn handle(&self) -> ComponentHandle {
        self.handle
    }

    /// The id that all have; `None` of an empty pool.
    pub fn id(&self) -> Option<&Arc<ComponentId>> {
        self.mailboxes().first().map(|mailbox| mailbox.owner())
    }

    /// All actors.
    pub fn actors(&self) -> &[Arc<Actor>] {
        &self.actors
    }

    /// The mailboxes of all actors.
    pub fn mailboxes(&self) -> &[Arc<Mailbox>] {
        self.members.all()
    }

    /// The mailboxes of all actors, of which any may take a message.
    pub fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// What `health` of the actor that is worst off said last.
    pub fn health(&self) -> HealthStatus {
        let all = self.actors.iter().map(|actor| actor.status().health());
        all.reduce(HealthStatus::worse).unwrap_or(HealthStatus::Unknown)
    }

    /// The state of the actor that is worst off.
    pub fn state(&self) -> State {
        let all = self.actors.iter().map(|actor| actor.status().state());
        all.min_by_key(|state| *state == State::Running).unwrap_or(State::Stopped)
    }

    /// The least busy actor.
    pub fn pick(&self) -> Option<&Arc<Actor>> {
        self.members.least_busy().map(|at| &self.actors[at])
    }

    /// Takes the right to run of an idle actor for a message.
    pub fn try_enter(&self, payload: &[u8]) -> Result<Chosen<'_>, Refusal> {
        let Some(first) = self.pick() else { return Ok(Chosen::Closed) };
        let mut chosen = Chosen::Closed;
        // Whoever else looks for the least busy finds the same one: only one of them gets it.
        let others = self.actors.iter().filter(|actor| !Arc::ptr_eq(actor, first));
        for actor in std::iter::once(first).chain(others) {
            match actor.mailbox().try_enter(payload)? {
                Entry::Entered(place) => return Ok(Chosen::Entered(actor, place)),
                Entry::Busy => chosen = Chosen::Busy,
                Entry::Closed => {}
            }
        }
        Ok(chosen)
    }
}
