//! Which mailboxes there are.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::core::id::{ComponentHandle, ComponentId};
use crate::messaging::mailbox::Mailbox;

/// Mailboxes by handle and by id; several may share an id.
#[derive(Default)]
pub struct Registry {
    maps: RwLock<Maps>,
}

#[derive(Default)]
struct Maps {
    by_handle: HashMap<ComponentHandle, Arc<Mailbox>>,
    by_id: BTreeMap<Arc<ComponentId>, Vec<Arc<Mailbox>>>,
}

impl Registry {
    /// Makes a mailbox reachable by its handle, as callbacks need it.
    pub fn insert(&self, mailbox: Arc<Mailbox>) {
        self.write().by_handle.insert(mailbox.handle(), mailbox);
    }

    /// Makes a mailbox that was inserted reachable by its id too.
    pub fn publish(&self, handle: ComponentHandle) {
        let mut maps = self.write();
        if let Some(mailbox) = maps.by_handle.get(&handle).cloned() {
            maps.by_id.entry(Arc::clone(mailbox.owner())).or_default().push(mailbox);
        }
    }

    /// Forgets a mailbox; an unknown one is no error.
    pub fn remove(&self, handle: ComponentHandle) {
        let mut maps = self.write();
        let Some(mailbox) = maps.by_handle.remove(&handle) else { return };
        if let Some(same_id) = maps.by_id.get_mut(mailbox.owner()) {
            same_id.retain(|other| other.handle() != handle);
            if same_id.is_empty() {
                maps.by_id.remove(mailbox.owner());
            }
        }
    }

    /// The mailbox of a handle.
    pub fn get(&self, handle: ComponentHandle) -> Option<Arc<Mailbox>> {
        self.read().by_handle.get(&handle).cloned()
    }

    /// The least busy mailbox of an id.
    pub fn find(&self, id: &ComponentId) -> Option<Arc<Mailbox>> {
        let maps = self.read();
        let candidates = maps.by_id.get(id)?;
        match candidates.as_slice() {
            [only] => Some(Arc::clone(only)),
            several => several.iter().min_by_key(|mailbox| mailbox.load()).cloned(),
        }
    }

    /// All ids, ascending.
    pub fn ids(&self) -> Vec<Arc<ComponentId>> {
        self.read().by_id.keys().cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.maps.write().unwrap_or_else(PoisonError::into_inner)
    }
}
