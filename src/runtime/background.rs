//! Threads for tasks that compute: behind the workers, so that short work never waits for long work.
//!
//! This is the lower level of a multilevel feedback queue (Corbató et al., 1962). The system's
//! scheduler preempts these threads in favour of the workers, which Tokio cannot do.

use std::collections::VecDeque;
use std::io;
use std::mem::take;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_task::Runnable;

use crate::runtime::pace::{CallTime, Pace};
use crate::runtime::platform::{Platform, Signal};

/// How long an idle thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// A queue of tasks, and the threads that run them. Threads start on demand.
#[derive(Clone)]
pub struct Background<P: Platform>(Arc<Shared<P>>);

struct Shared<P: Platform> {
    queue: Mutex<Queue>,
    /// Signals each new task.
    work: P::Signal,
    /// Signals the end of the last thread.
    empty: P::Signal,
    platform: P,
    max_threads: usize,
}

struct Queue {
    phase: Phase,
    /// Tasks with new work, which is often short. They alternate with `continuing`.
    beginning: VecDeque<Queued>,
    /// Tasks whose guests are still computing.
    continuing: VecDeque<Queued>,
    /// The queue that the last task came from.
    last: From,
    threads: usize,
    /// Threads that wait for `work`, at most `threads`.
    idle: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Tasks are dropped; threads end.
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Beginning,
    Continuing,
}

/// Why a task is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It has new work, or was woken.
    Begins,
    /// Its guest is still computing.
    GoesOn,
}

struct Queued {
    task: Runnable,
    pace: Arc<Pace>,
}

impl Queue {
    fn len(&self) -> usize {
        self.beginning.len() + self.continuing.len()
    }

    fn pop(&mut self) -> Option<Runnable> {
        let beginning_first = self.last == From::Continuing || self.continuing.is_empty();
        let beginning = if beginning_first { self.beginning.pop_front() } else { None };
        let (task, from) = match beginning {
            Some(task) => (task, From::Beginning),
            None => (self.continuing.pop_front()?, From::Continuing),
        };
        self.last = from;
        Some(task.task)
    }
}

impl<P: Platform> Background<P> {
    /// Creates an empty queue, served by at most `max_threads` threads.
    pub fn new(platform: P, max_threads: usize) -> Self {
        let queue = Queue {
            phase: Phase::Open,
            beginning: VecDeque::new(),
            continuing: VecDeque::new(),
            last: From::Continuing,
            threads: 0,
            idle: 0,
        };
        Self(Arc::new(Shared {
            queue: Mutex::new(queue),
            work: platform.signal(),
            empty: platform.signal(),
            platform,
            max_threads,
        }))
    }

    /// Queues a task. Returns a task to the caller if that is expedited, or if no thread runs and
    /// none can be started.
    pub fn push(&self, task: Runnable, pace: &Arc<Pace>, reason: Reason) -> Result<(), Runnable> {
        let mut queue = self.0.lock();
        if queue.phase == Phase::Closed {
            drop(queue);
            // Dropping the future can take a while, so the lock is released first.
            drop(task);
            return Ok(());
        }
        if pace.take_expedited() {
            return Err(task);
        }
        let queued = Queued { task, pace: Arc::clone(pace) };
        match reason {
            Reason::Begins => queue.beginning.push_back(queued),
            Reason::GoesOn => queue.continuing.push_back(queued),
        }
        if queue.len() <= queue.idle {
            drop(queue);
            self.0.work.notify_one();
        } else if queue.threads < self.0.max_threads {
            if self.start_thread().is_ok() {
                queue.threads += 1;
            } else if queue.threads == 0 {
                // No thread will run it.
                return queue.pop().map_or(Ok(()), Err);
            }
        }
        Ok(())
    }

    /// Takes the waiting task of a pace out of the queue if its guest's call `is_over`. A task that
    /// does not wait yet will not be queued the next time.
    pub fn expedite(
        &self,
        pace: &Arc<Pace>,
        is_over: impl FnOnce(CallTime) -> bool,
    ) -> Option<Runnable> {
        let queue = &mut *self.0.lock();
        if !pace.expedite_if(is_over) {
            return None;
        }
        let waiting = [&mut queue.beginning, &mut queue.continuing];
        let task = waiting.into_iter().find_map(|waiting| {
            let at = waiting.iter().position(|it| Arc::ptr_eq(&it.pace, pace))?;
            waiting.remove(at)
        })?;
        pace.take_expedited();
        Some(task.task)
    }

    /// Returns the number of queued tasks.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.0.lock().len()
    }

    /// Drops all queued tasks and waits up to `grace` for the threads to end.
    pub fn close(&self, grace: Duration) {
        let mut queue = self.0.lock();
        queue.phase = Phase::Closed;
        let waiting = (take(&mut queue.beginning), take(&mut queue.continuing));
        drop(queue);
        drop(waiting);
        self.0.work.notify_all();
        let until = self.0.platform.now() + grace;
        let mut queue = self.0.lock();
        while queue.threads > 0 {
            let left = until.saturating_duration_since(self.0.platform.now());
            if left.is_zero() {
                return;
            }
            queue = self.0.empty.wait(queue, || self.0.lock(), left).0;
        }
    }

    fn start_thread(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        self.0.platform.start_thread(move || shared.run())
    }
}

impl<P: Platform> Shared<P> {
    fn run(&self) {
        while let Some(task) = self.next() {
            // A panic ends one task, not the thread.
            let _ = catch_unwind(AssertUnwindSafe(|| task.run()));
        }
    }

    /// Returns the next task for a thread. A thread that gets none is deducted at once, so that
    /// `push` does not count on it.
    fn next(&self) -> Option<Runnable> {
        let mut queue = self.lock();
        while queue.phase == Phase::Open {
            if let Some(task) = queue.pop() {
                return Some(task);
            }
            queue.idle += 1;
            let timed_out;
            (queue, timed_out) = self.work.wait(queue, || self.lock(), IDLE);
            queue.idle -= 1;
            if timed_out && queue.len() == 0 {
                break;
            }
        }
        queue.threads -= 1;
        if queue.threads == 0 {
            self.empty.notify_all();
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.platform.before_lock();
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::panic::resume_unwind;

    use super::*;
    use crate::core::interrupts::Seen;

    type Deed = Box<dyn FnOnce() + Send>;

    /// Threads that the test runs, one after the other. Who waits has waited long enough.
    #[derive(Clone, Default)]
    struct ByHand(Arc<Hands>);

    #[derive(Default)]
    struct Hands {
        threads: Mutex<VecDeque<Deed>>,
        /// What another thread does once one has found nothing, before the next lock.
        meanwhile: Mutex<Option<Deed>>,
        waited: Mutex<bool>,
    }

    impl ByHand {
        fn run_threads(&self) {
            loop {
                let thread = self.0.threads.lock().unwrap().pop_front();
                let Some(thread) = thread else { return };
                let _ = catch_unwind(AssertUnwindSafe(thread));
            }
        }
    }

    impl Platform for ByHand {
        type Signal = Self;

        fn signal(&self) -> Self {
            self.clone()
        }

        fn spawn(&self, _: impl Future<Output: Send + 'static> + Send + 'static) {}

        fn start_thread(&self, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
            self.0.threads.lock().unwrap().push_back(Box::new(run));
            Ok(())
        }

        fn now(&self) -> std::time::Instant {
            std::time::Instant::now()
        }

        fn before_lock(&self) {
            if *self.0.waited.lock().unwrap() {
                let meanwhile = self.0.meanwhile.lock().unwrap().take();
                meanwhile.into_iter().for_each(|deed| deed());
            }
        }
    }

    impl Signal for ByHand {
        fn wait<'a, T>(
            &self,
            held: MutexGuard<'a, T>,
            _: impl FnOnce() -> MutexGuard<'a, T>,
            _: Duration,
        ) -> (MutexGuard<'a, T>, bool) {
            *self.0.waited.lock().unwrap() = true;
            (held, true)
        }

        fn notify_one(&self) {}

        fn notify_all(&self) {}
    }

    #[derive(Clone)]
    struct Told(Arc<Mutex<Vec<&'static str>>>);

    fn one_thread() -> (ByHand, Background<ByHand>, Told) {
        let hands = ByHand::default();
        (hands.clone(), Background::new(hands, 1), Told(Arc::default()))
    }

    /// Queues a task that does something and says its name.
    fn push(
        to: &Background<ByHand>,
        told: &Told,
        name: &'static str,
        reason: Reason,
        does: fn(),
    ) -> Arc<Pace> {
        let (told, pace) = (told.clone(), Arc::<Pace>::default());
        let work = async move {
            does();
            told.0.lock().unwrap().push(name);
        };
        let (task, ended) = async_task::spawn(work, drop::<Runnable>);
        ended.detach();
        assert!(to.push(task, &pace, reason).is_ok());
        pace
    }

    #[test]
    fn a_panic_leaves_those_that_wait() {
        let (hands, background, told) = one_thread();
        push(&background, &told, "panics", Reason::Begins, || resume_unwind(Box::new("a defect")));
        push(&background, &told, "waits", Reason::Begins, || ());
        hands.run_threads();
        assert_eq!(*told.0.lock().unwrap(), ["waits"]);
    }

    #[test]
    fn a_task_that_comes_when_a_thread_leaves_is_not_left_behind() {
        let (hands, background, told) = one_thread();
        push(&background, &told, "first", Reason::Begins, || ());
        let (to, its) = (background.clone(), told.clone());
        *hands.0.meanwhile.lock().unwrap() = Some(Box::new(move || {
            push(&to, &its, "second", Reason::Begins, || ());
        }));
        hands.run_threads();
        // At the latest now.
        hands.before_lock();
        hands.run_threads();
        assert_eq!(*told.0.lock().unwrap(), ["first", "second"]);
    }

    fn call() -> CallTime {
        CallTime { deadline: std::time::Instant::now(), seen: Seen(0) }
    }

    #[test]
    fn an_expedited_task_leaves_the_queue_or_does_not_enter_it() {
        let (hands, background, told) = one_thread();
        let paces: Vec<_> = [
            ("a", Reason::Begins),
            ("b", Reason::GoesOn),
            ("c", Reason::Begins),
            ("d", Reason::GoesOn),
        ]
        .into_iter()
        .map(|(name, reason)| push(&background, &told, name, reason, || ()))
        .collect();
        for pace in &paces[1..3] {
            assert!(background.expedite(pace, |_| true).is_none(), "it is in no call");
            pace.begin_call(call());
            assert!(background.expedite(pace, |_| false).is_none());
            background.expedite(pace, |_| true).expect("it waits").run();
        }
        assert_eq!(*told.0.lock().unwrap(), ["b", "c"]);
        hands.run_threads();
        assert_eq!(*told.0.lock().unwrap(), ["b", "c", "a", "d"]);

        let pace = Arc::<Pace>::default();
        pace.begin_call(call());
        assert!(background.expedite(&pace, |_| true).is_none());
        let push = || {
            let (task, ended) = async_task::spawn(async {}, drop::<Runnable>);
            ended.detach();
            background.push(task, &pace, Reason::GoesOn)
        };
        assert!(push().is_err(), "expedited before it came");
        assert!(push().is_ok(), "once");
        assert!(background.expedite(&pace, |_| true).is_some());
        assert!(background.expedite(&pace, |_| true).is_none());
        pace.begin_call(call());
        assert!(push().is_ok(), "another call has its own end");
    }
}
