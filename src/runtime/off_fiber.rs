//! Running host code on a native stack while the guest that asked for it is suspended.
//!
//! Guests run on Wasmtime's fibers. Runtimes such as CPython and the JVM take a fiber's stack for
//! an overflow, so callbacks of the host must not run there: a host function leaves a job here
//! and suspends, and whoever drives the guest's call runs the job and resumes the guest. A thread
//! that waits for the call runs the job itself; a worker hands it to a thread for blocking work,
//! so that a slow callback delays its own component only.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use crate::core::waiting::WaitNode;
use crate::runtime::threads::pool::ThreadPool;

type Job = Box<dyn FnOnce() + Send>;

/// The jobs that one component's host functions have left for its driver.
#[derive(Clone)]
pub struct OffFiber {
    component: Arc<WaitNode>,
    threads: ThreadPool,
    jobs: Arc<Jobs>,
}

#[derive(Default)]
struct Jobs {
    queue: Mutex<VecDeque<Job>>,
    /// Whether `queue` may hold something, for a look without its lock. Who leaves a job and who
    /// looks for it take turns on one call, so that no ordering is needed.
    any: AtomicBool,
}

thread_local! {
    static WAITING: Cell<bool> = const { Cell::new(false) };
    static CURRENT: RefCell<Option<Arc<WaitNode>>> = const { RefCell::new(None) };
}

/// The component whose host callback this thread is running, if it is in one.
pub fn current_component() -> Option<Arc<WaitNode>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Runs code of the host for a component, on this thread's own stack.
pub fn run_host_code<R>(component: &Arc<WaitNode>, code: impl FnOnce() -> R) -> R {
    let _current = CurrentGuard(CURRENT.replace(Some(Arc::clone(component))));
    code()
}

/// Marks this thread as one that waits for the future that `poll` polls, and so may run host code
/// in its midst.
pub fn while_waiting<R>(poll: impl FnOnce() -> R) -> R {
    let _before = WaitingGuard(WAITING.replace(true));
    poll()
}

/// Whether the thread waits for what it polls; a worker does not.
pub fn may_block() -> bool {
    WAITING.get()
}

impl OffFiber {
    /// No jobs yet; a driver that may not block has them run by `threads`.
    pub fn new(component: Arc<WaitNode>, threads: ThreadPool) -> Self {
        Self { component, threads, jobs: Arc::default() }
    }

    /// The threads for drivers that may not block.
    pub fn threads(&self) -> &ThreadPool {
        &self.threads
    }

    /// Leaves a job whose result nobody waits for; jobs run in the order they were left.
    pub fn defer(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.lock();
        queue.push_back(Box::new(job));
        self.jobs.any.store(true, Ordering::Relaxed);
    }

    /// Leaves a job and suspends the guest until it has run. A guest that ended before it began gets
    /// nothing done any more.
    pub async fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::downgrade(&result);
        self.defer(move || {
            let Some(slot) = slot.upgrade() else { return };
            let value = job();
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        });
        // No waker: the driver resumes the guest because it ran a job, see `drive`.
        poll_fn(|_| match result.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(value) => Poll::Ready(value),
            None => Poll::Pending,
        })
        .await
    }

    /// Suspends the guest until all jobs have run.
    pub async fn settle(&self) {
        poll_fn(|_| if self.has_jobs() { Poll::Pending } else { Poll::Ready(()) }).await;
    }

    /// Whether there are jobs to run.
    pub fn has_jobs(&self) -> bool {
        self.jobs.any.load(Ordering::Relaxed)
    }

    /// Runs all jobs on this thread's own stack.
    pub fn run_jobs(&self) {
        run_host_code(&self.component, || {
            loop {
                let mut queue = self.lock();
                let job = queue.pop_front();
                self.jobs.any.store(!queue.is_empty(), Ordering::Relaxed);
                drop(queue);
                let Some(job) = job else { break };
                job();
            }
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        self.jobs.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Restores the outer component when a callback's own calls have driven another one.
struct CurrentGuard(Option<Arc<WaitNode>>);

impl Drop for CurrentGuard {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

struct WaitingGuard(bool);

impl Drop for WaitingGuard {
    fn drop(&mut self) {
        WAITING.set(self.0);
    }
}
