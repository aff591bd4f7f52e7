//! A storage whose calls are made one at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::wait_graph::{Wait, WaitNode};
use crate::runtime::off_fiber::{current_component, run_host_code};
use crate::storage::backend::{
    Backend, Change, Listing, Page, Placement, StorageError, UnixMillis, Usage, Value,
};

/// Makes the calls of a backend one at a time, in the order in which they come.
///
/// A caller that waits for its turn waits for whoever has it. Both are edges of the graph that finds
/// deadlocks, so a callback that leads back to its own storage gets an error.
pub struct Serialized<B> {
    backend: B,
    line: Line,
    /// Stands for the turn in the graph.
    node: Arc<WaitNode>,
}

/// Those who wait for their turn.
#[derive(Default)]
struct Line(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// Whether someone has the turn. Otherwise nobody waits.
    is_taken: bool,
    first_to_last: VecDeque<oneshot::Sender<()>>,
}

/// A turn, until it is dropped.
struct Turn<'a>(&'a Line);

impl Line {
    /// Returns when all that came before have had their turn.
    fn wait(&self) -> Turn<'_> {
        let mut waiting = self.lock();
        if waiting.is_taken {
            let (call, called) = oneshot::channel();
            waiting.first_to_last.push_back(call);
            drop(waiting);
            // The sender leaves the line only to be told.
            _ = called.recv();
        } else {
            waiting.is_taken = true;
        }
        Turn(self)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code under the lock leaves the line half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        while let Some(next) = waiting.first_to_last.pop_front() {
            if next.send(()).is_ok() {
                return;
            }
        }
        waiting.is_taken = false;
    }
}

impl<B: Backend> Serialized<B> {
    /// Wraps a backend.
    pub fn new(backend: B) -> Self {
        Self { backend, line: Line::default(), node: Arc::default() }
    }

    fn in_turn<T>(
        &self,
        call: impl FnOnce(&B) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let caller = current_component().unwrap_or_default();
        let begin = |waiter: &Arc<WaitNode>, target| {
            Wait::begin(Some(Arc::clone(waiter)), target).ok_or(StorageError::WouldDeadlock)
        };
        let waits = begin(&caller, &self.node)?;
        let _turn = self.line.wait();
        drop(waits);
        let _has_it = begin(&self.node, &caller)?;
        run_host_code(&caller, || call(&self.backend))
    }
}

impl<B: Backend> Backend for Serialized<B> {
    fn get(
        &self,
        namespace: &str,
        key: &str,
        most_bytes: u64,
    ) -> Result<Option<Value>, StorageError> {
        self.in_turn(|backend| backend.get(namespace, key, most_bytes))
    }

    fn set(&self, namespace: &str, key: &str, value: Vec<u8>) -> Result<(), StorageError> {
        self.in_turn(|backend| backend.set(namespace, key, value))
    }

    fn delete(&self, namespace: &str, key: &str) -> Result<(), StorageError> {
        self.in_turn(|backend| backend.delete(namespace, key))
    }

    fn exists(&self, namespace: &str, key: &str) -> Result<bool, StorageError> {
        self.in_turn(|backend| backend.exists(namespace, key))
    }

    fn list(&self, namespace: &str, listing: &Listing<'_>) -> Result<Page, StorageError> {
        self.in_turn(|backend| backend.list(namespace, listing))
    }

    fn usage(&self, namespace: &str) -> Result<Usage, StorageError> {
        self.in_turn(|backend| backend.usage(namespace))
    }

    fn apply(&self, namespace: &str, changes: Vec<Change>) -> Result<(), StorageError> {
        self.in_turn(|backend| backend.apply(namespace, changes))
    }

    fn makes_several(&self) -> bool {
        self.backend.makes_several()
    }

    fn exchange(
        &self,
        namespace: &str,
        from: Option<&Value>,
        change: Change,
    ) -> Result<bool, StorageError> {
        self.in_turn(|backend| backend.exchange(namespace, from, change))
    }

    fn expires(&self, namespace: &str, key: &str) -> Result<Option<UnixMillis>, StorageError> {
        self.in_turn(|backend| backend.expires(namespace, key))
    }

    fn namespaces(&self, after: Option<&str>) -> Result<Page, StorageError> {
        self.in_turn(|backend| backend.namespaces(after))
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.in_turn(B::flush)
    }

    fn placement(&self) -> Placement {
        self.backend.placement()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn turns_come_in_the_order_of_the_callers_and_never_two_at_once() {
        let (line, order) = (Line::default(), Mutex::new(Vec::new()));
        let (begun, has_begun) = channel();
        let (go_on, may_go_on) = channel::<()>();
        thread::scope(|scope| {
            let (line, order) = (&line, &order);
            scope.spawn(move || {
                let _turn = line.wait();
                begun.send(()).unwrap();
                may_go_on.recv().unwrap();
            });
            has_begun.recv().unwrap();
            for n in 0..50 {
                scope.spawn(move || {
                    for round in [0, 1] {
                        let _turn = line.wait();
                        order.try_lock().expect("the turn of another").push((round, n));
                    }
                });
                while line.lock().first_to_last.len() == n {
                    thread::yield_now();
                }
            }
            go_on.send(()).unwrap();
        });
        let order = order.into_inner().unwrap();
        // Whoever comes again has all the others before it.
        let first: Vec<_> = (0..50).map(|n| (0, n)).collect();
        assert_eq!(order[..50], first);
        assert_eq!(order.len(), 100);
        assert!(!line.lock().is_taken);
    }
}
