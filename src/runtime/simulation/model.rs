//! What must be true of tasks and their turns, whatever the order in which things happen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::core::simulation::trace::Trace;
use crate::runtime::simulation::machine::{Machine, Moment};
use crate::runtime::simulation::platform::{COMPUTE, Simulated};
use crate::runtime::ticker::{LONG_SLICE_TICKS, SHORT_SLICE_TICKS, TICK};

/// How long a guest takes beside what it computes, at most, until it gives way.
const SMALL_WORK: Duration = Duration::from_micros(300);

const SHORT_SLICE: Duration = TICK.saturating_mul(SHORT_SLICE_TICKS as u32);
const LONG_SLICE: Duration = TICK.saturating_mul(LONG_SLICE_TICKS as u32);

/// Where a task waits for its turn, as its last one was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Workers,
    /// Behind the workers, with something new.
    Begins,
    /// Behind the workers, in something that it goes on with.
    GoesOn,
    /// Behind the workers, unless it is expedited at this moment.
    Either,
}

impl Place {
    fn is_behind(self) -> bool {
        matches!(self, Self::Begins | Self::GoesOn)
    }
}

/// Whether a task's next turn would not be behind the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expedited {
    No,
    /// Others are at it, or were while it changed.
    Perhaps,
    Yes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Waiting { since: Moment, place: Place },
    HasTurn { woken: bool },
    Ended,
}

/// What is known of a task before it is expedited.
pub struct Before {
    changes: u64,
    is_certain: bool,
}

struct Task {
    state: State,
    turn_began: u64,
    worked: bool,
    /// The tick at the end of its last turn, if that was long and full of work.
    computed_until: Option<u64>,
    /// Its guest is in a call that takes several turns.
    in_call: bool,
    expedited: Expedited,
    /// How many are at expediting it.
    expediting: u32,
    /// How often it has changed.
    changes: u64,
    dropped: bool,
}

#[derive(Default)]
struct Known {
    tasks: Vec<Task>,
    /// Of the last turn behind the workers that was nobody's before others: whether its task went on.
    last_went_on: Option<(bool, Moment)>,
    /// When nobody waited behind the workers last.
    none_behind: Moment,
    closed: bool,
    trace: Trace,
    turns: u64,
    turns_behind: u64,
}

pub struct Model {
    machine: Arc<Machine>,
    platform: Simulated,
    most_threads: usize,
    /// Nothing is held up but by turns.
    smooth: bool,
    known: Mutex<Known>,
}

impl Model {
    pub fn new(
        machine: Arc<Machine>,
        platform: Simulated,
        most_threads: usize,
        smooth: bool,
    ) -> Self {
        Self { machine, platform, most_threads, smooth, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) -> u64 {
        (self.machine.now().as_nanos() / TICK.as_nanos()) as u64
    }

    /// A task that has its first turn to come; its number.
    pub fn spawned(&self) -> usize {
        let mut known = self.known();
        let number = known.tasks.len();
        let since = self.machine.now();
        known.tasks.push(Task {
            state: State::Waiting { since, place: Place::Workers },
            turn_began: 0,
            worked: false,
            computed_until: None,
            in_call: false,
            expedited: Expedited::No,
            expediting: 0,
            changes: 0,
            dropped: false,
        });
        known.trace.note(since, "spawned", number as u64, 0);
        number
    }

    /// A task is about to be woken.
    pub fn woken(&self, number: usize) {
        let (now, tick) = (self.machine.now(), self.tick());
        let mut known = self.known();
        known.trace.note(now, "woken", number as u64, 0);
        let task = &mut known.tasks[number];
        match &mut task.state {
            State::Idle => task.wait(now, tick, false),
            State::HasTurn { woken } => *woken = true,
            State::Waiting { .. } | State::Ended => {}
        }
    }

    /// A task has its turn.
    pub fn begins(&self, number: usize) {
        let (now, tick) = (self.machine.now(), self.tick());
        let behind = self.machine.current_name() == COMPUTE;
        let mut known = self.known();
        known.trace.note(now, "begins", number as u64, u64::from(behind));
        (known.turns, known.turns_behind) =
            (known.turns + 1, known.turns_behind + u64::from(behind));
        let state = known.tasks[number].state;
        self.machine.expect(!(behind && known.closed), || format!("{number} runs after the end"));
        match state {
            State::Waiting { since, place } => {
                let overlooked = self.overlooked(&known, since, place);
                self.machine.expect(overlooked.is_none(), || {
                    format!("{number} has waited since {since:?}: {overlooked:?}")
                });
                let anywhere = self.was_missing(since) || known.closed || place == Place::Either;
                self.machine.expect(anywhere || place.is_behind() == behind, || {
                    format!("{number}, which is {place:?}, runs behind the workers: {behind}")
                });
                match behind {
                    false => {}
                    true if !anywhere => self.check_order(&mut known, number, since, place),
                    true => known.last_went_on = None,
                }
            }
            State::Idle => known.last_went_on = known.last_went_on.filter(|_| !behind),
            State::HasTurn { .. } | State::Ended => {
                self.machine.expect(false, || format!("{number} runs, and is {state:?}"));
            }
        }
        let task = &mut known.tasks[number];
        (task.state, task.worked) = (State::HasTurn { woken: false }, false);
        task.turn_began = tick;
        task.changes += 1;
    }

    /// Whether a thread was not to be had since then: tasks may have gone to the workers instead.
    fn was_missing(&self, since: Moment) -> bool {
        self.platform.missing_since().is_some_and(|at| at >= since)
    }

    /// Whether others that wait behind the workers should have come first.
    fn check_order(&self, known: &mut Known, number: usize, since: Moment, place: Place) {
        let now = self.machine.now();
        let last = known.last_went_on.filter(|(_, at)| !self.was_missing(*at));
        let goes_on = place == Place::GoesOn;
        let comes_first = |its: Moment, that: Place| {
            if that == place {
                (its < since).then_some("it has waited longer")
            } else {
                let again = last.is_some_and(|(went_on, _)| went_on == goes_on);
                again.then_some("it is its kind's turn")
            }
        };
        for (other, task) in known.tasks.iter().enumerate() {
            // One of this very moment may not have come to its place yet.
            if let State::Waiting { since: its, place: that } = task.state
                && that.is_behind()
                && its < now
                && !self.was_missing(its)
                && other != number
            {
                let why = comes_first(its, that);
                self.machine.expect(why.is_none(), || {
                    format!("{number} comes before {other}: {}", why.unwrap_or_default())
                });
            }
        }
        known.last_went_on = Some((goes_on, now));
    }

    /// A task's turn is over.
    pub fn ends(&self, number: usize, has_ended: bool) {
        let (now, tick) = (self.machine.now(), self.tick());
        let mut known = self.known();
        known.trace.note(now, "ends", number as u64, u64::from(has_ended));
        let task = &mut known.tasks[number];
        let long = task.worked && tick - task.turn_began >= SHORT_SLICE_TICKS;
        task.computed_until = long.then_some(tick);
        let State::HasTurn { woken } = task.state else {
            return self.machine.expect(false, || format!("{number} ends without a turn"));
        };
        task.state = if has_ended { State::Ended } else { State::Idle };
        task.changes += 1;
        if woken && !has_ended {
            task.wait(now, tick, true);
        }
    }

    /// A task has done more than short work in this turn.
    pub fn worked(&self, number: usize) {
        self.known().tasks[number].worked = true;
    }

    /// A task's guest is in a call that takes several turns.
    pub fn begin_deadline(&self, number: usize) {
        let task = &mut self.known().tasks[number];
        task.in_call = true;
        task.expedited = if task.expediting > 0 { Expedited::Perhaps } else { Expedited::No };
    }

    /// That call is over.
    pub fn end_deadline(&self, number: usize) {
        self.known().tasks[number].in_call = false;
    }

    /// A task is about to be expedited; what is known of it.
    pub fn expediting(&self, number: usize) -> Before {
        let task = &mut self.known().tasks[number];
        let is_certain = task.expedited == Expedited::No;
        task.expediting += 1;
        task.changes += u64::from(task.expediting > 1);
        if let State::Waiting { place, .. } = &mut task.state
            && place.is_behind()
        {
            *place = Place::Either;
        }
        task.expedited = Expedited::Perhaps;
        Before { changes: task.changes, is_certain }
    }

    /// A task was expedited.
    pub fn expedited(&self, number: usize, before: Before) {
        let now = self.machine.now();
        let mut known = self.known();
        known.trace.note(now, "expedited", number as u64, 0);
        let task = &mut known.tasks[number];
        task.expediting -= 1;
        if task.expediting > 0 || task.changes != before.changes {
            return;
        }
        match &mut task.state {
            State::Waiting { since, place } if *place == Place::Either => {
                (*since, *place) = (now, Place::Workers);
                if before.is_certain {
                    task.expedited = Expedited::No;
                }
            }
            _ => task.expedited = Expedited::Yes,
        }
    }

    /// The future of a task is gone.
    pub fn dropped(&self, number: usize) {
        let now = self.machine.now();
        let mut known = self.known();
        known.trace.note(now, "dropped", number as u64, 0);
        let task = &mut known.tasks[number];
        let before = std::mem::replace(&mut task.dropped, true);
        if !matches!(task.state, State::HasTurn { .. }) {
            task.state = State::Ended;
        }
        drop(known);
        self.machine.expect(!before, || format!("{number} is dropped twice"));
    }

    /// Nothing runs behind the workers from now on.
    pub fn closed(&self) {
        self.known().closed = true;
    }

    /// Why a wait is too long.
    fn overlooked(&self, known: &Known, since: Moment, place: Place) -> Option<&'static str> {
        if !self.smooth {
            return None;
        }
        let now = self.machine.now();
        if place == Place::Workers {
            let free_since = since.max(self.platform.crowded().unwrap_or_default());
            if now - free_since > SHORT_SLICE + SMALL_WORK {
                return Some("a worker is free");
            }
        }
        let turns = 4 * (known.live() as u32 + 2);
        (now - since > turns * (LONG_SLICE + SMALL_WORK)).then_some("all others had their turns")
    }

    /// Nobody goes on at this moment.
    pub fn at_rest(&self, waiting: usize) {
        let (threads, parked) = self.machine.count(COMPUTE);
        let longest = self.platform.longest_poll();
        let mut known = self.known();
        let waits_behind =
            |task: &Task| matches!(task.state, State::Waiting { place, .. } if place.is_behind());
        if !known.tasks.iter().any(waits_behind) {
            known.none_behind = self.machine.now();
        }
        // What was not to be had comes later, one thread with each task.
        let was_missing = self.was_missing(known.none_behind);
        let expect = |holds, text: &dyn Fn() -> String| self.machine.expect(holds, text);
        expect(threads <= self.most_threads, &|| format!("{threads} threads compute"));
        if self.smooth {
            expect(longest <= 2 * SHORT_SLICE + SMALL_WORK, &|| {
                format!("a worker was handed over for {longest:?}")
            });
        }
        let live = known.live();
        expect(waiting <= live, &|| format!("{waiting} of {live} tasks wait behind the workers"));
        for (number, task) in known.tasks.iter().enumerate() {
            let State::Waiting { since, place, .. } = task.state else { continue };
            let overlooked = self.overlooked(&known, since, place);
            expect(overlooked.is_none(), &|| {
                format!("{number} waits since {since:?}: {overlooked:?}")
            });
            if place.is_behind() && !known.closed && !was_missing {
                expect(parked == 0 && threads == self.most_threads, &|| {
                    format!("{number} waits, of {threads} threads {parked} have nothing to do")
                });
            }
        }
    }

    /// Nothing goes on any more: no wake-up was lost.
    pub fn check_quiet(&self) {
        for (number, task) in self.known().tasks.iter().enumerate() {
            let state = task.state;
            assert!(matches!(state, State::Idle | State::Ended), "{number} is still {state:?}");
        }
    }

    /// All have ended.
    pub fn check_over(&self) {
        assert_eq!(self.machine.count(COMPUTE).0, 0, "threads are left");
        for (number, task) in self.known().tasks.iter().enumerate() {
            assert!(task.dropped, "{number} is never dropped, and {:?}", task.state);
        }
    }

    pub fn has_ended(&self, number: usize) -> bool {
        self.known().tasks[number].state == State::Ended
    }

    /// How many turns there were, and how many of them behind the workers.
    pub fn size(&self) -> (u64, u64) {
        let known = self.known();
        (known.turns, known.turns_behind)
    }

    pub fn last_events(&self) -> String {
        self.known().trace.text()
    }
}

impl Known {
    fn live(&self) -> usize {
        self.tasks.iter().filter(|task| !task.dropped).count()
    }
}

impl Task {
    fn wait(&mut self, since: Moment, tick: u64, again: bool) {
        let rested = self.computed_until.is_none_or(|until| tick - until >= LONG_SLICE_TICKS);
        let computes = self.computed_until.is_some() && (again || !rested);
        let place = match self.expedited {
            _ if !computes => Place::Workers,
            Expedited::Yes => {
                self.expedited = Expedited::No;
                Place::Workers
            }
            Expedited::Perhaps => Place::Either,
            Expedited::No if again && self.in_call => Place::GoesOn,
            Expedited::No => Place::Begins,
        };
        self.state = State::Waiting { since, place };
        self.changes += 1;
    }
}
