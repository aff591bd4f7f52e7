//! The groups of an engine at work: their members, and the restarts that they make.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use crate::component::actor::Actor;
use crate::component::group_restart::{GroupRestart, run};
use crate::component::group_tree::{
    Changes, Decision, GroupSpec, GroupTree, InvalidGroup, Loss, Scope,
};
use crate::component::pool::Pool;
use crate::component::supervision::{Supervisor, Verdict};
use crate::core::error::CallError;
use crate::core::id::ComponentHandle;
use crate::core::ports::{Identity, StateChanges};
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
    /// The instances that wait for a restart of their group.
    waiting: HashSet<InstanceKey>,
    /// The restarts to come, by outermost group. An entry means that a task works them off.
    restarts: HashMap<ComponentHandle, VecDeque<GroupRestart>>,
}

/// The place of a component in a group.
#[derive(Clone)]
pub struct Membership {
    /// All groups.
    pub groups: Arc<Groups>,
    /// The group of the component.
    pub group: ComponentHandle,
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

    /// Lets a group and the groups in it begin anew: the host has started them.
    pub fn revive(&self, group: ComponentHandle) {
        let mut at_work = self.lock();
        let changes = at_work.tree.revive(group);
        self.tell(changes, None);
    }

    fn after(
        self: &Arc<Self>,
        group: ComponentHandle,
        actor: &Actor,
        loss: Loss,
        at: impl FnOnce(Fate) -> Instant,
    ) -> Option<Verdict> {
        let component = actor.status().component();
        let mut at_work = self.lock();
        if at_work.waiting.contains(&actor.status().key()) {
            return Some(Verdict::Group);
        }
        let decision = at_work.tree.after(group, component.handle, loss, Instant::now())?;
        let Decision { group, below, scope, fate, changes } = decision;
        self.tell(changes, Some(component));
        let others = match scope {
            Scope::Instance => Vec::new(),
            Scope::Components(components) => {
                components.into_iter().filter_map(|handle| at_work.pool(handle)).collect()
            }
        };
        let actors = others.iter().flat_map(|pool| pool.actors().iter().map(|actor| &**actor));
        let mut parts = Vec::new();
        for member in actors.chain(others.is_empty().then_some(actor)) {
            let (part, lead) = Part::with_lead();
            // One that is stopped, or about to be, takes no part.
            if member.mailbox().deliver(Mail::Regroup(Box::new(part))).is_ok() {
                at_work.waiting.insert(member.status().key());
                parts.push((member.status().key(), lead));
            }
        }
        let root = at_work.tree.path(group).first().copied().unwrap_or(group);
        let restart = GroupRestart { group, below, parts, at: at(fate), fate };
        match at_work.restarts.get_mut(&root) {
            Some(queue) => queue.push_back(restart),
            None => {
                at_work.restarts.insert(root, VecDeque::from([restart]));
                let timers = actor.spec().context.timers.clone();
                timers.spawn(run(Arc::clone(self), root, timers.clone()));
            }
        }
        Some(Verdict::Group)
    }

    /// Returns the next restart of an outermost group; after `None` the task must end.
    pub(super) fn next(&self, root: ComponentHandle) -> Option<GroupRestart> {
        let mut at_work = self.lock();
        let next = at_work.restarts.get_mut(&root).and_then(VecDeque::pop_front);
        if next.is_none() {
            at_work.restarts.remove(&root);
        }
        next
    }

    /// Notes that an instance waits no longer: from now on its loss is another one.
    pub(super) fn goes_on(&self, instance: InstanceKey) {
        self.lock().waiting.remove(&instance);
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

impl AtWork {
    fn pool(&self, handle: ComponentHandle) -> Option<Arc<Pool>> {
        self.components.get(&handle)?.upgrade()
    }
}

impl Membership {
    /// Decides what follows the loss of an instance to `error`, after which its own `supervisor`
    /// would do as `verdict` says.
    pub fn after(
        &self,
        actor: &Actor,
        supervisor: &Supervisor,
        error: &CallError,
        verdict: Verdict,
    ) -> Verdict {
        let now = Instant::now();
        let (loss, at) = match verdict {
            Verdict::Recover(at) => (Loss::Restarts, at),
            Verdict::OnDemand => (Loss::Restarts, now),
            Verdict::GiveUp => (Loss::Exhausted, now),
            Verdict::Exited | Verdict::Never | Verdict::Group => return verdict,
        };
        let loss = if matches!(error, CallError::Interrupted) { Loss::ByHost } else { loss };
        let at = |fate| match (loss, fate) {
            (Loss::Exhausted, Fate::Restart) => supervisor.begin_anew(now),
            _ => at,
        };
        self.groups.after(self.group, actor, loss, at).unwrap_or(verdict)
    }
}
