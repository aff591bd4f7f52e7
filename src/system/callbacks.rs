//! Running callbacks of the host that no guest waits for.

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

/// So many threads come as soon as a callback waits.
const PROMPT_THREADS: usize = 8;

/// A queue of callbacks, and the threads that run them.
///
/// They begin in the order in which they were left. A callback may take its time, or wait for a
/// later one, and delays none for more than a few turns, as long as there are threads.
#[derive(Clone)]
pub struct Callbacks {
    pool: ThreadPool,
}

impl Callbacks {
    /// On so many threads at most; none runs yet, and what is left waits.
    pub fn new(most: usize) -> Self {
        let (name, growth) = ("airssys-events", Growth::Patient(PROMPT_THREADS));
        Self { pool: ThreadPool::new(Plan { name, most, growth, runs_guests: true }) }
    }

    /// Makes the thread that there always is.
    pub fn start(&self) -> Result<(), NoThread> {
        self.pool.keep_one()
    }

    /// Lets it go, for a start that failed.
    pub fn unstart(&self) {
        self.pool.keep_none();
    }

    /// Names the workers, on which it is seen to that there are enough threads.
    pub fn watch_on(&self, workers: &Handle) {
        self.pool.watch_on(workers);
    }

    /// Leaves a callback to be run, in every case.
    pub fn leave(&self, job: impl FnOnce() + Send + 'static) {
        if let Err(job) = self.pool.leave(host_code(job)) {
            // What comes this late finds a thread of its own, or else is run here.
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

    /// Leaves a callback that is not run if the engine is gone.
    pub fn leave_news(&self, job: impl FnOnce() + Send + 'static) {
        drop(self.pool.leave(host_code(job)));
    }

    /// Has the threads end after the callbacks that they are in.
    pub fn stop(&self) {
        self.pool.close();
    }

    /// Waits for threads that were stopped.
    pub fn wait_until_left(&self, deadline: Instant) {
        self.pool.wait_until_left(deadline);
    }

    /// Takes no more, and runs what is left: a job that nobody runs would keep alive what it holds,
    /// this queue included.
    pub fn close(&self) {
        self.pool.seal();
        self.run_rest();
    }

    /// Runs what is left on this thread, for an engine whose threads are gone.
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_is_left_at_the_end_is_run_and_what_comes_later_too() {
        let (callbacks, (tell, told)) = (Callbacks::new(1), channel());
        for _ in 0..2 {
            let tell = tell.clone();
            callbacks.leave(move || tell.send(()).unwrap());
            callbacks.close();
        }
        drop(tell);
        assert_eq!(told.iter().count(), 2);
    }
}
