//! Messaging as a whole, on one thread and in virtual time: tasks are polled in an order that a seed
//! decides, components come and go, and a model says what must be true of every message.

mod actor;
mod executor;
mod host;
mod model;
mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::core::simulation::episodes::{self, Episode};
use crate::messaging::simulation::executor::Step;
use crate::messaging::simulation::world::World;

/// An episode that takes more steps goes round in circles.
const MOST_STEPS: u64 = 300_000;

/// How many pools, threads of a host, and deeds of each there are at first.
const POOLS: u64 = 4;
const THREADS: u64 = 5;
const DEEDS: u64 = 25;

/// Threads are numbered after all actors.
const FIRST_THREAD: usize = 1 << 20;

impl Episode for Arc<World> {
    fn new(seed: u64) -> Self {
        World::new(seed)
    }

    fn run(&self) -> u64 {
        episode(self)
    }

    fn last_events(&self) -> String {
        self.model.last_events()
    }
}

#[test]
fn every_message_ends_once_in_order_and_within_bounds() {
    let (mut messages, mut requests) = (0, 0);
    episodes::run(|world: Arc<World>| {
        let (sent, asked) = world.model.size();
        (messages, requests) = (messages + sent, requests + asked);
        world.executor.clear();
    });
    println!("{messages} messages, {requests} requests");
    assert!(messages > 0 && requests > 0);
}

/// One life of an engine; how many steps it took.
fn episode(world: &Arc<World>) -> u64 {
    let random = &world.random;
    (0..1 + random.below(POOLS)).for_each(|_| world.load());
    for thread in 0..1 + random.below(THREADS) {
        let sender = FIRST_THREAD + thread as usize;
        let deeds = random.below(DEEDS);
        world.executor.spawn("thread", host::run(Arc::clone(world), sender, deeds));
    }
    world.executor.spawn("ruler", host::rule(Arc::clone(world), random.below(DEEDS)));
    let mut steps = run(world);
    check_quiet(world);
    let all = Arc::clone(world);
    world.executor.spawn("end", async move {
        while let Some(pool) = all.any_pool() {
            all.unload(&pool).await;
        }
    });
    steps += run(world);
    check_over(world);
    steps
}

/// Runs until nothing goes on any more.
fn run(world: &Arc<World>) -> u64 {
    for step in 0..MOST_STEPS {
        if world.executor.step() == Step::Idle {
            world.check_mailboxes();
            if !world.executor.advance() {
                return step;
            }
        }
        if let Some(actor) = world.any_actor() {
            actor.mailbox.check();
        }
    }
    panic!("it does not come to an end: {:?}", world.executor.unfinished());
}

/// Nobody goes on, and all have done what they were to do: no wake-up was lost.
fn check_quiet(world: &World) {
    let unfinished = world.executor.unfinished();
    assert!(unfinished.iter().all(|name| ["actor", "watcher"].contains(name)), "{unfinished:?}");
    assert_eq!(world.messaging.correlations.outstanding(), 0, "requests are open");
    let mut closed = Vec::new();
    for actor in world.all_actors() {
        let (number, mailbox) = (actor.number, &actor.mailbox);
        mailbox.check();
        assert_eq!(mailbox.depth(), (0, 0), "of mailbox {number}");
        assert_eq!(mailbox.waiting(), 0, "somebody waits for room in mailbox {number}");
        if actor.is_closed.load(Ordering::Relaxed) {
            closed.push(number);
        } else {
            assert!(mailbox.is_idle(), "somebody runs in mailbox {number}");
        }
        assert_eq!(mailbox.account().held(), 0, "of mailbox {number}");
        let traffic = mailbox.traffic();
        assert_eq!(
            traffic.accepted,
            world.model.begun_of(number) + traffic.dropped,
            "accepted by mailbox {number}"
        );
    }
    world.model.check_ended(&closed);
}

/// Every task has ended with its component.
fn check_over(world: &World) {
    assert_eq!(world.executor.unfinished(), ["watcher"]);
    world.check_mailboxes();
    let closed: Vec<_> = (0..world.all_actors().len()).collect();
    world.model.check_ended(&closed);
}
