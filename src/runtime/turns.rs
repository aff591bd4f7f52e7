//! Turns of tasks on a worker, which hand over to each other.
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

/// How many turns a worker is handed over for before it looks what else there is. It does so earlier
/// when a short slice is over.
const MAX_TURNS: usize = 1024;

/// What a turn has woken.
#[derive(Default)]
struct Turn {
    next: Option<Runnable>,
    /// It has woken several, which have been queued.
    several: bool,
    /// The task whose turn it is wants another one.
    again: Option<Runnable>,
}

thread_local! {
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// What a turn does with a task that it has woken.
pub enum Offered {
    /// It has the next turn, or another one.
    BinaryCache,
    /// It is to be queued.
    Refused(Runnable),
    /// Both are to be queued. This is the second; the first was kept until now.
    Several(Runnable, Runnable),
}

/// Offers a task to the turn on this thread, if there is one, that has woken it; `again`: it is that turn's own.
pub fn offer(task: Runnable, again: bool) -> Offered {
    TURN.with_borrow_mut(|turn| match turn {
        Some(turn) if again => {
            turn.again = Some(task);
            Offered::BinaryCache
        }
        Some(turn) if !turn.several => match turn.next.take() {
            None => {
                turn.next = Some(task);
                Offered::BinaryCache
            }
            Some(first) => {
                turn.several = true;
                Offered::Several(first, task)
            }
        },
        _ => Offered::Refused(task),
    })
}

/// Runs what is no part of the turn on this thread, as if on another one.
#[cfg(test)]
pub fn aside<T>(run: impl FnOnce() -> T) -> T {
    let turn = TURN.take();
    let output = run();
    TURN.set(turn);
    output
}

/// This thread does turns. What the last of them has woken is queued in the end.
struct Doing {
    outer: Option<Turn>,
}

impl Doing {
    fn turns() -> Self {
        Self { outer: TURN.replace(Some(Turn::default())) }
    }

    /// Does one; what it has woken.
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

/// Turns on one worker, of tasks that hand over to each other.
pub struct Turns {
    next: Option<Runnable>,
    ticks: Ticks,
}

impl Turns {
    /// Begins with a turn of `task`.
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
