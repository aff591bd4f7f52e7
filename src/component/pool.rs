//! The actors behind one handle: one, or several that share the work.

use std::sync::Arc;

use crate::component::actor::Actor;
use crate::component::status::State;
use crate::core::id::{ComponentHandle, ComponentId};
use crate::core::waiting::Wait;
use crate::messaging::mailbox::{Entry, Mailbox, Refusal};
use crate::messaging::members::Members;
use crate::runtime::contract::HealthStatus;
use crate::runtime::off_fiber::current_component;

/// One or more actors of one binary, with one handle and one id.
pub struct Pool {
    handle: ComponentHandle,
    actors: Box<[Arc<Actor>]>,
    members: Members,
}

/// What [`Pool::try_enter`] found.
pub enum Chosen<'a> {
    /// This actor is idle, and the right to run is the caller's.
    Entered(&'a Arc<Actor>),
    /// All are busy, this one the least; of those that the thread can wait for, if there are some.
    Busy(&'a Arc<Actor>),
    /// None accepts anything any more.
    Closed,
}

impl Pool {
    /// Actors of one id, of which there is at least one.
    pub fn new(handle: ComponentHandle, actors: Vec<Arc<Actor>>) -> Self {
        let members = Members::new(actors.iter().map(|actor| Arc::clone(actor.mailbox())));
        Self { handle, actors: actors.into(), members }
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
    pub fn members(&self) -> &Members {
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
        let mut busy = None;
        // Whoever else looks for the least busy finds the same one: only one of them gets it.
        let others = self.actors.iter().filter(|actor| !Arc::ptr_eq(actor, first));
        for actor in std::iter::once(first).chain(others) {
            match actor.mailbox().try_enter(payload)? {
                Entry::Entered => return Ok(Chosen::Entered(actor)),
                Entry::Busy => busy = busy.or(Some(actor)),
                Entry::Closed => {}
            }
        }
        let Some(mut busy) = busy else { return Ok(Chosen::Closed) };
        if let Some(waiter) = current_component() {
            let ends = |actor: &&Arc<Actor>| {
                Wait::begin(Some(Arc::clone(&waiter)), actor.mailbox().node()).is_some()
            };
            let can_wait_for = std::iter::once(busy).chain(self.actors.iter()).filter(ends);
            busy = can_wait_for.min_by_key(|actor| actor.mailbox().load()).unwrap_or(busy);
        }
        Ok(Chosen::Busy(busy))
    }
}
