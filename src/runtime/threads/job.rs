//! Jobs with a result, for threads that may block.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::thread;

use thiserror::Error;
use tokio::sync::oneshot;

use crate::runtime::threads::pool::{Accepted, Refused, ThreadPool};

/// A running job. Dropping this cancels the job if it has not started.
#[must_use = "a job that is dropped may never run"]
pub struct Running<R> {
    result: oneshot::Receiver<thread::Result<R>>,
    /// Weak, so that the job is gone once the pool drops it; `None` once the job cannot be
    /// withdrawn.
    job: Option<Weak<dyn Withdraw>>,
    accepted: Accepted,
}

/// No thread took the job, and none will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no thread for a blocking system call")]
pub struct NotRun;

/// Queues a job with a pool.
pub fn run<R: Send + 'static>(
    pool: &ThreadPool,
    job: impl FnOnce() -> R + Send + 'static,
) -> Result<Running<R>, NotRun> {
    let (answer, result) = oneshot::channel();
    let job = Arc::new(Mutex::new(Some((job, answer))));
    let own: Weak<dyn Withdraw> = Arc::downgrade(&job) as _;
    let accepted = pool.run(Box::new(move || {
        let Some((job, answer)) = take(&job) else { return };
        // The receiver may be gone.
        _ = answer.send(catch_unwind(AssertUnwindSafe(job)));
    }));
    let accepted = accepted.map_err(|Refused| NotRun)?;
    Ok(Running { result, job: Some(own), accepted })
}

impl<R> Running<R> {
    /// Returns whether all threads were busy when the job was queued.
    pub fn has_to_wait(&self) -> bool {
        self.accepted == Accepted::Waits
    }

    /// Withdraws the job if it has not started.
    pub fn withdraw(&self) -> bool {
        self.job.as_ref().and_then(Weak::upgrade).is_some_and(|job| job.withdraw())
    }

    /// Lets the job run although no one waits for it.
    pub fn detach(mut self) {
        self.job = None;
    }
}

impl<R> Future for Running<R> {
    type Output = Result<R, NotRun>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result).poll(cx).map(|answer| match answer {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(NotRun),
        })
    }
}

impl<R> Drop for Running<R> {
    fn drop(&mut self) {
        self.withdraw();
    }
}

trait Withdraw: Send + Sync {
    fn withdraw(&self) -> bool;
}

impl<J: Send> Withdraw for Mutex<Option<J>> {
    fn withdraw(&self) -> bool {
        take(self).is_some()
    }
}

fn take<J>(job: &Mutex<Option<J>>) -> Option<J> {
    job.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::runtime::block_on::block_on;
    use crate::runtime::threads::plan::{Growth, Plan};

    #[test]
    fn a_job_withdrawn_in_time_never_runs() {
        let plan = Plan { name: "test", most: 1, growth: Growth::ForEachJob, runs_guests: false };
        let pool = ThreadPool::new(plan);
        let (go_on, wait) = channel::<()>();
        let (say, said) = channel();
        let begun = say.clone();
        let first = run(&pool, move || {
            begun.send("first").unwrap();
            wait.recv().unwrap();
            7
        });
        let first = first.unwrap();
        assert!(!first.has_to_wait());
        assert_eq!(said.recv(), Ok("first"));
        assert!(!first.withdraw(), "the job has begun");
        let second = run(&pool, move || say.send("second").unwrap()).unwrap();
        assert!(second.has_to_wait());
        drop(second);
        go_on.send(()).unwrap();
        assert_eq!(block_on(None, pin!(first)), Ok(7));
        assert!(said.recv().is_err(), "and its captures are dropped");
    }

    #[test]
    fn a_closed_pool_says_so() {
        let plan = Plan { name: "test", most: 1, growth: Growth::ForEachJob, runs_guests: false };
        let pool = ThreadPool::new(plan);
        let (go_on, wait) = channel::<()>();
        let (say, said) = channel();
        let first = run(&pool, move || {
            say.send(()).unwrap();
            wait.recv().unwrap();
        });
        let first = first.unwrap();
        said.recv().unwrap();
        let second = run(&pool, || ()).unwrap();
        pool.close();
        while let Some(job) = pool.take() {
            drop(job);
        }
        go_on.send(()).unwrap();
        assert_eq!(block_on(None, pin!(second)), Err(NotRun));
        _ = block_on(None, pin!(first));
    }
}
