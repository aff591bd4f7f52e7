//! Random sequences of calls, crashes and interrupts on components, in groups and with canaries,
//! against a model of their life cycle.

mod component;
mod host;
mod world;

use proptest::prelude::*;

use crate::harness::properties::for_all;
use component::{Mail, Policy, Terms};
use host::Host;
use world::{Deed, Item, Strategy as Restarts, Target, World};

/// A deed, with numbers that stand for the components and groups that there are.
#[derive(Clone, Copy, Debug)]
struct Plan {
    deed: Kind,
    component: usize,
    group: usize,
    reach: Reach,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Send(Mail),
    Stop,
    Start,
    Restart,
    Replace(Option<bool>),
    RollBack,
    TryOut(Terms, bool),
    Decide(bool),
}

#[derive(Clone, Copy, Debug)]
enum Reach {
    One,
    Group,
    All,
}

impl Plan {
    fn deed(self, world: &World) -> Deed {
        let component = self.component % world.components.len();
        let target = match self.reach {
            Reach::Group if !world.groups.is_empty() => {
                Target::Group(self.group % world.groups.len())
            }
            Reach::All => Target::All,
            Reach::One | Reach::Group => Target::One(component),
        };
        match self.deed {
            Kind::Send(mail) => Deed::Send(component, mail),
            Kind::Stop => Deed::Stop(target),
            Kind::Start => Deed::Start(target),
            Kind::Restart => Deed::Restart(target),
            Kind::Replace(refuses) => Deed::Replace(component, refuses),
            Kind::RollBack => Deed::RollBack(component),
            Kind::TryOut(terms, refuses) => Deed::TryOut(component, terms, refuses),
            Kind::Decide(promote) => Deed::Decide { component, promote },
        }
    }
}

fn terms() -> impl Strategy<Value = Terms> {
    let share = prop_oneof![Just(100), Just(50), 1..100_u8];
    let max_error_percent = prop_oneof![Just(None), prop_oneof![Just(0), Just(40)].prop_map(Some)];
    (share, 1..6_u64, max_error_percent, any::<bool>()).prop_map(
        |(share, messages, max_error_percent, by_call)| Terms {
            share,
            messages,
            max_error_percent,
            by_call,
        },
    )
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let mail = prop_oneof![
        5 => (1..9_u64).prop_map(Mail::Add),
        4 => Just(Mail::Crash),
        1 => Just(Mail::Loop),
    ];
    let deed = prop_oneof![
        20 => mail.prop_map(Kind::Send),
        1 => Just(Kind::Stop),
        3 => Just(Kind::Start),
        1 => Just(Kind::Restart),
        3 => proptest::option::weighted(0.7, any::<bool>()).prop_map(Kind::Replace),
        2 => Just(Kind::RollBack),
        5 => (terms(), proptest::bool::weighted(0.2)).prop_map(|(terms, no)| Kind::TryOut(terms, no)),
        3 => any::<bool>().prop_map(Kind::Decide),
    ];
    let reach = prop_oneof![4 => Just(Reach::One), 3 => Just(Reach::Group), 1 => Just(Reach::All)];
    let plan = (deed, 0..32_usize, 0..32_usize, reach)
        .prop_map(|(deed, component, group, reach)| Plan { deed, component, group, reach });
    prop::collection::vec(plan, 1..40)
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::OnDemand), Just(Policy::Permanent), Just(Policy::Temporary)]
}

fn lone_component() -> impl Strategy<Value = Vec<Item>> {
    prop_oneof![Just(Policy::Unsupervised), policies()]
        .prop_map(|policy| vec![Item::Component { within: None, policy }])
}

/// Two groups, one in the other, and more groups and components anywhere.
fn nested_groups() -> impl Strategy<Value = Vec<Item>> {
    let strategy = prop_oneof![
        Just(Restarts::OneForOne),
        Just(Restarts::OneForAll),
        Just(Restarts::RestForOne)
    ];
    let group = (strategy, 0..4_usize);
    let item = prop_oneof![
        4 => policies().prop_map(Err),
        1 => group.clone().prop_map(Ok),
    ];
    let more = prop::collection::vec((item, 0..8_usize), 0..5);
    (group.clone(), group, policies(), policies(), more).prop_map(|(outer, inner, a, b, more)| {
        let as_group = |within, (strategy, budget)| Item::Group { within, strategy, budget };
        let mut items = vec![
            as_group(None, outer),
            Item::Component { within: Some(0), policy: a },
            as_group(Some(0), inner),
            Item::Component { within: Some(1), policy: b },
        ];
        let mut groups = 2;
        for (item, place) in more {
            let within = Some(place % (groups + 1)).filter(|at| *at < groups);
            items.push(match item {
                Ok(group) => as_group(within, group),
                Err(policy) => Item::Component { within, policy },
            });
            groups += usize::from(item.is_ok());
        }
        items
    })
}

fn check(cases: u32, items: impl Strategy<Value = Vec<Item>>) {
    let host = Host::new();
    for_all(cases, (items, plans()), |(items, plans)| {
        let mut world = World::new(&items);
        let life = host.begin(&items);
        for plan in plans {
            let deed = plan.deed(&world);
            if let Deed::Send(at, Mail::Loop) = deed
                && !world.components[at].is_ready()
            {
                // The interrupt could hit the new instance in its `initialize`.
                continue;
            }
            let expected = world.act(deed);
            assert_eq!(life.act(deed), expected, "{deed:?}");
            life.check(&world, deed);
        }
        life.end(world);
    });
}

#[test]
fn a_life_goes_as_the_model_says() {
    check(500, lone_component());
}

#[test]
fn groups_go_as_the_model_says() {
    check(300, nested_groups());
}
