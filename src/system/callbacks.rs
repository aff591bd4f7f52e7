//! Runs host callbacks that no guest waits for.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use tokio::runtime::Handle;

use crate::core::error::MessagingError;
use crate::core::id::CorrelationId;
use crate::core::ports::{Envelope, Router};
use crate::runtime::off_fiber::run_host_code;
use crate::runtime::shortage::NoThread;
use crate::runtime::threads::plan::{Growth, Plan};
use crate::runtime::threads::pool::{Job, STACK_BYTES, ThreadPool};

/// Up to this many threads start as soon as a callback waits.
const PROMPT_THREADS: usize = 8;

/// A queue of host callbacks, and the threads that run them.
///
/// Callbacks start in the order of queueing. One callback may block, even on a later one, without
/// delaying others for more than a few turns, as long as there are threads.
#[derive(Clone)]
pub struct Callbacks {
    pool: ThreadPool,
}

impl Callbacks {
    /// Creates a queue for at most `most` threads. None runs yet; callbacks wait.
    pub fn new(most: usize) -> Self {
        let (name, growth) = ("airssys-events", Growth::Patient(PROMPT_THREADS));
        Self { pool: ThreadPool::new(Plan { name, most, growth, runs_guests: true }) }
    }

    /// Starts the permanent thread.
    pub fn keep_one(&self) -> Result<(), NoThread> {
        self.pool.keep_one()
    }

    /// Stops the permanent thread again, after a failed start.
    pub fn keep_none(&self) {
        self.pool.keep_none();
    }

    /// Sets the workers that check for a lack of threads.
    pub fn watch_on(&self, workers: &Handle) {
        self.pool.watch_on(workers);
    }

    /// Queues a callback that must run in every case.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) {
        if let Err(job) = self.pool.submit(host_code(job)) {
            // After the end, a callback gets a thread of its own, or else runs on this one.
            let job = Arc::new(Mutex::new(Some(job)));
            let late = Arc::clone(&job);
            if thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn(move || run_once(&late))
                .is_err()
            {
                run_once(&job);
            }
        }
    }

    /// Queues a callback that is dropped if the engine is gone.
    pub fn submit_notice(&self, job: impl FnOnce() + Send + 'static) {
        drop(self.pool.submit(host_code(job)));
    }

    /// Ends the threads after their current callbacks.
    pub fn stop(&self) {
        self.pool.close();
    }

    /// Waits for stopped threads to end.
    pub fn wait_until_left(&self, deadline: Instant) {
        self.pool.wait_until_left(deadline);
    }

    /// Closes the queue and runs what is left: a leftover job would keep alive everything it holds,
    /// including this queue.
    pub fn close(&self) {
        self.pool.seal();
        self.run_rest();
    }

    /// Runs all queued callbacks on this thread, for an engine whose threads have ended.
    pub fn run_rest(&self) {
        while let Some(job) = self.pool.take() {
            job();
        }
    }
}

fn host_code(job: impl FnOnce() + Send + 'static) -> Job {
    Box::new(move || run_host_code(&Arc::default(), job))
}

fn run_once(job: &Mutex<Option<Job>>) {
    let job = job.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(job) = job {
        job();
    }
}

/// Wraps the host's router so that cancellations do not block.
pub struct PatientRouter {
    router: Arc<dyn Router>,
    callbacks: Callbacks,
}

impl PatientRouter {
    /// Routes cancellations through `callbacks`.
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
        self.callbacks.submit(move || router.cancel(request));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn leftover_and_late_callbacks_run() {
        let (callbacks, (tell, told)) = (Callbacks::new(1), channel());
        for _ in 0..2 {
            let tell = tell.clone();
            callbacks.submit(move || tell.send(()).unwrap());
            callbacks.close();
        }
        drop(tell);
        assert_eq!(told.iter().count(), 2);
    }
}
