//! A pool of threads with one queue of jobs.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::runtime::shortage::NoThread;
use crate::runtime::threads::plan::{Growth, Plan};
use crate::runtime::threads::signal_stack;

/// A job with everything it captures.
pub type Job = Box<dyn FnOnce() + Send>;

/// The stack size of a thread, regardless of the environment.
pub const STACK_BYTES: usize = 2 << 20;

/// How long an idle thread stays.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long jobs wait for busy threads before the pool grows. Longer than a language runtime with a
/// global lock makes its threads wait for that lock.
const TURN: Duration = Duration::from_millis(20);

/// After this many turns in which some jobs ended and others still wait, one more thread is added.
const TURNS_TO_CATCH_UP: u32 = 50;

/// What happens to a queued job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// A thread is about to run it.
    AtHand,
    /// All threads are busy.
    Waits,
}

/// The job was refused and dropped: there is no thread and the system gives none, or the pool is
/// closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// A pool of threads with one queue of jobs. Jobs start in the order of queueing.
#[derive(Clone)]
pub struct ThreadPool {
    shared: Arc<Shared>,
}

struct Shared {
    plan: Plan,
    queue: Mutex<Queue>,
    /// Signals work to idle threads.
    work: Condvar,
    /// Signals the end of a thread.
    left: Condvar,
    /// The workers that watch for a lack of threads.
    watch_on: OnceLock<Handle>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Threads running or starting.
    threads: usize,
    /// Threads without a job; each will look for one.
    free: usize,
    /// Sleeping threads not yet woken.
    asleep: usize,
    /// Threads woken that have not noticed yet.
    woken: usize,
    /// The number of idle threads that stay.
    staying: usize,
    /// Whether sleeping threads should end.
    dismissed: bool,
    /// The number of jobs ended.
    ended: u64,
    /// Whether the watcher runs.
    watched: bool,
    /// Whether threads take no more jobs.
    closed: bool,
    /// Whether no more jobs are accepted.
    sealed: bool,
}

thread_local! {
    static IN_A_POOL: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether this thread belongs to a pool.
pub fn is_in_a_pool() -> bool {
    IN_A_POOL.get()
}

impl ThreadPool {
    /// Creates a pool without threads.
    pub fn new(plan: Plan) -> Self {
        Self {
            shared: Arc::new(Shared {
                plan,
                queue: Mutex::default(),
                work: Condvar::new(),
                left: Condvar::new(),
                watch_on: OnceLock::new(),
            }),
        }
    }

    /// Starts one permanent thread, so that jobs make progress even if the system gives no more.
    pub fn keep_one(&self) -> Result<(), NoThread> {
        let mut queue = self.shared.lock();
        if queue.staying == 0 && !queue.closed {
            if queue.threads == 0 {
                self.shared.add_thread(&mut queue)?;
            }
            queue.staying = 1;
            queue.dismissed = false;
            Shared::see_to_threads(&self.shared, &mut queue);
        }
        Ok(())
    }

    /// Ends idle threads now, after a failed start.
    pub fn keep_none(&self) {
        let mut queue = self.shared.lock();
        queue.staying = 0;
        queue.dismissed = true;
        self.shared.work.notify_all();
    }

    /// Sets the workers that watch for a lack of threads.
    pub fn watch_on(&self, workers: &Handle) {
        if self.shared.watch_on.set(workers.clone()).is_ok() {
            Shared::see_to_threads(&self.shared, &mut self.shared.lock());
        }
    }

    /// Queues a job for the existing threads or a new one.
    pub fn run(&self, job: Job) -> Result<Accepted, Refused> {
        let mut queue = self.shared.lock();
        if queue.closed {
            return Err(Refused);
        }
        if queue.threads == 0 {
            self.shared.add_thread(&mut queue).map_err(|_| Refused)?;
        }
        Ok(self.shared.push(&mut queue, job))
    }

    /// Queues a job that may wait for a thread, even for the permanent one to start. Returns it if
    /// the pool is sealed.
    pub fn submit(&self, job: Job) -> Result<(), Job> {
        let mut queue = self.shared.lock();
        if queue.sealed {
            return Err(job);
        }
        if queue.staying == 0 || queue.closed {
            queue.jobs.push_back(job);
        } else {
            self.shared.push(&mut queue, job);
        }
        Ok(())
    }

    /// Takes the next job, for a caller that runs it itself.
    pub fn take(&self) -> Option<Job> {
        self.shared.lock().jobs.pop_front()
    }

    /// Ends the threads after their current jobs. Jobs queued before or after are left to
    /// [`ThreadPool::take`].
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }

    /// Refuses further jobs.
    pub fn seal(&self) {
        self.shared.lock().sealed = true;
    }

    /// Waits for the busy threads of a closed pool to end.
    pub fn wait_until_left(&self, deadline: Instant) {
        let mut queue = self.shared.lock();
        while queue.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.left.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Returns the number of threads.
    #[cfg(test)]
    pub fn threads(&self) -> usize {
        self.shared.lock().threads
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(self: &Arc<Self>, queue: &mut Queue, job: Job) -> Accepted {
        queue.jobs.push_back(job);
        Self::see_to_threads(self, queue);
        if queue.asleep > 0 {
            queue.asleep -= 1;
            queue.woken += 1;
            self.work.notify_one();
        }
        if queue.free >= queue.jobs.len() { Accepted::AtHand } else { Accepted::Waits }
    }

    /// Adds a thread, or starts the watcher, if jobs wait and no thread will look for them.
    fn see_to_threads(self: &Arc<Self>, queue: &mut Queue) {
        let (lacking, soon) = match self.plan.growth {
            Growth::ForEachJob => (queue.jobs.len() > queue.free, self.plan.most),
            Growth::Patient(soon) => (!queue.jobs.is_empty() && queue.free == 0, soon),
        };
        if !lacking || queue.closed {
            return;
        }
        if queue.threads < soon.min(self.plan.most) && self.add_thread(queue).is_ok() {
            return;
        }
        if queue.threads < self.plan.most
            && let Some(workers) = self.watch_on.get()
            && !std::mem::replace(&mut queue.watched, true)
        {
            workers.spawn(Self::watch(Arc::clone(self)));
        }
    }

    /// Adds threads for as long as jobs wait.
    async fn watch(self: Arc<Self>) {
        let (mut more, mut turns, mut ended) = (1_usize, 0, self.lock().ended);
        loop {
            tokio::time::sleep(TURN).await;
            let mut queue = self.lock();
            if queue.jobs.is_empty() || queue.closed || queue.threads >= self.plan.most {
                queue.watched = false;
                return;
            }
            let none_ended = queue.ended == ended;
            ended = queue.ended;
            turns = (turns + 1) % TURNS_TO_CATCH_UP;
            more = if none_ended { more.saturating_mul(2) } else { 1 };
            let wanted = if none_ended { more / 2 } else { usize::from(turns == 0) };
            let missing = wanted.min(queue.jobs.len()).saturating_sub(queue.free);
            drop(queue);
            for _ in 0..missing {
                let mut queue = self.lock();
                // The system has none now; the next turn tries again.
                if queue.threads >= self.plan.most || self.add_thread(&mut queue).is_err() {
                    break;
                }
            }
        }
    }

    /// Starts a thread, which looks for a job. It is counted only once it exists.
    fn add_thread(self: &Arc<Self>, queue: &mut Queue) -> Result<(), NoThread> {
        let shared = Arc::clone(self);
        let thread = thread::Builder::new().name(self.plan.name.into()).stack_size(STACK_BYTES);
        // Detached: closing a pool waits for jobs, not for threads.
        match thread.spawn(move || shared.work()) {
            Ok(_) => {
                queue.threads += 1;
                queue.free += 1;
                Ok(())
            }
            Err(source) => Err(NoThread::new(self.plan.name, source)),
        }
    }

    /// Runs jobs until the queue has been empty for a while.
    fn work(self: Arc<Self>) {
        IN_A_POOL.set(true);
        if self.plan.runs_guests {
            // On failure the first guest on this thread makes its signal stack.
            _ = signal_stack::ensure();
        }
        let mut queue = self.lock();
        loop {
            while !queue.closed
                && let Some(job) = queue.jobs.pop_front()
            {
                queue.free -= 1;
                Self::see_to_threads(&self, &mut queue);
                drop(queue);
                // A panic ends one job, not the thread.
                let _ = catch_unwind(AssertUnwindSafe(job));
                queue = self.lock();
                queue.free += 1;
                queue.ended += 1;
            }
            let stays;
            (queue, stays) = self.sleep(queue);
            if !stays {
                break;
            }
        }
        queue.free -= 1;
        queue.threads -= 1;
        drop(queue);
        self.left.notify_all();
    }

    /// Waits for a job; returns false when the thread should end.
    fn sleep<'a>(&self, mut queue: MutexGuard<'a, Queue>) -> (MutexGuard<'a, Queue>, bool) {
        let began = Instant::now();
        queue.asleep += 1;
        loop {
            if queue.closed || queue.dismissed {
                // Any woken thread may stand in for the one meant, here and below.
                match queue.woken {
                    0 => queue.asleep -= 1,
                    _ => queue.woken -= 1,
                }
                return (queue, false);
            }
            let is_over;
            (queue, is_over) = match KEEP_ALIVE.checked_sub(began.elapsed()) {
                Some(left) => {
                    let waited = self.work.wait_timeout(queue, left);
                    (waited.unwrap_or_else(PoisonError::into_inner).0, false)
                }
                None if queue.threads > queue.staying => (queue, true),
                None => (self.work.wait(queue).unwrap_or_else(PoisonError::into_inner), false),
            };
            if queue.woken > 0 {
                queue.woken -= 1;
                return (queue, true);
            }
            if is_over {
                queue.asleep -= 1;
                return (queue, false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use tokio::runtime::Builder;

    use super::*;

    fn pool(most: usize, growth: Growth) -> ThreadPool {
        ThreadPool::new(Plan { name: "test", most, growth, runs_guests: false })
    }

    /// Jobs that end on command.
    struct Held {
        begun: (Sender<()>, Receiver<()>),
        end: (Sender<()>, Arc<Mutex<Receiver<()>>>),
    }

    impl Held {
        fn new() -> Self {
            let (end, ends) = channel();
            Self { begun: channel(), end: (end, Arc::new(Mutex::new(ends))) }
        }

        fn job(&self) -> Job {
            let (begun, ends) = (self.begun.0.clone(), Arc::clone(&self.end.1));
            Box::new(move || {
                begun.send(()).unwrap();
                ends.lock().unwrap().recv().unwrap();
            })
        }

        fn until_begun(&self, count: usize) {
            let patience = Duration::from_secs(60);
            (0..count).for_each(|_| self.begun.1.recv_timeout(patience).expect("the job begins"));
        }

        fn end(&self, count: usize) {
            (0..count).for_each(|_| self.end.0.send(()).unwrap());
        }
    }

    #[test]
    fn there_are_never_more_threads_than_planned() {
        let (pool, held) = (pool(3, Growth::ForEachJob), Held::new());
        let accepted: Vec<_> = (0..5).map(|_| pool.run(held.job()).unwrap()).collect();
        assert_eq!(accepted, [[Accepted::AtHand; 3].as_slice(), &[Accepted::Waits; 2]].concat());
        held.until_begun(3);
        assert_eq!(pool.threads(), 3);
        held.end(2);
        held.until_begun(2);
        assert_eq!(pool.threads(), 3);
        held.end(3);
    }

    #[test]
    fn jobs_begin_in_their_order() {
        let (pool, (tell, told)) = (pool(1, Growth::ForEachJob), channel());
        for n in 0..100 {
            let tell = tell.clone();
            pool.run(Box::new(move || tell.send(n).unwrap())).unwrap();
        }
        drop(tell);
        assert!(told.iter().eq(0..100));
    }

    #[test]
    fn few_threads_start_at_once_and_more_while_jobs_do_not_end() {
        // No one watches until this runtime is driven.
        let workers = Builder::new_current_thread().enable_time().build().unwrap();
        let (pool, held) = (pool(90, Growth::Patient(4)), Held::new());
        pool.keep_one().unwrap();
        pool.watch_on(workers.handle());
        (0..100).for_each(|_| pool.submit(held.job()).map_err(drop).unwrap());
        held.until_begun(4);
        assert_eq!(pool.threads(), 4);
        workers.block_on(async {
            while pool.threads() < 90 {
                tokio::time::sleep(TURN).await;
            }
        });
        held.until_begun(86);
        held.end(10);
        held.until_begun(10);
        assert_eq!(pool.threads(), 90);
        held.end(90);
    }

    #[test]
    fn few_threads_suffice_while_jobs_end() {
        let workers = Builder::new_current_thread().enable_time().build().unwrap();
        let (pool, (tell, told)) = (pool(100, Growth::Patient(4)), channel());
        pool.keep_one().unwrap();
        pool.watch_on(workers.handle());
        for _ in 0..200 {
            for _ in 0..100 {
                let tell = tell.clone();
                pool.submit(Box::new(move || tell.send(()).unwrap())).map_err(drop).unwrap();
            }
            (0..100).for_each(|_| told.recv().unwrap());
            assert!(pool.threads() <= 4);
        }
    }

    #[test]
    fn a_closed_pool_leaves_queued_jobs() {
        let (pool, held) = (pool(1, Growth::ForEachJob), Held::new());
        pool.run(held.job()).unwrap();
        held.until_begun(1);
        pool.run(Box::new(|| ())).unwrap();
        pool.close();
        held.end(1);
        pool.wait_until_left(Instant::now() + Duration::from_secs(60));
        assert_eq!(pool.threads(), 0);
        assert_eq!(pool.run(Box::new(|| ())), Err(Refused));
        assert!(pool.submit(Box::new(|| ())).is_ok());
        assert!(pool.take().is_some() && pool.take().is_some() && pool.take().is_none());
        pool.seal();
        assert!(pool.submit(Box::new(|| ())).is_err());
    }

    #[test]
    fn one_thread_stays_and_a_panic_ends_none() {
        let pool = pool(4, Growth::ForEachJob);
        pool.keep_one().unwrap();
        assert_eq!(pool.threads(), 1);
        pool.run(Box::new(|| std::panic::resume_unwind(Box::new("a defect")))).unwrap();
        let here = Arc::new(Barrier::new(2));
        let there = Arc::clone(&here);
        pool.run(Box::new(move || _ = there.wait())).unwrap();
        here.wait();
        assert!(pool.threads() >= 1);
    }
}
