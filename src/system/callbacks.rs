//! Running callbacks of the host that no guest waits for.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::core::error::MessagingError;
use crate::core::id::CorrelationId;
use crate::core::ports::{Envelope, Router};
use crate::core::waiting::WaitNode;
use crate::runtime::off_fiber::run_host_code;

type Job = Box<dyn FnOnce() + Send>;

/// So many threads come as soon as a callback waits.
const PROMPT_THREADS: usize = 8;

/// So long callbacks wait for those that all threads are in, before more threads come. Longer than
/// a language runtime with one lock for all has its threads wait for that.
const TURN: Duration = Duration::from_millis(20);

/// A thread more comes after so many turns in which some callbacks ended and others waited.
const TURNS_TO_CATCH_UP: u32 = 50;

/// A queue of callbacks, and the threads that run them.
///
/// They begin in the order in which they were left. A callback may take its time, or wait for a
/// later one, and delays none for more than a few turns: where all threads are in callbacks and
/// none ends, more come, twice as many each time. Where they do end, more threads would only be
/// in each other's way.
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
    /// Threads that are here or on their way.
    threads: usize,
    /// Those of them that are in no callback: each will look for a job.
    free: usize,
    /// How many jobs have ended.
    ended: u64,
    /// Somebody sees to it that more threads come.
    watched: bool,
    /// Nobody comes any more.
    closed: bool,
}

/// The stack of a thread for one callback, whatever the environment says.
const STACK_BYTES: usize = 2 << 20;

impl Callbacks {
    /// Names the threads; until then what is left waits.
    pub fn start(&self, workers: &Handle) {
        if self.shared.workers.set(workers.clone()).is_ok() {
            Shared::see_to_threads(&self.shared, self.shared.lock());
        }
    }

    /// Leaves a callback to be run, in every case.
    pub fn leave(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(job) = self.queue(Box::new(job)) {
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
        drop(self.queue(Box::new(job)));
    }

    /// Queues a job; gives it back if nobody comes any more.
    fn queue(&self, job: Job) -> Option<Job> {
        let mut queue = self.shared.lock();
        if queue.closed {
            return Some(job);
        }
        queue.jobs.push_back(job);
        Shared::see_to_threads(&self.shared, queue);
        None
    }

    /// Takes no more, and runs what is left: a job that nobody runs would keep alive what it holds,
    /// this queue included.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.run_rest();
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
    /// Has a thread come, or somebody see to it, if jobs wait and no thread will look for them.
    fn see_to_threads(shared: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        let Some(workers) = shared.workers.get() else { return };
        if queue.jobs.is_empty() || queue.free > 0 {
            return;
        }
        if queue.threads < PROMPT_THREADS {
            let called = Called::count(shared, &mut queue);
            drop(queue);
            called.come(workers);
        } else if !std::mem::replace(&mut queue.watched, true) {
            drop(queue);
            workers.spawn(Self::watch(Arc::clone(shared), workers.clone()));
        }
    }

    /// Has more threads come for as long as jobs wait.
    async fn watch(shared: Arc<Self>, workers: Handle) {
        let (mut more, mut turns, mut ended) = (1_usize, 0, shared.lock().ended);
        loop {
            tokio::time::sleep(TURN).await;
            let called: Vec<Called> = {
                let mut queue = shared.lock();
                if queue.jobs.is_empty() {
                    queue.watched = false;
                    return;
                }
                let none_ended = queue.ended == ended;
                ended = queue.ended;
                turns = (turns + 1) % TURNS_TO_CATCH_UP;
                more = if none_ended { more.saturating_mul(2) } else { 1 };
                let wanted = if none_ended { more / 2 } else { usize::from(turns == 0) };
                let missing = wanted.min(queue.jobs.len()).saturating_sub(queue.free);
                (0..missing).map(|_| Called::count(&shared, &mut queue)).collect()
            };
            for called in called {
                called.come(&workers);
            }
        }
    }

    /// Runs jobs for as long as there are some; the thread counts as free.
    fn work(shared: &Arc<Self>) {
        let node = Arc::<WaitNode>::default();
        let mut queue = shared.lock();
        while let Some(job) = queue.jobs.pop_front() {
            queue.free -= 1;
            Self::see_to_threads(shared, queue);
            // A defect of this library ends one job, and does not cost the thread.
            let _ = catch_unwind(AssertUnwindSafe(|| run_host_code(&node, job)));
            queue = shared.lock();
            queue.free += 1;
            queue.ended += 1;
        }
        queue.free -= 1;
        queue.threads -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that is counted, and is to come.
struct Called(Option<Arc<Shared>>);

impl Called {
    fn count(shared: &Arc<Shared>, queue: &mut Queue) -> Self {
        queue.threads += 1;
        queue.free += 1;
        Self(Some(Arc::clone(shared)))
    }

    fn come(mut self, workers: &Handle) {
        // Dropped unrun when the workers stop: `run_rest` is left with the queue. A system that
        // has no thread to give is a panic, which must not stop who brings an outcome.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            workers.spawn_blocking(move || {
                if let Some(shared) = self.0.take() {
                    Shared::work(&shared);
                }
            });
        }));
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            let mut queue = shared.lock();
            queue.free -= 1;
            queue.threads -= 1;
        }
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
    use super::*;
    use std::sync::Condvar;
    use std::time::Instant;

    use tokio::runtime::Builder;

    /// Holds the jobs that are in it.
    #[derive(Default)]
    struct Held {
        inside: Mutex<(usize, bool)>,
        changed: Condvar,
    }

    impl Held {
        fn pass(&self) {
            let mut inside = self.inside.lock().unwrap();
            inside.0 += 1;
            self.changed.notify_all();
            drop(self.changed.wait_while(inside, |(_, open)| !*open).unwrap());
        }

        fn until(&self, count: usize) {
            let inside = self.inside.lock().unwrap();
            let patience = Duration::from_secs(60);
            let (inside, _) = self
                .changed
                .wait_timeout_while(inside, patience, |(inside, _)| *inside < count)
                .unwrap();
            assert_eq!(inside.0, count);
        }

        fn open(&self) {
            self.inside.lock().unwrap().1 = true;
            self.changed.notify_all();
        }
    }

    #[test]
    fn few_threads_come_at_once_and_more_where_callbacks_do_not_end() {
        // Until it is driven it runs only what blocks, so that nobody watches.
        let workers = Builder::new_current_thread().enable_time().build().unwrap();
        let (callbacks, held) = (Callbacks::default(), Arc::<Held>::default());
        for _ in 0..100 {
            let held = Arc::clone(&held);
            callbacks.leave(move || held.pass());
        }
        callbacks.start(workers.handle());
        held.until(PROMPT_THREADS);
        assert_eq!(callbacks.shared.lock().threads, PROMPT_THREADS);
        let began = Instant::now();
        workers.block_on(async {
            while held.inside.lock().unwrap().0 < 100 && began.elapsed().as_secs() < 60 {
                tokio::time::sleep(TURN).await;
            }
        });
        held.until(100);
        held.open();
    }

    #[test]
    fn threads_that_end_their_callbacks_are_enough() {
        let workers = Builder::new_current_thread().enable_time().build().unwrap();
        let (callbacks, held) = (Callbacks::default(), Arc::<Held>::default());
        callbacks.start(workers.handle());
        held.open();
        for count in 1..=200 {
            for _ in 0..100 {
                let held = Arc::clone(&held);
                callbacks.leave(move || held.pass());
            }
            held.until(100 * count);
            assert!(callbacks.shared.lock().threads <= PROMPT_THREADS);
        }
    }

    #[test]
    fn what_is_left_at_the_end_is_run_and_what_comes_later_too() {
        let (callbacks, held) = (Callbacks::default(), Arc::<Held>::default());
        held.open();
        for _ in 0..2 {
            let held = Arc::clone(&held);
            callbacks.leave(move || held.pass());
            callbacks.close();
        }
        held.until(2);
    }
}
