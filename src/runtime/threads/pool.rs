//! Threads that take jobs from one queue.

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

/// Something to run, with all that it holds.
pub type Job = Box<dyn FnOnce() + Send>;

/// The stack of a thread, whatever the environment says.
pub const STACK_BYTES: usize = 2 << 20;

/// How long a thread without work stays.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// So long jobs wait for those that all threads are in, before more threads come. Longer than a language
/// runtime with one lock for all has its threads wait for that.
const TURN: Duration = Duration::from_millis(20);

/// A thread more comes after so many turns in which some jobs ended and others waited.
const TURNS_TO_CATCH_UP: u32 = 50;

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// A thread is about to run it.
    AtHand,
    /// All threads are in others.
    Waits,
}

/// A job was not accepted, and is gone: there is no thread and the system gives none, or the pool is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// A queue of jobs, and the threads that run them. Jobs begin in the order in which they were left.
#[derive(Clone)]
pub struct ThreadPool {
    shared: Arc<Shared>,
}

struct Shared {
    plan: Plan,
    queue: Mutex<Queue>,
    /// For threads without work.
    work: Condvar,
    /// For who waits until the threads are gone.
    left: Condvar,
    /// Where it is seen to that more threads come.
    watch_on: OnceLock<Handle>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Threads that are here or on their way.
    threads: usize,
    /// Those of them that are in no job: each will look for one.
    free: usize,
    /// Those of them that sleep, and have not been woken.
    asleep: usize,
    /// Sleepers that were woken and have not noticed.
    woken: usize,
    /// So many stay without work.
    staying: usize,
    /// Those that sleep are to end.
    dismissed: bool,
    /// How many jobs have ended.
    ended: u64,
    /// Somebody sees to it that more threads come.
    watched: bool,
    /// No thread takes a job any more.
    closed: bool,
    /// Nothing is left here any more.
    sealed: bool,
}

thread_local! {
    static IN_A_POOL: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is one of a pool's.
pub fn is_in_a_pool() -> bool {
    IN_A_POOL.get()
}

impl ThreadPool {
    /// No thread runs yet.
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

    /// Makes one thread that stays, so that jobs go on where the system gives no more.
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

    /// Has threads without work end now, for a start that failed.
    pub fn keep_none(&self) {
        let mut queue = self.shared.lock();
        queue.staying = 0;
        queue.dismissed = true;
        self.shared.work.notify_all();
    }

    /// Names the workers on which it is seen to that more threads come.
    pub fn watch_on(&self, workers: &Handle) {
        if self.shared.watch_on.set(workers.clone()).is_ok() {
            Shared::see_to_threads(&self.shared, &mut self.shared.lock());
        }
    }

    /// Leaves a job to the threads there are, or to a new one.
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

    /// Leaves a job that waits until there is a thread for it, also for the first that stays; gives it
    /// back if the pool is sealed.
    pub fn leave(&self, job: Job) -> Result<(), Job> {
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

    /// The next job, for who runs it himself.
    pub fn take(&self) -> Option<Job> {
        self.shared.lock().jobs.pop_front()
    }

    /// Has the threads end after the jobs that they are in. What waits, and what is left from now on, is
    /// for who takes it.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }

    /// Takes nothing more.
    pub fn seal(&self) {
        self.shared.lock().sealed = true;
    }

    /// Waits for threads of a closed pool that are in jobs.
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

    /// How many threads there are.
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

    /// Has a thread come, or somebody see to it, if jobs wait and no thread will look for them.
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

    /// Has more threads come for as long as jobs wait.
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
                // The system has none now: the next turn tries again.
                if queue.threads >= self.plan.most || self.add_thread(&mut queue).is_err() {
                    break;
                }
            }
        }
    }

    /// Makes a thread, which looks for a job. It is counted only once it is there.
    fn add_thread(self: &Arc<Self>, queue: &mut Queue) -> Result<(), NoThread> {
        let shared = Arc::clone(self);
        let thread = thread::Builder::new().name(self.plan.name.into()).stack_size(STACK_BYTES);
        // Detached: who closes the pool waits for jobs, not for threads.
        match thread.spawn(move || shared.work()) {
            Ok(_) => {
                queue.threads += 1;
                queue.free += 1;
                Ok(())
            }
            Err(source) => Err(NoThread::new(self.plan.name, source)),
        }
    }

    /// Runs jobs until there is none for a while.
    fn work(self: Arc<Self>) {
        IN_A_POOL.set(true);
        if self.plan.runs_guests {
            // Without one of its own the first guest on this thread makes it.
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
                // A defect of this library ends one job, and does not cost the thread.
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

    /// Waits for a job; false when it is time to end.
    fn sleep<'a>(&self, mut queue: MutexGuard<'a, Queue>) -> (MutexGuard<'a, Queue>, bool) {
        let began = Instant::now();
        queue.asleep += 1;
        loop {
            if queue.closed || queue.dismissed {
                // Whoever notices takes the place of who was meant, here and below.
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

    /// Jobs that end when they are told to.
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
            (0..count).for_each(|_| self.begun.1.recv_timeout(patience).expect("it begins"));
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
    fn few_threads_come_at_once_and_more_where_jobs_do_not_end() {
        // Until it is driven nobody watches.
        let workers = Builder::new_current_thread().enable_time().build().unwrap();
        let (pool, held) = (pool(90, Growth::Patient(4)), Held::new());
        pool.keep_one().unwrap();
        pool.watch_on(workers.handle());
        (0..100).for_each(|_| pool.leave(held.job()).map_err(drop).unwrap());
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
    fn threads_that_end_their_jobs_are_enough() {
        let workers = Builder::new_current_thread().enable_time().build().unwrap();
        let (pool, (tell, told)) = (pool(100, Growth::Patient(4)), channel());
        pool.keep_one().unwrap();
        pool.watch_on(workers.handle());
        for _ in 0..200 {
            for _ in 0..100 {
                let tell = tell.clone();
                pool.leave(Box::new(move || tell.send(()).unwrap())).map_err(drop).unwrap();
            }
            (0..100).for_each(|_| told.recv().unwrap());
            assert!(pool.threads() <= 4);
        }
    }

    #[test]
    fn a_closed_pool_leaves_what_waits() {
        let (pool, held) = (pool(1, Growth::ForEachJob), Held::new());
        pool.run(held.job()).unwrap();
        held.until_begun(1);
        pool.run(Box::new(|| ())).unwrap();
        pool.close();
        held.end(1);
        pool.wait_until_left(Instant::now() + Duration::from_secs(60));
        assert_eq!(pool.threads(), 0);
        assert_eq!(pool.run(Box::new(|| ())), Err(Refused));
        assert!(pool.leave(Box::new(|| ())).is_ok());
        assert!(pool.take().is_some() && pool.take().is_some() && pool.take().is_none());
        pool.seal();
        assert!(pool.leave(Box::new(|| ())).is_err());
    }

    #[test]
    fn one_stays_and_a_panic_costs_no_thread() {
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
