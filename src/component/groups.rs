//! The groups of an engine at work: their members, and the restarts that they make.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use crate::component::actor::Actor;
use crate::component::group_restart::{GroupRestart, Seat, run};
use crate::component::group_tree::{
    Changes, Decision, GroupSpec, GroupTree, InvalidGroup, Loss, Scope,
};
use crate::component::pool::Pool;
use crate::component::supervision::{Supervisor, Wish};
use crate::core::error::CallError;
use crate::core::id::ComponentHandle;
use crate::core::ports::{Identity, StateChanges};
use crate::core::wait_graph::WaitNode;
use crate::messaging::group_restart::{Fate, Part};
use crate::messaging::mail::Mail;

/// One instance of a component.
pub type InstanceKey = (ComponentHandle, usize);

/// The groups of an engine.
pub struct Groups {
    at_work: Mutex<AtWork>,
    changes: Arc<dyn StateChanges>,
}

#[derive(Default)]
struct AtWork {
    tree: GroupTree,
    components: HashMap<ComponentHandle, Weak<Pool>>,
    /// The instances that take part in restarts, and in how many.
    taking_part: HashMap<InstanceKey, usize>,
    /// The restarts that are due, by outermost group. An entry means that a task works them off.
    restarts: HashMap<ComponentHandle, VecDeque<GroupRestart>>,
}

/// The place of a component in a group.
#[derive(Clone)]
pub struct Membership {
    /// All groups.
    pub groups: Arc<Groups>,
    /// The group of the component.
    pub group: ComponentHandle,
    /// Its name.
    pub name: Arc<str>,
}

impl Groups {
    /// Creates the groups of an engine: none. `changes` is told of their states.
    pub fn new(changes: Arc<dyn StateChanges>) -> Arc<Self> {
        Arc::new(Self { at_work: Mutex::default(), changes })
    }

    /// Adds an empty group.
    pub fn add(
        &self,
        handle: ComponentHandle,
        name: &str,
        spec: GroupSpec,
        parent: Option<ComponentHandle>,
    ) -> Result<(), InvalidGroup> {
        self.lock().tree.add(handle, name, spec, parent)
    }

    /// Removes a group and the groups in it; components stay.
    pub fn remove(&self, handle: ComponentHandle) {
        self.lock().tree.remove(handle);
    }

    /// Looks at the groups under their lock. `look` must be short and must not block.
    pub fn with<R>(&self, look: impl FnOnce(&mut GroupTree) -> R) -> R {
        look(&mut self.lock().tree)
    }

    /// Returns all components of a group and of the groups in it, in order. `None` if there is no
    /// such group.
    pub fn pools(&self, group: ComponentHandle) -> Option<Vec<Arc<Pool>>> {
        let at_work = self.lock();
        let components = at_work.tree.components(group)?;
        Some(components.iter().filter_map(|handle| at_work.pool(*handle)).collect())
    }

    /// Makes a component the last member of a group; returns false if the group is gone.
    pub fn join(&self, group: ComponentHandle, pool: &Arc<Pool>) -> bool {
        let mut at_work = self.lock();
        let joined = at_work.tree.join(group, pool.handle());
        if joined {
            at_work.components.insert(pool.handle(), Arc::downgrade(pool));
        }
        joined
    }

    /// Removes a component from its group.
    pub fn leave(&self, group: ComponentHandle, component: ComponentHandle) {
        let mut at_work = self.lock();
        at_work.tree.leave(group, component);
        at_work.components.remove(&component);
    }

    /// Lets a group and the groups in it begin anew, or all without a `group`: the host has started
    /// them.
    pub fn revive(&self, group: Option<ComponentHandle>) {
        let mut at_work = self.lock();
        for group in group.map_or_else(|| at_work.tree.all(), |group| vec![group]) {
            let changes = at_work.tree.revive(group);
            self.tell(changes, None);
        }
    }

    /// Decides on a loss, and makes the restart at the time that `at` tells; returns false if the
    /// component is on its own.
    fn take_on(
        self: &Arc<Self>,
        group: ComponentHandle,
        actor: &Arc<Actor>,
        loss: Loss,
        at: impl FnOnce(Fate) -> Instant,
    ) -> bool {
        let component = actor.status().component();
        let mut at_work = self.lock();
        if at_work.taking_part.contains_key(&actor.status().key()) {
            return true;
        }
        let decision = at_work.tree.after(group, component.handle, loss, Instant::now());
        let Some(Decision { group, below, scope, fate, changes }) = decision else { return false };
        self.tell(changes, Some(component));
        let node = Arc::<WaitNode>::default();
        let mut lost = at_work.seat(self, actor, &node);
        drop(at_work);
        let part = lost.part.take();
        // Before all mail that waits. The caller holds the right to run.
        if let Some(part) = part {
            drop(actor.mailbox().deliver(Mail::Regroup(Box::new(Some(part)))));
        }
        let restart = GroupRestart { group, below, scope, fate, lost, node };
        let timers = &actor.spec().context.timers;
        // Apart from the component: it has a pace of its own.
        timers.workers().spawn(run(Arc::clone(self), restart, at(fate), timers.clone()));
        true
    }

    /// Queues a restart. Returns the outermost group if no other task works off its restarts; the
    /// caller then must, until [`Groups::next`] returns `None`.
    pub(super) fn queue(&self, restart: GroupRestart) -> Option<ComponentHandle> {
        let mut at_work = self.lock();
        let group = restart.group;
        let root = at_work.tree.path(group).first().copied().unwrap_or(group);
        match at_work.restarts.get_mut(&root) {
            Some(queue) => {
                queue.push_back(restart);
                None
            }
            None => {
                at_work.restarts.insert(root, VecDeque::from([restart]));
                Some(root)
            }
        }
    }

    /// Returns the next restart of an outermost group.
    pub(super) fn next(&self, root: ComponentHandle) -> Option<GroupRestart> {
        let mut at_work = self.lock();
        let next = at_work.restarts.get_mut(&root).and_then(VecDeque::pop_front);
        if next.is_none() {
            at_work.restarts.remove(&root);
        }
        next
    }

    /// Returns all instances that take part in a restart, in order.
    pub(super) fn seats(
        self: &Arc<Self>,
        scope: &Scope,
        lost: Seat,
        node: &Arc<WaitNode>,
    ) -> Vec<Seat> {
        let Scope::Components(components) = scope else { return vec![lost] };
        let mut at_work = self.lock();
        let pools: Vec<_> = components.iter().filter_map(|handle| at_work.pool(*handle)).collect();
        let (mut lost, mut seats) = (Some(lost), Vec::new());
        for actor in pools.iter().flat_map(|pool| pool.actors()) {
            let is_lost = lost.as_ref().is_some_and(|lost| Arc::ptr_eq(&lost.actor, actor));
            let its = if is_lost { lost.take() } else { None };
            seats.push(its.unwrap_or_else(|| at_work.seat(self, actor, node)));
        }
        drop(at_work);
        seats
    }

    /// Returns what becomes of members now: the host may have started their group since.
    pub(super) fn fate(&self, group: ComponentHandle, decided: Fate) -> Fate {
        match decided {
            Fate::Fail if self.lock().tree.gives_up(group) => Fate::Fail,
            _ => Fate::Restart,
        }
    }

    /// Notes that a restart is over.
    pub(super) fn end(&self, group: ComponentHandle, below: &[ComponentHandle]) {
        let mut at_work = self.lock();
        let changes = at_work.tree.end(group, below);
        self.tell(changes, None);
    }

    /// Reports changes. The caller holds the lock, which keeps them in order.
    fn tell(&self, changes: Changes, component: Option<&Identity>) {
        for change in changes {
            self.changes.group_changed(change, component);
        }
    }

    fn lock(&self) -> MutexGuard<'_, AtWork> {
        // No code under the lock can panic half-way through a change.
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks an instance as one that takes part in a restart.
struct Mark {
    groups: Arc<Groups>,
    instance: InstanceKey,
}

impl Drop for Mark {
    fn drop(&mut self) {
        let mut at_work = self.groups.lock();
        if let Entry::Occupied(mut count) = at_work.taking_part.entry(self.instance) {
            match count.get() {
                1 => _ = count.remove(),
                _ => *count.get_mut() -= 1,
            }
        }
    }
}

impl AtWork {
    /// Makes an instance take part in a restart. A seat must not be dropped under the lock.
    fn seat(&mut self, groups: &Arc<Groups>, actor: &Arc<Actor>, node: &Arc<WaitNode>) -> Seat {
        let instance = actor.status().key();
        *self.taking_part.entry(instance).or_default() += 1;
        let mark = Box::new(Mark { groups: Arc::clone(groups), instance });
        let (part, lead) = Part::with_lead(Arc::clone(node), mark);
        Seat { actor: Arc::clone(actor), part: Some(part), lead }
    }

    fn pool(&self, handle: ComponentHandle) -> Option<Arc<Pool>> {
        self.components.get(&handle)?.upgrade()
    }
}

impl Membership {
    /// Returns whether the group decides on the loss of an instance to `error`, instead of the
    /// `wish` of its own `supervisor`.
    pub fn takes_on(
        &self,
        actor: &Arc<Actor>,
        supervisor: &Supervisor,
        error: &CallError,
        wish: Wish,
    ) -> bool {
        let now = Instant::now();
        let loss = match wish {
            Wish::Restart(_) if matches!(error, CallError::Interrupted) => Loss::ByHost,
            Wish::Restart(_) => Loss::Restarts,
            Wish::GiveUp => Loss::Exhausted,
        };
        let at = |fate| match (wish, fate) {
            (Wish::Restart(at), _) => at,
            (Wish::GiveUp, Fate::Restart) => supervisor.begin_anew(now),
            (Wish::GiveUp, Fate::Fail) => now,
        };
        self.groups.take_on(self.group, actor, loss, at)
    }
}
