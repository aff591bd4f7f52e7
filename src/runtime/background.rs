//! Threads for tasks that compute: behind the workers, so that short work never waits for long work.
//!
//! This is the lower level of a multilevel feedback queue (Corbató et al., 1962). The system's scheduler
//! preempts these threads for the workers, which Tokio can not.

use std::collections::VecDeque;
use std::io;
use std::mem::take;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use async_task::Runnable;
use tokio::runtime::Handle;

use crate::runtime::pace::Pace;
use crate::runtime::priority;
use crate::runtime::threads::pool::STACK_BYTES;
use crate::runtime::threads::signal_stack;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// A queue of tasks, and the threads that give each a turn in order. The threads are made as they are
/// needed.
#[derive(Clone)]
pub struct Background(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Notice of each new task.
    work: Condvar,
    /// Notice when the last thread ends.
    empty: Condvar,
    workers: Handle,
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

    fn pop(&mut self) -> Option<Runnable> {
        if let Some(task) = self.pop_due() {
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

    fn pop_due(&mut self) -> Option<Queued> {
        let now = Instant::now();
        if self.next_due? > now {
            return None;
        }
        let at = self.going_on.iter().position(|it| it.due.is_some_and(|due| due <= now));
        let task = at.and_then(|at| self.going_on.remove(at));
        self.next_due = self.going_on.iter().filter_map(|it| it.due).min();
        task
    }
}

impl Background {
    /// So many threads at most, inside of the workers' runtime: guests use its timers.
    pub fn new(workers: Handle, max_threads: usize) -> Self {
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
            work: Condvar::new(),
            empty: Condvar::new(),
            workers,
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
                return queue.pop().map_or(Ok(()), Err);
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

    /// Drops what is queued, and waits at most so long for the threads to end.
    pub fn close(&self, grace: Duration) {
        let mut queue = self.0.lock();
        queue.phase = Phase::Closed;
        let (beginning, going_on) = (take(&mut queue.beginning), take(&mut queue.going_on));
        drop(queue);
        drop((beginning, going_on));
        self.0.work.notify_all();
        let queue = self.0.lock();
        let _ = self.0.empty.wait_timeout_while(queue, grace, |queue| queue.threads > 0);
    }

    /// Returns once the thread has all that it needs.
    fn start_thread(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        let (ready, is_ready) = sync_channel(1);
        let thread = Builder::new().name("airssys-compute".into()).stack_size(STACK_BYTES);
        thread.spawn(move || {
            let stack = signal_stack::ensure();
            let go = stack.is_ok();
            // It is waited for.
            let _ = ready.send(stack);
            if go {
                shared.run();
            }
        })?;
        is_ready.recv().unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()))
    }
}

impl Shared {
    fn run(&self) {
        let _ended = Ended(self);
        priority::stand_behind_calls();
        let _workers = self.workers.enter();
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
            if let Some(task) = queue.pop() {
                return Some(task);
            }
            queue.idle += 1;
            let waited = self.work.wait_timeout(queue, IDLE);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = guard;
            queue.idle -= 1;
            if timeout.timed_out() && queue.len() == 0 {
                return None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a thread out, however it ends.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.threads -= 1;
        if queue.threads == 0 {
            self.0.empty.notify_all();
        }
    }
}
