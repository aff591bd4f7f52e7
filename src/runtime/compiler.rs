//! Compiles under way, and what came of those that are over.
//!
//! A compile can not be interrupted. Whoever loads waits for it until its time is over or the engine stops;
//! then it is left to its threads, which give way to all others, and what it makes is dropped.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::runtime::binary_cache::BinaryCache;
use crate::runtime::give_back::give_back;
use crate::runtime::load_error::LoadError;
use crate::runtime::prepared::Prepared;
use crate::runtime::priority::Crew;
use crate::runtime::screen::limits::CompileLimits;
use crate::runtime::shortage::ThreadLimits;

/// The stack of a thread that compiles. The compiler recurses as deep as binaries are nested, for which
/// there is a limit; neither the environment nor the stack of the thread that loads plays a part.
const STACK_BYTES: usize = 16 << 20;

/// How many compiles that nobody waits for any more may be under way.
const MAX_ABANDONED: usize = 2;

/// A compile or a binary of this size leaves so much behind that it is worth giving it back.
const LARGE_BYTES: u64 = 32 << 20;

/// How a binary is to be had.
pub enum Way {
    /// It was compiled earlier.
    Made(Box<Prepared>),
    /// It has to be compiled, which takes that much memory, by an estimate.
    Compile(u64, Box<dyn FnOnce() -> Result<Prepared, LoadError> + Send>),
}

type Outcome = Result<Arc<Prepared>, LoadError>;

/// Compiles, each distinct binary once.
pub struct Compiler {
    shared: Arc<Shared>,
    /// How many threads compile one binary, and how many binaries are compiled at a time.
    threads: usize,
    max_time: Duration,
    max_memory_bytes: u64,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    accepting: Accepting,
    kept: BinaryCache,
    jobs: HashMap<blake3::Hash, Arc<Job>>,
    running: Load,
    abandoned: Load,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepting {
    Yes,
    EngineStopped,
}

/// How many compiles, with how much memory.
#[derive(Default)]
struct Load {
    count: usize,
    bytes: u64,
}

impl Load {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }

    fn take(&mut self, bytes: u64) {
        self.count -= 1;
        self.bytes -= bytes;
    }
}

struct Job {
    /// Changed only while the state is locked.
    phase: Mutex<Phase>,
    crew: Crew,
}

#[derive(Clone)]
enum Phase {
    /// Its binary is read, or it waits for its turn.
    Preparing,
    /// Its threads compile.
    Running { deadline: Instant, bytes: u64, limit: Duration },
    /// What came of it; that its time is over while its threads compile on.
    Over(Outcome),
}

impl Job {
    fn new() -> Self {
        Self { phase: Mutex::new(Phase::Preparing), crew: Crew::default() }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A use of a compiled binary, which is kept at least until it ends.
pub struct Lease {
    shared: Arc<Shared>,
    hash: blake3::Hash,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let evicted = self.shared.lock().kept.release(&self.hash);
        let bytes: u64 = evicted.iter().map(|prepared| prepared.code_bytes).sum();
        drop(evicted);
        if bytes >= LARGE_BYTES {
            give_back();
        }
    }
}

impl Compiler {
    /// Nothing is compiled yet.
    pub fn new(limits: &CompileLimits, threads: usize) -> Self {
        let state = State {
            accepting: Accepting::Yes,
            kept: BinaryCache::new(limits.max_unused_code_bytes),
            jobs: HashMap::new(),
            running: Load::default(),
            abandoned: Load::default(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let CompileLimits { max_time, max_memory_bytes, .. } = *limits;
        Self { shared, threads, max_time, max_memory_bytes }
    }

    /// How many binaries are compiled and kept, and how much code that is.
    pub fn kept(&self) -> (usize, u64) {
        let state = self.shared.lock();
        (state.kept.count(), state.kept.code_bytes())
    }

    /// Ends all waiting, now and later.
    pub fn stop(&self) {
        let mut state = self.shared.lock();
        state.accepting = Accepting::EngineStopped;
        state.jobs.values().for_each(|job| job.crew.stand_last());
        self.shared.changed.notify_all();
    }

    /// A binary that is compiled already.
    pub fn find(&self, hash: &blake3::Hash) -> Option<(Arc<Prepared>, Lease)> {
        let prepared = self.shared.lock().kept.take(hash)?;
        Some((prepared, self.lease(hash)))
    }

    /// A compiled binary. `way` says how it is to be had, if nobody has or compiles it.
    pub fn get(
        &self,
        hash: &blake3::Hash,
        way: impl FnOnce() -> Result<Way, LoadError>,
    ) -> Result<(Arc<Prepared>, Lease), LoadError> {
        let mut state = self.shared.lock();
        state.check()?;
        let prepared = if let Some(prepared) = state.kept.take(hash) {
            prepared
        } else if let Some(job) = state.jobs.get(hash).cloned() {
            let (mut state, outcome) = self.shared.wait(state, &job);
            state.kept.add(&outcome?)
        } else {
            let job = Arc::new(Job::new());
            state.jobs.insert(*hash, Arc::clone(&job));
            drop(state);
            self.run(hash, &job, way)?
        };
        Ok((prepared, self.lease(hash)))
    }

    fn lease(&self, hash: &blake3::Hash) -> Lease {
        Lease { shared: Arc::clone(&self.shared), hash: *hash }
    }

    fn run(
        &self,
        hash: &blake3::Hash,
        job: &Arc<Job>,
        way: impl FnOnce() -> Result<Way, LoadError>,
    ) -> Outcome {
        let way = catch_unwind(AssertUnwindSafe(way)).unwrap_or_else(|panic| Err(failed(&*panic)));
        let started = way.and_then(|way| match way {
            Way::Made(prepared) => Ok(Some(*prepared)),
            Way::Compile(bytes, work) => self.start(hash, job, bytes, work).map(|()| None),
        });
        let state = match started {
            Ok(None) => self.shared.lock(),
            Ok(Some(prepared)) => self.shared.conclude(hash, job, Ok(Arc::new(prepared))),
            Err(error) => self.shared.conclude(hash, job, Err(error)),
        };
        // This use was counted when it came to its end.
        self.shared.wait(state, job).1
    }

    /// Starts a compile when there is room for it.
    fn start(
        &self,
        hash: &blake3::Hash,
        job: &Arc<Job>,
        bytes: u64,
        work: Box<dyn FnOnce() -> Result<Prepared, LoadError> + Send>,
    ) -> Result<(), LoadError> {
        let limit = self.max_memory_bytes;
        if bytes > limit {
            return Err(LoadError::CompileMemory { limit, wanted: bytes });
        }
        let mut state = self.shared.lock();
        loop {
            state.check()?;
            let room = limit.saturating_sub(state.abandoned.bytes);
            if state.abandoned.count >= MAX_ABANDONED || bytes > room {
                return Err(LoadError::CompilesAbandoned { count: state.abandoned.count });
            }
            if state.running.count < self.threads
                && bytes <= room.saturating_sub(state.running.bytes)
            {
                break;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.running.add(bytes);
        // A time too long for the clock is none that ends.
        let now = Instant::now();
        let deadline = now.checked_add(self.max_time).unwrap_or_else(|| now + FAR_AWAY);
        *job.phase() = Phase::Running { deadline, bytes, limit: self.max_time };
        drop(state);

        // A pool of its own: one of the process would outlive the engine and not survive a fork.
        let starting = Arc::clone(job);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .stack_size(STACK_BYTES)
            .thread_name(|index| format!("airssys-compile-{index}"))
            .start_handler(move |_| starting.crew.join())
            .build();
        let pool = pool.map_err(|error| {
            self.shared.lock().settle(job, bytes);
            self.shared.changed.notify_all();
            LoadError::Threads(format!("{error}; {ThreadLimits}"))
        })?;
        let (shared, hash, job) = (Arc::clone(&self.shared), *hash, Arc::clone(job));
        // The threads end after it. Nobody waits for that.
        pool.spawn(move || {
            let made =
                catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(failed(&*panic)));
            shared.finish(&hash, &job, bytes, made.map(Arc::new));
        });
        Ok(())
    }
}

/// Some years.
const FAR_AWAY: Duration = Duration::from_secs(1 << 30);

/// A defect of the compiler is the end of the one load.
fn failed(panic: &(dyn Any + Send)) -> LoadError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    LoadError::InvalidComponent(format!("the compiler failed: {text}"))
}

/// Whether anybody waits for what comes of a job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Yes,
    No,
}

impl State {
    /// Takes a job that compiles no more off the books.
    fn settle(&mut self, job: &Job, bytes: u64) -> Awaited {
        if matches!(*job.phase(), Phase::Over(_)) {
            self.abandoned.take(bytes);
            Awaited::No
        } else {
            self.running.take(bytes);
            Awaited::Yes
        }
    }

    fn check(&self) -> Result<(), LoadError> {
        match self.accepting {
            Accepting::Yes => Ok(()),
            Accepting::EngineStopped => Err(LoadError::Stopped),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what comes of a job, and gives it up when its time is over.
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        job: &Job,
    ) -> (MutexGuard<'a, State>, Outcome) {
        loop {
            let phase = job.phase().clone();
            if let Phase::Over(outcome) = phase {
                return (state, outcome);
            }
            if let Err(stopped) = state.check() {
                return (state, Err(stopped));
            }
            state = match phase {
                Phase::Running { deadline, bytes, limit } => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.abandon(&mut state, job, limit, bytes);
                        continue;
                    }
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                _ => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Shared {
    /// Ends a job that has no threads.
    fn conclude(&self, hash: &blake3::Hash, job: &Job, outcome: Outcome) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        Self::end(&mut state, hash, job, outcome);
        self.changed.notify_all();
        state
    }

    /// Ends a job on the last of its threads.
    fn finish(&self, hash: &blake3::Hash, job: &Job, bytes: u64, outcome: Outcome) {
        // What a compile needed is free now, except what it made.
        if bytes >= LARGE_BYTES {
            give_back();
        }
        let mut state = self.lock();
        match state.settle(job, bytes) {
            Awaited::Yes => Self::end(&mut state, hash, job, outcome),
            Awaited::No => _ = state.jobs.remove(hash),
        }
        self.changed.notify_all();
    }

    /// Notes what came of a job; its starter has a use of it.
    fn end(state: &mut State, hash: &blake3::Hash, job: &Job, outcome: Outcome) {
        state.jobs.remove(hash);
        let outcome = outcome.map(|prepared| state.kept.add(&prepared));
        *job.phase() = Phase::Over(outcome);
    }

    /// Leaves a job to its threads. It stays known, so that its binary is not compiled once more meanwhile.
    fn abandon(&self, state: &mut State, job: &Job, limit: Duration, bytes: u64) {
        state.running.take(bytes);
        state.abandoned.add(bytes);
        *job.phase() = Phase::Over(Err(LoadError::CompileTime { limit }));
        job.crew.stand_last();
        self.changed.notify_all();
    }
}
