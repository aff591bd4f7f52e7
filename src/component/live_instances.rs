//! Bounds the number of live instances, by passivating those that were not used for longest.

use std::sync::atomic::Ordering;
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
    /// The messages that it had handled when the hand last came by; `None` before that.
    handled: Option<u64>,
    /// Whether it was asked to become passive.
    is_leaving: bool,
}

impl LiveInstances {
    /// Creates an empty circle for at most `most` actors.
    pub fn new(most: usize) -> Self {
        Self { most, circle: Mutex::default() }
    }

    /// Adds an actor that is about to get an instance, and passivates others beyond the bound.
    pub fn add(&self, actor: &Arc<Actor>) {
        let mut circle = self.circle.lock().unwrap_or_else(PoisonError::into_inner);
        if actor.is_counted.swap(true, Ordering::Relaxed) {
            return;
        }
        let actor = Arc::downgrade(actor);
        circle.live.push(Live { actor, handled: None, is_leaving: false });
        circle.staying += 1;
        // Twice round: the first time, all may have been used.
        for _ in 0..2 * circle.live.len() {
            if circle.staying <= self.most {
                break;
            }
            circle.advance();
        }
    }
}

impl Circle {
    /// Looks at the next actor.
    fn advance(&mut self) {
        if self.hand >= self.live.len() {
            self.hand = 0;
        }
        let Some(live) = self.live.get_mut(self.hand) else { return };
        let actor = live.actor.upgrade();
        let Some(actor) = actor.filter(|actor| !actor.status().state().is_without_instance())
        else {
            self.staying -= usize::from(!live.is_leaving);
            if let Some(actor) = self.live.swap_remove(self.hand).actor.upgrade() {
                actor.is_counted.store(false, Ordering::Relaxed);
            }
            return;
        };
        self.hand += 1;
        let handled = Some(actor.status().all_handled());
        let rests = live.handled == handled && actor.mailbox().is_idle();
        live.handled = handled;
        match live.is_leaving {
            // It was used after all.
            true if !rests => {
                live.is_leaving = false;
                self.staying += 1;
            }
            // Refused only by a mailbox that is stopped or closed.
            false if rests && actor.mailbox().deliver(Mail::Passivate).is_ok() => {
                live.is_leaving = true;
                self.staying -= 1;
            }
            _ => {}
        }
    }
}
