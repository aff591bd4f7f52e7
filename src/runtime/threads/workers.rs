//! The start of the workers.
//!
//! Tokio takes it for granted that the system gives as many threads as it asks for: where it does not, the
//! start panics, and waits for ever for the threads that it got. Here the threads are asked for before; those
//! of Tokio wait until all are there, and end where one is missing.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::runtime::shortage::NoThread;
use crate::runtime::threads::pool::STACK_BYTES;
use crate::runtime::threads::signal_stack;

/// The name of workers.
pub const NAME: &str = "airssys-worker";

/// The longest that a thread takes to begin.
const ARRIVAL: Duration = Duration::from_secs(10);

/// Starts `count` workers, all or none; `builder` says all else of them.
pub fn start(mut builder: Builder, count: usize) -> Result<Runtime, NoThread> {
    let starter = thread::Builder::new().name("airssys-start".into()).stack_size(STACK_BYTES);
    let started = starter.spawn(move || {
        ask_for(count)?;
        build(&mut builder, count)
    });
    let started = started.map_err(|source| NoThread::new(NAME, source))?.join();
    started
        .unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()))
        .map_err(|source| NoThread::new(NAME, source))
}

/// Whether the system gives so many threads at a time. It may give less right after, which costs more.
fn ask_for(count: usize) -> io::Result<()> {
    let gate = Arc::<Gate>::default();
    let mut threads = Vec::with_capacity(count);
    let mut outcome = Ok(());
    for _ in 0..count {
        let gate = Arc::clone(&gate);
        let thread = thread::Builder::new().name(NAME.into()).stack_size(STACK_BYTES);
        match thread.spawn(move || {
            let ready = signal_stack::ensure();
            let id = ThreadId::own();
            gate.wait();
            ready.map(|()| id)
        }) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    gate.open(Verdict::Go);
    for thread in threads {
        match thread.join() {
            Ok(Ok(id)) => id.wait_until_gone(),
            Ok(Err(error)) => outcome = outcome.and(Err(error)),
            Err(_) => outcome = outcome.and(Err(io::ErrorKind::WouldBlock.into())),
        }
    }
    outcome
}

/// Builds the runtime. Called on a thread of its own, as what is built panics, and must not wait then.
fn build(builder: &mut Builder, count: usize) -> io::Result<Runtime> {
    let gate = Arc::<Gate>::default();
    let at_start = Arc::clone(&gate);
    builder.worker_threads(count).thread_name(NAME).thread_stack_size(STACK_BYTES);
    // The threads of Tokio are its workers: nothing that blocks is left to it.
    builder.max_blocking_threads(1).on_thread_start(move || {
        at_start.arrive(signal_stack::ensure());
        if at_start.wait() == Verdict::End {
            resume_unwind(Box::new("the start of the workers failed"));
        }
    });
    let built = Builder::new_current_thread().build()?.block_on(async {
        // Inside of a runtime, one that is dropped by a panic does not wait for its threads.
        catch_unwind(AssertUnwindSafe(|| builder.build()))
    });
    let built = built.unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()));
    match built.map(|runtime| (runtime, gate.all(count))) {
        Ok((runtime, Ok(()))) => {
            gate.open(Verdict::Go);
            Ok(runtime)
        }
        Ok((runtime, Err(error))) => {
            // There is nothing to run yet. The threads that are there drop what the others were to do.
            gate.open(Verdict::Go);
            runtime.shutdown_background();
            Err(error)
        }
        Err(error) => {
            gate.open(Verdict::End);
            Err(error)
        }
    }
}

/// Where threads wait for what is decided.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    arrived: usize,
    failure: Option<io::Error>,
    verdict: Option<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Go,
    End,
}

impl Gate {
    fn arrive(&self, ready: io::Result<()>) {
        let mut state = self.lock();
        state.arrived += 1;
        state.failure = state.failure.take().or(ready.err());
        self.changed.notify_all();
    }

    /// Waits until so many have arrived, and says how. Tokio does not say that it got no thread where it
    /// has others: one that does not arrive for long is none.
    fn all(&self, count: usize) -> io::Result<()> {
        let missing = |state: &mut State| state.arrived < count;
        let waited = self.changed.wait_timeout_while(self.lock(), ARRIVAL, missing);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.failure.take() {
            Some(failure) => Err(failure),
            None if waited.timed_out() => Err(io::ErrorKind::WouldBlock.into()),
            None => Ok(()),
        }
    }

    fn open(&self, verdict: Verdict) {
        self.lock().verdict = Some(verdict);
        self.changed.notify_all();
    }

    fn wait(&self) -> Verdict {
        let mut state = self.lock();
        loop {
            if let Some(verdict) = state.verdict {
                return verdict;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread, as the system counts it: for a moment longer than until it is joined.
struct ThreadId(#[cfg(target_os = "linux")] rustix::thread::Pid);

#[cfg(target_os = "linux")]
impl ThreadId {
    fn own() -> Self {
        Self(rustix::thread::gettid())
    }

    fn wait_until_gone(&self) {
        let path = format!("/proc/self/task/{}", self.0.as_raw_nonzero());
        // Bounded, because the number may belong to another thread by now.
        for _ in 0..1000 {
            if !std::path::Path::new(&path).exists() {
                return;
            }
            thread::yield_now();
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl ThreadId {
    fn own() -> Self {
        Self()
    }

    fn wait_until_gone(&self) {}
}
