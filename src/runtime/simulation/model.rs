//! The invariants of tasks and their turns in every order of events.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::core::simulation::trace::Trace;
use crate::runtime::simulation::machine::{Machine, Moment};
use crate::runtime::simulation::platform::{COMPUTE, Simulated};
use crate::runtime::ticker::{LONG_SLICE_TICKS, SHORT_SLICE_TICKS, TICK};

/// The maximum time that a guest takes besides computing before it yields.
const SMALL_WORK: Duration = Duration::from_micros(300);

const SHORT_SLICE: Duration = TICK.saturating_mul(SHORT_SLICE_TICKS as u32);
const LONG_SLICE: Duration = TICK.saturating_mul(LONG_SLICE_TICKS as u32);

/// Where a task waits for its turn. Its last turn decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Workers,
    /// Behind the workers, to start something new.
    Begins,
    /// Behind the workers, to continue something.
    GoesOn,
    /// Behind the workers, or with them: it is expedited at this moment.
    Either,
}

impl Place {
    fn is_behind(self) -> bool {
        matches!(self, Self::Begins | Self::GoesOn)
    }
}

/// Whether a task's next turn is kept from the queue behind the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expedited {
    No,
    /// Unknown: it is being expedited, or changed meanwhile.
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
    /// Where it waits, if behind the workers.
    place: Option<Place>,
    expedited: Expedited,
}

struct Task {
    state: State,
    turn_began: u64,
    worked: bool,
    /// The tick at which its last turn ended, if that turn was long and did much work.
    computed_until: Option<u64>,
    /// Its guest is in a call that takes several turns.
    in_call: bool,
    expedited: Expedited,
    /// How many threads are expediting it.
    expediting: u32,
    /// How often it has changed.
    changes: u64,
    dropped: bool,
}

#[derive(Default)]
struct Known {
    tasks: Vec<Task>,
    /// The last turn behind the workers that did not jump the queue: whether its task continued
    /// something, and when.
    last_went_on: Option<(bool, Moment)>,
    /// When the queue behind the workers was last empty.
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
    /// The system holds no thread up and refuses none.
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

    /// Adds a task that waits for its first turn. Returns its number.
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

    /// Called before a task is woken.
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

    /// Called when a task's turn starts.
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

    /// Whether a thread was refused since then. Tasks may have gone to the workers instead.
    fn was_missing(&self, since: Moment) -> bool {
        self.platform.missing_since().is_some_and(|at| at >= since)
    }

    /// Checks that no other task behind the workers should have been first.
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
            // A task woken at this very moment may not be queued yet.
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

    /// Called when a task's turn ends.
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

    /// Called when a task has done more than short work in its turn.
    pub fn worked(&self, number: usize) {
        self.known().tasks[number].worked = true;
    }

    /// Called when a task's guest begins a call that takes several turns.
    pub fn begin_call(&self, number: usize) {
        let now = self.machine.now();
        let mut known = self.known();
        known.trace.note(now, "begins a call", number as u64, 0);
        known.tasks[number].set_call(true);
    }

    /// Called when that call ends.
    pub fn end_call(&self, number: usize) {
        let now = self.machine.now();
        let mut known = self.known();
        known.trace.note(now, "ends a call", number as u64, 0);
        known.tasks[number].set_call(false);
    }

    /// Called before a task is expedited; returns what is known of it.
    pub fn expediting(&self, number: usize) -> Before {
        let now = self.machine.now();
        let mut known = self.known();
        known.trace.note(now, "expediting", number as u64, 0);
        let task = &mut known.tasks[number];
        task.expediting += 1;
        task.changes += u64::from(task.expediting > 1);
        let mut was = None;
        if let State::Waiting { place, .. } = &mut task.state
            && place.is_behind()
        {
            was = Some(std::mem::replace(place, Place::Either));
        }
        let before = Before { changes: task.changes, place: was, expedited: task.expedited };
        task.expedited = Expedited::Perhaps;
        before
    }

    /// Called after a task was expedited, if its call `is_over`.
    pub fn expedited(&self, number: usize, before: Before, is_over: bool) {
        let now = self.machine.now();
        let mut known = self.known();
        known.trace.note(now, "expedited", number as u64, u64::from(is_over));
        let task = &mut known.tasks[number];
        task.expediting -= 1;
        if task.expediting > 0 || task.changes != before.changes {
            return;
        }
        if !is_over {
            if let (State::Waiting { place, .. }, Some(was)) = (&mut task.state, before.place) {
                *place = was;
            }
            task.expedited = before.expedited;
            return;
        }
        match &mut task.state {
            State::Waiting { since, place } if *place == Place::Either => {
                (*since, *place) = (now, Place::Workers);
                if before.expedited == Expedited::No {
                    task.expedited = Expedited::No;
                }
            }
            _ => task.expedited = Expedited::Yes,
        }
    }

    /// Called when a task's future is dropped.
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

    /// Called when nothing may run behind the workers any more.
    pub fn closed(&self) {
        self.known().closed = true;
    }

    /// Why a task has waited too long, if it has.
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

    /// Checks a moment at which no thread can continue.
    pub fn at_rest(&self, waiting: usize) {
        let (threads, parked) = self.machine.count(COMPUTE);
        let longest = self.platform.longest_poll();
        let mut known = self.known();
        let waits_behind =
            |task: &Task| matches!(task.state, State::Waiting { place, .. } if place.is_behind());
        if !known.tasks.iter().any(waits_behind) {
            known.none_behind = self.machine.now();
        }
        // Refused threads are added later, one per task.
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

    /// Checks that no wake-up was lost, once nothing can continue.
    pub fn check_quiet(&self) {
        for (number, task) in self.known().tasks.iter().enumerate() {
            let state = task.state;
            assert!(matches!(state, State::Idle | State::Ended), "{number} is still {state:?}");
        }
    }

    /// Checks that everything has ended.
    pub fn check_over(&self) {
        assert_eq!(self.machine.count(COMPUTE).0, 0, "threads are left");
        for (number, task) in self.known().tasks.iter().enumerate() {
            assert!(task.dropped, "{number} is never dropped, and {:?}", task.state);
        }
    }

    pub fn has_ended(&self, number: usize) -> bool {
        self.known().tasks[number].state == State::Ended
    }

    /// The number of turns, and of those behind the workers.
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
    /// A call and its end are changes of their own: each clears what expedited the last one.
    fn set_call(&mut self, in_call: bool) {
        self.in_call = in_call;
        self.changes += 1;
        self.expedited = if self.expediting > 0 { Expedited::Perhaps } else { Expedited::No };
    }

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
