//! Bounds the number of live instances, by passivating those that were not used for longest.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::component::actor::Actor;
use crate::component::dormant::Caller;
use crate::messaging::mail::Mail;

/// The live actors that may be passivated, in a circle. A hand goes round and passivates those that
/// have handled nothing since it last came by: the clock algorithm.
pub struct LiveInstances {
    most: usize,
    circle: Mutex<Circle>,
}

#[derive(Default)]
struct Circle {
    live: Vec<Live>,
    /// Those that are not leaving.
    staying: usize,
    hand: usize,
}

struct Live {
    actor: Weak<Actor>,
    place: Arc<Place>,
    /// The messages that it had handled when the hand last came by; `None` before that.
    handled: Option<u64>,
}

/// The place of an actor in the circle. Changed under the circle's lock only.
#[derive(Default)]
pub struct Place(AtomicU8);

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Standing {
    /// Not in the circle.
    Out,
    /// In the circle, and counted.
    Staying,
    /// In the circle, and asked to become passive.
    Leaving,
}

impl Place {
    fn get(&self) -> Standing {
        let all = [Standing::Out, Standing::Staying, Standing::Leaving];
        all[usize::from(self.0.load(Ordering::Relaxed))]
    }

    fn set(&self, standing: Standing) {
        self.0.store(standing as u8, Ordering::Relaxed);
    }
}

impl LiveInstances {
    /// Creates an empty circle for at most `most` actors.
    pub fn new(most: usize) -> Self {
        Self { most, circle: Mutex::default() }
    }

    /// Adds an actor that is about to get an instance, and passivates others beyond the bound.
    pub fn add(&self, actor: &Arc<Actor>) {
        let mut circle = self.circle.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &actor.place;
        match place.get() {
            Standing::Staying => return,
            // It was passive, and the hand has not come by since.
            Standing::Leaving => {}
            Standing::Out => {
                let (actor, place) = (Arc::downgrade(actor), Arc::clone(place));
                circle.live.push(Live { actor, place, handled: None });
            }
        }
        place.set(Standing::Staying);
        circle.staying += 1;
        let gone = circle.sweep(self.most);
        drop(circle);
        hibernate(gone);
    }

    /// Counts an actor again that was asked to become passive, and has mail. Others go in its place.
    pub fn keep(&self, actor: &Actor) {
        let mut circle = self.circle.lock().unwrap_or_else(PoisonError::into_inner);
        circle.count_again(actor);
        let gone = circle.sweep(self.most);
        drop(circle);
        hibernate(gone);
    }

    /// Counts an actor again that was asked to become passive, and cannot. Nothing else changes:
    /// those that cannot must not send each other round.
    pub fn keep_for_now(&self, actor: &Actor) {
        let mut circle = self.circle.lock().unwrap_or_else(PoisonError::into_inner);
        circle.count_again(actor);
    }
}

/// Makes passive components dormant that somebody held when they became passive.
fn hibernate(passive: Vec<Arc<Actor>>) {
    for actor in passive {
        actor.hibernate(Caller::ActorHolder);
    }
}

impl Circle {
    fn count_again(&mut self, actor: &Actor) {
        if actor.place.get() == Standing::Leaving {
            actor.place.set(Standing::Staying);
            self.staying += 1;
        }
    }

    /// Asks actors to become passive until at most `most` are left. Returns those that had become
    /// so and left the circle.
    fn sweep(&mut self, most: usize) -> Vec<Arc<Actor>> {
        let mut gone = Vec::new();
        // Twice round: the first time, all may have been used.
        for _ in 0..2 * self.live.len() {
            if self.staying <= most {
                break;
            }
            gone.extend(self.advance());
        }
        gone
    }

    /// Looks at the next actor; returns it if it is passive, and not in the circle any more.
    fn advance(&mut self) -> Option<Arc<Actor>> {
        if self.hand >= self.live.len() {
            self.hand = 0;
        }
        let live = self.live.get_mut(self.hand)?;
        let is_counted = live.place.get() == Standing::Staying;
        let mut actor = live.actor.upgrade();
        let is_live = |actor: &Arc<Actor>| !actor.status().state().is_without_instance();
        let Some(actor) = actor.take_if(|actor| is_live(actor)) else {
            self.staying -= usize::from(is_counted);
            live.place.set(Standing::Out);
            self.live.swap_remove(self.hand);
            return actor;
        };
        self.hand += 1;
        let handled = Some(actor.status().all_handled());
        let rests = live.handled == handled && actor.mailbox().is_idle();
        live.handled = handled;
        // One that was asked already says itself if it stays.
        if is_counted && rests && actor.mailbox().deliver(Mail::Passivate).is_ok() {
            live.place.set(Standing::Leaving);
            self.staying -= 1;
        }
        None
    }
}
