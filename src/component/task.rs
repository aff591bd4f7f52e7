//! Tasks of an engine's workers that run the task they have woken next, on the same worker.
//!
//! Tokio does so as well, but for three tasks in a row only; for the fourth it wakes another
//! worker, for which two components that write to each other in turns have no work.

use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::component::stopwatch::Stopwatch;
use crate::runtime::ticker::TICK;

/// How many jobs run one after the other before other tasks of tokio get their turn.
const TURNS: usize = 64;

/// Runs a future on the workers. It is dropped when it is done, or with the workers.
pub fn spawn(workers: &Handle, future: impl Future<Output = ()> + Send + 'static) {
    let job = Arc::new(Job { running: Mutex::new(None), task: OnceLock::new() });
    let (future, waker) = (Box::pin(future), Waker::from(Arc::clone(&job)));
    *job.lock() = Some(Running { future, waker });
    workers.spawn(Task(job));
}

/// A future that is polled by its own task of tokio, or by that of a job that has woken it.
///
/// Two that poll it at the same time wait for each other: a wake by a timer may come while it runs
/// because of another wake, and has to be followed by a poll.
struct Job {
    /// `None` once it is done, or its task is gone.
    running: Mutex<Option<Running>>,
    /// Wakes its task; set before the first poll.
    task: OnceLock<Waker>,
}

struct Running {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Wakes the job.
    waker: Waker,
}

/// A job's task of tokio.
struct Task(Arc<Job>);

/// Which job runs next on a thread.
enum Next {
    /// None: the thread is not in a task's turn.
    Outside,
    Nobody,
    Job(Arc<Job>),
}

thread_local! {
    static NEXT: RefCell<Next> = const { RefCell::new(Next::Outside) };
}

impl Job {
    fn poll(&self) -> Poll<()> {
        let mut running = self.lock();
        let Some(Running { future, waker }) = &mut *running else { return Poll::Ready(()) };
        let polled = future.as_mut().poll(&mut Context::from_waker(waker));
        if polled.is_ready() {
            let done = running.take();
            drop(running);
            drop(done);
        }
        polled
    }

    fn wake_task(&self) {
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let note = |next: &RefCell<Next>| {
            let next = &mut *next.borrow_mut();
            match next {
                Next::Outside => Next::Outside,
                Next::Nobody => mem::replace(next, Next::Job(Arc::clone(self))),
                Next::Job(_) => mem::replace(next, Next::Nobody),
            }
        };
        // A thread of the host that ends may wake jobs when its own locals are gone.
        match NEXT.try_with(note).unwrap_or(Next::Outside) {
            Next::Outside => self.wake_task(),
            Next::Nobody => {}
            // Several at once are for all workers.
            Next::Job(other) => {
                other.wake_task();
                self.wake_task();
            }
        }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self(own) = &*self;
        own.task.get_or_init(|| cx.waker().clone());
        let (turn, watch) = (Turn::begin(), Stopwatch::start());
        let polled = own.poll();
        let mut last = Arc::clone(own);
        for _ in 1..TURNS {
            let Some(next) = turn.next() else { return polled };
            let yields = Arc::ptr_eq(&next, &last);
            if yields || Duration::from_nanos(watch.nanos()) >= TICK {
                next.wake_task();
                return polled;
            }
            if next.poll().is_ready() {
                next.wake_task();
            }
            last = next;
        }
        polled
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let unfinished = self.0.lock().take();
        drop(unfinished);
    }
}

/// A task's turn: a job that is woken meanwhile, on this thread, is the next.
struct Turn;

impl Turn {
    fn begin() -> Self {
        NEXT.set(Next::Nobody);
        Self
    }

    fn next(&self) -> Option<Arc<Job>> {
        match NEXT.replace(Next::Nobody) {
            Next::Job(job) => Some(job),
            Next::Nobody | Next::Outside => None,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Next::Job(job) = NEXT.replace(Next::Outside) {
            job.wake_task();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::Notify;
    use tokio::task::yield_now;

    const ROUNDS: usize = 10_000;

    fn workers(count: usize) -> Runtime {
        Builder::new_multi_thread().worker_threads(count).build().unwrap()
    }

    #[test]
    fn jobs_that_wake_each_other_all_come_to_their_end() {
        for count in [1, 2] {
            let workers = workers(count);
            let (done, all_done) = mpsc::channel();
            for _ in 0..3 {
                let bells: [Arc<Notify>; 2] = Default::default();
                for own in [0, 1] {
                    let (bells, done) = (bells.clone(), done.clone());
                    spawn(workers.handle(), async move {
                        for _ in 0..ROUNDS {
                            bells[1 - own].notify_one();
                            bells[own].notified().await;
                        }
                        done.send(()).unwrap();
                    });
                }
            }
            (0..6).for_each(|_| all_done.recv().unwrap());
        }
    }

    #[test]
    fn a_job_that_is_woken_from_everywhere_misses_no_wake() {
        let workers = workers(2);
        let (done, all_done) = mpsc::channel();
        let sent = Arc::<AtomicUsize>::default();
        let bell = Arc::<Notify>::default();
        spawn(workers.handle(), {
            let (sent, bell, done) = (Arc::clone(&sent), Arc::clone(&bell), done);
            async move {
                while sent.load(Ordering::SeqCst) < 4 * ROUNDS {
                    bell.notified().await;
                }
                done.send(()).unwrap();
            }
        });
        let ring = move || {
            sent.fetch_add(1, Ordering::SeqCst);
            bell.notify_one();
        };
        for _ in 0..2 {
            let (of_job, of_thread) = (ring.clone(), ring.clone());
            spawn(workers.handle(), async move {
                for _ in 0..ROUNDS {
                    of_job();
                    yield_now().await;
                }
            });
            thread::spawn(move || (0..ROUNDS).for_each(|_| of_thread()));
        }
        all_done.recv().unwrap();
    }

    #[test]
    fn jobs_without_an_end_let_others_run() {
        let workers = workers(1);
        let bells: [Arc<Notify>; 2] = Default::default();
        for own in [0, 1] {
            let bells = bells.clone();
            spawn(workers.handle(), async move {
                loop {
                    bells[1 - own].notify_one();
                    bells[own].notified().await;
                }
            });
        }
        spawn(workers.handle(), async {
            loop {
                let mut woken = false;
                poll_fn(|cx| {
                    if mem::replace(&mut woken, true) {
                        return Poll::Ready(());
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
            }
        });
        let (done, all_done) = mpsc::channel();
        workers.spawn(async move { done.send(()).unwrap() });
        all_done.recv().unwrap();
    }

    #[test]
    fn unfinished_jobs_go_with_their_workers() {
        let workers = workers(2);
        let (done, all_done) = mpsc::channel::<()>();
        let (begun, all_begun) = mpsc::channel();
        for _ in 0..4 {
            let (done, begun) = (done.clone(), begun.clone());
            spawn(workers.handle(), async move {
                begun.send(()).unwrap();
                std::future::pending::<()>().await;
                drop(done);
            });
        }
        drop(done);
        (0..4).for_each(|_| all_begun.recv().unwrap());
        let handle = workers.handle().clone();
        drop(workers);
        spawn(&handle, std::future::pending());
        assert_eq!(all_done.recv(), Err(mpsc::RecvError));
    }
}
