//! The actors behind one handle: one, or several that share the work.

use std::sync::Arc;

use vec1::Vec1;

use crate::component::actor::Actor;
use crate::component::lifecycle::State;
use crate::core::id::{ComponentHandle, ComponentId};
use crate::messaging::mail::Refusal;
use crate::messaging::mailbox::{Acquire, Mailbox};
use crate::messaging::members::Members;
use crate::messaging::queue::Place;
use crate::runtime::contract::HealthStatus;

/// One or more actors of one binary, with one handle and one id.
pub struct Pool {
    handle: ComponentHandle,
    actors: Vec1<Arc<Actor>>,
    members: Arc<Members>,
}

impl Pool {
    /// Creates a pool of actors that have the same id.
    pub fn new(handle: ComponentHandle, actors: Vec1<Arc<Actor>>) -> Self {
        let members = Members::new(actors.mapped_ref(|actor| Arc::clone(actor.mailbox())));
        Self { handle, actors, members: Arc::new(members) }
    }

    /// Returns the handle.
    pub fn handle(&self) -> ComponentHandle {
        self.handle
    }

    /// Returns the shared id.
    pub fn id(&self) -> &Arc<ComponentId> {
        self.mailboxes().first().owner()
    }

    /// Returns all actors.
    pub fn actors(&self) -> &Vec1<Arc<Actor>> {
        &self.actors
    }

    /// Returns the mailboxes of all actors.
    pub fn mailboxes(&self) -> &Vec1<Arc<Mailbox>> {
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
        all.min_by_key(|state| *state == State::Running).unwrap_or(State::Unloaded)
    }

    /// Returns the least busy actor.
    pub fn pick(&self) -> &Arc<Actor> {
        &self.actors[self.members.least_busy()]
    }

    /// Takes the right to run of an idle actor for a message; returns the actor and the place of
    /// the message.
    pub fn try_acquire(&self, payload: &[u8]) -> Result<Acquire<(&Arc<Actor>, Place)>, Refusal> {
        let first = self.pick();
        let mut busy = false;
        // Concurrent callers find the same least busy actor, and only one can enter it.
        let others = self.actors.iter().filter(|actor| !Arc::ptr_eq(actor, first));
        for actor in std::iter::once(first).chain(others) {
            match actor.mailbox().try_acquire(payload)? {
                Acquire::Acquired(place) => return Ok(Acquire::Acquired((actor, place))),
                Acquire::Busy => busy = true,
                Acquire::Closed => {}
            }
        }
        Ok(if busy { Acquire::Busy } else { Acquire::Closed })
    }
}
