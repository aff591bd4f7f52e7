//! Visits actors from time to time, to check their health and to passivate idle ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::component::actor::Actor;
use crate::component::dormant::Caller;
use crate::component::lifecycle::State;
use crate::messaging::mail::Mail;

/// An idle component is visited this often within its idle timeout.
const IDLE_VISITS: u32 = 4;

/// The visits to come.
#[derive(Default)]
pub struct Rounds {
    visits: Mutex<Visits>,
    /// Notified of a visit that comes before all others.
    changed: Notify,
}

#[derive(Default)]
struct Visits {
    planned: BinaryHeap<Reverse<Visit>>,
    /// With more visits than this, those of actors that are gone are removed.
    most: usize,
}

/// The least number of visits from which those of actors that are gone are removed.
const FEW_VISITS: usize = 1024;

struct Visit {
    at: Instant,
    actor: Weak<Actor>,
    purpose: Purpose,
    /// The messages accepted up to the last visit, and when that number was first seen; of those who
    /// are saved, the messages handled.
    accepted: u64,
    since: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Health(Duration),
    Passivation(Duration),
    Saving(Duration),
    Judgement,
}

impl PartialEq for Visit {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Visit {}

impl PartialOrd for Visit {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Visit {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl Rounds {
    /// Begins to visit an actor, at a random time of the interval: actors that were loaded together
    /// are not checked together.
    pub fn check_health_of(&self, actor: &Arc<Actor>) {
        if let Some(check) = &actor.spec().health_check {
            let first = check.interval.mul_f64(fastrand::f64());
            self.begin(actor, Purpose::Health(check.interval), first);
        }
    }

    /// Begins to visit an actor to have its state saved.
    pub fn save(&self, actor: &Arc<Actor>) {
        let durable = actor.spec().durable.as_ref();
        if let Some(interval) = durable.and_then(|durable| durable.durability.save_every) {
            self.begin(actor, Purpose::Saving(interval), interval);
        }
    }

    /// Begins to visit an actor that has an instance, until it is passive.
    pub fn await_idleness_of(&self, actor: &Arc<Actor>) {
        if let Some(timeout) = actor.spec().activation.idle_timeout
            && !actor.is_visited.swap(true, Ordering::SeqCst)
        {
            self.begin(actor, Purpose::Passivation(timeout), timeout);
        }
    }

    /// Has a look taken, once, at what a version on trial has come to.
    pub fn judge_in(&self, actor: &Arc<Actor>, time: Duration) {
        self.begin(actor, Purpose::Judgement, time);
    }

    fn begin(&self, actor: &Arc<Actor>, purpose: Purpose, first: Duration) {
        let now = Instant::now();
        let accepted = actor.mailbox().traffic().accepted;
        let actor = Arc::downgrade(actor);
        self.plan(Visit { at: now + first, actor, purpose, accepted, since: now });
    }

    fn plan(&self, visit: Visit) {
        let mut visits = self.visits();
        let is_first = visits.planned.peek().is_none_or(|Reverse(first)| visit.at < first.at);
        visits.add(visit);
        drop(visits);
        if is_first {
            self.changed.notify_one();
        }
    }

    /// Makes all visits that are due; returns when the next one is.
    fn visit_all(&self, now: Instant) -> Option<Instant> {
        loop {
            let mut visits = self.visits();
            let next = visits.planned.peek().map(|Reverse(visit)| visit.at)?;
            if next > now {
                return Some(next);
            }
            let Some(Reverse(visit)) = visits.planned.pop() else { continue };
            drop(visits);
            if let Some(next) = visit.make(now) {
                self.visits().add(next);
            }
        }
    }

    fn visits(&self) -> MutexGuard<'_, Visits> {
        // No code under the lock can panic half-way through a change.
        self.visits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visits {
    fn add(&mut self, visit: Visit) {
        // An actor that is gone leaves its visits, and its memory with them, for the rest of their
        // interval.
        if self.planned.len() >= self.most.max(FEW_VISITS) {
            self.planned.retain(|Reverse(visit)| visit.actor.strong_count() > 0);
            self.most = 2 * self.planned.len();
        }
        self.planned.push(Reverse(visit));
    }
}

impl Visit {
    /// Makes the visit; returns the next one, if there is to be one.
    fn make(self, now: Instant) -> Option<Self> {
        let actor = self.actor.upgrade()?;
        let mailbox = actor.mailbox();
        let state = actor.status().state();
        if matches!(state, State::Unloading | State::Unloaded) {
            return None;
        }
        let accepted = mailbox.traffic().accepted;
        let rests = accepted == self.accepted && mailbox.is_idle();
        match self.purpose {
            Purpose::Health(interval) => {
                if rests && state == State::Running {
                    // Refused only by a mailbox that is about to be stopped or closed.
                    let _ = mailbox.deliver(Mail::Probe);
                }
                Some(Self { at: now + interval, accepted, ..self })
            }
            Purpose::Saving(interval) => {
                let handled = actor.status().all_handled();
                if handled != self.accepted && state == State::Running {
                    let _ = mailbox.deliver(Mail::Save);
                }
                Some(Self { at: now + interval, accepted: handled, ..self })
            }
            Purpose::Judgement => {
                // Refused only by a mailbox that is about to be stopped or closed.
                let _ = mailbox.deliver(Mail::Judge);
                None
            }
            Purpose::Passivation(_) if ends(&actor) => {
                // Somebody may have held it when it became passive.
                actor.hibernate(Caller::ActorHolder);
                None
            }
            Purpose::Passivation(timeout) => {
                let since = if rests { self.since } else { now };
                let left = (since + timeout).saturating_duration_since(now);
                let mut since = since;
                if left.is_zero() {
                    let _ = mailbox.deliver(Mail::Passivate);
                    // If it can not be passivated, the next attempt waits as long again.
                    since = now;
                }
                let soon = (timeout / IDLE_VISITS).max(Duration::from_millis(1));
                let at = now + if left.is_zero() { soon } else { left.min(soon) };
                Some(Self { at, accepted, since, ..self })
            }
        }
    }
}

/// Ends the visits of an actor without an instance; returns false if it has one again.
fn ends(actor: &Actor) -> bool {
    if !actor.status().state().is_without_instance() {
        return false;
    }
    actor.is_visited.store(false, Ordering::SeqCst);
    // It may have got an instance since, and found itself visited.
    let is_without = actor.status().state().is_without_instance();
    is_without || actor.is_visited.swap(true, Ordering::SeqCst)
}

/// Makes visits for as long as `rounds` exist.
pub fn make_rounds(rounds: &Arc<Rounds>) -> impl Future<Output = ()> + Send + 'static {
    let weak = Arc::downgrade(rounds);
    async move {
        loop {
            let Some(rounds) = weak.upgrade() else { return };
            let next = rounds.visit_all(Instant::now());
            let changed = rounds.changed.notified();
            match next {
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at.into()) => {}
                },
                None => changed.await,
            }
        }
    }
}
