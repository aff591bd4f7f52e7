//! The actors behind one handle: one, or several that share the work.

use std::sync::Arc;

use crate::component::actor::Actor;
use crate::component::status::State;
use crate::core::id::{ComponentHandle, ComponentId};
use crate::messaging::mail::Refusal;
use crate::messaging::mailbox::{Acquire, Mailbox};
use crate::messaging::members::Members;
use crate::messaging::queue::Place;
use crate::runtime::contract::HealthStatus;

/// One or more actors of one binary, with one handle and one id.
pub struct Pool {
    handle: ComponentHandle,
    actors: Box<[Arc<Actor>]>,
    members: Arc<Members>,
}

/// The result of [`Pool::try_acquire`].
pub enum Chosen<'a> {
    /// An idle actor. The caller holds its right to run, for mail of this place.
    Acquired(&'a Arc<Actor>, Place),
    /// All actors are busy.
    Busy,
    /// All mailboxes are closed.
    Closed,
}

impl Pool {
    /// Creates a pool of at least one actor, all with the same id.
    pub fn new(handle: ComponentHandle, actors: Vec<Arc<Actor>>) -> Self {
        let members = Members::new(actors.iter().map(|actor| Arc::clone(actor.mailbox())));
        Self { handle, actors: actors.into(), members: Arc::new(members) }
    }

    /// Returns the handle.
    pub fn handle(&self) -> ComponentHandle {
        self.handle
    }

    /// Returns the shared id; `None` for an empty pool.
    pub fn id(&self) -> Option<&Arc<ComponentId>> {
        self.mailboxes().first().map(|mailbox| mailbox.owner())
    }

    /// Returns all actors.
    pub fn actors(&self) -> &[Arc<Actor>] {
        &self.actors
    }

    /// Returns the mailboxes of all actors.
    pub fn mailboxes(&self) -> &[Arc<Mailbox>] {
        self.members.all()
    }

    /// Returns the mailboxes as a group, any of which may take a message.
    pub fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// Returns the worst last-known health of all actors.
    pub fn health(&self) -> HealthStatus {
        let all = self.actors.iter().map(|actor| actor.status().health());
        all.reduce(HealthStatus::worse).unwrap_or(HealthStatus::Unknown)
    }

    /// Returns the worst state of all actors.
    pub fn state(&self) -> State {
        let all = self.actors.iter().map(|actor| actor.status().state());
        all.min_by_key(|state| *state == State::Running).unwrap_or(State::Stopped)
    }

    /// Returns the least busy actor.
    pub fn pick(&self) -> Option<&Arc<Actor>> {
        self.members.least_busy().map(|at| &self.actors[at])
    }

    /// Takes the right to run of an idle actor for a message.
    pub fn try_acquire(&self, payload: &[u8]) -> Result<Chosen<'_>, Refusal> {
        let Some(first) = self.pick() else { return Ok(Chosen::Closed) };
        let mut chosen = Chosen::Closed;
        // Concurrent callers find the same least busy actor, and only one can enter it.
        let others = self.actors.iter().filter(|actor| !Arc::ptr_eq(actor, first));
        for actor in std::iter::once(first).chain(others) {
            match actor.mailbox().try_acquire(payload)? {
                Acquire::Acquired(place) => return Ok(Chosen::Acquired(actor, place)),
                Acquire::Busy => chosen = Chosen::Busy,
                Acquire::Closed => {}
            }
        }
        Ok(chosen)
    }
}
