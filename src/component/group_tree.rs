//! Groups of components: which components a restart takes along, and when a group gives up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::component::restart_budget::{RestartBudget, RestartLimit};
use crate::core::id::ComponentHandle;
use crate::core::ports::GroupChange;
use crate::messaging::group_restart::Fate;

/// The deepest nesting of groups.
pub const MAX_DEPTH: usize = 32;

/// Which members a restart of one member takes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// None.
    OneForOne,
    /// All.
    OneForAll,
    /// Those that came into the group after it.
    RestForOne,
}

impl Strategy {
    /// Returns the name in the options.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneForOne => "one-for-one",
            Self::OneForAll => "one-for-all",
            Self::RestForOne => "rest-for-one",
        }
    }
}

/// The state of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// Its members are on their own.
    Running,
    /// It restarts members.
    Restarting,
    /// It has given up: members that it would have restarted are about to fail.
    Failing,
    /// They have failed.
    Failed,
}

impl GroupState {
    /// Returns the lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Failing => "failing",
            Self::Failed => "failed",
        }
    }
}

/// How a group restarts its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// Which members a restart takes along.
    pub strategy: Strategy,
    /// The most restarts that the group makes.
    pub limit: RestartLimit,
}

impl Default for GroupSpec {
    fn default() -> Self {
        let limit = RestartLimit { most: Some(10), window: Duration::from_secs(60) };
        Self { strategy: Strategy::OneForOne, limit }
    }
}

/// A member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// A component.
    Component(ComponentHandle),
    /// A group.
    Group(ComponentHandle),
}

/// One group.
pub struct Group {
    /// The name, unique in the engine.
    pub name: Arc<str>,
    /// How it restarts its members.
    pub spec: GroupSpec,
    /// The group that it is a member of.
    pub parent: Option<ComponentHandle>,
    /// In the order in which they came.
    pub members: Vec<Member>,
    /// The state.
    pub state: GroupState,
    /// Restarts made so far.
    pub restarts: u64,
    /// Restarts of it or by it that are not over.
    under_way: u32,
    budget: RestartBudget,
}

impl Group {
    /// Returns the number of restarts in the current window.
    pub fn in_window(&mut self, now: Instant) -> usize {
        self.budget.used(self.spec.limit, now)
    }
}

/// What a component's own supervision says of the loss of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The component may restart.
    Restarts,
    /// Its own budget is exhausted.
    Exhausted,
    /// The component may restart, and the host has ended the instance: no budget is charged.
    ByHost,
}

/// What a restart takes along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The lost instance.
    Instance,
    /// All instances of these components, in order.
    Components(Vec<ComponentHandle>),
}

/// What a group decides.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    /// The group that decides.
    pub group: ComponentHandle,
    /// What it takes along.
    pub scope: Scope,
    /// What becomes of it.
    pub fate: Fate,
    /// The groups that it takes along as a whole.
    pub below: Vec<ComponentHandle>,
    /// The changes of the state of groups.
    pub changes: Changes,
}

/// Changes of groups, in order.
pub type Changes = Vec<GroupChange>;

/// Why a group was not made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidGroup {
    /// The name is in use.
    #[error("a group {name:?} exists, with handle {handle}")]
    Exists {
        /// The name.
        name: String,
        /// The handle of the group that has it.
        handle: ComponentHandle,
    },
    /// The group around it was removed meanwhile.
    #[error("the group around it, handle {0}, is gone")]
    NoParent(ComponentHandle),
    /// The nesting is too deep.
    #[error("the group would be nested {depth} deep, at most {MAX_DEPTH} are allowed")]
    TooDeep {
        /// The depth.
        depth: usize,
    },
}

/// All groups of an engine.
#[derive(Default)]
pub struct GroupTree {
    groups: HashMap<ComponentHandle, Group>,
    by_name: HashMap<Arc<str>, ComponentHandle>,
}

impl GroupTree {
    /// Adds an empty group.
    pub fn add(
        &mut self,
        handle: ComponentHandle,
        name: &str,
        spec: GroupSpec,
        parent: Option<ComponentHandle>,
    ) -> Result<(), InvalidGroup> {
        if let Some(handle) = self.find(name) {
            return Err(InvalidGroup::Exists { name: name.to_owned(), handle });
        }
        if let Some(gone) = parent.filter(|parent| !self.groups.contains_key(parent)) {
            return Err(InvalidGroup::NoParent(gone));
        }
        let depth = 1 + parent.map_or(0, |parent| self.path(parent).len());
        if depth > MAX_DEPTH {
            return Err(InvalidGroup::TooDeep { depth });
        }
        if let Some(above) = parent.and_then(|parent| self.groups.get_mut(&parent)) {
            above.members.push(Member::Group(handle));
        }
        let name: Arc<str> = name.into();
        self.by_name.insert(Arc::clone(&name), handle);
        let group = Group {
            name,
            spec,
            parent,
            members: Vec::new(),
            state: GroupState::Running,
            restarts: 0,
            under_way: 0,
            budget: RestartBudget::default(),
        };
        self.groups.insert(handle, group);
        Ok(())
    }

    /// Removes a group and the groups in it; components stay.
    pub fn remove(&mut self, handle: ComponentHandle) {
        let Some(group) = self.groups.remove(&handle) else { return };
        self.by_name.remove(&group.name);
        if let Some(above) = group.parent.and_then(|parent| self.groups.get_mut(&parent)) {
            above.members.retain(|member| *member != Member::Group(handle));
        }
        for member in group.members {
            if let Member::Group(below) = member {
                self.remove(below);
            }
        }
    }

    /// Makes a component the last member of a group; returns false if there is no such group.
    pub fn join(&mut self, group: ComponentHandle, component: ComponentHandle) -> bool {
        let Some(group) = self.groups.get_mut(&group) else { return false };
        group.members.push(Member::Component(component));
        true
    }

    /// Removes a component from its group.
    pub fn leave(&mut self, group: ComponentHandle, component: ComponentHandle) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.members.retain(|member| *member != Member::Component(component));
        }
    }

    /// Returns the group with this name.
    pub fn find(&self, name: &str) -> Option<ComponentHandle> {
        self.by_name.get(name).copied()
    }

    /// Returns a group.
    pub fn get_mut(&mut self, handle: ComponentHandle) -> Option<&mut Group> {
        self.groups.get_mut(&handle)
    }

    /// Returns the name of a group.
    pub fn name(&self, handle: ComponentHandle) -> Option<Arc<str>> {
        self.groups.get(&handle).map(|group| Arc::clone(&group.name))
    }

    /// Returns the handles of all groups, in the order in which they were made.
    pub fn all(&self) -> Vec<ComponentHandle> {
        let mut all: Vec<_> = self.groups.keys().copied().collect();
        all.sort_unstable();
        all
    }

    /// Returns the groups that a group is in, from the outermost to itself.
    pub fn path(&self, handle: ComponentHandle) -> Vec<ComponentHandle> {
        let parent = |at: &ComponentHandle| self.groups.get(at).and_then(|group| group.parent);
        let mut path: Vec<_> = std::iter::successors(Some(handle), parent).collect();
        path.reverse();
        path
    }

    /// Returns all components of a group and of the groups in it, in order. `None` if there is no
    /// such group.
    pub fn components(&self, handle: ComponentHandle) -> Option<Vec<ComponentHandle>> {
        let group = self.groups.get(&handle)?;
        Some(group.members.iter().flat_map(|member| self.components_of(*member)).collect())
    }

    fn components_of(&self, member: Member) -> Vec<ComponentHandle> {
        match member {
            Member::Component(component) => vec![component],
            Member::Group(group) => self.components(group).unwrap_or_default(),
        }
    }

    /// Returns a group and the groups in it.
    fn groups_of(&self, member: Member) -> Vec<ComponentHandle> {
        let Member::Group(handle) = member else { return Vec::new() };
        let Some(group) = self.groups.get(&handle) else { return Vec::new() };
        let below = group.members.iter().flat_map(|member| self.groups_of(*member));
        std::iter::once(handle).chain(below).collect()
    }

    /// Decides what follows the loss of an instance of `component`, which is a member of `group`.
    /// `None`: the component is on its own.
    pub fn after(
        &mut self,
        group: ComponentHandle,
        component: ComponentHandle,
        loss: Loss,
        now: Instant,
    ) -> Option<Decision> {
        let strategy = self.groups.get(&group)?.spec.strategy;
        if strategy == Strategy::OneForOne && loss != Loss::Exhausted {
            return None;
        }
        let (mut at, mut member) = (group, Member::Component(component));
        let mut changes = Vec::new();
        let fate = loop {
            let group = self.groups.get_mut(&at)?;
            if loss == Loss::ByHost || group.budget.take(group.spec.limit, now) {
                break Fate::Restart;
            }
            let Some(parent) = group.parent else { break Fate::Fail };
            (at, member) = (parent, Member::Group(at));
        };
        let group = self.groups.get_mut(&at)?;
        let scope = match (group.spec.strategy, member) {
            (Strategy::OneForOne, Member::Component(_)) => Scope::Instance,
            _ => Scope::Components(self.taken_along(at, member, Self::components_of)),
        };
        let below = self.taken_along(at, member, Self::groups_of);
        self.begin(at, &below, fate, &mut changes);
        Some(Decision { group: at, below, scope, fate, changes })
    }

    /// Notes what a group does with members, and with the groups `below` it as a whole. Those begin
    /// anew with a restart.
    fn begin(
        &mut self,
        at: ComponentHandle,
        below: &[ComponentHandle],
        fate: Fate,
        changes: &mut Changes,
    ) {
        for handle in std::iter::once(&at).chain(below) {
            let Some(group) = self.groups.get_mut(handle) else { continue };
            group.under_way += 1;
            let to = match fate {
                Fate::Fail => GroupState::Failing,
                Fate::Restart => GroupState::Restarting,
            };
            match fate {
                Fate::Fail => {}
                Fate::Restart if *handle == at => group.restarts += 1,
                Fate::Restart => group.budget.reset(),
            }
            // What has given up stays so until the host starts it, or it is restarted as a whole.
            let has_given_up = matches!(group.state, GroupState::Failing | GroupState::Failed);
            if !has_given_up || *handle != at || fate == Fate::Fail {
                self.change(*handle, to, changes);
            }
        }
    }

    /// Notes that a restart is over; returns the changes.
    pub fn end(&mut self, at: ComponentHandle, below: &[ComponentHandle]) -> Changes {
        let mut changes = Vec::new();
        for handle in std::iter::once(&at).chain(below) {
            let Some(group) = self.groups.get_mut(handle) else { continue };
            group.under_way = group.under_way.saturating_sub(1);
            let to = match group.state {
                GroupState::Restarting if group.under_way == 0 => GroupState::Running,
                GroupState::Failing => GroupState::Failed,
                same => same,
            };
            self.change(*handle, to, &mut changes);
        }
        changes
    }

    /// Returns whether a group has given up.
    pub fn gives_up(&self, handle: ComponentHandle) -> bool {
        let state = self.groups.get(&handle).map(|group| group.state);
        // A group that is gone can not be started any more.
        state.is_none_or(|state| matches!(state, GroupState::Failing | GroupState::Failed))
    }

    /// Lets a group and the groups in it begin anew: the host has started them.
    pub fn revive(&mut self, handle: ComponentHandle) -> Changes {
        let mut changes = Vec::new();
        for handle in self.groups_of(Member::Group(handle)) {
            let Some(group) = self.groups.get_mut(&handle) else { continue };
            group.budget.reset();
            if matches!(group.state, GroupState::Failing | GroupState::Failed) {
                let is_quiet = group.under_way == 0;
                let to = if is_quiet { GroupState::Running } else { GroupState::Restarting };
                self.change(handle, to, &mut changes);
            }
        }
        changes
    }

    fn change(&mut self, handle: ComponentHandle, to: GroupState, changes: &mut Changes) {
        let Some(group) = self.groups.get_mut(&handle) else { return };
        let from = std::mem::replace(&mut group.state, to);
        if from != to {
            let (name, restarts) = (Arc::clone(&group.name), group.restarts);
            changes.push(GroupChange { handle, name, from: from.name(), to: to.name(), restarts });
        }
    }

    /// Collects `each` of the members that a restart of `member` takes along, itself included.
    fn taken_along(
        &self,
        group: ComponentHandle,
        member: Member,
        each: impl Fn(&Self, Member) -> Vec<ComponentHandle>,
    ) -> Vec<ComponentHandle> {
        let Some(group) = self.groups.get(&group) else { return Vec::new() };
        let alone = [member];
        let taken: &[Member] = match group.spec.strategy {
            Strategy::OneForOne => &alone,
            Strategy::OneForAll => &group.members,
            Strategy::RestForOne => {
                let at = group.members.iter().position(|it| *it == member);
                at.map_or(&[], |at| &group.members[at..])
            }
        };
        taken.iter().flat_map(|member| each(self, *member)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ComponentHandle = ComponentHandle(11);
    const B: ComponentHandle = ComponentHandle(12);
    const C: ComponentHandle = ComponentHandle(13);
    const D: ComponentHandle = ComponentHandle(14);
    const TOP: ComponentHandle = ComponentHandle(1);
    const INNER: ComponentHandle = ComponentHandle(2);

    fn spec(strategy: Strategy, most: usize) -> GroupSpec {
        GroupSpec {
            strategy,
            limit: RestartLimit { most: Some(most), window: Duration::from_secs(10) },
        }
    }

    fn of_three(strategy: Strategy, most: usize) -> GroupTree {
        let mut tree = GroupTree::default();
        tree.add(TOP, "top", spec(strategy, most), None).unwrap();
        assert!([A, B, C].into_iter().all(|component| tree.join(TOP, component)));
        tree
    }

    fn scope(decision: Option<Decision>) -> (Scope, Fate) {
        decision.map(|decision| (decision.scope, decision.fate)).expect("the group decides")
    }

    fn states(changes: &[GroupChange]) -> Vec<(ComponentHandle, &str)> {
        changes.iter().map(|change| (change.handle, change.to)).collect()
    }

    #[test]
    fn strategies_take_along_none_all_or_the_rest() {
        let now = Instant::now();
        let mut tree = of_three(Strategy::OneForOne, 9);
        assert_eq!(tree.after(TOP, B, Loss::Restarts, now), None, "its own budget is enough");
        let alone = (Scope::Instance, Fate::Restart);
        assert_eq!(scope(tree.after(TOP, B, Loss::Exhausted, now)), alone);
        for loss in [Loss::Restarts, Loss::Exhausted] {
            let all = (Scope::Components(vec![A, B, C]), Fate::Restart);
            let mut tree = of_three(Strategy::OneForAll, 9);
            assert_eq!(scope(tree.after(TOP, B, loss, now)), all);
            let rest = (Scope::Components(vec![B, C]), Fate::Restart);
            let mut tree = of_three(Strategy::RestForOne, 9);
            assert_eq!(scope(tree.after(TOP, B, loss, now)), rest);
        }
    }

    #[test]
    fn the_budget_of_a_group_slides_and_its_end_fails_what_it_would_restart() {
        let start = Instant::now();
        let mut tree = of_three(Strategy::RestForOne, 2);
        let mut at = |seconds| {
            tree.after(TOP, B, Loss::Restarts, start + Duration::from_secs(seconds)).unwrap()
        };
        assert_eq!(at(0).fate, Fate::Restart);
        assert_eq!(at(5).fate, Fate::Restart);
        let end = at(9);
        assert_eq!((end.scope, end.fate), (Scope::Components(vec![B, C]), Fate::Fail));
        assert_eq!(states(&end.changes), [(TOP, "failing")]);
        assert_eq!(at(10).fate, Fate::Restart, "the first is old");
        assert!(tree.gives_up(TOP));
        assert_eq!(states(&tree.end(TOP, &[])), [(TOP, "failed")]);
        for _ in 0..3 {
            assert_eq!(states(&tree.end(TOP, &[])), []);
        }
        assert_eq!(states(&tree.revive(TOP)), [(TOP, "running")]);
        assert_eq!(tree.after(TOP, B, Loss::Restarts, start).unwrap().fate, Fate::Restart);
    }

    fn nested(top: Strategy, top_most: usize, inner_most: usize) -> GroupTree {
        let mut tree = GroupTree::default();
        tree.add(TOP, "top", spec(top, top_most), None).unwrap();
        assert!(tree.join(TOP, A));
        tree.add(INNER, "inner", spec(Strategy::OneForOne, inner_most), Some(TOP)).unwrap();
        assert!(tree.join(INNER, B) && tree.join(INNER, C) && tree.join(TOP, D));
        tree
    }

    #[test]
    fn a_group_that_gives_up_is_restarted_as_a_whole_by_the_one_around_it() {
        let now = Instant::now();
        let mut tree = nested(Strategy::RestForOne, 2, 1);
        assert_eq!(tree.components(TOP).unwrap(), [A, B, C, D]);
        let alone = (Scope::Instance, Fate::Restart);
        assert_eq!(scope(tree.after(INNER, C, Loss::Exhausted, now)), alone);
        let escalated = tree.after(INNER, C, Loss::Exhausted, now).unwrap();
        assert_eq!(escalated.group, TOP);
        assert_eq!(escalated.scope, Scope::Components(vec![B, C, D]));
        assert_eq!(states(&escalated.changes), [(TOP, "restarting")], "the inner is at it already");
        // The inner group has begun anew: its budget is whole again.
        assert_eq!(scope(tree.after(INNER, B, Loss::Exhausted, now)), alone);
        let (at, below) = (escalated.group, escalated.below);
        assert_eq!(states(&tree.end(at, &below)), [(TOP, "running")], "the inner is at it again");
        assert_eq!(states(&tree.end(INNER, &[])), [], "twice");
        assert_eq!(states(&tree.end(INNER, &[])), [(INNER, "running")]);
    }

    #[test]
    fn the_outermost_group_has_the_last_word() {
        let now = Instant::now();
        let mut tree = nested(Strategy::OneForOne, 0, 0);
        let end = tree.after(INNER, C, Loss::Exhausted, now).unwrap();
        assert_eq!((end.group, end.fate), (TOP, Fate::Fail));
        assert_eq!(end.scope, Scope::Components(vec![B, C]), "its siblings go on");
        assert_eq!(states(&end.changes), [(TOP, "failing"), (INNER, "failing")]);
        assert_eq!(states(&tree.end(TOP, &end.below)), [(TOP, "failed"), (INNER, "failed")]);
        assert_eq!(states(&tree.revive(TOP)), [(TOP, "running"), (INNER, "running")]);
    }

    #[test]
    fn names_are_unique_and_the_nesting_is_bounded() {
        let mut tree = GroupTree::default();
        let any = spec(Strategy::OneForOne, 1);
        let mut parent = None;
        for depth in 1..=MAX_DEPTH {
            let handle = ComponentHandle(depth as u64);
            tree.add(handle, &format!("g{depth}"), any, parent).unwrap();
            parent = Some(handle);
        }
        let below = ComponentHandle(99);
        let too_deep = InvalidGroup::TooDeep { depth: MAX_DEPTH + 1 };
        assert_eq!(tree.add(below, "below", any, parent), Err(too_deep));
        let exists = InvalidGroup::Exists { name: "g2".into(), handle: ComponentHandle(2) };
        assert_eq!(tree.add(below, "g2", any, None), Err(exists));
        tree.remove(ComponentHandle(2));
        assert_eq!(tree.all(), [ComponentHandle(1)]);
        assert!(tree.add(below, "g2", any, None).is_ok());
        assert_eq!(tree.components(ComponentHandle(1)), Some(vec![]));
    }
}
