//! Running callbacks of the host that no guest waits for.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use tokio::runtime::Handle;

use crate::core::error::MessagingError;
use crate::core::id::CorrelationId;
use crate::core::ports::{Envelope, Router};
use crate::core::waiting::WaitNode;
use crate::runtime::off_fiber::run_host_code;

type Job = Box<dyn FnOnce() + Send>;

/// A queue of callbacks, and the threads that run them.
///
/// They begin in the order in which they were left. A thread that takes one while more wait sees
/// to it that another thread comes for those: a callback may take its time, or wait for a later
/// one, and delays none.
#[derive(Clone, Default)]
pub struct Callbacks {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    workers: OnceLock<Handle>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// A thread is on its way.
    coming: bool,
    /// Nobody comes any more.
    closed: bool,
}

impl Callbacks {
    /// Names the threads; until then what is left waits.
    pub fn start(&self, workers: &Handle) {
        if self.shared.workers.set(workers.clone()).is_ok() {
            Shared::call_thread(&self.shared, self.shared.lock());
        }
    }

    /// Leaves a callback to be run, in every case.
    pub fn leave(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(job) = self.queue(Box::new(job)) {
            // What comes this late finds a thread of its own, or else is run here.
            let job = Arc::new(Mutex::new(Some(job)));
            let late = Arc::clone(&job);
            if thread::Builder::new().spawn(move || run_once(&late)).is_err() {
                run_once(&job);
            }
        }
    }

    /// Leaves a callback that is not run if the engine is gone.
    pub fn leave_news(&self, job: impl FnOnce() + Send + 'static) {
        drop(self.queue(Box::new(job)));
    }

    /// Queues a job; gives it back if nobody comes any more.
    fn queue(&self, job: Job) -> Option<Job> {
        let mut queue = self.shared.lock();
        if queue.closed {
            return Some(job);
        }
        queue.jobs.push_back(job);
        Shared::call_thread(&self.shared, queue);
        None
    }

    /// Takes no more: a job that nobody runs would keep alive what it holds, this queue included.
    pub fn close(&self) {
        let jobs = {
            let mut queue = self.shared.lock();
            queue.closed = true;
            std::mem::take(&mut queue.jobs)
        };
        drop(jobs);
    }

    /// Runs what is left on this thread, for an engine whose workers are gone.
    pub fn run_rest(&self) {
        let node = Arc::default();
        loop {
            let Some(job) = self.shared.lock().jobs.pop_front() else { return };
            run_host_code(&node, job);
        }
    }
}

fn run_once(job: &Mutex<Option<Job>>) {
    let job = job.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(job) = job {
        run_host_code(&Arc::default(), job);
    }
}

impl Shared {
    /// Has a thread come, if there is something to run and none is on its way.
    fn call_thread(shared: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        let Some(workers) = shared.workers.get() else { return };
        if queue.jobs.is_empty() || std::mem::replace(&mut queue.coming, true) {
            return;
        }
        drop(queue);
        let shared = Arc::clone(shared);
        let coming = Arc::clone(&shared);
        // Dropped unrun when the workers stop: `run_rest` is left with the queue. A system that
        // has no thread to give is a panic, which must not stop who brings an outcome.
        let called = catch_unwind(AssertUnwindSafe(|| {
            workers.spawn_blocking(move || Self::run(&coming));
        }));
        if called.is_err() {
            shared.lock().coming = false;
        }
    }

    fn run(shared: &Arc<Self>) {
        let node = Arc::<WaitNode>::default();
        shared.lock().coming = false;
        loop {
            let mut queue = shared.lock();
            let Some(job) = queue.jobs.pop_front() else { return };
            Self::call_thread(shared, queue);
            run_host_code(&node, job);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host's router, whose cancellations wait for nobody.
pub struct PatientRouter {
    router: Arc<dyn Router>,
    callbacks: Callbacks,
}

impl PatientRouter {
    /// Leaves cancellations to `callbacks`.
    pub fn new(router: Arc<dyn Router>, callbacks: Callbacks) -> Self {
        Self { router, callbacks }
    }
}

impl Router for PatientRouter {
    fn route(&self, envelope: &Envelope) -> Result<(), MessagingError> {
        self.router.route(envelope)
    }

    fn cancel(&self, request: CorrelationId) {
        let router = Arc::clone(&self.router);
        self.callbacks.leave(move || router.cancel(request));
    }
}
