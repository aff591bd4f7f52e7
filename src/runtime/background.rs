//! Threads for tasks that compute: behind the workers, so that short work never waits for long work.
//!
//! This is the lower level of a multilevel feedback queue (Corbató et al., 1962). The system's scheduler
//! preempts these threads for the workers, which Tokio can not.

use std::collections::VecDeque;
use std::io;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_task::Runnable;

use crate::runtime::pace::Pace;
use crate::runtime::platform::{Platform, Signal};

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// A queue of tasks, and the threads that give each a turn in order. The threads are made as they are
/// needed.
#[derive(Clone)]
pub struct Background<P: Platform>(Arc<Shared<P>>);

struct Shared<P: Platform> {
    queue: Mutex<Queue>,
    /// Told of each new task.
    work: P::Signal,
    /// Told when the last thread ends.
    empty: P::Signal,
    platform: P,
    max_threads: usize,
}

struct Queue {
    phase: Phase,
    /// Those that begin with something, which may be done soon. They take turns with the others.
    beginning: VecDeque<Queued>,
    /// Those whose guests compute on.
    going_on: VecDeque<Queued>,
    /// Which of the two the last task was taken from.
    last: From,
    /// The first due time of `going_on`.
    next_due: Option<Instant>,
    threads: usize,
    /// Threads that wait for `work`; at most `threads`.
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
    GoingOn,
}

/// Why a task is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It begins with something new, or was woken.
    Begins,
    /// Its guest computes on; it must have another turn by then.
    GoesOn { due: Instant },
}

struct Queued {
    task: Runnable,
    pace: Arc<Pace>,
    /// When its guest's time is over. It goes first then, as it is to be told so.
    due: Option<Instant>,
}

impl Queue {
    fn len(&self) -> usize {
        self.beginning.len() + self.going_on.len()
    }

    fn pop(&mut self, now: impl FnOnce() -> Instant) -> Option<Runnable> {
        if let Some(task) = self.pop_due(now) {
            return Some(task.task);
        }
        let beginning_first = self.last == From::GoingOn || self.going_on.is_empty();
        let beginning = if beginning_first { self.beginning.pop_front() } else { None };
        let (task, from) = match beginning {
            Some(task) => (task, From::Beginning),
            None => (self.going_on.pop_front()?, From::GoingOn),
        };
        self.last = from;
        Some(task.task)
    }

    fn pop_due(&mut self, now: impl FnOnce() -> Instant) -> Option<Queued> {
        let (next, now) = (self.next_due?, now());
        if next > now {
            return None;
        }
        let at = self.going_on.iter().position(|it| it.due.is_some_and(|due| due <= now));
        let task = at.and_then(|at| self.going_on.remove(at));
        self.next_due = self.going_on.iter().filter_map(|it| it.due).min();
        task
    }
}

impl<P: Platform> Background<P> {
    /// So many threads at most.
    pub fn new(platform: P, max_threads: usize) -> Self {
        let queue = Queue {
            phase: Phase::Open,
            beginning: VecDeque::new(),
            going_on: VecDeque::new(),
            last: From::GoingOn,
            next_due: None,
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

    /// Queues a task. It comes back if there is no thread for it, and none can be made.
    pub fn push(&self, task: Runnable, pace: &Arc<Pace>, reason: Reason) -> Result<(), Runnable> {
        let mut queue = self.0.lock();
        if queue.phase == Phase::Closed {
            drop(queue);
            // Its future goes with it, which may be long.
            drop(task);
            return Ok(());
        }
        let pace = Arc::clone(pace);
        match reason {
            Reason::Begins => queue.beginning.push_back(Queued { task, pace, due: None }),
            Reason::GoesOn { due } => {
                queue.going_on.push_back(Queued { task, pace, due: Some(due) });
                queue.next_due = queue.next_due.into_iter().chain([due]).min();
            }
        }
        if queue.len() <= queue.idle {
            drop(queue);
            self.0.work.notify_one();
        } else if queue.threads < self.0.max_threads {
            if self.start_thread().is_ok() {
                queue.threads += 1;
            } else if queue.threads == 0 {
                // It is the only one.
                return queue.pop(|| self.0.platform.now()).map_or(Ok(()), Err);
            }
        }
        Ok(())
    }

    /// Gives the task of a pace its turn before the others that wait.
    pub fn expedite(&self, pace: &Arc<Pace>) {
        let mut queue = self.0.lock();
        let at = queue.going_on.iter().position(|it| Arc::ptr_eq(&it.pace, pace));
        if let Some(task) = at.and_then(|at| queue.going_on.remove(at)) {
            queue.beginning.push_front(task);
            queue.last = From::GoingOn;
        }
    }

    /// How many tasks are queued.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.0.lock().len()
    }

    /// Drops what is queued, and waits at most so long for the threads to end.
    pub fn close(&self, grace: Duration) {
        let mut queue = self.0.lock();
        queue.phase = Phase::Closed;
        let (beginning, going_on) = (take(&mut queue.beginning), take(&mut queue.going_on));
        drop(queue);
        drop((beginning, going_on));
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
        let _ended = Ended(self);
        while let Some(task) = self.next() {
            task.run();
        }
    }

    fn next(&self) -> Option<Runnable> {
        let mut queue = self.lock();
        loop {
            if queue.phase == Phase::Closed {
                return None;
            }
            if let Some(task) = queue.pop(|| self.platform.now()) {
                return Some(task);
            }
            queue.idle += 1;
            let timed_out;
            (queue, timed_out) = self.work.wait(queue, || self.lock(), IDLE);
            queue.idle -= 1;
            if timed_out && queue.len() == 0 {
                return None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.platform.before_lock();
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a thread out, however it ends.
struct Ended<'a, P: Platform>(&'a Shared<P>);

impl<P: Platform> Drop for Ended<'_, P> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.threads -= 1;
        if queue.threads == 0 {
            self.0.empty.notify_all();
        }
    }
}
