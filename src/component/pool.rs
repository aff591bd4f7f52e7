//! The actors behind one handle: one, or several that share the work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vec1::Vec1;

use crate::component::actor::Actor;
use crate::component::canary::{Canary, Verdict};
use crate::component::lifecycle::State;
use crate::component::version::Version;
use crate::core::id::{ComponentHandle, ComponentId};
use crate::core::wait_graph::WaitNode;
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
    versions: Mutex<Versions>,
    /// Held during a replacement.
    replacing: Mutex<()>,
    /// The replacement in the wait-for graph.
    replacement: Arc<WaitNode>,
}

/// The versions of a component.
struct Versions {
    current: Arc<Version>,
    /// The versions before it, the latest last.
    earlier: Vec<Arc<Version>>,
    /// The most earlier versions kept.
    most: usize,
    /// The highest number that a version has used.
    last: u64,
    /// The version on trial.
    canary: Option<Arc<Canary>>,
}

impl Versions {
    /// Makes a version the current one; returns those that are not kept.
    fn advance_to(&mut self, version: Arc<Version>) -> Vec<Arc<Version>> {
        let before = std::mem::replace(&mut self.current, version);
        self.earlier.push(before);
        let surplus = self.earlier.len().saturating_sub(self.most);
        self.earlier.drain(..surplus).collect()
    }
}

impl Pool {
    /// Creates a pool of actors that have the same id.
    pub fn new(handle: ComponentHandle, actors: Vec1<Arc<Actor>>, kept_versions: usize) -> Self {
        let members = Members::new(actors.mapped_ref(|actor| Arc::clone(actor.mailbox())));
        let current = Arc::clone(&actors.first().source().version);
        let last = current.number;
        let (earlier, most) = (Vec::new(), kept_versions);
        let versions = Versions { current, earlier, most, last, canary: None };
        Self {
            handle,
            actors,
            members: Arc::new(members),
            versions: Mutex::new(versions),
            replacing: Mutex::default(),
            replacement: Arc::default(),
        }
    }

    /// Returns the lock that is held during a replacement.
    pub fn replacing(&self) -> &Mutex<()> {
        &self.replacing
    }

    /// Returns the node of the replacement in the wait-for graph.
    pub fn replacement(&self) -> &Arc<WaitNode> {
        &self.replacement
    }

    /// Returns the current version.
    pub fn version(&self) -> Arc<Version> {
        Arc::clone(&self.versions().current)
    }

    /// Returns the version before the current one, if it is kept.
    pub fn earlier_version(&self) -> Option<Arc<Version>> {
        self.versions().earlier.last().cloned()
    }

    /// Returns the number of a new version, which is free until [`Pool::use_number`].
    pub fn next_version(&self) -> u64 {
        self.versions().last + 1
    }

    /// Notes that the version with this number has taken over in an instance, or is on trial there.
    pub fn use_number(&self, number: u64) {
        let mut versions = self.versions();
        versions.last = versions.last.max(number);
    }

    /// Notes that `version` has taken over.
    pub fn advance_to(&self, version: Arc<Version>) {
        let mut versions = self.versions();
        let _dropped_unlocked = versions.advance_to(version);
        drop(versions);
    }

    /// Notes that a version is on trial.
    pub fn set_canary(&self, canary: Arc<Canary>) {
        self.versions().canary = Some(canary);
    }

    /// Returns the version on trial.
    pub fn canary(&self) -> Option<Arc<Canary>> {
        self.versions().canary.clone()
    }

    /// Notes what became of the version on trial.
    pub fn settle(&self, canary: &Canary, verdict: Verdict) {
        let mut versions = self.versions();
        let settled = versions.canary.take_if(|on_trial| std::ptr::eq(&**on_trial, canary));
        let _dropped_unlocked = match (&settled, verdict) {
            (Some(_), Verdict::Promote(_)) => versions.advance_to(Arc::clone(canary.version())),
            _ => Vec::new(),
        };
        drop(versions);
    }

    /// Notes that the version before the current one has taken over again.
    pub fn went_back(&self) {
        let mut versions = self.versions();
        if let Some(before) = versions.earlier.pop() {
            let _dropped_unlocked = std::mem::replace(&mut versions.current, before);
            drop(versions);
        }
    }

    fn versions(&self) -> MutexGuard<'_, Versions> {
        // No code under the lock can panic half-way through a change.
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the actor of a component that has one, has never had another version, and whose
    /// mailboxes nobody else holds as a group.
    pub fn sole_actor(&self) -> Option<&Arc<Actor>> {
        let versions = self.versions();
        let is_first = versions.last == 1 && versions.earlier.is_empty();
        let is_sole = self.actors.len() == 1 && Arc::strong_count(&self.members) == 1;
        (is_first && is_sole).then(|| self.actors.first())
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
    pub fn try_acquire(
        &self,
        payload: &[u8],
        is_invocation: bool,
    ) -> Result<Acquire<(&Arc<Actor>, Place)>, Refusal> {
        let first = self.pick();
        let mut busy = false;
        // Concurrent callers find the same least busy actor, and only one can enter it.
        let others = self.actors.iter().filter(|actor| !Arc::ptr_eq(actor, first));
        for actor in std::iter::once(first).chain(others) {
            match actor.mailbox().try_acquire(payload, is_invocation)? {
                Acquire::Acquired(place) => return Ok(Acquire::Acquired((actor, place))),
                Acquire::Busy => busy = true,
                Acquire::Closed => {}
            }
        }
        Ok(if busy { Acquire::Busy } else { Acquire::Closed })
    }
}
