//! The model of an engine: components, and the groups that restart them.

use airssys_wasm::*;

use super::component::{Component, Mail, Own, Policy, Received, Terms};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strategy {
    OneForOne,
    OneForAll,
    RestForOne,
}

/// What an engine gets, in order. `within` is one of the groups before it.
#[derive(Clone, Copy, Debug)]
pub enum Item {
    Group { within: Option<usize>, strategy: Strategy, budget: usize },
    Component { within: Option<usize>, policy: Policy },
}

/// By number, among the groups or among the components.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Member {
    Group(usize),
    Component(usize),
}

/// What a function of the life cycle is called for.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    One(usize),
    Group(usize),
    All,
}

#[derive(Clone, Copy, Debug)]
pub enum Deed {
    Send(usize, Mail),
    Stop(Target),
    Start(Target),
    Restart(Target),
    /// `None` is a binary that cannot be used; otherwise, whether its `restore` fails.
    Replace(usize, Option<bool>),
    RollBack(usize),
    TryOut(usize, Terms, bool),
    Decide {
        component: usize,
        promote: bool,
    },
}

#[derive(Debug)]
pub struct Group {
    within: Option<usize>,
    strategy: Strategy,
    budget: usize,
    members: Vec<Member>,
    /// Of the budget.
    pub used: usize,
    pub restarts: u64,
    pub has_failed: bool,
}

/// A status, and the reply of a message.
pub type Outcome = (airssys_status_t, Option<u64>);

#[derive(Debug, Default)]
pub struct World {
    pub groups: Vec<Group>,
    pub components: Vec<Component>,
    /// The group of each component.
    groups_of: Vec<Option<usize>>,
    /// What is in no group.
    outermost: Vec<Member>,
}

impl World {
    pub fn new(items: &[Item]) -> Self {
        let mut world = Self::default();
        for item in items {
            let (within, member) = match *item {
                Item::Group { within, strategy, budget } => {
                    let members = Vec::new();
                    let group = Group {
                        within,
                        strategy,
                        budget,
                        members,
                        used: 0,
                        restarts: 0,
                        has_failed: false,
                    };
                    world.groups.push(group);
                    (within, Member::Group(world.groups.len() - 1))
                }
                Item::Component { within, policy } => {
                    world.components.push(Component::new(policy));
                    world.groups_of.push(within);
                    (within, Member::Component(world.components.len() - 1))
                }
            };
            match within {
                Some(group) => world.groups[group].members.push(member),
                None => world.outermost.push(member),
            }
        }
        world
    }

    pub fn act(&mut self, deed: Deed) -> Outcome {
        let status = match deed {
            Deed::Send(at, mail) => return self.send(at, mail),
            Deed::Stop(target) => {
                self.components_of(target).into_iter().for_each(|at| self.components[at].stop());
                AIRSSYS_OK
            }
            Deed::Start(target) => {
                for group in self.groups_in(target) {
                    (self.groups[group].used, self.groups[group].has_failed) = (0, false);
                }
                self.components_of(target).into_iter().for_each(|at| self.components[at].start());
                AIRSSYS_OK
            }
            Deed::Restart(target) => {
                let all = self.components_of(target).into_iter();
                let outcomes: Vec<_> = all.map(|at| self.components[at].restart()).collect();
                let failed = outcomes.into_iter().find(|status| *status != AIRSSYS_OK);
                failed.unwrap_or(AIRSSYS_OK)
            }
            Deed::Replace(at, refuses) => self.components[at].replace(refuses),
            Deed::RollBack(at) => self.components[at].roll_back(),
            Deed::TryOut(at, terms, refuses) => self.components[at].try_out(terms, refuses),
            Deed::Decide { component, promote } => self.components[component].decide(promote),
        };
        (status, None)
    }

    fn send(&mut self, at: usize, mail: Mail) -> Outcome {
        let lost = match mail {
            Mail::Loop => AIRSSYS_ERROR_INTERRUPTED,
            _ => AIRSSYS_ERROR_TRAP,
        };
        match self.components[at].receive(mail) {
            Received::Refused(status) => (status, None),
            Received::Sum(sum) => (AIRSSYS_OK, Some(sum)),
            Received::CanaryLost => (lost, None),
            Received::Lost => {
                self.lose(at, matches!(mail, Mail::Loop));
                (lost, None)
            }
        }
    }

    /// A component has lost its instance.
    fn lose(&mut self, at: usize, by_host: bool) {
        let own = self.components[at].supervise(by_host);
        let group = self.groups_of[at].filter(|group| {
            let acts = self.groups[*group].strategy != Strategy::OneForOne;
            own != Own::NeverRestarts && (acts || own == Own::IsExhausted)
        });
        match (group, own) {
            (Some(group), _) => self.restart_members(group, at, by_host, own),
            (None, Own::WaitsForMail) => {}
            (None, Own::Restarts) => self.components[at].begin_again(),
            (None, Own::IsExhausted | Own::NeverRestarts) => self.components[at].fail(),
        }
    }

    /// A group, or one around it whose budget is not exhausted, restarts what its strategy says.
    /// Without such a group, the outermost ends it.
    fn restart_members(&mut self, group: usize, lost: usize, by_host: bool, own: Own) {
        let (mut at, mut member) = (group, Member::Component(lost));
        let restarts = loop {
            let group = &mut self.groups[at];
            if by_host || group.used < group.budget {
                group.used += usize::from(!by_host);
                group.restarts += 1;
                break true;
            }
            let Some(around) = group.within else { break false };
            (at, member) = (around, Member::Group(at));
        };
        let Group { strategy, members, .. } = &self.groups[at];
        let along = match strategy {
            Strategy::OneForOne => vec![member],
            Strategy::OneForAll => members.clone(),
            Strategy::RestForOne => {
                members.iter().copied().skip_while(|it| *it != member).collect()
            }
        };
        let all = self.below(&along);
        if restarts && own == Own::IsExhausted {
            self.components[lost].counted = 0;
        }
        self.groups[at].has_failed |= !restarts;
        for member in all {
            match member {
                Member::Group(group) if restarts => {
                    (self.groups[group].used, self.groups[group].has_failed) = (0, false);
                }
                Member::Group(group) => self.groups[group].has_failed = true,
                Member::Component(component) => self.components[component].follow_group(restarts),
            }
        }
    }

    /// These members and all that is in them, in order.
    fn below(&self, members: &[Member]) -> Vec<Member> {
        let mut all = Vec::new();
        for member in members {
            all.push(*member);
            if let Member::Group(group) = member {
                all.extend(self.below(&self.groups[*group].members));
            }
        }
        all
    }

    fn members_of(&self, target: Target) -> Vec<Member> {
        match target {
            Target::One(component) => vec![Member::Component(component)],
            Target::Group(group) => self.below(&[Member::Group(group)]),
            Target::All => self.below(&self.outermost),
        }
    }

    fn components_of(&self, target: Target) -> Vec<usize> {
        let component = |member| match member {
            Member::Component(component) => Some(component),
            Member::Group(_) => None,
        };
        self.members_of(target).into_iter().filter_map(component).collect()
    }

    fn groups_in(&self, target: Target) -> Vec<usize> {
        let group = |member| match member {
            Member::Group(group) => Some(group),
            Member::Component(_) => None,
        };
        self.members_of(target).into_iter().filter_map(group).collect()
    }
}
