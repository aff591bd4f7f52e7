//! A storage whose calls are made one at a time.

use std::sync::{Arc, Mutex, PoisonError};

use crate::core::wait_graph::{Wait, WaitNode};
use crate::runtime::off_fiber::{current_component, run_host_code};
use crate::storage::backend::{
    Backend, Change, Listing, Page, Placement, StorageError, UnixMillis, Usage, Value,
};

/// Makes the calls of a backend one at a time.
///
/// A caller that waits for its turn waits for whoever has it. Both are edges of the graph that finds
/// deadlocks, so a callback that leads back to its own storage gets an error.
pub struct Serialized<B> {
    backend: B,
    turn: Mutex<()>,
    /// Stands for the turn in the graph.
    node: Arc<WaitNode>,
}

impl<B: Backend> Serialized<B> {
    /// Wraps a backend.
    pub fn new(backend: B) -> Self {
        Self { backend, turn: Mutex::default(), node: Arc::default() }
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
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
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
