//! Looks up mailboxes by component id.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use vec1::Vec1;

use crate::core::id::{ComponentHandle, ComponentId, IdRange};
use crate::messaging::mailbox::Mailbox;
use crate::messaging::members::Members;

/// Mailboxes by id. Several may share one.
#[derive(Default)]
pub struct Registry {
    by_id: RwLock<BTreeMap<Arc<ComponentId>, Arc<Members>>>,
    version: AtomicU64,
}

impl Registry {
    /// Registers the mailboxes of one owner under its id.
    pub fn publish(&self, id: &Arc<ComponentId>, mailboxes: &Vec1<Arc<Mailbox>>) {
        let mut by_id = self.write();
        let all = match by_id.get(id) {
            Some(before) => {
                let mut all = before.all().clone();
                all.extend(mailboxes.iter().cloned());
                all
            }
            None => mailboxes.clone(),
        };
        by_id.insert(Arc::clone(id), Arc::new(Members::new(all)));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Removes mailboxes; ignores unknown ones.
    pub fn remove(&self, id: &Arc<ComponentId>, mailboxes: &[Arc<Mailbox>]) {
        let mut by_id = self.write();
        let Some(members) = by_id.get(id) else { return };
        let goes = |mailbox: &Arc<Mailbox>| mailboxes.iter().any(|gone| Arc::ptr_eq(gone, mailbox));
        let rest: Vec<_> = members.all().iter().filter(|mailbox| !goes(mailbox)).cloned().collect();
        match Vec1::try_from_vec(rest) {
            Ok(rest) => by_id.insert(Arc::clone(id), Arc::new(Members::new(rest))),
            Err(_) => by_id.remove(id),
        };
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Returns the mailboxes of an id, and the shared copy of the id.
    pub fn find(&self, id: &ComponentId) -> Option<(Arc<ComponentId>, Arc<Members>)> {
        let by_id = self.read();
        by_id.get_key_value(id).map(|(id, members)| (Arc::clone(id), Arc::clone(members)))
    }

    /// Returns the handle of the least busy component with this id.
    pub fn least_busy(&self, id: &ComponentId) -> Option<ComponentHandle> {
        let by_id = self.read();
        by_id.get(id).map(|members| members.pick().handle())
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

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Arc<ComponentId>, Arc<Members>>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Arc<ComponentId>, Arc<Members>>> {
        self.by_id.write().unwrap_or_else(PoisonError::into_inner)
    }
}
