//! Bounds the number of live instances, by passivating those that were not used for longest.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::component::actor::Actor;
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
        circle.sweep(self.most);
    }

    /// Counts an actor again that was asked to become passive, and has mail. Others go in its place.
    pub fn keep(&self, actor: &Actor) {
        let mut circle = self.circle.lock().unwrap_or_else(PoisonError::into_inner);
        circle.count_again(actor);
        circle.sweep(self.most);
    }

    /// Counts an actor again that was asked to become passive, and cannot. Nothing else changes:
    /// those that cannot must not send each other round.
    pub fn keep_for_now(&self, actor: &Actor) {
        let mut circle = self.circle.lock().unwrap_or_else(PoisonError::into_inner);
        circle.count_again(actor);
    }
}

impl Circle {
    fn count_again(&mut self, actor: &Actor) {
        if actor.place.get() == Standing::Leaving {
            actor.place.set(Standing::Staying);
            self.staying += 1;
        }
    }

    /// Asks actors to become passive until at most `most` are left.
    fn sweep(&mut self, most: usize) {
        // Twice round: the first time, all may have been used.
        for _ in 0..2 * self.live.len() {
            if self.staying <= most {
                break;
            }
            self.advance();
        }
    }

    /// Looks at the next actor.
    fn advance(&mut self) {
        if self.hand >= self.live.len() {
            self.hand = 0;
        }
        let Some(live) = self.live.get_mut(self.hand) else { return };
        let is_counted = live.place.get() == Standing::Staying;
        let actor = live.actor.upgrade();
        let Some(actor) = actor.filter(|actor| !actor.status().state().is_without_instance())
        else {
            self.staying -= usize::from(is_counted);
            live.place.set(Standing::Out);
            self.live.swap_remove(self.hand);
            return;
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
    }
}
