//! Turns at a key: one change of it at a time.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::core::wait_graph::{Wait, WaitNode};
use crate::runtime::off_fiber::{current_component, run_host_code};
use crate::storage::backend::StorageError;

/// The changes under way, by key.
///
/// The host's storage cannot compare a value and change it at once, so every change of a key waits for
/// the one before. Who waits is an edge of the graph that finds deadlocks: a callback that leads back
/// to its own key gets an error.
#[derive(Default)]
pub struct KeyTurns {
    /// Each with what stands for it in the graph.
    under_way: Mutex<HashMap<Place, Arc<WaitNode>>>,
    ended: Condvar,
}

type Place = (Box<str>, Box<str>);

/// The turn at some keys, ended on drop.
struct Turn<'a> {
    all: &'a KeyTurns,
    places: Vec<Place>,
}

impl KeyTurns {
    /// Makes a change when it is its turn at each of its keys.
    pub fn in_turn<'k, T>(
        &self,
        namespace: &str,
        keys: impl Iterator<Item = &'k str>,
        change: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let caller = current_component().unwrap_or_default();
        let turn = Arc::<WaitNode>::default();
        let places: Vec<Place> = keys.map(|key| (namespace.into(), key.into())).collect();
        let mut under_way = self.lock();
        // All at once, so that nobody has one key and waits for another.
        while let Some(before) = places.iter().find_map(|place| under_way.get(place).cloned()) {
            let waits = Wait::begin(Some(Arc::clone(&caller)), &before);
            let _waits = waits.ok_or(StorageError::WouldDeadlock)?;
            under_way = self.ended.wait(under_way).unwrap_or_else(PoisonError::into_inner);
        }
        under_way.extend(places.iter().map(|place| (place.clone(), Arc::clone(&turn))));
        drop(under_way);
        let _turn = Turn { all: self, places };
        let has_it = Wait::begin(Some(turn), &caller);
        let _has_it = has_it.ok_or(StorageError::WouldDeadlock)?;
        run_host_code(&caller, change)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Arc<WaitNode>>> {
        // No code under the lock leaves it half-changed.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut under_way = self.all.lock();
        for place in &self.places {
            under_way.remove(place);
        }
        drop(under_way);
        self.all.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn changes_of_a_key_come_one_at_a_time_and_leave_nothing_behind() {
        let (turns, count) = (KeyTurns::default(), AtomicU64::new(0));
        thread::scope(|scope| {
            for number in 0..8 {
                let (turns, count) = (&turns, &count);
                scope.spawn(move || {
                    for round in 0..200 {
                        let own = if (number + round) % 2 == 0 { "a" } else { "b" };
                        let keys = [own, "shared"].into_iter();
                        let change = || {
                            let before = count.load(Ordering::Relaxed);
                            thread::yield_now();
                            count.store(before + 1, Ordering::Relaxed);
                            Ok(())
                        };
                        turns.in_turn("n/s/0", keys, change).unwrap();
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 8 * 200);
        assert!(turns.lock().is_empty());
    }

    #[test]
    fn a_change_within_a_change_may_be_of_another_key() {
        let turns = KeyTurns::default();
        let within = |key| {
            turns.in_turn("n/s/0", ["a"].into_iter(), || {
                turns.in_turn("n/s/0", [key].into_iter(), || Ok(()))
            })
        };
        assert_eq!(within("b"), Ok(()));
        assert_eq!(within("a"), Err(StorageError::WouldDeadlock));
        assert!(turns.lock().is_empty());
    }
}
