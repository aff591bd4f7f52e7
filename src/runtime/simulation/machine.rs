//! Simulated threads that share this thread, each with its own stack. Whenever one waits or yields,
//! the seed decides which one continues. Time passes when none can.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use generator::{Generator, Gn};

use crate::core::simulation::random::Random;
use crate::runtime::ticker::{TICK, Ticks};
use crate::runtime::turns;

/// The stack size in words.
const STACK: usize = 16 << 10;

/// A thread's number.
pub type Number = usize;

/// The time since the start.
pub type Moment = Duration;

pub struct Machine {
    pub random: Random,
    pub ticks: Ticks,
    origin: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: Moment,
    threads: Vec<Thread>,
    started: Vec<Body>,
    current: Option<Number>,
    failure: Option<String>,
}

type Body = Box<dyn FnOnce() + Send>;

struct Thread {
    name: &'static str,
    does: Does,
    /// Whether the last park timed out.
    timed_out: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Run,
    /// Busy until then.
    Pass(Moment),
    /// Waits for another thread, at most until then.
    Park(Option<Moment>),
    End,
}

impl Machine {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            random: Random::new(seed),
            ticks: Ticks::default(),
            origin: Instant::now(),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn now(&self) -> Moment {
        self.state().now
    }

    /// A moment as an `Instant`.
    pub fn instant(&self, at: Moment) -> Instant {
        self.origin + at
    }

    /// Adds a thread. It starts at its first turn.
    pub fn start(&self, name: &'static str, body: impl FnOnce() + Send + 'static) -> Number {
        let mut state = self.state();
        state.threads.push(Thread { name, does: Does::Run, timed_out: false });
        state.started.push(Box::new(body));
        state.threads.len() - 1
    }

    pub fn current(&self) -> Option<Number> {
        self.state().current
    }

    /// The name of the running thread.
    pub fn current_name(&self) -> &'static str {
        let state = self.state();
        state.current.map_or("nobody", |at| state.threads[at].name)
    }

    /// Yields to other threads.
    pub fn step(&self) {
        self.does(|_| Does::Run);
    }

    /// Keeps this thread busy for `time`.
    pub fn pass(&self, time: Duration) {
        self.does(|now| Does::Pass(now + time));
    }

    /// Keeps this thread busy until the next tick.
    pub fn pass_a_tick(&self) {
        let into = self.now().as_nanos() % TICK.as_nanos();
        self.pass(TICK - Duration::from_nanos(into as u64));
    }

    /// Waits for [`Machine::unpark`], at most until `until`. Returns whether the wait timed out.
    pub fn park(&self, until: Option<Moment>) -> bool {
        self.does(|_| Does::Park(until));
        let state = self.state();
        state.current.is_some_and(|at| state.threads[at].timed_out)
    }

    /// Wakes a thread if it is parked.
    pub fn unpark(&self, number: Number) {
        let thread = &mut self.state().threads[number];
        if let Does::Park(_) = thread.does {
            (thread.does, thread.timed_out) = (Does::Run, false);
        }
    }

    fn does(&self, what: impl FnOnce(Moment) -> Does) {
        let mut state = self.state();
        let now = state.now;
        // A thread unwinds without a switch: the count of panics belongs to the real thread.
        let Some(at) = state.current.filter(|_| !std::thread::panicking()) else { return };
        state.threads[at].does = what(now);
        drop(state);
        #[expect(deprecated, reason = "others need a reference, which no task has")]
        turns::aside(|| generator::yield_with(()));
    }

    /// When the first parked thread of this name times out.
    pub fn gives_up(&self, name: &str) -> Option<Moment> {
        let state = self.state();
        let its = state.threads.iter().filter(|it| it.name == name);
        its.filter_map(|it| if let Does::Park(until) = it.does { until } else { None }).min()
    }

    /// The number of threads of this name, and how many of them are parked.
    pub fn count(&self, name: &str) -> (usize, usize) {
        let state = self.state();
        let its = state.threads.iter().filter(|it| it.name == name && it.does != Does::End);
        its.fold((0, 0), |(all, parked), it| {
            (all + 1, parked + usize::from(matches!(it.does, Does::Park(_))))
        })
    }

    /// Fails the episode unless `holds`. A panic would end only a task.
    pub fn expect(&self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.state().failure.get_or_insert_with(otherwise);
        }
    }

    /// Runs the threads until none can continue and returns the number of steps. Calls `at_rest`
    /// before time passes.
    pub fn run(self: &Arc<Self>, stacks: &mut Stacks, mut at_rest: impl FnMut()) -> u64 {
        let mut steps = 0;
        loop {
            for body in std::mem::take(&mut self.state().started) {
                stacks.0.push(Some(stack(body)));
            }
            if let Some(number) = self.choose() {
                let stack = stacks.0[number].as_mut().expect("it has not ended");
                stack.resume();
                steps += 1;
                let mut state = self.state();
                state.current = None;
                if stack.is_done() {
                    state.threads[number].does = Does::End;
                    stacks.0[number] = None;
                }
            } else {
                at_rest();
                if !self.advance() {
                    return steps;
                }
            }
            let failure = self.state().failure.take();
            if let Some(failure) = failure {
                panic!("{failure}");
            }
        }
    }

    fn choose(&self) -> Option<Number> {
        let mut state = self.state();
        let ready = state.threads.iter().filter(|it| it.does == Does::Run).count();
        if ready == 0 {
            return None;
        }
        let nth = self.random.index(ready);
        let mut runs = state.threads.iter().enumerate().filter(|(_, it)| it.does == Does::Run);
        state.current = runs.nth(nth).map(|(number, _)| number);
        state.current
    }

    /// Advances time until a thread can continue.
    fn advance(&self) -> bool {
        let mut state = self.state();
        let until = |it: &Thread| match it.does {
            Does::Pass(until) | Does::Park(Some(until)) => Some(until),
            _ => None,
        };
        let Some(next) = state.threads.iter().filter_map(until).min() else { return false };
        let tick = |at: Moment| (at.as_nanos() / TICK.as_nanos()) as u64;
        self.ticks.advance(tick(next).saturating_sub(tick(state.now)));
        state.now = next.max(state.now);
        for thread in &mut state.threads {
            if until(thread).is_some_and(|until| until <= next) {
                (thread.does, thread.timed_out) = (Does::Run, true);
            }
        }
        true
    }
}

/// The stacks, by thread.
#[derive(Default)]
pub struct Stacks(Vec<Option<Generator<'static, (), ()>>>);

fn stack(body: Body) -> Generator<'static, (), ()> {
    Gn::<()>::new_opt(STACK, || {
        // As on a real system, a panic ends the thread.
        let _ = catch_unwind(AssertUnwindSafe(body));
    })
}
