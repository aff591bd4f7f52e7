//! Compiles in progress and their results.
//!
//! A compile cannot be interrupted. Loads wait until it finishes, its time limit passes, or the
//! engine stops. An abandoned compile continues at the lowest priority, and its result is dropped.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::core::caller_watch;
use crate::runtime::binary_cache::BinaryCache;
use crate::runtime::give_back::give_back;
use crate::runtime::load_error::LoadError;
use crate::runtime::prepared::Prepared;
use crate::runtime::priority::Crew;
use crate::runtime::screen::limits::CompileLimits;
use crate::runtime::shortage::ThreadLimits;

/// The stack size of a compiler thread, regardless of the environment and of the loading thread.
/// The compiler recurses as deeply as binaries nest, which has a limit.
const STACK_BYTES: usize = 16 << 20;

/// The most abandoned compiles that may still run.
const MAX_ABANDONED: usize = 2;

/// The size from which the memory freed by a compile or a binary is worth returning to the system.
const LARGE_BYTES: u64 = 32 << 20;

/// How to obtain a compiled binary: from the cache, or by compiling it.
pub enum Way {
    /// The binary was compiled earlier.
    Made(Box<Prepared>),
    /// The binary must be compiled, which takes about this many bytes of memory.
    Compile(u64, Box<dyn FnOnce() -> Result<Prepared, LoadError> + Send>),
}

type Outcome = Result<Arc<Prepared>, LoadError>;

/// Compiles each distinct binary once.
pub struct Compiler {
    shared: Arc<Shared>,
    /// The threads per compile, and the most compiles at a time.
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

/// A number of compiles and their memory.
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
    /// Changes only while the state is locked.
    phase: Mutex<Phase>,
    /// The threads that wait for it. Changes only while the state is locked.
    waiting: AtomicUsize,
    /// Whether the thread that started it gave up. Changes only while the state is locked.
    starter_left: AtomicBool,
    crew: Crew,
}

#[derive(Clone)]
enum Phase {
    /// The binary is being read, or the compile waits for its turn.
    Preparing,
    /// The threads compile.
    Running { deadline: Instant, bytes: u64, limit: Duration },
    /// The result. After a timeout, the threads may still compile.
    Over(Outcome),
}

impl Job {
    fn new() -> Self {
        Self {
            phase: Mutex::new(Phase::Preparing),
            waiting: AtomicUsize::new(0),
            starter_left: AtomicBool::new(false),
            crew: Crew::default(),
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A use of a compiled binary, which is kept at least until this is dropped.
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
    /// Creates a compiler without compiled binaries.
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

    /// Returns the number of kept binaries and the size of their code.
    pub fn kept(&self) -> (usize, u64) {
        let state = self.shared.lock();
        (state.kept.count(), state.kept.code_bytes())
    }

    /// Ends all waits, current and later.
    pub fn stop(&self) {
        let mut state = self.shared.lock();
        state.accepting = Accepting::EngineStopped;
        state.jobs.values().for_each(|job| job.crew.stand_last());
        self.shared.changed.notify_all();
    }

    /// Returns a binary that is already compiled.
    pub fn find(&self, hash: &blake3::Hash) -> Option<(Arc<Prepared>, Lease)> {
        let prepared = self.shared.lock().kept.take(hash)?;
        Some((prepared, self.lease(hash)))
    }

    /// Returns a compiled binary. `way` obtains one that is neither kept nor being compiled.
    pub fn get(
        &self,
        hash: &blake3::Hash,
        way: impl FnOnce() -> Result<Way, LoadError>,
    ) -> Result<(Arc<Prepared>, Lease), LoadError> {
        let prepared = loop {
            let mut state = self.shared.lock();
            state.check()?;
            if let Some(prepared) = state.kept.take(hash) {
                break prepared;
            }
            let Some(job) = state.jobs.get(hash).cloned() else {
                let job = Arc::new(Job::new());
                state.jobs.insert(*hash, Arc::clone(&job));
                drop(state);
                break self.run(hash, &job, way)?;
            };
            match self.shared.wait(state, &job) {
                (mut state, Ok(prepared)) => break state.kept.add(&prepared),
                // Its starter gave up before it began, and this thread did not.
                (_, Err(LoadError::GivenUp)) if is_patient() => {}
                (_, Err(error)) => return Err(error),
            }
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
        // `end` has already counted this use, or counts it later.
        let (state, outcome) = self.shared.wait(state, job);
        if matches!(outcome, Err(LoadError::GivenUp)) {
            job.starter_left.store(true, Ordering::Relaxed);
        }
        drop(state);
        outcome
    }

    /// Starts a compile as soon as there is room for it.
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
            state = self.shared.wait_for_change(state, None)?;
        }
        state.running.add(bytes);
        // A limit beyond the clock's range never expires.
        let now = Instant::now();
        let deadline = now.checked_add(self.max_time).unwrap_or_else(|| now + FAR_AWAY);
        *job.phase() = Phase::Running { deadline, bytes, limit: self.max_time };
        drop(state);

        // One pool per compile: a global one would outlive the engine and not survive a fork.
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
        // The threads end afterwards; nothing waits for them.
        pool.spawn(move || {
            let made =
                catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(failed(&*panic)));
            shared.finish(&hash, &job, bytes, made.map(Arc::new));
        });
        Ok(())
    }
}

/// Returns whether no caller on this thread has given up.
fn is_patient() -> bool {
    caller_watch::check() == caller_watch::State::Patient
}

/// About 34 years.
const FAR_AWAY: Duration = Duration::from_secs(1 << 30);

/// Returns the error for a panic of the compiler, which fails only this load.
fn failed(panic: &(dyn Any + Send)) -> LoadError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    LoadError::InvalidComponent(format!("the compiler failed: {text}"))
}

/// Whether anyone waits for the result of a job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Yes,
    No,
}

impl State {
    /// Removes a job that no longer compiles from the counts.
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

    /// Waits for the result of a job, and abandons the job at its deadline. If no one waits any
    /// longer, the threads go on behind all others, and their result is kept.
    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        job: &Job,
    ) -> (MutexGuard<'a, State>, Outcome) {
        job.waiting.fetch_add(1, Ordering::Relaxed);
        let (state, outcome) = self.wait_on(state, job);
        let was_last = job.waiting.fetch_sub(1, Ordering::Relaxed) == 1;
        if was_last && matches!(outcome, Err(LoadError::GivenUp)) {
            job.crew.stand_last();
        }
        (state, outcome)
    }

    fn wait_on<'a>(
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
            let left = match phase {
                Phase::Running { deadline, bytes, limit } => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.abandon(&mut state, job, limit, bytes);
                        continue;
                    }
                    Some(left)
                }
                _ => None,
            };
            state = match self.wait_for_change(state, left) {
                Ok(state) => state,
                Err(given_up) => {
                    let state = self.lock();
                    let phase = job.phase().clone();
                    return match phase {
                        Phase::Over(outcome) => (state, outcome),
                        _ => (state, Err(given_up)),
                    };
                }
            };
        }
    }

    /// Waits for any change, for `most` at most, or until the watched caller of this thread gives
    /// up.
    fn wait_for_change<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        most: Option<Duration>,
    ) -> Result<MutexGuard<'a, State>, LoadError> {
        let is_watched = caller_watch::is_watched();
        let most = match (most, is_watched) {
            (Some(most), true) => Some(most.min(caller_watch::PERIOD)),
            (None, true) => Some(caller_watch::PERIOD),
            (most, false) => most,
        };
        let state = match most {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(most) => {
                let waited = self.changed.wait_timeout(state, most);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        if !is_watched {
            return Ok(state);
        }
        // The host is asked without the lock.
        drop(state);
        if is_patient() { Ok(self.lock()) } else { Err(LoadError::GivenUp) }
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

    /// Ends a job, on its last thread.
    fn finish(&self, hash: &blake3::Hash, job: &Job, bytes: u64, outcome: Outcome) {
        // The memory of the compile is free now, except for its result.
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

    /// Records the result of a job, and counts the use of its starter.
    fn end(state: &mut State, hash: &blake3::Hash, job: &Job, outcome: Outcome) {
        state.jobs.remove(hash);
        let outcome = outcome.map(|prepared| state.kept.add(&prepared));
        if outcome.is_ok() && job.starter_left.load(Ordering::Relaxed) {
            drop(state.kept.release(hash));
        }
        *job.phase() = Phase::Over(outcome);
    }

    /// Leaves a job to its threads. It stays listed, so that its binary is not compiled again in
    /// the meantime.
    fn abandon(&self, state: &mut State, job: &Job, limit: Duration, bytes: u64) {
        state.running.take(bytes);
        state.abandoned.add(bytes);
        *job.phase() = Phase::Over(Err(LoadError::CompileTime { limit }));
        job.crew.stand_last();
        self.changed.notify_all();
    }
}
