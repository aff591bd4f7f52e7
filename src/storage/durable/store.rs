//! The database over a medium: opened, opened again after an error, compacted, closed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redb::{CompactionError, Database, DatabaseError, Durability as Commit};

use crate::storage::backend::{Footprint, StorageError, UnixMillis};
use crate::storage::durable::changing::{self, Prepared};
use crate::storage::durable::data_file::{Medium, Shared};
use crate::storage::durable::open_error::OpenProblem;
use crate::storage::durable::options::{Durability, DurableOptions, Report};
use crate::storage::durable::tables::{self, Fault, Sums, View};

/// How often a batch is tried in parts, if it fails as a whole.
const MOST_ATTEMPTS: u32 = 8;

/// How much longer than the last reopening took the next one is put off: a full disk must not keep
/// the store busy with reopening.
const PATIENCE: u32 = 16;

/// The least time between two reopenings.
const LEAST_PAUSE: Duration = Duration::from_millis(5);

/// Files of at most this size are not compacted unasked.
const SMALL_FILE: u64 = 64 << 20;

/// The database and what is known of it.
///
/// Reads share `state`. Only the leader of the queue of changes takes it for itself, between two
/// batches: to reopen, to compact, to close.
pub struct Store {
    medium: Arc<dyn Medium>,
    /// The length of the medium, so that no change asks the system for it.
    len: Arc<AtomicU64>,
    options: DurableOptions,
    report: Report,
    state: RwLock<State>,
    /// What reads share until the next commit; `None` until one asks for it. It belongs to the
    /// database in `state`.
    view: Mutex<Option<Arc<View>>>,
    known: Mutex<Known>,
    /// Ends a repair under way.
    closing: Arc<AtomicBool>,
}

enum State {
    /// `opening` counts the openings.
    Open {
        database: Database,
        opening: u64,
    },
    /// It could not be opened again.
    Broken {
        error: StorageError,
        opening: u64,
    },
    Closed,
}

/// What is known of the file without reading it.
struct Known {
    sums: Sums,
    /// Whether there are commits since the last sync.
    is_unsynced: bool,
    /// Until then the store is not reopened, and after a failed change refuses others with this
    /// error.
    pause: Option<Pause>,
    /// What there was after the last compaction.
    compacted: Footprint,
}

struct Pause {
    until: Instant,
    refuses: Option<StorageError>,
}

/// A failed read or change.
pub struct Failed {
    /// The error.
    pub error: StorageError,
    /// The opening after which it occurred, if another one may help.
    pub reopen: Option<u64>,
}

/// Returns the time of day.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
}

/// Fills a new medium.
pub fn fill(medium: &Arc<dyn Medium>, cache_bytes: usize) -> Result<(), OpenProblem> {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    let shared = Shared { medium: Arc::clone(medium), len: Arc::default() };
    let database = builder.create_with_backend(shared).map_err(problem)?;
    let filled = tables::format(&database);
    let closed = database.close().map_err(problem);
    match filled {
        Ok(()) => closed,
        Err(Fault::Redb(redb::Error::Io(error))) => Err(OpenProblem::Io(error)),
        Err(fault) => Err(OpenProblem::Damaged(fault.to_string())),
    }
}

fn problem(error: DatabaseError) -> OpenProblem {
    use redb::StorageError as Redb;

    match error {
        DatabaseError::UpgradeRequired(version) => OpenProblem::OldRedb(version),
        DatabaseError::Storage(Redb::Io(error)) => match error.kind() {
            std::io::ErrorKind::InvalidData => OpenProblem::NotAStore,
            std::io::ErrorKind::UnexpectedEof => OpenProblem::Damaged("it ends too early".into()),
            _ => OpenProblem::Io(error),
        },
        DatabaseError::DatabaseAlreadyOpen => OpenProblem::InUse,
        other => OpenProblem::Damaged(other.to_string()),
    }
}

/// Runs redb, which may panic at a damaged file.
fn guarded<T>(run: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Err(Fault::Panicked(text.unwrap_or("a panic").into()))
    })
}

impl Store {
    /// Opens the database on a medium that is filled.
    pub fn open(
        medium: Arc<dyn Medium>,
        options: DurableOptions,
        report: Report,
    ) -> Result<Self, OpenProblem> {
        let closing = Arc::<AtomicBool>::default();
        let len = Arc::<AtomicU64>::default();
        let shared = Shared { medium: Arc::clone(&medium), len: Arc::clone(&len) };
        let (database, sums) = open(shared, &options, &report, &closing)?;
        let compacted = Footprint { live_bytes: 0, total_bytes: 0 };
        let known = Known { sums, is_unsynced: false, pause: None, compacted };
        Ok(Self {
            medium,
            len,
            options,
            report,
            state: RwLock::new(State::Open { database, opening: 0 }),
            view: Mutex::default(),
            known: Mutex::new(known),
            closing,
        })
    }

    fn path(&self) -> &PathBuf {
        &self.options.path
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        // A state is replaced as a whole.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> MutexGuard<'_, Option<Arc<View>>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the contents after the last commit.
    fn latest(&self, database: &Database) -> Result<Arc<View>, Fault> {
        let mut view = self.view();
        if let Some(view) = &*view {
            return Ok(Arc::clone(view));
        }
        // Under the lock: a view from before a commit is not kept after it.
        Ok(Arc::clone(view.insert(Arc::new(View::new(database)?))))
    }

    /// Reads what was committed last.
    pub fn read<T>(&self, job: impl FnOnce(&View) -> Result<T, Fault>) -> Result<T, Failed> {
        let state = self.state();
        let (database, opening) = opened(&state)?;
        let read = guarded(|| job(&*self.latest(database)?));
        read.map_err(|fault| self.failed(fault, opening))
    }

    fn failed(&self, fault: Fault, opening: u64) -> Failed {
        let reopen = match &fault {
            Fault::Redb(_) | Fault::Panicked(_) => Some(opening),
            Fault::Damaged(_) | Fault::TooLarge { .. } | Fault::TooManyKeys(_) => None,
        };
        Failed { error: self.told(fault), reopen }
    }

    /// Returns the error for the caller.
    fn told(&self, fault: Fault) -> StorageError {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};

        match fault {
            Fault::Redb(redb::Error::Io(error))
                if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) =>
            {
                StorageError::QuotaExceeded
            }
            Fault::TooLarge { .. } | Fault::TooManyKeys(_) => StorageError::Io(fault.to_string()),
            Fault::Redb(error) => self.file_error(format!("the storage's file failed: {error}")),
            Fault::Damaged(_) | Fault::Panicked(_) => {
                self.file_error(format!("the storage's file is damaged: {fault}"))
            }
        }
    }

    fn file_error(&self, problem: String) -> StorageError {
        StorageError::File { path: self.path().as_path().into(), problem }
    }

    /// Makes changes, those of each caller together or not at all. For the leader.
    pub fn commit(&self, callers: &[Vec<Prepared>]) -> Vec<Result<(), StorageError>> {
        if let Some(error) = self.refuses() {
            return callers.iter().map(|_| Err(error.clone())).collect();
        }
        let mut attempts = Attempts { left: MOST_ATTEMPTS, last: None };
        let mut outcomes = Vec::with_capacity(callers.len());
        self.commit_part(callers, &mut outcomes, &mut attempts);
        outcomes
    }

    /// Returns the error with which changes are refused for the moment.
    fn refuses(&self) -> Option<StorageError> {
        let known = self.known();
        let pause = known.pause.as_ref().filter(|pause| Instant::now() < pause.until)?;
        pause.refuses.clone()
    }

    /// Commits a part of a batch; if that fails, its halves, so that a change that can not be made
    /// does not take others with it.
    fn commit_part(
        &self,
        callers: &[Vec<Prepared>],
        outcomes: &mut Vec<Result<(), StorageError>>,
        attempts: &mut Attempts,
    ) {
        let error = match (attempts.left, attempts.last.clone()) {
            (0, Some(error)) => error,
            _ => match self.try_commit(callers) {
                Ok(()) => return outcomes.extend(callers.iter().map(|_| Ok(()))),
                Err(Failed { error, reopen }) => {
                    attempts.left = attempts.left.saturating_sub(1);
                    attempts.last = Some(error.clone());
                    if let Some(opening) = reopen {
                        self.reopen(opening, Some(&error));
                    }
                    error
                }
            },
        };
        match callers {
            [] => {}
            [_] => outcomes.push(Err(error)),
            _ => {
                let (first, second) = callers.split_at(callers.len() / 2);
                self.commit_part(first, outcomes, attempts);
                self.commit_part(second, outcomes, attempts);
            }
        }
    }

    fn try_commit(&self, callers: &[Vec<Prepared>]) -> Result<(), Failed> {
        let state = self.state();
        let (database, opening) = opened(&state)?;
        let before = self.known().sums;
        let commit = match self.options.durability {
            Durability::Sync => Commit::Immediate,
            Durability::Interval => Commit::None,
        };
        let committed = guarded(|| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(commit)?;
            let sums = changing::apply(&transaction, callers.iter().flatten(), before, now())?;
            transaction.commit()?;
            Ok(sums)
        });
        // Before anyone is told: they must see what they have written.
        *self.view() = None;
        match committed {
            Ok(sums) => {
                let mut known = self.known();
                known.sums = sums;
                known.is_unsynced = matches!(commit, Commit::None);
                Ok(())
            }
            Err(fault) => Err(self.failed(fault, opening)),
        }
    }

    /// Makes all commits durable. For the leader.
    pub fn sync(&self) -> Result<(), StorageError> {
        if !self.known().is_unsynced {
            return Ok(());
        }
        let synced = {
            let state = self.state();
            let (database, opening) = opened(&state).map_err(|failed| failed.error)?;
            let synced = guarded(|| Ok(database.begin_write()?.commit()?));
            synced.map_err(|fault| self.failed(fault, opening))
        };
        match synced {
            Ok(()) => {
                self.known().is_unsynced = false;
                Ok(())
            }
            Err(Failed { error, reopen }) => {
                if let Some(opening) = reopen {
                    self.reopen(opening, Some(&error));
                }
                Err(error)
            }
        }
    }

    /// Opens the database again, unless that happened since, or did not help just now. redb refuses
    /// everything after an error of the system, until then. For the leader.
    pub fn reopen(&self, seen: u64, refuses: Option<&StorageError>) {
        if refuses.is_none()
            && self.known().pause.as_ref().is_some_and(|pause| Instant::now() < pause.until)
        {
            return;
        }
        let mut state = self.state_mut();
        let opening = match &*state {
            State::Open { opening, .. } | State::Broken { opening, .. } => *opening,
            State::Closed => return,
        };
        if opening != seen {
            return;
        }
        let begun = Instant::now();
        let opening = opening + 1;
        *self.view() = None;
        let error = StorageError::Io("the store is being opened again".into());
        let before = std::mem::replace(&mut *state, State::Broken { error, opening });
        // What it writes now fails, or is not needed.
        _ = guarded(|| {
            drop(before);
            Ok(())
        });
        self.medium.distrust_cache();
        // The checks of the first opening suffice.
        let options = DurableOptions { check_on_open: false, ..self.options.clone() };
        let quiet: Report = Arc::new(|_| {});
        let shared = Shared { medium: Arc::clone(&self.medium), len: Arc::clone(&self.len) };
        match open(shared, &options, &quiet, &self.closing) {
            Ok((database, sums)) => {
                *state = State::Open { database, opening };
                self.known().sums = sums;
            }
            Err(problem) => {
                let problem = format!("the storage's file cannot be opened again: {problem}");
                *state = State::Broken { error: self.file_error(problem), opening };
            }
        }
        drop(state);
        let took = begun.elapsed();
        let until = Instant::now() + (took * PATIENCE).max(LEAST_PAUSE);
        let mut known = self.known();
        known.pause = Some(Pause { until, refuses: refuses.cloned() });
        if std::mem::take(&mut known.is_unsynced) {
            (self.report)(&format!(
                "{}: an error of the disk: the changes since the last sync, at most {} ms ago, are \
                 lost",
                self.path().display(),
                self.options.interval.as_millis()
            ));
        }
    }

    /// Returns the file to the system as far as it holds nothing. Reads and changes wait meanwhile.
    /// For the leader.
    pub fn compact(&self) -> Result<(), StorageError> {
        let mut state = self.state_mut();
        let opening = match &*state {
            State::Open { opening, .. } | State::Broken { opening, .. } => *opening,
            State::Closed => return Err(closed()),
        };
        *self.view() = None;
        let compacted = match &mut *state {
            State::Open { database, .. } => guarded(|| match database.compact() {
                Ok(_) => Ok(()),
                // A transaction ended by itself after an error.
                Err(error @ CompactionError::TransactionInProgress) => {
                    Err(Fault::Redb(error.into()))
                }
                Err(error) => Err(Fault::Redb(error.into())),
            }),
            State::Broken { error, .. } => return Err(error.clone()),
            State::Closed => return Err(closed()),
        };
        drop(state);
        let len = self.len.load(Ordering::Relaxed);
        match compacted {
            Ok(()) => {
                let mut known = self.known();
                known.compacted = Footprint { live_bytes: known.sums.bytes, total_bytes: len };
                known.is_unsynced = false;
                Ok(())
            }
            Err(fault) => {
                let Failed { error, reopen } = self.failed(fault, opening);
                let mut known = self.known();
                known.compacted = Footprint { live_bytes: known.sums.bytes, total_bytes: len };
                drop(known);
                if let Some(opening) = reopen {
                    self.reopen(opening, Some(&error));
                }
                Err(error)
            }
        }
    }

    /// Returns whether the file holds so little for its size that it should be compacted.
    pub fn is_bloated(&self) -> bool {
        let ratio = self.options.compact_above_ratio;
        if ratio == 0 {
            return false;
        }
        let (live, before) = {
            let known = self.known();
            (known.sums.bytes, known.compacted)
        };
        let total = self.len.load(Ordering::Relaxed);
        // A compaction may leave a larger file than that. The next one should be worth it.
        let has_changed =
            total > before.total_bytes.saturating_mul(2) || live < before.live_bytes / 2;
        has_changed && total > SMALL_FILE.max(live.saturating_mul(ratio))
    }

    /// Returns the size of the file, and of what is in it.
    pub fn footprint(&self) -> Footprint {
        let live = self.known().sums.bytes;
        Footprint { live_bytes: live, total_bytes: self.len.load(Ordering::Relaxed) }
    }

    /// Ends a repair, so that [`Self::close`] need not wait for it.
    pub fn hurry(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Writes everything and releases the file. For the leader.
    pub fn close(&self) -> Result<(), StorageError> {
        let mut state = self.state_mut();
        *self.view() = None;
        let before = std::mem::replace(&mut *state, State::Closed);
        let result = match before {
            State::Open { database, .. } => guarded(|| match database.close() {
                Ok(()) => Ok(()),
                Err(error) => Err(Fault::Redb(error.into())),
            })
            .map_err(|fault| self.told(fault)),
            // Those who used it have been told.
            State::Broken { .. } => Ok(()),
            State::Closed => return Ok(()),
        };
        self.medium.release();
        if let Err(error) = &result {
            (self.report)(&format!("{}: closing failed: {error}", self.path().display()));
        }
        result
    }
}

struct Attempts {
    left: u32,
    last: Option<StorageError>,
}

fn opened(state: &State) -> Result<(&Database, u64), Failed> {
    match state {
        State::Open { database, opening } => Ok((database, *opening)),
        State::Broken { error, opening } => {
            Err(Failed { error: error.clone(), reopen: Some(*opening) })
        }
        State::Closed => Err(Failed { error: closed(), reopen: None }),
    }
}

fn closed() -> StorageError {
    StorageError::Io("the engine has ended, and its storage is closed".into())
}

fn open(
    medium: Shared,
    options: &DurableOptions,
    report: &Report,
    closing: &Arc<AtomicBool>,
) -> Result<(Database, Sums), OpenProblem> {
    let mut builder = Database::builder();
    builder.set_cache_size(options.cache_bytes);
    builder.set_check_integrity_on_open(options.check_on_open);
    let (told, path, closing) = (Arc::clone(report), options.path.clone(), Arc::clone(closing));
    let (begun, reported) = (Instant::now(), AtomicBool::new(false));
    builder.set_repair_callback(move |repair| {
        if closing.load(Ordering::Acquire) {
            repair.abort();
        }
        // A short one is not worth a word.
        if begun.elapsed() > Duration::from_secs(1) {
            let percent = repair.progress() * 100.0;
            told(&format!("{}: verified to {percent:.0} %", path.display()));
            reported.store(true, Ordering::Relaxed);
        }
    });
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database = builder.create_with_backend(medium).map_err(problem)?;
        tables::check_format(&database)?;
        let sums = guarded(|| tables::sums(&View::new(&database)?));
        let sums = sums.map_err(|fault| match fault {
            Fault::Redb(redb::Error::Io(error)) => OpenProblem::Io(error),
            fault => OpenProblem::Damaged(fault.to_string()),
        })?;
        Ok((database, sums))
    }));
    opened.unwrap_or_else(|_| Err(OpenProblem::Damaged("its pages contradict each other".into())))
}

impl Store {
    /// Reads everything and compares the usages with it. For tests.
    #[cfg(test)]
    pub fn recount(&self) -> Result<(), String> {
        let state = self.state();
        let (database, _) = opened(&state).map_err(|failed| failed.error.to_string())?;
        let view = View::new(database).map_err(|fault| fault.to_string())?;
        let counted = tables::recount(&view)?;
        let known = self.known().sums;
        if counted.bytes != known.bytes {
            return Err(format!("{known:?} is known, but there is {counted:?}"));
        }
        Ok(())
    }
}
