//! Decides where the tasks of an engine run.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_task::{Runnable, ScheduleInfo, WithInfo};
use tokio::runtime::Handle;

use crate::runtime::background::{Background, Reason};
use crate::runtime::pace::{CallTime, Pace, Paced};
use crate::runtime::platform::{Platform, Tokio};
use crate::runtime::ticker::Ticks;
use crate::runtime::turns::{self, Offered, Turns};

/// Two levels: workers for tasks with short turns, and threads of lower priority for tasks that
/// compute.
#[derive(Clone)]
pub struct Scheduler<P: Platform = Tokio> {
    workers: P,
    background: Background<P>,
    ticks: Ticks,
}

impl Scheduler {
    /// Creates a scheduler with at most `max_background` threads behind the workers.
    pub fn new(workers: Handle, max_background: usize, ticks: Ticks) -> Self {
        Self::on(Tokio(workers), max_background, ticks)
    }

    /// Returns the workers.
    pub fn workers(&self) -> &Handle {
        &self.workers.0
    }
}

impl<P: Platform> Scheduler<P> {
    /// Creates a scheduler on another platform.
    pub fn on(workers: P, max_background: usize, ticks: Ticks) -> Self {
        let background = Background::new(workers.clone(), max_background);
        Self { workers, background, ticks }
    }

    /// Runs `work` until it ends or the workers do.
    ///
    /// A task woken by a turn runs next on the same worker. If a turn wakes several, idle workers
    /// take their share. A task whose last turn was long gets its next turn behind the workers,
    /// unless it has rested since.
    pub fn spawn(&self, pace: Arc<Pace>, work: impl Future<Output = ()> + Send + 'static) {
        let (own, its) = (self.clone(), Arc::clone(&pace));
        let schedule = move |task: Runnable, info: ScheduleInfo| own.schedule(&its, task, info);
        let work = Paced::new(work, pace, self.ticks.clone());
        let (task, ended) = async_task::spawn(work, WithInfo(schedule));
        // The workers own the task, so that it ends with them wherever it waits.
        self.workers.spawn(ended.fallible());
        task.schedule();
    }

    fn schedule(&self, pace: &Arc<Pace>, mut task: Runnable, info: ScheduleInfo) {
        let again = info.woken_while_running;
        if pace.computes() && (again || !pace.has_rested(&self.ticks)) {
            let reason = if again && pace.is_in_call() { Reason::GoesOn } else { Reason::Begins };
            match self.background.push(task, pace, reason) {
                Ok(()) => return,
                Err(back) => task = back,
            }
        }
        match turns::offer(task, again) {
            Offered::Kept => {}
            Offered::Refused(task) => self.queue(task),
            Offered::Several(first, second) => {
                self.queue(first);
                self.queue(second);
            }
        }
    }

    fn queue(&self, task: Runnable) {
        self.workers.spawn(Turns::new(task, self.ticks.clone()));
    }

    /// Moves a task that waits behind the workers to them if its guest's call `is_over`. A task that
    /// runs gets its next turn there.
    pub fn expedite(&self, pace: &Arc<Pace>, is_over: impl FnOnce(CallTime) -> bool) {
        let task = self.background.expedite(pace, is_over);
        task.into_iter().for_each(|task| self.queue(task));
    }

    /// Returns the number of tasks that wait behind the workers.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.background.waiting()
    }

    /// Drops the tasks that wait behind the workers, and waits up to `grace` for those that run
    /// there.
    pub fn close(&self, grace: Duration) {
        self.background.close(grace);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::panic::resume_unwind;
    use std::sync::Barrier;
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
    use std::task::{Poll, Waker};

    use std::time::Instant;

    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::Notify;

    use super::*;
    use crate::core::interrupts::Seen;
    use crate::runtime::pace::SHORT_WORK_FUEL;
    use crate::runtime::ticker::SHORT_SLICE_TICKS;

    /// Longer than anything takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn workers(count: usize) -> (Runtime, Scheduler) {
        let runtime = Builder::new_multi_thread().worker_threads(count).build().unwrap();
        let scheduler = Scheduler::new(runtime.handle().clone(), 1, Ticks::default());
        (runtime, scheduler)
    }

    fn spawn(scheduler: &Scheduler, work: impl Future<Output = ()> + Send + 'static) {
        scheduler.spawn(Arc::default(), work);
    }

    fn arrives<T>(from: &Receiver<T>) -> T {
        from.recv_timeout(PATIENCE).expect("a task that was woken runs")
    }

    #[test]
    fn the_next_turn_is_on_the_same_worker() {
        let (_runtime, scheduler) = workers(4);
        let again = scheduler.clone();
        let (tell, told) = channel();
        for _ in 0..100 {
            let (tell, again) = (tell.clone(), again.clone());
            let here = |to: &Sender<_>| to.send(std::thread::current().id()).unwrap();
            spawn(&scheduler, async move {
                let next = tell.clone();
                spawn(&again, async move { here(&next) });
                here(&tell);
            });
            assert_eq!(arrives(&told), arrives(&told));
        }
    }

    #[test]
    fn several_that_are_woken_run_at_once() {
        let (_runtime, scheduler) = workers(3);
        let again = scheduler.clone();
        let (tell, told) = channel();
        let meeting = Arc::new(Barrier::new(3));
        spawn(&scheduler, async move {
            for _ in 0..3 {
                let (tell, meeting) = (tell.clone(), Arc::clone(&meeting));
                spawn(&again, async move {
                    meeting.wait();
                    tell.send(()).unwrap();
                });
            }
        });
        (0..3).for_each(|_| arrives(&told));
    }

    #[test]
    fn two_that_wake_each_other_without_end_leave_room_for_others() {
        let (runtime, scheduler) = workers(1);
        let pair = [Arc::new(Notify::new()), Arc::new(Notify::new())];
        for (mine, other) in [(0, 1), (1, 0)] {
            let (mine, other) = (Arc::clone(&pair[mine]), Arc::clone(&pair[other]));
            spawn(&scheduler, async move {
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
        spawn(&scheduler, async move { tell_too.send(()).unwrap() });
        (0..2).for_each(|_| arrives(&told));
    }

    #[test]
    fn one_that_gives_way_does_not_hold_up_what_it_has_woken() {
        let (_runtime, scheduler) = workers(1);
        let again = scheduler.clone();
        let (tell, told) = channel();
        spawn(&scheduler, async move {
            spawn(&again, async move { tell.send(()).unwrap() });
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
        let (_runtime, scheduler) = workers(1);
        let again = scheduler.clone();
        let (tell, told) = channel();
        spawn(&scheduler, async move {
            spawn(&again, async move { tell.send(()).unwrap() });
            resume_unwind(Box::new("a defect"));
        });
        arrives(&told);
    }

    #[test]
    fn the_end_of_the_workers_ends_their_tasks() {
        let (runtime, scheduler) = workers(1);
        let (owned, seen): (Sender<()>, Receiver<()>) = channel();
        let (tell, told) = channel();
        spawn(&scheduler, async move {
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

    fn call() -> CallTime {
        CallTime { deadline: Instant::now() + PATIENCE, seen: Seen(0) }
    }

    fn on_this_thread() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    /// A turn that takes a short slice, with work.
    fn compute(scheduler: &Scheduler, pace: &Pace) {
        pace.note_work(SHORT_WORK_FUEL);
        scheduler.ticks.advance(SHORT_SLICE_TICKS);
    }

    /// Gives way once.
    async fn yield_now() {
        let mut given = false;
        poll_fn(|cx| {
            if given {
                return Poll::Ready(());
            }
            given = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    #[test]
    fn a_task_that_computes_has_its_turns_behind_the_workers_as_long_as_it_does() {
        let (_runtime, scheduler) = workers(1);
        let (tell, told) = channel();
        let (its, pace) = (scheduler.clone(), Arc::<Pace>::default());
        scheduler.spawn(Arc::clone(&pace), async move {
            for computes in [false, true, true, false, false] {
                tell.send(on_this_thread() == "airssys-compute").unwrap();
                if computes {
                    compute(&its, &pace);
                }
                yield_now().await;
            }
        });
        let behind: Vec<bool> = (0..5).map(|_| arrives(&told)).collect();
        assert_eq!(behind, [false, false, true, true, false]);
    }

    #[test]
    fn a_task_that_was_only_held_up_stays() {
        let (_runtime, scheduler) = workers(1);
        let (tell, told) = channel();
        let its = scheduler.clone();
        spawn(&scheduler, async move {
            its.ticks.advance(100);
            yield_now().await;
            tell.send(on_this_thread()).unwrap();
        });
        assert_ne!(arrives(&told), "airssys-compute");
    }

    #[test]
    fn a_task_that_has_computed_is_behind_the_workers_when_it_is_woken_again() {
        let (_runtime, scheduler) = workers(1);
        let (tell, told) = channel();
        let (its, pace) = (scheduler.clone(), Arc::<Pace>::default());
        let wake = Arc::new(Notify::new());
        let woken = Arc::clone(&wake);
        scheduler.spawn(Arc::clone(&pace), async move {
            compute(&its, &pace);
            tell.send(on_this_thread()).unwrap();
            woken.notified().await;
            tell.send(on_this_thread()).unwrap();
        });
        arrives(&told);
        // A worker that is at this has ended the turn.
        let (ended, has_ended) = channel();
        spawn(&scheduler, async move { ended.send(()).unwrap() });
        arrives(&has_ended);
        wake.notify_one();
        assert_eq!(arrives(&told), "airssys-compute");
    }

    #[test]
    fn short_work_does_not_wait_for_those_that_compute() {
        let (_runtime, scheduler) = workers(1);
        let (tell, told) = channel();
        // Never gives way once it has its turn behind the workers.
        let (let_go, held) = channel::<()>();
        let (its, pace) = (scheduler.clone(), Arc::<Pace>::default());
        let started = tell.clone();
        scheduler.spawn(Arc::clone(&pace), async move {
            compute(&its, &pace);
            yield_now().await;
            started.send(()).unwrap();
            held.recv().unwrap_err();
        });
        arrives(&told);
        spawn(&scheduler, async move { tell.send(()).unwrap() });
        arrives(&told);
        drop(let_go);
    }

    #[test]
    fn an_expedited_task_does_not_wait_for_those_that_compute() {
        let (_runtime, scheduler) = workers(1);
        let (tell, told) = channel();
        let (let_go, held) = channel::<()>();
        let holder = Arc::<Pace>::default();
        let (its, pace, started) = (scheduler.clone(), Arc::clone(&holder), tell.clone());
        scheduler.spawn(holder, async move {
            compute(&its, &pace);
            yield_now().await;
            started.send(on_this_thread()).unwrap();
            held.recv().unwrap_err();
        });
        // The only thread behind the workers is held.
        assert_eq!(arrives(&told), "airssys-compute");
        let pace = Arc::<Pace>::default();
        let (its, own) = (scheduler.clone(), Arc::clone(&pace));
        scheduler.spawn(Arc::clone(&pace), async move {
            own.begin_call(call());
            for _ in 0..2 {
                compute(&its, &own);
                tell.send(on_this_thread()).unwrap();
                yield_now().await;
            }
            tell.send(on_this_thread()).unwrap();
        });
        for _ in 0..3 {
            assert_ne!(arrives(&told), "airssys-compute");
            // In its turn, or in the queue.
            scheduler.expedite(&pace, |_| true);
        }
        drop(let_go);
    }

    #[test]
    fn who_begins_takes_turns_with_those_that_compute_on() {
        let (_runtime, scheduler) = workers(1);
        let (tell, told) = channel();
        let (let_go, held) = channel::<()>();
        let (its, started) = (scheduler.clone(), tell.clone());
        let pace = Arc::<Pace>::default();
        scheduler.spawn(Arc::clone(&pace), async move {
            compute(&its, &pace);
            yield_now().await;
            started.send("held").unwrap();
            held.recv().unwrap_err();
        });
        assert_eq!(arrives(&told), "held");
        for goes_on in [true, true, true, false, false] {
            let (tell, its, pace) = (tell.clone(), scheduler.clone(), Arc::<Pace>::default());
            let own = Arc::clone(&pace);
            scheduler.spawn(pace, async move {
                compute(&its, &own);
                if goes_on {
                    own.begin_call(call());
                }
                yield_now().await;
                tell.send(if goes_on { "goes on" } else { "begins" }).unwrap();
            });
        }
        let (queued, all_queued) = channel();
        spawn(&scheduler, async move { queued.send(()).unwrap() });
        arrives(&all_queued);
        drop(let_go);
        let order: Vec<&str> = (0..5).map(|_| arrives(&told)).collect();
        let begins = order.iter().position(|it| *it == "begins");
        assert!(begins <= Some(1), "{order:?}");
        assert!(!order.windows(2).any(|two| two == ["begins"; 2]), "{order:?}");
    }

    #[test]
    fn an_end_drops_those_that_compute() {
        let (_runtime, scheduler) = workers(1);
        let (owned, seen): (Sender<()>, Receiver<()>) = channel();
        let (its, pace) = (scheduler.clone(), Arc::<Pace>::default());
        scheduler.spawn(Arc::clone(&pace), async move {
            let _owned = owned;
            loop {
                compute(&its, &pace);
                yield_now().await;
            }
        });
        scheduler.close(PATIENCE);
        assert_eq!(seen.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    }
}
