//! A scheduler, guests, and hosts that act on them.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::core::simulation::episodes::Episode;
use crate::runtime::scheduler::Scheduler;
use crate::runtime::simulation::guest::{self, Guest, Mail};
use crate::runtime::simulation::machine::{Machine, Moment, Number, Stacks};
use crate::runtime::simulation::model::Model;
use crate::runtime::simulation::platform::{COMPUTE, Simulated};

/// Maxima: threads of each kind, hosts, and actions per host.
const THREADS: u64 = 4;
const HOSTS: u64 = 3;
const DEEDS: u64 = 80;

/// The maximum number of guests at a time.
const GUESTS: u64 = 16;

pub struct World {
    pub machine: Arc<Machine>,
    pub model: Model,
    pub scheduler: Scheduler<Simulated>,
    /// The system sometimes holds threads up.
    pub is_rough: bool,
    /// Some guests panic.
    pub has_defects: bool,
    platform: Simulated,
    most_guests: usize,
    guests: Mutex<Vec<Arc<Guest>>>,
    timers: Mutex<Vec<Timer>>,
    clock: Mutex<Option<Number>>,
    is_over: AtomicBool,
}

struct Timer {
    at: Moment,
    guest: Arc<Guest>,
    task: Waker,
    is_deadline: bool,
}

impl World {
    fn with_seed(seed: u64) -> Arc<Self> {
        let machine = Machine::new(seed);
        let random = &machine.random;
        let (workers, most_threads) = (1 + random.index(4), 1 + random.below(THREADS) as usize);
        let (is_rough, has_defects) = (random.one_in(4), random.one_in(3));
        let one_missing_in = random.pick(&[0, 0, 2, 5]);
        let is_smooth = !is_rough && one_missing_in == 0;
        let platform = Simulated::new(&machine, workers, one_missing_in);
        let scheduler = Scheduler::on(platform.clone(), most_threads, machine.ticks.clone());
        Arc::new(Self {
            model: Model::new(Arc::clone(&machine), platform.clone(), most_threads, is_smooth),
            scheduler,
            is_rough,
            has_defects,
            platform,
            most_guests: 2 + random.below(GUESTS) as usize,
            guests: Mutex::default(),
            timers: Mutex::default(),
            clock: Mutex::default(),
            is_over: AtomicBool::new(false),
            machine,
        })
    }

    /// A random guest that has not ended.
    pub fn any_guest(&self) -> Option<Arc<Guest>> {
        let mut guests = self.guests.lock().unwrap();
        guests.retain(|guest| !self.model.has_ended(guest.number));
        let at = (!guests.is_empty()).then(|| self.machine.random.index(guests.len()));
        at.map(|at| Arc::clone(&guests[at]))
    }

    /// Adds a guest unless there are enough.
    pub fn add_guest(self: &Arc<Self>) {
        let mut guests = self.guests.lock().unwrap();
        if guests.len() < self.most_guests {
            let guest = Arc::new(Guest::new(self.model.spawned()));
            guests.push(Arc::clone(&guest));
            drop(guests);
            self.scheduler.spawn(Arc::clone(&guest.pace), guest::run(Arc::clone(self), guest));
        }
    }

    pub fn send(&self, to: &Guest, mail: Mail) {
        to.mail.lock().unwrap().push_back(mail);
        self.wake(to.number, to.waiting.lock().unwrap().take());
    }

    pub fn wake(&self, number: usize, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.model.woken(number);
            waker.wake();
        }
    }

    /// Interrupts a guest like `Timers` does.
    fn interrupt(&self, guest: &Guest) {
        guest.interrupted.store(true, Ordering::Relaxed);
        self.wake(guest.number, guest.sleeping.lock().unwrap().take());
        self.expedite(guest);
    }

    fn expedite(&self, guest: &Guest) {
        let before = self.model.expediting(guest.number);
        let mut over = false;
        self.scheduler.expedite(&guest.pace, |call| {
            let due = self.machine.instant(self.machine.now()) >= call.deadline;
            over = due || guest.interrupted.load(Ordering::Relaxed);
            over
        });
        self.model.expedited(guest.number, before, over);
    }

    /// Wakes a guest at a moment.
    pub fn wake_at(&self, at: Moment, guest: &Arc<Guest>, task: Waker) {
        self.set_timer(Timer { at, guest: Arc::clone(guest), task, is_deadline: false });
    }

    /// Ends the computation of a guest at a moment.
    pub async fn expedite_at(&self, at: Moment, guest: &Arc<Guest>) {
        let task = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        self.set_timer(Timer { at, guest: Arc::clone(guest), task, is_deadline: true });
    }

    pub fn forget_deadline(&self, guest: usize) {
        let is_its = |timer: &Timer| timer.is_deadline && timer.guest.number == guest;
        let gone: Vec<_> = self.timers.lock().unwrap().extract_if(.., |it| is_its(it)).collect();
        drop(gone);
    }

    fn set_timer(&self, timer: Timer) {
        self.timers.lock().unwrap().push(timer);
        let clock = *self.clock.lock().unwrap();
        self.machine.unpark(clock.expect("it runs"));
    }

    fn run_timers(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let now = self.machine.now();
            let mut timers = self.timers.lock().unwrap();
            let due: Vec<_> = timers.extract_if(.., |timer| timer.at <= now).collect();
            let next = timers.iter().map(|timer| timer.at).min();
            drop(timers);
            let none = due.is_empty();
            for Timer { guest, task, is_deadline, .. } in due {
                if is_deadline {
                    self.expedite(&guest);
                }
                self.wake(guest.number, Some(task));
            }
            if none {
                self.machine.park(next);
            }
        }
    }

    /// A random pause between two actions.
    pub fn moment(&self) -> Duration {
        Duration::from_micros(self.machine.random.pick(&[0, 0, 40, 700, 3000, 15_000]))
    }

    fn be_a_host(self: &Arc<Self>, deeds: u64) {
        for _ in 0..deeds {
            self.machine.pass(self.moment());
            if self.machine.random.one_in(10) {
                self.rest();
                (0..self.machine.random.below(4)).for_each(|_| self.send_to_any(Mail::Work));
            }
            let guest = self.any_guest();
            match (self.machine.random.below(6), guest) {
                (0, _) | (_, None) => self.add_guest(),
                (1 | 2, Some(guest)) => self.interrupt(&guest),
                (_, Some(guest)) => self.send(&guest, Mail::Work),
            }
        }
    }

    /// Pauses until shortly before idle threads end.
    fn rest(&self) {
        let now = self.machine.now();
        let rest = self.machine.gives_up(COMPUTE).map_or(Duration::ZERO, |at| at - now);
        let before = Duration::from_millis(self.machine.random.below(6));
        self.machine.pass(rest.saturating_sub(before));
    }

    /// Closes the scheduler and ends the workers.
    fn end(&self) {
        // Longer than any turn, unless a thread is held up.
        self.scheduler.close(Duration::from_secs(1));
        self.model.closed();
        self.platform.end();
    }
}

impl Episode for Arc<World> {
    fn new(seed: u64) -> Self {
        World::with_seed(seed)
    }

    fn run(&self) -> u64 {
        let (machine, mut stacks) = (&self.machine, Stacks::default());
        let random = &machine.random;
        let own = Arc::clone(self);
        let clock = machine.start("clock", move || own.run_timers());
        *self.clock.lock().unwrap() = Some(clock);
        (0..1 + random.below(GUESTS)).for_each(|_| self.add_guest());
        for _ in 0..1 + random.below(HOSTS) {
            let (own, deeds) = (Arc::clone(self), random.below(DEEDS));
            machine.start("host", move || own.be_a_host(deeds));
        }
        let early = random.one_in(3);
        let ruler = Arc::clone(self);
        let end = move || {
            if early {
                ruler.machine.pass(Duration::from_millis(ruler.machine.random.below(80)));
            }
            ruler.end();
        };
        let at_rest = || self.model.at_rest(self.scheduler.waiting());
        let mut steps = 0;
        if !early {
            steps += machine.run(&mut stacks, at_rest);
            self.model.check_quiet();
            let guests = self.guests.lock().unwrap();
            for guest in guests.iter().filter(|guest| !self.model.has_ended(guest.number)) {
                let left = guest.mail.lock().unwrap().len();
                assert_eq!(left, 0, "mail that {} does not look at", guest.number);
            }
        }
        machine.start("ruler", end);
        steps += machine.run(&mut stacks, at_rest);
        self.model.check_over();
        assert_eq!(self.scheduler.waiting(), 0);
        self.is_over.store(true, Ordering::Relaxed);
        machine.unpark(clock);
        steps + machine.run(&mut stacks, || ())
    }

    fn last_events(&self) -> String {
        self.model.last_events()
    }
}
