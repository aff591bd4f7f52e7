//! Looks up mailboxes by component id.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use vec1::Vec1;

use crate::core::id::{ComponentHandle, ComponentId, IdRange};
use crate::messaging::mailbox::Mailbox;
use crate::messaging::members::Members;

/// Mailboxes by id. Several may share one.
#[derive(Default)]
pub struct Registry {
    by_id: RwLock<BTreeMap<Arc<ComponentId>, Receiver>>,
    version: AtomicU64,
    rouser: OnceLock<Weak<dyn Rouser>>,
}

/// Gives dormant components their mailboxes back.
pub trait Rouser: Send + Sync {
    /// Ends the dormancy of a component; returns false if it is gone.
    fn rouse(&self, handle: ComponentHandle) -> bool;
}

/// Who has an id.
#[derive(Clone)]
enum Receiver {
    /// These mailboxes.
    Mailboxes(Arc<Members>),
    /// A component without a mailbox, which gets one when it is looked up.
    Dormant(ComponentHandle),
}

impl Registry {
    /// Sets who ends the dormancy of components. Called once.
    pub fn connect(&self, rouser: Weak<dyn Rouser>) {
        let first = self.rouser.set(rouser).is_ok();
        debug_assert!(first, "a registry has one rouser");
    }

    /// Registers the mailboxes of one owner under its id.
    pub fn publish(&self, id: &Arc<ComponentId>, mailboxes: &Vec1<Arc<Mailbox>>) {
        loop {
            let mut by_id = self.write();
            let all = match by_id.get(id) {
                Some(Receiver::Mailboxes(before)) => {
                    let mut all = before.all().clone();
                    all.extend(mailboxes.iter().cloned());
                    all
                }
                Some(Receiver::Dormant(handle)) => {
                    let handle = *handle;
                    drop(by_id);
                    if self.rouse(handle) {
                        continue;
                    }
                    by_id = self.write();
                    mailboxes.clone()
                }
                None => mailboxes.clone(),
            };
            by_id.insert(Arc::clone(id), Receiver::Mailboxes(Arc::new(Members::new(all))));
            self.version.fetch_add(1, Ordering::Release);
            return;
        }
    }

    /// Registers a dormant component under its id; returns false if the id is in use.
    pub fn publish_dormant(&self, id: &Arc<ComponentId>, handle: ComponentHandle) -> bool {
        let mut by_id = self.write();
        let is_free = !by_id.contains_key(id);
        if is_free {
            by_id.insert(Arc::clone(id), Receiver::Dormant(handle));
            self.version.fetch_add(1, Ordering::Release);
        }
        is_free
    }

    /// Gives a dormant component mailboxes. Nobody has found any for its id before, so the version
    /// stays.
    pub fn rouse_with(&self, id: &Arc<ComponentId>, mailboxes: &Vec1<Arc<Mailbox>>) {
        let members = Arc::new(Members::new(mailboxes.clone()));
        self.write().insert(Arc::clone(id), Receiver::Mailboxes(members));
    }

    /// Makes a component dormant if it alone has its id, nobody holds what [`Registry::find`] has
    /// returned for it, and `gives_up` agrees; nobody finds it meanwhile. Returns whether it did.
    pub fn make_dormant(
        &self,
        id: &ComponentId,
        mailbox: &Arc<Mailbox>,
        gives_up: impl FnOnce() -> bool,
    ) -> bool {
        let mut by_id = self.write();
        let Some(receiver) = by_id.get_mut(id) else { return false };
        let Receiver::Mailboxes(members) = &*receiver else { return false };
        let is_alone = members.all().len() == 1 && Arc::ptr_eq(members.all().first(), mailbox);
        let dormant = is_alone && Arc::strong_count(members) == 1 && gives_up();
        if dormant {
            *receiver = Receiver::Dormant(mailbox.handle());
        }
        dormant
    }

    /// Removes a dormant component; ignores one that is unknown or not dormant.
    pub fn remove_dormant(&self, id: &ComponentId, handle: ComponentHandle) {
        let mut by_id = self.write();
        if matches!(by_id.get(id), Some(Receiver::Dormant(found)) if *found == handle) {
            by_id.remove(id);
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Removes mailboxes; ignores unknown ones.
    pub fn remove(&self, id: &Arc<ComponentId>, mailboxes: &[Arc<Mailbox>]) {
        let mut by_id = self.write();
        let Some(Receiver::Mailboxes(members)) = by_id.get(id) else { return };
        let goes = |mailbox: &Arc<Mailbox>| mailboxes.iter().any(|gone| Arc::ptr_eq(gone, mailbox));
        let rest: Vec<_> = members.all().iter().filter(|mailbox| !goes(mailbox)).cloned().collect();
        match Vec1::try_from_vec(rest) {
            Ok(rest) => {
                let rest = Receiver::Mailboxes(Arc::new(Members::new(rest)));
                by_id.insert(Arc::clone(id), rest)
            }
            Err(_) => by_id.remove(id),
        };
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Returns the mailboxes of an id, and the shared copy of the id. Ends its dormancy.
    pub fn find(&self, id: &ComponentId) -> Option<(Arc<ComponentId>, Arc<Members>)> {
        loop {
            let handle = match self.read().get_key_value(id)? {
                (id, Receiver::Mailboxes(members)) => {
                    return Some((Arc::clone(id), Arc::clone(members)));
                }
                (_, Receiver::Dormant(handle)) => *handle,
            };
            if !self.rouse(handle) {
                return None;
            }
        }
    }

    /// Returns the handle of the least busy component with this id.
    pub fn least_busy(&self, id: &ComponentId) -> Option<ComponentHandle> {
        let by_id = self.read();
        by_id.get(id).map(|receiver| match receiver {
            Receiver::Mailboxes(members) => members.pick().handle(),
            Receiver::Dormant(handle) => *handle,
        })
    }

    fn rouse(&self, handle: ComponentHandle) -> bool {
        let rouser = self.rouser.get().and_then(Weak::upgrade);
        rouser.is_some_and(|rouser| rouser.rouse(handle))
    }

    /// Returns a version that changes whenever a result of [`Registry::find`] may change.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Returns up to `most` ids of a range, after `after` if given, ascending. Ids outside the
    /// range cost no time.
    pub fn page(
        &self,
        range: &IdRange,
        after: Option<&ComponentId>,
        most: usize,
    ) -> Vec<Arc<ComponentId>> {
        let start = ComponentId::place_of(range.start());
        let from = after.map_or(Bound::Included(&start), Bound::Excluded);
        let by_id = self.read();
        let ids = by_id.range::<ComponentId, _>((from, Bound::Unbounded)).map(|(id, _)| id);
        ids.take_while(|id| range.contains(id.as_str())).take(most).cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Arc<ComponentId>, Receiver>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Arc<ComponentId>, Receiver>> {
        self.by_id.write().unwrap_or_else(PoisonError::into_inner)
    }
}
