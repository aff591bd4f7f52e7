//! The states that components leave for their next start.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::id::{ComponentHandle, ComponentId};
use crate::storage::backend::{Backend, ENGINE_NAMESPACE, StorageError};

/// The first byte of a record.
const FORMAT: u8 = 1;

/// The saved states of an engine's components, in a namespace that no component reaches.
///
/// A state is in use from the time at which it was restored, or a component with a saved state began
/// without it, until the component ends in order. What is in use after that belongs to a component,
/// or a process, that has crashed.
pub struct SavedStates {
    backend: Arc<dyn Backend>,
    /// The component that saves under an id.
    owners: Mutex<HashMap<Arc<ComponentId>, ComponentHandle>>,
}

/// The state of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    /// The version in the metadata of the component that saved it.
    pub from_version: String,
    /// What `save` returned.
    pub bytes: Vec<u8>,
}

/// What is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A state that the last instance left in order.
    Left(SavedState),
    /// A state in use.
    InUse(SavedState),
}

/// The place of one instance's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateKey {
    state: Box<str>,
    in_use: Box<str>,
}

impl StateKey {
    /// Returns the place of the instance with this number.
    pub fn new(id: &ComponentId, instance: usize) -> Self {
        // Keys may be longer than this: an id has at most 767 bytes.
        let state = format!("state/{id}/{instance}").into();
        Self { in_use: format!("in-use/{id}/{instance}").into(), state }
    }
}

impl SavedStates {
    /// Creates the saved states in `backend`.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, owners: Mutex::default() }
    }

    /// Makes a component the only one that saves under its id; returns the other one if there is
    /// one.
    pub fn claim(
        self: &Arc<Self>,
        id: &Arc<ComponentId>,
        handle: ComponentHandle,
    ) -> Result<Claim, ComponentHandle> {
        match self.owners().entry(Arc::clone(id)) {
            Entry::Occupied(owner) => Err(*owner.get()),
            Entry::Vacant(place) => {
                place.insert(handle);
                Ok(Claim { states: Arc::clone(self), id: Arc::clone(id), handle })
            }
        }
    }

    /// Returns what is saved, if it has at most `most_bytes`. May block.
    pub fn find(&self, key: &StateKey, most_bytes: u64) -> Result<Found, StorageError> {
        let Some(record) = self.backend.get(ENGINE_NAMESPACE, &key.state, most_bytes)? else {
            return Ok(Found::Nothing);
        };
        let state = decode(&record).ok_or_else(|| {
            StorageError::Io(format!("{} in {ENGINE_NAMESPACE} is no saved state", key.state))
        })?;
        match self.backend.exists(ENGINE_NAMESPACE, &key.in_use)? {
            true => Ok(Found::InUse(state)),
            false => Ok(Found::Left(state)),
        }
    }

    /// Notes that a saved state is in use. May block.
    pub fn use_up(&self, key: &StateKey) -> Result<(), StorageError> {
        self.backend.set(ENGINE_NAMESPACE, &key.in_use, Vec::new())
    }

    /// Saves the state of an instance that goes on. May block.
    pub fn keep(&self, key: &StateKey, state: &SavedState) -> Result<(), StorageError> {
        // In this order, a crash in between leaves a state in use.
        self.use_up(key)?;
        self.backend.set(ENGINE_NAMESPACE, &key.state, encode(state))
    }

    /// Saves the state of an instance that ends in order. May block.
    pub fn leave(&self, key: &StateKey, state: &SavedState) -> Result<(), StorageError> {
        self.backend.set(ENGINE_NAMESPACE, &key.state, encode(state))?;
        self.backend.delete(ENGINE_NAMESPACE, &key.in_use)
    }

    /// Forgets the state of an instance: the next one begins anew. May block.
    pub fn forget(&self, key: &StateKey) -> Result<(), StorageError> {
        self.backend.delete(ENGINE_NAMESPACE, &key.state)?;
        self.backend.delete(ENGINE_NAMESPACE, &key.in_use)
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<Arc<ComponentId>, ComponentHandle>> {
        // No code under the lock can panic half-way through a change.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sole right to save under an id, given up on drop.
pub struct Claim {
    states: Arc<SavedStates>,
    id: Arc<ComponentId>,
    handle: ComponentHandle,
}

impl Claim {
    /// Returns the saved states.
    pub fn states(&self) -> &Arc<SavedStates> {
        &self.states
    }

    /// Gives the right up.
    pub fn release(&self) {
        let mut owners = self.states.owners();
        if owners.get(&self.id) == Some(&self.handle) {
            owners.remove(&self.id);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.release();
    }
}

/// A record: its format, the length of the version as 4 bytes, little-endian, the version, and the
/// state.
fn encode(state: &SavedState) -> Vec<u8> {
    let version = state.from_version.as_bytes();
    let length = u32::try_from(version.len()).unwrap_or(u32::MAX);
    let mut record = Vec::with_capacity(5 + version.len() + state.bytes.len());
    record.push(FORMAT);
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(version);
    record.extend_from_slice(&state.bytes);
    record
}

fn decode(record: &[u8]) -> Option<SavedState> {
    let (&FORMAT, rest) = record.split_first()? else { return None };
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (version, bytes) = rest.split_at_checked(length)?;
    let from_version = std::str::from_utf8(version).ok()?.to_owned();
    Some(SavedState { from_version, bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryBackend;

    fn state(bytes: &[u8]) -> SavedState {
        SavedState { from_version: "1.0\nä".into(), bytes: bytes.to_vec() }
    }

    #[test]
    fn a_state_is_in_use_until_its_instance_ends_in_order() {
        let states = SavedStates::new(Arc::new(MemoryBackend::default()));
        let key = StateKey::new(&ComponentId::parse("a/b/c").unwrap(), 0);
        let found = || states.find(&key, u64::MAX).unwrap();
        assert_eq!(found(), Found::Nothing);
        states.keep(&key, &state(b"first")).unwrap();
        assert_eq!(found(), Found::InUse(state(b"first")));
        states.leave(&key, &state(b"")).unwrap();
        assert_eq!(found(), Found::Left(state(b"")));
        states.use_up(&key).unwrap();
        assert_eq!(found(), Found::InUse(state(b"")));
        states.forget(&key).unwrap();
        assert_eq!(found(), Found::Nothing);
        let other = StateKey::new(&ComponentId::parse("a/b/c").unwrap(), 1);
        states.leave(&other, &state(b"x")).unwrap();
        assert_eq!(found(), Found::Nothing);
    }

    #[test]
    fn a_damaged_record_is_an_error_and_no_state() {
        let states = SavedStates::new(Arc::new(MemoryBackend::default()));
        let key = StateKey::new(&ComponentId::parse("a/b/c").unwrap(), 0);
        let whole = encode(&state(b"bytes"));
        for damaged in [&whole[..4], &whole[..7], &[], &[9, 0, 0, 0, 0], &[1, 1, 0, 0, 0, 0xff]] {
            states.backend.set(ENGINE_NAMESPACE, &key.state, damaged.to_vec()).unwrap();
            let error = states.find(&key, u64::MAX).unwrap_err().to_string();
            assert!(error.contains("state/a/b/c/0"), "{error}");
        }
    }

    #[test]
    fn one_component_saves_under_an_id() {
        let states = Arc::new(SavedStates::new(Arc::new(MemoryBackend::default())));
        let id = Arc::new(ComponentId::parse("a/b/c").unwrap());
        let first = states.claim(&id, ComponentHandle(1)).ok().unwrap();
        assert_eq!(states.claim(&id, ComponentHandle(2)).err(), Some(ComponentHandle(1)));
        first.release();
        let second = states.claim(&id, ComponentHandle(3)).ok().unwrap();
        drop(first);
        assert_eq!(states.claim(&id, ComponentHandle(4)).err(), Some(ComponentHandle(3)));
        drop(second);
        assert!(states.claim(&id, ComponentHandle(5)).is_ok());
    }
}
