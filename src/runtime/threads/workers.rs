//! Starts the workers.
//!
//! Tokio assumes that the system provides every thread that it asks for. Otherwise its start panics
//! and then waits forever for the threads that did start. Here, trial threads are started first.
//! Tokio's threads wait until all of them have started, and end if one is missing.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::runtime::shortage::NoThread;
use crate::runtime::threads::pool::STACK_BYTES;
use crate::runtime::threads::signal_stack;

/// The name of worker threads.
pub const NAME: &str = "airssys-worker";

/// The longest that a thread may take to start.
const ARRIVAL: Duration = Duration::from_secs(10);

/// Starts `count` workers, all or none. `builder` has the remaining settings.
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

/// Checks that the system gives this many threads at once. It may still give fewer right
/// afterwards, which is more costly to handle.
fn ask_for(count: usize) -> io::Result<()> {
    let barrier = Arc::<StartBarrier>::default();
    let mut threads = Vec::with_capacity(count);
    let mut outcome = Ok(());
    for _ in 0..count {
        let barrier = Arc::clone(&barrier);
        let thread = thread::Builder::new().name(NAME.into()).stack_size(STACK_BYTES);
        match thread.spawn(move || {
            let ready = signal_stack::ensure();
            let id = ThreadId::own();
            barrier.wait();
            ready.map(|()| id)
        }) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    barrier.open(Verdict::Go);
    for thread in threads {
        match thread.join() {
            Ok(Ok(id)) => id.wait_until_gone(),
            Ok(Err(error)) => outcome = outcome.and(Err(error)),
            Err(_) => outcome = outcome.and(Err(io::ErrorKind::WouldBlock.into())),
        }
    }
    outcome
}

/// Builds the runtime. Runs on its own thread, because building may panic and must not wait then.
fn build(builder: &mut Builder, count: usize) -> io::Result<Runtime> {
    let barrier = Arc::<StartBarrier>::default();
    let at_start = Arc::clone(&barrier);
    builder.worker_threads(count).thread_name(NAME).thread_stack_size(STACK_BYTES);
    // Tokio's only threads are its workers: it gets no blocking work.
    builder.max_blocking_threads(1).on_thread_start(move || {
        at_start.arrive(signal_stack::ensure());
        if at_start.wait() == Verdict::End {
            resume_unwind(Box::new("the start of the workers failed"));
        }
    });
    let built = Builder::new_current_thread().build()?.block_on(async {
        // Inside a runtime, another runtime dropped by a panic does not wait for its threads.
        catch_unwind(AssertUnwindSafe(|| builder.build()))
    });
    let built = built.unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()));
    match built.map(|runtime| (runtime, barrier.all(count))) {
        Ok((runtime, Ok(()))) => {
            barrier.open(Verdict::Go);
            Ok(runtime)
        }
        Ok((runtime, Err(error))) => {
            // There is no work yet. The existing threads drop what the missing ones were to do.
            barrier.open(Verdict::Go);
            runtime.shutdown_background();
            Err(error)
        }
        Err(error) => {
            barrier.open(Verdict::End);
            Err(error)
        }
    }
}

/// A barrier at which threads wait for the verdict.
#[derive(Default)]
struct StartBarrier {
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

impl StartBarrier {
    fn arrive(&self, ready: io::Result<()>) {
        let mut state = self.lock();
        state.arrived += 1;
        state.failure = state.failure.take().or(ready.err());
        self.changed.notify_all();
    }

    /// Waits until `count` threads have arrived and returns their results. Tokio does not report a
    /// missing thread if it has others: a thread that does not arrive in time counts as missing.
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

/// A thread in the system's count, which it leaves slightly after it can be joined.
struct ThreadId(#[cfg(target_os = "linux")] rustix::thread::Pid);

#[cfg(target_os = "linux")]
impl ThreadId {
    fn own() -> Self {
        Self(rustix::thread::gettid())
    }

    fn wait_until_gone(&self) {
        let path = format!("/proc/self/task/{}", self.0.as_raw_nonzero());
        // Bounded, because the id may belong to another thread by now.
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
