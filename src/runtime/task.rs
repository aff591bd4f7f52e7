//! Tasks of the workers that hand over to each other.
//!
//! Two components that write to each other in turns wake each other with every message. Tokio runs
//! what a task has woken next on the same worker three times in a row; then it queues it, and
//! wakes another worker for work that is done before that one has woken up.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_task::{Runnable, ScheduleInfo, WithInfo};
use tokio::runtime::Handle;

/// How many turns a worker is handed over for before it looks what else there is. It does so earlier
/// if one gives way, as guests do at every tick.
const MAX_TURNS: usize = 64;

/// Runs `work` on the workers, until it ends or they do.
///
/// If it wakes one other such task in a turn, that one has the next turn on the same worker. If it
/// wakes several, idle workers take their share.
pub fn spawn(workers: &Handle, work: impl Future<Output = ()> + Send + 'static) {
    let own = workers.clone();
    let schedule = move |task: Runnable, info: ScheduleInfo| {
        let queue = |task| _ = own.spawn(Turns { next: Some(task) });
        match offer(task, info.woken_while_running) {
            Offered::Kept => {}
            Offered::Refused(task) => queue(task),
            Offered::Several(first, second) => {
                queue(first);
                queue(second);
            }
        }
    };
    let (task, ended) = async_task::spawn(work, WithInfo(schedule));
    // Keeps it, so that it ends with the workers wherever it waits.
    workers.spawn(ended.fallible());
    task.schedule();
}

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
enum Offered {
    Kept,
    Refused(Runnable),
    /// This is the second; the first was kept until now.
    Several(Runnable, Runnable),
}

fn offer(task: Runnable, again: bool) -> Offered {
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
struct Turns {
    next: Option<Runnable>,
}

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let doing = Doing::turns();
        for _ in 0..MAX_TURNS {
            let Some(task) = self.next.take() else { return Poll::Ready(()) };
            let Turn { next, again, .. } = doing.one(task);
            if again.is_none() {
                self.next = next;
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::panic::resume_unwind;
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
    use std::sync::{Arc, Barrier};
    use std::task::Waker;
    use std::time::Duration;

    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::Notify;

    use super::*;

    /// Longer than anything takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn workers(count: usize) -> Runtime {
        Builder::new_multi_thread().worker_threads(count).build().unwrap()
    }

    fn arrives<T>(from: &Receiver<T>) -> T {
        from.recv_timeout(PATIENCE).expect("a task that was woken runs")
    }

    #[test]
    fn the_next_turn_is_on_the_same_worker() {
        let runtime = workers(4);
        let workers = runtime.handle().clone();
        let (tell, told) = channel();
        for _ in 0..100 {
            let (tell, workers) = (tell.clone(), workers.clone());
            let here = |to: &Sender<_>| to.send(std::thread::current().id()).unwrap();
            spawn(runtime.handle(), async move {
                let next = tell.clone();
                spawn(&workers, async move { here(&next) });
                here(&tell);
            });
            assert_eq!(arrives(&told), arrives(&told));
        }
    }

    #[test]
    fn several_that_are_woken_run_at_once() {
        let runtime = workers(3);
        let workers = runtime.handle().clone();
        let (tell, told) = channel();
        let meeting = Arc::new(Barrier::new(3));
        spawn(runtime.handle(), async move {
            for _ in 0..3 {
                let (tell, meeting) = (tell.clone(), Arc::clone(&meeting));
                spawn(&workers, async move {
                    meeting.wait();
                    tell.send(()).unwrap();
                });
            }
        });
        (0..3).for_each(|_| arrives(&told));
    }

    #[test]
    fn two_that_wake_each_other_without_end_leave_room_for_others() {
        let runtime = workers(1);
        let pair = [Arc::new(Notify::new()), Arc::new(Notify::new())];
        for (mine, other) in [(0, 1), (1, 0)] {
            let (mine, other) = (Arc::clone(&pair[mine]), Arc::clone(&pair[other]));
            spawn(runtime.handle(), async move {
                loop {
                    mine.notified().await;
                    other.notify_one();
                }
            });
        }
        pair[0].notify_one();
        let (tell, told) = channel();
        let tell_too = tell.clone();
        runtime.spawn(async move { tell.send(()).unwrap() });
        spawn(runtime.handle(), async move { tell_too.send(()).unwrap() });
        (0..2).for_each(|_| arrives(&told));
    }

    #[test]
    fn one_that_gives_way_does_not_hold_up_what_it_has_woken() {
        let runtime = workers(1);
        let workers = runtime.handle().clone();
        let (tell, told) = channel();
        spawn(runtime.handle(), async move {
            spawn(&workers, async move { tell.send(()).unwrap() });
            poll_fn::<(), _>(|cx| {
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        });
        arrives(&told);
    }

    #[test]
    fn a_panic_leaves_what_it_has_woken() {
        let runtime = workers(1);
        let workers = runtime.handle().clone();
        let (tell, told) = channel();
        spawn(runtime.handle(), async move {
            spawn(&workers, async move { tell.send(()).unwrap() });
            resume_unwind(Box::new("a defect"));
        });
        arrives(&told);
    }

    #[test]
    fn the_end_of_the_workers_ends_their_tasks() {
        let runtime = workers(1);
        let (owned, seen): (Sender<()>, Receiver<()>) = channel();
        let (tell, told) = channel();
        spawn(runtime.handle(), async move {
            let _owned = owned;
            poll_fn::<(), _>(|cx| {
                tell.send(cx.waker().clone()).unwrap();
                Poll::Pending
            })
            .await;
        });
        let waker: Waker = arrives(&told);
        drop(runtime);
        assert_eq!(seen.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
        waker.wake();
    }
}
