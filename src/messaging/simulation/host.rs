//! Threads of a host that act like `system::sending`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::core::error::{CallError, WasmError};
use crate::core::id::CorrelationId;
use crate::core::message::{Message, Outcome};
use crate::core::payload::Payload;
use crate::core::wait_graph::{Wait, WaitNode};
use crate::messaging::mail::{Mail, Refusal};
use crate::messaging::mailbox::{Acquire, Mailbox};
use crate::messaging::members::{Delivered, Members, Undelivered};
use crate::messaging::pending_requests::{RequestTarget, Requester};
use crate::messaging::queue::Place;
use crate::messaging::reply::{Reply, Waiter};
use crate::messaging::simulation::executor::{give_way, within};
use crate::messaging::simulation::model::{self, Ended, payload};
use crate::messaging::simulation::world::{SimulatedPool, World};

/// A thread that performs a number of actions in sequence. `sender` is its number.
pub async fn run(world: Arc<World>, sender: usize, deeds: u64) {
    let mut requests = Vec::new();
    for _ in 0..deeds {
        match world.random.below(12) {
            0..=3 => send(&world, sender).await,
            4..=6 => requests.extend(request(&world, sender).await),
            7..=9 => call(&world, sender, None).await,
            10 if !requests.is_empty() => {
                let at = world.random.index(requests.len());
                let (id, is_over): (CorrelationId, Arc<AtomicBool>) = requests.swap_remove(at);
                let before = is_over.load(Ordering::Relaxed);
                let cancelled = world.messaging.pending_requests.cancel_of_host(id);
                assert_eq!(cancelled, !before, "a request is open until its outcome");
                assert!(is_over.load(Ordering::Relaxed));
            }
            _ => world.executor.sleep(world.moment()).await,
        }
    }
}

/// Loads and unloads components.
pub async fn rule(world: Arc<World>, deeds: u64) {
    for _ in 0..deeds {
        world.executor.sleep(world.moment()).await;
        match world.random.below(5) {
            4 => {
                if let Some(actor) = world.any_actor() {
                    actor.stop_and_start(world.random.one_in(2)).await;
                }
            }
            0 => world.load(),
            1 => {
                if let Some(pool) = world.any_pool() {
                    world.unload(&pool).await;
                }
            }
            2 => world.charge_somebody().await,
            _ => {
                if let Some(actor) = world.any_actor() {
                    let mail = match world.random.below(2) {
                        0 => Mail::Health(Reply::nobody()),
                        _ => Mail::Restart(Reply::nobody()),
                    };
                    let _ = actor.mailbox.deliver(mail);
                }
            }
        }
    }
}

/// Message `number` of a host.
fn message(world: &World, number: u64, sender: usize) -> Message {
    let bytes = payload(number, sender, world.random.index(500));
    Message::new(None, Payload::copy_of(&bytes))
}

async fn send(world: &Arc<World>, sender: usize) {
    let Some(pool) = world.any_pool() else { return };
    let (number, deadline) = (world.model.offer(sender), world.patience());
    let mail = Mail::Message(message(world, number, sender), Reply::nobody());
    match queue(world, &pool.members, mail, deadline, None).await {
        Some(_) => world.model.accepted(number),
        None => world.model.refused(number),
    }
}

async fn request(world: &Arc<World>, sender: usize) -> Option<(CorrelationId, Arc<AtomicBool>)> {
    let pool = world.any_pool()?;
    let (number, deadline) = (world.model.offer(sender), world.patience());
    let (pending_requests, is_over) =
        (&world.messaging.pending_requests, Arc::<AtomicBool>::default());
    let (model, over) = (Arc::clone(&world.model), Arc::clone(&is_over));
    let completion = Box::new(move |_, outcome: Outcome| {
        over.store(true, Ordering::Relaxed);
        model.completed(number, &outcome);
    });
    let receiver = RequestTarget::here(&pool.members.all()[0]);
    let ticket = pending_requests.open(Requester::Host(completion), receiver).ok()?;
    let mail = Mail::Message(
        message(world, number, sender),
        Reply::to_request(Arc::clone(pending_requests), ticket),
    );
    match queue(world, &pool.members, mail, deadline, None).await {
        Some((mailbox, place, _)) => {
            world.model.accepted(number);
            world.model.opened(model::Requester::Host, number, deadline, ticket.id);
            if let Some(deadline) = deadline {
                pending_requests.arm(ticket, deadline, Some((&mailbox, place)));
            }
            Some((ticket.id, is_over))
        }
        None => {
            assert!(pending_requests.discard(ticket), "a refused request has no outcome");
            world.model.refused(number);
            None
        }
    }
}

/// A call, possibly from a callback of the component `caller`.
pub async fn call(world: &Arc<World>, sender: usize, caller: Option<&Arc<WaitNode>>) {
    let Some(pool) = world.any_pool() else { return };
    let (number, deadline) = (world.model.offer(sender), world.patience());
    if let Some(entered) = enter(world, &pool, sender, number, caller).await {
        if !entered {
            world.model.refused(number);
        }
        return;
    }
    let (waiter, reply) = Waiter::with_reply();
    let mail = Mail::Message(message(world, number, sender), reply);
    let Some((mailbox, place, _wait)) = queue(world, &pool.members, mail, deadline, caller).await
    else {
        return world.model.refused(number);
    };
    world.model.accepted(number);
    let mut outcome = move || match waiter.wait(Some(Duration::ZERO)) {
        Err(CallError::CallerTimeout { .. }) => None,
        outcome => Some(outcome),
    };
    let waited = within(world.over(deadline), world.executor.until(&mut outcome)).await;
    let outcome = waited.unwrap_or_else(|| {
        let over = |unstarted| CallError::CallerTimeout { timeout: Duration::ZERO, unstarted };
        match mailbox.give_up(place, |unstarted| over(Some(unstarted))) {
            Some(given_up) => Err(given_up),
            None => outcome().unwrap_or_else(|| Err(over(None))),
        }
    });
    world.model.returned(number, &outcome);
}

/// Lets an idle member handle a message directly. Returns false if that would deadlock, `None` if
/// the message must be queued.
async fn enter(
    world: &Arc<World>,
    pool: &SimulatedPool,
    sender: usize,
    number: u64,
    caller: Option<&Arc<WaitNode>>,
) -> Option<bool> {
    let first = pool.members.least_busy();
    let mut all_closed = true;
    for n in 0..pool.members.all().len() {
        let mailbox = &pool.members.all()[(first + n) % pool.members.all().len()];
        match mailbox.try_acquire(&[], false) {
            Ok(Acquire::Acquired(_)) => {
                let Some(_wait) = Wait::begin(caller.cloned(), mailbox.node()) else {
                    mailbox.release();
                    return Some(false);
                };
                world.model.accepted(number);
                let how = world.actor_of(mailbox).handle_directly(sender, number).await;
                let outcome = match how {
                    Ended::Replied(bytes) => Ok((bytes > 0).then(|| vec![0; bytes])),
                    Ended::Failed => Err(CallError::Guest(WasmError::RuntimeError(String::new()))),
                    Ended::Lost => Err(CallError::EngineStopped),
                };
                world.model.returned(number, &outcome);
                return Some(true);
            }
            Ok(Acquire::Busy) => all_closed = false,
            Ok(Acquire::Closed) => {}
            Err(_) => return Some(false),
        }
    }
    all_closed.then_some(false)
}

/// Queues mail and waits for room if the mailbox blocks. Returns `None` if the mail is refused.
async fn queue(
    world: &Arc<World>,
    members: &Arc<Members>,
    mut mail: Mail,
    deadline: Option<Instant>,
    caller: Option<&Arc<WaitNode>>,
) -> Option<(Arc<Mailbox>, Place, Option<Wait>)> {
    loop {
        let delivered = match caller {
            None => members.deliver(mail).map(|delivered| (delivered, None)),
            Some(caller) => members
                .deliver_awaited(mail, caller)
                .map(|(delivered, wait)| (delivered, Some(wait))),
        };
        let undelivered = match delivered {
            Ok((Delivered { at, place }, wait)) => {
                return Some((Arc::clone(&members.all()[at]), place, wait));
            }
            Err(undelivered) => undelivered,
        };
        let Undelivered { refusal, mail: back, at } = undelivered;
        if !matches!(refusal, Refusal::Full(_)) || !members.all()[at].blocks_senders() {
            back.withdraw();
            return None;
        }
        let waited = match members.rooms(&back, caller) {
            Some(rooms) => within(world.over(deadline), rooms.wait()).await,
            None => None,
        };
        // The bound on steps catches an endless loop.
        give_way().await;
        if waited.is_none() {
            back.withdraw();
            return None;
        }
        mail = back;
    }
}
