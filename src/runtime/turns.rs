//! Turns of tasks that hand a worker over to each other.
//!
//! Two components that write to each other in turns wake each other with every message. Tokio runs
//! what a task has woken next on the same worker three times in a row; then it queues it, and
//! wakes another worker for work that is done before that one has woken up.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_task::Runnable;

use crate::runtime::ticker::Ticks;

/// The number of turns after which a worker looks for other work. It does so earlier when a short
/// slice is over.
const MAX_TURNS: usize = 1024;

/// The tasks woken by a turn.
#[derive(Default)]
struct Turn {
    next: Option<Runnable>,
    /// Whether it woke several tasks, which were queued.
    several: bool,
    /// The task itself, if it wants another turn.
    again: Option<Runnable>,
}

thread_local! {
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// The fate of a task that a turn woke.
pub enum Offered {
    /// It gets the next turn, or another one.
    Kept,
    /// The caller must queue it.
    Refused(Runnable),
    /// The caller must queue both: the first, kept until now, and this one.
    Several(Runnable, Runnable),
}

/// Offers a woken task to the turn on this thread, if there is one. `again`: the task is the turn's
/// own.
pub fn offer(task: Runnable, again: bool) -> Offered {
    TURN.with_borrow_mut(|turn| match turn {
        Some(turn) if again => {
            turn.again = Some(task);
            Offered::Kept
        }
        Some(turn) if !turn.several => match turn.next.take() {
            None => {
                turn.next = Some(task);
                Offered::Kept
            }
            Some(first) => {
                turn.several = true;
                Offered::Several(first, task)
            }
        },
        _ => Offered::Refused(task),
    })
}

/// Runs a function outside the turn of this thread, as if on another thread.
#[cfg(test)]
pub fn aside<T>(run: impl FnOnce() -> T) -> T {
    let turn = TURN.take();
    let output = run();
    TURN.set(turn);
    output
}

/// Marks a thread that runs turns. On drop, it queues the tasks woken by the last turn.
struct Doing {
    outer: Option<Turn>,
}

impl Doing {
    fn turns() -> Self {
        Self { outer: TURN.replace(Some(Turn::default())) }
    }

    /// Runs one turn and returns the tasks it woke.
    fn one(&self, task: Runnable) -> Turn {
        task.run();
        TURN.with_borrow_mut(|turn| turn.as_mut().map(std::mem::take).unwrap_or_default())
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        let turn = TURN.replace(self.outer.take()).unwrap_or_default();
        turn.next.into_iter().chain(turn.again).for_each(Runnable::schedule);
    }
}

/// The turns of one worker.
pub struct Turns {
    next: Option<Runnable>,
    ticks: Ticks,
}

impl Turns {
    /// Creates turns that begin with `task`.
    pub fn new(task: Runnable, ticks: Ticks) -> Self {
        Self { next: Some(task), ticks }
    }
}

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let doing = Doing::turns();
        let began = self.ticks.now();
        for _ in 0..MAX_TURNS {
            let Some(task) = self.next.take() else { return Poll::Ready(()) };
            let Turn { next, again, .. } = doing.one(task);
            if again.is_none() {
                self.next = next;
                if self.ticks.short_slice_is_over(began) {
                    break;
                }
                continue;
            }
            drop(doing);
            next.into_iter().for_each(Runnable::schedule);
            self.next = again;
            break;
        }
        if self.next.is_none() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
