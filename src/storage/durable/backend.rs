//! The durable backend.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::storage::backend::{
    Backend, Change, Entry, Footprint, Listing, Page, Placement, StorageError, UnixMillis, Usage,
    Value,
};
use crate::storage::durable::changing::Prepared;
use crate::storage::durable::data_file::{DataFile, Medium};
use crate::storage::durable::keeper::{Chore, Keeper};
use crate::storage::durable::open_error::{OpenError, OpenProblem};
use crate::storage::durable::options::{Durability, DurableOptions, Report};
use crate::storage::durable::record;
use crate::storage::durable::store::{Failed, Store, fill, now};
use crate::storage::durable::tables::{self, Fault, View};
use crate::storage::durable::turns::{Shareable, Turns};

/// The largest value. redb takes up to 3 GiB, rounded up to a power of two.
const MAX_VALUE_BYTES: usize = 1 << 30;

/// The most bytes of a batch of changes. A change of more bytes is a batch of its own.
const MAX_BATCH_BYTES: u64 = 32 << 20;

/// The weight of a change in a batch, besides its bytes.
const CHANGE_BYTES: u64 = 4096;

/// How often a read is repeated after the store was opened again.
const MOST_REPEATS: u32 = 2;

/// Values in a file. Concurrent changes share a sync; reads wait for none.
pub struct DurableBackend {
    queue: Arc<Queue>,
    /// `None` once closed.
    keeper: Mutex<Option<Keeper>>,
}

/// The store, and the line of those who change it.
struct Queue {
    store: Store,
    turns: Turns<Work>,
}

/// What is done in turn.
enum Work {
    Change(Vec<Prepared>),
    /// A change, if the value is still this one.
    Exchange(Option<Value>, Prepared),
    Sync,
    Compact,
    Reopen(u64),
    Close,
}

impl Shareable for Work {
    /// Whether the change was made.
    type Outcome = Result<bool, StorageError>;

    fn weight(&self) -> Option<u64> {
        match self {
            Self::Change(changes) => {
                Some(changes.iter().map(|change| CHANGE_BYTES + change.bytes()).sum())
            }
            // It is compared with what is committed.
            Self::Exchange(..) => None,
            Self::Sync | Self::Compact | Self::Reopen(_) | Self::Close => None,
        }
    }

    fn abandoned() -> Self::Outcome {
        Err(StorageError::Io("the store failed for a reason of its own".into()))
    }
}

impl Queue {
    fn take(&self, work: Work) -> Result<bool, StorageError> {
        self.turns.take(work, |batch| self.lead(batch))
    }

    /// Does a batch: changes only, or one piece of other work.
    fn lead(&self, batch: Vec<Work>) -> Vec<Result<bool, StorageError>> {
        let mut changes = Vec::with_capacity(batch.len());
        for work in batch {
            let done = match work {
                Work::Change(change) => {
                    changes.push(change);
                    continue;
                }
                Work::Exchange(from, change) => return vec![self.exchange(from, change)],
                Work::Sync => self.store.sync(),
                Work::Compact => self.store.compact(),
                Work::Reopen(seen) => {
                    self.store.reopen(seen, None);
                    Ok(())
                }
                Work::Close => self.store.close(),
            };
            return vec![done.map(|()| true)];
        }
        let done = self.store.commit(&changes).into_iter();
        done.map(|done| done.map(|()| true)).collect()
    }

    /// Makes a change if the value is still `from`. Nobody else commits meanwhile.
    fn exchange(&self, from: Option<Value>, change: Prepared) -> Result<bool, StorageError> {
        let now = now();
        let is_same = |view: &View| {
            let found = tables::find(view, change.place(), now)?;
            let (Some(found), Some(from)) = (&found, &from) else {
                return Ok(found.is_none() && from.is_none());
            };
            let bytes = from.len() as u64;
            Ok(found.value_bytes == bytes
                && tables::get(view, change.place(), now, bytes)?.as_ref() == Some(from))
        };
        let same = match self.store.read(is_same) {
            Err(Failed { reopen: Some(seen), .. }) => {
                self.store.reopen(seen, None);
                self.store.read(is_same)
            }
            read => read,
        };
        if !same.map_err(|failed| failed.error)? {
            return Ok(false);
        }
        let done = self.store.commit(&[vec![change]]).pop();
        done.unwrap_or(Ok(())).map(|()| true)
    }
}

impl DurableBackend {
    /// Opens the file, or makes it.
    pub fn open(options: DurableOptions, report: Report) -> Result<Self, OpenError> {
        let path = options.path.clone();
        let opened = || {
            let medium = open_file(&path, options.cache_bytes)?;
            Self::on(medium, options, report)
        };
        opened().map_err(|problem| OpenError { path: path.clone(), problem })
    }

    /// Opens the store on a medium that is filled.
    pub fn on(
        medium: Arc<dyn Medium>,
        options: DurableOptions,
        report: Report,
    ) -> Result<Self, OpenProblem> {
        let interval = match options.durability {
            Durability::Sync => None,
            Durability::Interval => Some(options.interval),
        };
        let store = Store::open(Arc::clone(&medium), options, report);
        let store = store.inspect_err(|_| medium.release())?;
        let queue = Arc::new(Queue { store, turns: Turns::new(MAX_BATCH_BYTES) });
        let kept = Arc::clone(&queue);
        let keeper = Keeper::start(interval, move |chore| {
            // The store reports what fails.
            _ = kept.take(match chore {
                Chore::Sync => Work::Sync,
                Chore::Compact => Work::Compact,
            });
        });
        let keeper = keeper.map_err(|error| {
            _ = queue.store.close();
            OpenProblem::Thread(error)
        })?;
        Ok(Self { queue, keeper: Mutex::new(Some(keeper)) })
    }

    fn read<T>(&self, job: impl Fn(&View) -> Result<T, Fault>) -> Result<T, StorageError> {
        let mut repeats = 0;
        loop {
            let Failed { error, reopen } = match self.queue.store.read(&job) {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            match reopen {
                Some(seen) if repeats < MOST_REPEATS => _ = self.queue.take(Work::Reopen(seen))?,
                _ => return Err(error),
            }
            repeats += 1;
        }
    }

    fn change(&self, namespace: &str, changes: Vec<Change>) -> Result<(), StorageError> {
        changes.iter().try_for_each(check_value)?;
        if changes.is_empty() {
            return Ok(());
        }
        let changes = changes.into_iter().map(|change| Prepared::new(namespace, change)).collect();
        self.queue.take(Work::Change(changes))?;
        self.tidy();
        Ok(())
    }

    /// Has the file compacted if that is worth it.
    fn tidy(&self) {
        if self.queue.store.is_bloated()
            && let Some(keeper) = &*self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
        {
            keeper.compact();
        }
    }
}

fn check_value(change: &Change) -> Result<(), StorageError> {
    match change.to.as_ref().map_or(0, |entry| entry.value.len()) {
        ..=MAX_VALUE_BYTES => Ok(()),
        bytes => Err(StorageError::Io(format!(
            "a value of {bytes} bytes is too large, at most {MAX_VALUE_BYTES} are allowed"
        ))),
    }
}

fn open_file(path: &Path, cache_bytes: usize) -> Result<Arc<dyn Medium>, OpenProblem> {
    let file = DataFile::open(path, |file| {
        let file = Arc::new(file);
        let medium: Arc<dyn Medium> = file.clone();
        let filled = fill(&medium, cache_bytes);
        drop(medium);
        filled?;
        Arc::into_inner(file).ok_or(OpenProblem::InUse)
    })?;
    Ok(Arc::new(file))
}

impl Backend for DurableBackend {
    fn get(
        &self,
        namespace: &str,
        key: &str,
        most_bytes: u64,
    ) -> Result<Option<Value>, StorageError> {
        let (place, now) = (record::place(namespace, key), now());
        self.read(|view| tables::get(view, &place, now, most_bytes))
    }

    fn set(&self, namespace: &str, key: &str, value: Vec<u8>) -> Result<(), StorageError> {
        let to = Some(Entry { value, expires: None });
        self.change(namespace, vec![Change { key: key.into(), to }])
    }

    fn delete(&self, namespace: &str, key: &str) -> Result<(), StorageError> {
        self.change(namespace, vec![Change { key: key.into(), to: None }])
    }

    fn exists(&self, namespace: &str, key: &str) -> Result<bool, StorageError> {
        Ok(self.size(namespace, key)?.is_some())
    }

    fn list(&self, namespace: &str, listing: &Listing<'_>) -> Result<Page, StorageError> {
        let now = now();
        self.read(|view| tables::list(view, namespace, listing, now))
    }

    fn usage(&self, namespace: &str) -> Result<Usage, StorageError> {
        self.read(|view| tables::usage(view, namespace))
    }

    fn apply(&self, namespace: &str, changes: Vec<Change>) -> Result<(), StorageError> {
        self.change(namespace, changes)
    }

    fn exchange(
        &self,
        namespace: &str,
        from: Option<&Value>,
        change: Change,
    ) -> Result<bool, StorageError> {
        check_value(&change)?;
        let change = Prepared::new(namespace, change);
        let done = self.queue.take(Work::Exchange(from.cloned(), change))?;
        self.tidy();
        Ok(done)
    }

    fn expires(&self, namespace: &str, key: &str) -> Result<Option<UnixMillis>, StorageError> {
        let (place, now) = (record::place(namespace, key), now());
        let found = self.read(|view| tables::find(view, &place, now))?;
        Ok(found.and_then(|found| found.expires))
    }

    fn namespaces(&self, after: Option<&str>) -> Result<Page, StorageError> {
        self.read(|view| tables::namespaces(view, after))
    }

    fn size(&self, namespace: &str, key: &str) -> Result<Option<u64>, StorageError> {
        let (place, now) = (record::place(namespace, key), now());
        self.read(|view| tables::size(view, &place, now))
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.queue.take(Work::Sync).map(drop)
    }

    fn compact(&self) -> Result<(), StorageError> {
        self.queue.take(Work::Compact).map(drop)
    }

    fn footprint(&self) -> Option<Footprint> {
        Some(self.queue.store.footprint())
    }

    fn close(&self) {
        self.queue.store.hurry();
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(keeper);
        // The store reports what fails.
        _ = self.queue.take(Work::Close);
    }

    fn placement(&self) -> Placement {
        Placement::OffFiber
    }
}

impl Drop for DurableBackend {
    fn drop(&mut self) {
        self.close();
    }
}

impl DurableBackend {
    /// Reads everything and compares the usages with it. For tests.
    #[cfg(test)]
    pub fn recount(&self) -> Result<(), String> {
        self.queue.store.recount()
    }
}
