//! Threads on which operations on files, and look-ups of names, wait for the system.
//!
//! Not those of the workers' runtime: what a file system or a resolver does not answer holds neither host
//! callbacks nor the end of the engine up.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// Threads of an engine that wait for files.
const FILE_THREADS: usize = 64;

/// Threads of an engine that wait for resolvers.
const NAME_THREADS: usize = 64;

/// Jobs of one instance that run at a time, of each kind. One that was abandoned counts until it ends.
const JOBS: usize = 4;

/// How long a thread without work stays.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// What a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// A file system.
    Files,
    /// A resolver of names.
    Names,
}

/// The threads of an engine; they are made as they are needed.
pub struct BlockingThreads {
    files: Threads,
    names: Threads,
}

/// `None` only while it is dropped.
struct Threads(Option<Runtime>);

/// What one instance may have run on them.
pub struct BlockingJobs {
    threads: Arc<BlockingThreads>,
    files: Arc<Semaphore>,
    names: Arc<Semaphore>,
}

/// The room for one job.
pub struct Slot {
    threads: Arc<BlockingThreads>,
    waits: Waits,
    permit: OwnedSemaphorePermit,
}

/// A job. Once it is dropped, the job runs to its end if it has begun, and never does otherwise.
#[must_use = "a job that is dropped may never run"]
pub struct Running<R>(JoinHandle<R>);

/// The system has no thread left, or the engine is gone.
#[derive(Debug, Error)]
#[error("no thread to wait for the system on")]
pub struct NoThread;

impl BlockingThreads {
    /// No thread runs yet.
    pub fn new() -> io::Result<Self> {
        let files = Threads::new("airssys-files", FILE_THREADS)?;
        Ok(Self { files, names: Threads::new("airssys-names", NAME_THREADS)? })
    }

    fn of(&self, waits: Waits) -> &Threads {
        match waits {
            Waits::Files => &self.files,
            Waits::Names => &self.names,
        }
    }
}

impl Threads {
    fn new(name: &str, most: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .thread_name(name)
            .max_blocking_threads(most)
            .thread_keep_alive(KEEP_ALIVE)
            .build()?;
        Ok(Self(Some(runtime)))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Nobody waits for what the system does not answer.
            runtime.shutdown_background();
        }
    }
}

impl BlockingJobs {
    /// Of an instance that begins.
    pub fn new(threads: Arc<BlockingThreads>) -> Self {
        let [files, names] = [(); 2].map(|()| Arc::new(Semaphore::new(JOBS)));
        Self { threads, files, names }
    }

    /// Waits for the room for a job.
    pub async fn slot(&self, waits: Waits) -> Result<Slot, NoThread> {
        let permit = Arc::clone(self.room(waits)).acquire_owned().await.map_err(|_| NoThread)?;
        Ok(Slot { threads: Arc::clone(&self.threads), waits, permit })
    }

    /// The room for a job, if there is some now.
    pub fn try_slot(&self, waits: Waits) -> Option<Slot> {
        let permit = Arc::clone(self.room(waits)).try_acquire_owned().ok()?;
        Some(Slot { threads: Arc::clone(&self.threads), waits, permit })
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
    ) -> Result<Running<R>, NoThread> {
        let Self { threads, waits, permit } = self;
        let runtime = threads.of(waits).0.as_ref().ok_or(NoThread)?;
        let counted = move || {
            let result = job();
            drop(permit);
            result
        };
        // Tokio panics where it gets no first thread.
        let spawned = catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(counted)));
        spawned.map(Running).map_err(|_| NoThread)
    }
}

impl<R> Future for Running<R> {
    type Output = Result<R, NoThread>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(result) => Ok(result),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => Err(NoThread),
            },
        })
    }
}

impl<R> Drop for Running<R> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::runtime::block_on::block_on;

    #[test]
    fn the_end_of_an_engine_waits_for_no_job() {
        let threads = Arc::new(BlockingThreads::new().unwrap());
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
        let jobs = BlockingJobs::new(Arc::new(BlockingThreads::new().unwrap()));
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
