//! Simulates messaging on one thread and in virtual time. A seed decides the order in which tasks
//! are polled, components come and go, and a model checks every message.

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

/// An episode with more steps is in an endless loop.
const MOST_STEPS: u64 = 300_000;

/// Pools at the start, threads of the host, and actions per thread.
const POOLS: u64 = 4;
const THREADS: u64 = 5;
const DEEDS: u64 = 25;

/// The numbers of threads follow those of all actors.
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

/// The life of an engine. Returns the number of steps.
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

/// Runs until nothing can continue.
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
    panic!("it does not end: {:?}", world.executor.unfinished());
}

/// Nothing can continue: checks that all are done and no wake-up was lost.
fn check_quiet(world: &World) {
    let unfinished = world.executor.unfinished();
    assert!(unfinished.iter().all(|name| ["actor", "watcher"].contains(name)), "{unfinished:?}");
    assert_eq!(world.messaging.pending_requests.outstanding(), 0, "requests are open");
    let mut closed = Vec::new();
    for actor in world.all_actors() {
        let (number, mailbox) = (actor.number, &actor.mailbox);
        mailbox.check();
        assert_eq!(mailbox.depth(), (0, 0), "of mailbox {number}");
        assert_eq!(mailbox.waiting(), 0, "somebody waits for room in mailbox {number}");
        if actor.is_closed.load(Ordering::Relaxed) {
            closed.push(number);
        } else {
            if actor.was_stopped.load(Ordering::Relaxed) {
                closed.push(number);
            }
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

/// Checks that every task has ended with its component.
fn check_over(world: &World) {
    assert_eq!(world.executor.unfinished(), ["watcher"]);
    world.check_mailboxes();
    let closed: Vec<_> = (0..world.all_actors().len()).collect();
    world.model.check_ended(&closed);
}
