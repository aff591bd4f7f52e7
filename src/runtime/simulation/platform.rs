//! Workers like Tokio's and threads behind them, on the simulated machine.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::runtime::platform::{Platform, Signal};
use crate::runtime::simulation::machine::{Machine, Moment, Number};

pub const WORKER: &str = "worker";
pub const COMPUTE: &str = "compute";

/// A worker takes one of the `CHOICE` oldest tasks, but passes over the oldest at most `MOST_PASSES`
/// times.
const CHOICE: usize = 3;
const MOST_PASSES: u32 = 2;

/// One wait in this many ends without a signal.
const ONE_WAIT_IN_VAIN: u64 = 32;

#[derive(Clone)]
pub struct Simulated(Arc<Shared>);

struct Shared {
    machine: Arc<Machine>,
    workers: Mutex<Workers>,
    /// One thread in this many is refused; 0 refuses none.
    one_missing_in: u64,
}

#[derive(Default)]
struct Workers {
    ready: VecDeque<(Arc<Spawned>, u32)>,
    idle: Vec<Number>,
    count: usize,
    busy: usize,
    /// When all workers were last busy.
    crowded: Option<Moment>,
    ended: bool,
    /// All tasks that have not ended, by number.
    spawned: BTreeMap<u64, Arc<Spawned>>,
    next: u64,
    missing_since: Option<Moment>,
    longest_poll: Duration,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Spawned {
    number: u64,
    work: Mutex<Option<Work>>,
    phase: Mutex<Phase>,
    on: Weak<Shared>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Queued,
    Polled,
    /// Woken while it is polled.
    Again,
}

impl Wake for Spawned {
    fn wake(self: Arc<Self>) {
        let mut phase = self.phase.lock().unwrap();
        let (before, after) = match *phase {
            Phase::Idle => (Phase::Idle, Phase::Queued),
            Phase::Polled => (Phase::Polled, Phase::Again),
            as_it_is => (as_it_is, as_it_is),
        };
        *phase = after;
        drop(phase);
        if let (Phase::Idle, Some(on)) = (before, self.on.upgrade()) {
            on.queue(self);
        }
    }
}

impl Simulated {
    pub fn new(machine: &Arc<Machine>, workers: usize, one_missing_in: u64) -> Self {
        let own = Self(Arc::new(Shared {
            machine: Arc::clone(machine),
            workers: Mutex::new(Workers { count: workers, ..Workers::default() }),
            one_missing_in,
        }));
        for _ in 0..workers {
            let shared = Arc::clone(&own.0);
            machine.start(WORKER, move || shared.work());
        }
        own
    }

    /// When no worker was last free.
    pub fn crowded(&self) -> Option<Moment> {
        let workers = self.0.workers();
        if workers.busy == workers.count { Some(self.0.machine.now()) } else { workers.crowded }
    }

    /// When a thread was last refused.
    pub fn missing_since(&self) -> Option<Moment> {
        self.0.workers().missing_since
    }

    /// The longest time that a worker spent in one poll.
    pub fn longest_poll(&self) -> Duration {
        self.0.workers().longest_poll
    }

    /// Ends the workers and drops all unfinished tasks.
    pub fn end(&self) {
        let machine = &self.0.machine;
        let idle = {
            let mut workers = self.0.workers();
            workers.ended = true;
            std::mem::take(&mut workers.idle)
        };
        idle.into_iter().for_each(|number| machine.unpark(number));
        while machine.count(WORKER).0 > 0 {
            machine.pass(Duration::from_micros(100));
        }
        let (spawned, ready) = {
            let mut workers = self.0.workers();
            (std::mem::take(&mut workers.spawned), std::mem::take(&mut workers.ready))
        };
        drop(ready);
        for spawned in spawned.into_values() {
            let work = spawned.work.lock().unwrap().take();
            drop(work);
        }
    }
}

impl Shared {
    fn workers(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap()
    }

    fn queue(&self, spawned: Arc<Spawned>) {
        let mut workers = self.workers();
        workers.ready.push_back((spawned, 0));
        if !workers.idle.is_empty() {
            let at = self.machine.random.index(workers.idle.len());
            let number = workers.idle.swap_remove(at);
            self.machine.unpark(number);
        }
    }

    fn work(&self) {
        let own = self.machine.current().expect("a thread");
        loop {
            let mut workers = self.workers();
            if workers.ended {
                return;
            }
            let Some(spawned) = workers.take(&self.machine) else {
                workers.idle.push(own);
                drop(workers);
                self.machine.park(None);
                continue;
            };
            workers.busy += 1;
            drop(workers);
            let began = self.machine.now();
            self.poll(&spawned);
            let now = self.machine.now();
            let mut workers = self.workers();
            workers.longest_poll = workers.longest_poll.max(now - began);
            if workers.busy == workers.count {
                workers.crowded = Some(now);
            }
            workers.busy -= 1;
            drop(workers);
            self.machine.step();
        }
    }

    fn poll(&self, spawned: &Arc<Spawned>) {
        *spawned.phase.lock().unwrap() = Phase::Polled;
        let Some(mut work) = spawned.work.lock().unwrap().take() else { return };
        let waker = Waker::from(Arc::clone(spawned));
        let mut cx = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut cx)));
        if let Ok(Poll::Pending) = polled {
            *spawned.work.lock().unwrap() = Some(work);
            let mut phase = spawned.phase.lock().unwrap();
            let again = *phase == Phase::Again;
            *phase = if again { Phase::Queued } else { Phase::Idle };
            drop(phase);
            if again {
                self.queue(Arc::clone(spawned));
            }
        } else {
            drop(work);
            self.workers().spawned.remove(&spawned.number);
        }
    }
}

impl Workers {
    fn take(&mut self, machine: &Machine) -> Option<Arc<Spawned>> {
        let choice = self.ready.len().min(CHOICE);
        let (_, passes) = self.ready.front_mut()?;
        let at = if *passes == MOST_PASSES { 0 } else { machine.random.index(choice) };
        *passes += u32::from(at > 0);
        self.ready.remove(at).map(|(spawned, _)| spawned)
    }
}

impl Platform for Simulated {
    type Signal = Waiting;

    fn signal(&self) -> Waiting {
        Waiting { machine: Arc::clone(&self.0.machine), threads: Mutex::default() }
    }

    fn spawn(&self, work: impl Future<Output: Send + 'static> + Send + 'static) {
        let mut workers = self.0.workers();
        if workers.ended {
            drop(workers);
            return drop(work);
        }
        let spawned = Arc::new(Spawned {
            number: workers.next,
            work: Mutex::new(Some(Box::pin(async move { drop(work.await) }))),
            phase: Mutex::new(Phase::Queued),
            on: Arc::downgrade(&self.0),
        });
        workers.next += 1;
        workers.spawned.insert(spawned.number, Arc::clone(&spawned));
        drop(workers);
        self.0.queue(spawned);
    }

    fn start_thread(&self, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let Shared { machine, one_missing_in, .. } = &*self.0;
        if *one_missing_in > 0 && machine.random.one_in(*one_missing_in) {
            self.0.workers().missing_since = Some(machine.now());
            return Err(io::ErrorKind::WouldBlock.into());
        }
        machine.start(COMPUTE, run);
        Ok(())
    }

    fn now(&self) -> Instant {
        self.0.machine.instant(self.0.machine.now())
    }

    fn before_lock(&self) {
        self.0.machine.step();
    }
}

/// The threads that wait for a signal.
pub struct Waiting {
    machine: Arc<Machine>,
    threads: Mutex<Vec<Number>>,
}

impl Signal for Waiting {
    fn wait<'a, T>(
        &self,
        held: MutexGuard<'a, T>,
        lock: impl FnOnce() -> MutexGuard<'a, T>,
        most: Duration,
    ) -> (MutexGuard<'a, T>, bool) {
        let own = self.machine.current().expect("a thread");
        self.threads.lock().unwrap().push(own);
        drop(held);
        let timed_out = if self.machine.random.one_in(ONE_WAIT_IN_VAIN) {
            self.machine.step();
            false
        } else {
            self.machine.park(Some(self.machine.now() + most))
        };
        self.threads.lock().unwrap().retain(|number| *number != own);
        (lock(), timed_out)
    }

    fn notify_one(&self) {
        let mut threads = self.threads.lock().unwrap();
        if !threads.is_empty() {
            let at = self.machine.random.index(threads.len());
            self.machine.unpark(threads.swap_remove(at));
        }
    }

    fn notify_all(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        threads.into_iter().for_each(|number| self.machine.unpark(number));
    }
}
