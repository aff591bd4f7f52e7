//! Runs host code on a native stack while the guest that called it is suspended.
//!
//! Guests run on Wasmtime's fibers. Runtimes such as CPython and the JVM mistake a fiber's stack
//! for a stack overflow, so host callbacks must not run there. A host function leaves a job here
//! and suspends; the `GuestCall` runs the job and resumes the guest. A thread
//! blocked on the call runs the job itself; a worker passes it to a pool for blocking work, so that
//! a slow callback delays only its own component.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use crate::core::wait_graph::WaitNode;
use crate::runtime::threads::pool::ThreadPool;

type Job = Box<dyn FnOnce() + Send>;

/// The jobs left by one component's host functions for its driver.
#[derive(Clone)]
pub struct OffFiber {
    component: Arc<WaitNode>,
    threads: ThreadPool,
    jobs: Arc<Jobs>,
}

#[derive(Default)]
struct Jobs {
    queue: Mutex<VecDeque<Job>>,
    /// Whether `queue` may hold a job, readable without its lock. Host function and driver take
    /// turns on one call, so relaxed ordering suffices.
    any: AtomicBool,
}

thread_local! {
    static WAITING: Cell<bool> = const { Cell::new(false) };
    static CURRENT: RefCell<Option<Arc<WaitNode>>> = const { RefCell::new(None) };
}

/// Returns the component whose host callback runs on this thread, if any.
pub fn current_component() -> Option<Arc<WaitNode>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Runs host code for a component on this thread's own stack.
pub fn run_host_code<R>(component: &Arc<WaitNode>, code: impl FnOnce() -> R) -> R {
    let _current = CurrentGuard(CURRENT.replace(Some(Arc::clone(component))));
    code()
}

/// Marks this thread as blocked on the future that `poll` polls, so that it may run host code in
/// between.
pub fn while_waiting<R>(poll: impl FnOnce() -> R) -> R {
    let _before = WaitingGuard(WAITING.replace(true));
    poll()
}

/// Returns whether this thread is blocked on what it polls; a worker is not.
pub fn may_block() -> bool {
    WAITING.get()
}

impl OffFiber {
    /// Creates an empty queue. `threads` run the jobs of drivers that may not block.
    pub fn new(component: Arc<WaitNode>, threads: ThreadPool) -> Self {
        Self { component, threads, jobs: Arc::default() }
    }

    /// Returns the same queue, for a driver whose callbacks run for `component`.
    pub fn run_for(self, component: Arc<WaitNode>) -> Self {
        Self { component, ..self }
    }

    /// Returns the threads for drivers that may not block.
    pub fn threads(&self) -> &ThreadPool {
        &self.threads
    }

    /// Leaves a job without a result. Jobs run in the order in which they were left.
    pub fn defer(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.lock();
        queue.push_back(Box::new(job));
        self.jobs.any.store(true, Ordering::Relaxed);
    }

    /// Leaves a job and suspends the guest until the job has run. A job that has not started when
    /// the guest ends never runs.
    pub async fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::downgrade(&result);
        self.defer(move || {
            let Some(slot) = slot.upgrade() else { return };
            let value = job();
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        });
        // No waker is needed: the driver resumes the guest after running a job, see `GuestCall`.
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

    /// Returns whether there are jobs to run.
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

/// Restores the outer component when a callback's own calls drove another one.
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
