//! An executor with one thread, virtual time and a random order of polls.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::core::clock::Clock;
use crate::core::simulation::random::Random;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One poll in this many is spurious: the task was not woken.
const ONE_FOR_NOTHING: u64 = 16;

const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub struct Executor {
    tasks: Mutex<Vec<Task>>,
    clock: Mutex<Time>,
    random: Arc<Random>,
}

struct Task {
    name: &'static str,
    /// `None` while the task is polled and after its end.
    work: Option<Work>,
    ended: bool,
    woken: Arc<Woken>,
}

struct Time {
    now: Instant,
    sleepers: Vec<(Instant, Waker)>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Polled,
    /// No task was woken.
    Idle,
}

impl Executor {
    pub fn new(random: Arc<Random>) -> Arc<Self> {
        let clock = Mutex::new(Time { now: Instant::now(), sleepers: Vec::new() });
        Arc::new(Self { tasks: Mutex::default(), clock, random })
    }

    /// Adds a task. `name` is for the trace.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let task = Task { name, work: Some(Box::pin(work)), ended: false, woken };
        self.tasks.lock().unwrap().push(task);
    }

    /// Drops all tasks. They may form reference cycles with this executor.
    pub fn clear(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        drop(tasks);
    }

    /// The names of the unfinished tasks.
    pub fn unfinished(&self) -> Vec<&'static str> {
        let tasks = self.tasks.lock().unwrap();
        tasks.iter().filter(|task| !task.ended).map(|task| task.name).collect()
    }

    /// Polls one task.
    pub fn step(&self) -> Step {
        let Some(at) = self.choose() else { return Step::Idle };
        let (mut work, woken) = {
            let mut tasks = self.tasks.lock().unwrap();
            let task = &mut tasks[at];
            task.woken.0.store(false, Ordering::Relaxed);
            (task.work.take().expect("not ended"), Arc::clone(&task.woken))
        };
        let polled = work.as_mut().poll(&mut Context::from_waker(&Waker::from(woken)));
        let task = &mut self.tasks.lock().unwrap()[at];
        match polled {
            Poll::Ready(()) => task.ended = true,
            Poll::Pending => task.work = Some(work),
        }
        Step::Polled
    }

    /// Chooses a woken task, sometimes any task.
    fn choose(&self) -> Option<usize> {
        let tasks = self.tasks.lock().unwrap();
        let is_woken = |task: &Task| !task.ended && task.woken.0.load(Ordering::Relaxed);
        let woken = tasks.iter().filter(|task| is_woken(task)).count() as u64;
        let nth = |wanted: &dyn Fn(&Task) -> bool, count| {
            let nth = self.random.below(count) as usize;
            let mut of_them = tasks.iter().enumerate().filter(|(_, task)| wanted(task));
            of_them.nth(nth).map(|(at, _)| at)
        };
        if woken == 0 {
            return None;
        }
        if self.random.one_in(ONE_FOR_NOTHING) {
            let going = tasks.iter().filter(|task| !task.ended).count() as u64;
            return nth(&|task| !task.ended, going);
        }
        nth(&is_woken, woken)
    }

    /// Advances time to the next sleeper. Returns false if nobody sleeps.
    pub fn advance(&self) -> bool {
        let mut time = self.clock.lock().unwrap();
        let Some(next) = time.sleepers.iter().map(|(at, _)| *at).min() else { return false };
        time.now = time.now.max(next);
        let now = time.now;
        let due: Vec<_> = time.sleepers.extract_if(.., |(at, _)| *at <= now).collect();
        drop(time);
        due.into_iter().for_each(|(_, waker)| waker.wake());
        true
    }

    pub fn now(&self) -> Instant {
        self.clock.lock().unwrap().now
    }

    pub async fn sleep(&self, time: Duration) {
        self.sleep_until(self.now() + time).await;
    }

    /// Polls for a condition that a thread would block on, less and less often.
    pub async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(found) = look() {
                return found;
            }
            self.sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    pub async fn sleep_until(&self, at: Instant) {
        poll_fn(|cx| {
            let mut time = self.clock.lock().unwrap();
            if time.now >= at {
                return Poll::Ready(());
            }
            time.sleepers.push((at, cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// Yields once.
pub async fn give_way() {
    let mut given = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The output of `work`, or `None` if `over` finishes first.
pub async fn within<F: Future>(over: impl Future<Output = ()>, work: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = work => Some(output),
        () = over => None,
    }
}

/// An executor's clock.
pub struct Virtual(pub Arc<Executor>);

impl Clock for Virtual {
    fn now(&self) -> Instant {
        self.0.now()
    }

    async fn sleep_until(&self, at: Instant) {
        self.0.sleep_until(at).await;
    }
}
