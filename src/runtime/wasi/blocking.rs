//! Threads for blocking system calls on files and names.
//!
//! Separate from the workers' runtime: an unresponsive file system or resolver must hold up neither
//! host callbacks nor the end of the engine.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::runtime::threads::job::{self, NotRun, Running};
use crate::runtime::threads::plan::{Growth, Plan};
use crate::runtime::threads::pool::ThreadPool;

/// Threads per engine for files.
const FILE_THREADS: usize = 64;

/// Threads per engine for name resolution.
const NAME_THREADS: usize = 64;

/// Concurrent jobs per instance and kind. An abandoned job counts until it ends.
const JOBS: usize = 4;

/// What a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// A file system.
    Files,
    /// A name resolver.
    Names,
}

/// The threads of an engine, started on demand.
pub struct BlockingThreads {
    files: ThreadPool,
    names: ThreadPool,
}

/// One instance's share of the threads.
pub struct BlockingJobs {
    threads: Arc<BlockingThreads>,
    files: Arc<Semaphore>,
    names: Arc<Semaphore>,
}

/// The permit for one job.
pub struct Slot {
    threads: Arc<BlockingThreads>,
    waits: Waits,
    permit: OwnedSemaphorePermit,
}

impl Default for BlockingThreads {
    fn default() -> Self {
        let pool = |name, most| {
            ThreadPool::new(Plan { name, most, growth: Growth::ForEachJob, runs_guests: false })
        };
        let files = pool("airssys-files", FILE_THREADS);
        Self { files, names: pool("airssys-names", NAME_THREADS) }
    }
}

impl BlockingThreads {
    fn of(&self, waits: Waits) -> &ThreadPool {
        match waits {
            Waits::Files => &self.files,
            Waits::Names => &self.names,
        }
    }
}

impl Drop for BlockingThreads {
    fn drop(&mut self) {
        for pool in [&self.files, &self.names] {
            // No one waits for unresponsive system calls.
            pool.close();
            while pool.take().is_some() {}
        }
    }
}

impl BlockingJobs {
    /// Creates the share of a new instance.
    pub fn new(threads: Arc<BlockingThreads>) -> Self {
        let [files, names] = [(); 2].map(|()| Arc::new(Semaphore::new(JOBS)));
        Self { threads, files, names }
    }

    /// Waits for a permit.
    pub async fn slot(&self, waits: Waits) -> Result<Slot, NotRun> {
        let permit = Arc::clone(self.room(waits)).acquire_owned().await.map_err(|_| NotRun)?;
        Ok(Slot { threads: Arc::clone(&self.threads), waits, permit })
    }

    /// Returns a permit if one is free now.
    pub fn try_slot(&self, waits: Waits) -> Option<Slot> {
        let permit = Arc::clone(self.room(waits)).try_acquire_owned().ok()?;
        Some(Slot { threads: Arc::clone(&self.threads), waits, permit })
    }

    /// Returns whether no job runs.
    pub fn are_idle(&self) -> bool {
        [&self.files, &self.names].into_iter().all(|jobs| jobs.available_permits() == JOBS)
    }

    fn room(&self, waits: Waits) -> &Arc<Semaphore> {
        match waits {
            Waits::Files => &self.files,
            Waits::Names => &self.names,
        }
    }
}

impl Slot {
    /// Runs a job on another thread.
    pub fn run<R: Send + 'static>(
        self,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> Result<Running<R>, NotRun> {
        let Self { threads, waits, permit } = self;
        let counted = move || {
            let result = job();
            drop(permit);
            result
        };
        job::run(threads.of(waits), counted)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::runtime::block_on::block_on;

    #[test]
    fn the_end_of_an_engine_waits_for_no_job() {
        let threads = Arc::new(BlockingThreads::default());
        let jobs = BlockingJobs::new(Arc::clone(&threads));
        let (go_on, wait) = mpsc::channel::<()>();
        let (say, ended) = mpsc::channel();
        let slot = jobs.try_slot(Waits::Files).expect("room");
        let running = slot.run(move || {
            say.send("begun").unwrap();
            wait.recv().unwrap();
            say.send("ended").unwrap();
        });
        assert_eq!(ended.recv(), Ok("begun"));
        drop((threads, jobs));
        go_on.send(()).unwrap();
        assert_eq!(ended.recv(), Ok("ended"));
        drop(running);
    }

    #[test]
    fn an_abandoned_job_counts_until_it_ends() {
        let jobs = BlockingJobs::new(Arc::new(BlockingThreads::default()));
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let started = Arc::new(std::sync::Barrier::new(JOBS + 1));
        let mut running = Vec::new();
        for _ in 0..JOBS {
            let slot = jobs.try_slot(Waits::Files).expect("room");
            let (wait, started) = (Arc::clone(&wait), Arc::clone(&started));
            let job = move || {
                started.wait();
                wait.lock().unwrap().recv().unwrap();
            };
            running.push(slot.run(job).unwrap());
        }
        started.wait();
        drop(running);
        assert!(jobs.try_slot(Waits::Files).is_none(), "they still run");
        assert!(jobs.try_slot(Waits::Names).is_some(), "another kind");
        go_on.send(()).unwrap();
        let slot = block_on(None, std::pin::pin!(jobs.slot(Waits::Files))).unwrap();
        let done = slot.run(|| 7).unwrap();
        assert_eq!(block_on(None, std::pin::pin!(done)).unwrap(), 7);
        for _ in 1..JOBS {
            go_on.send(()).unwrap();
        }
    }
}
