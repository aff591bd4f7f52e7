//! The thread that advances an engine's epoch, so that guests yield.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wasmtime::EngineWeak;

use crate::runtime::signals;

/// What guests' time is counted in.
pub const TICK: Duration = Duration::from_millis(1);

/// A guest computes for so many ticks, the first of which may be a short one, before others get their turn.
pub const SHORT_SLICE_TICKS: u64 = 2;

/// As much for one that has computed longer, and has its turns behind those that have not.
pub const LONG_SLICE_TICKS: u64 = 5;

/// It needs little; the environment has no say.
const STACK_BYTES: usize = 256 << 10;

/// After how many ticks without a guest call the thread goes to sleep.
const IDLE_TICKS: u32 = 100;

/// Counts the ticks of the time in which guests run.
#[derive(Clone, Default)]
pub struct Ticks(Arc<AtomicU64>);

/// A moment, to a tick.
#[derive(Clone, Copy, Debug)]
pub struct Moment(u64);

/// A moment that several threads see, without any order to what else they do.
#[derive(Debug, Default)]
pub struct AtomicMoment(AtomicU64);

impl AtomicMoment {
    /// The moment.
    pub fn load(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }

    /// Makes it another one.
    pub fn store(&self, Moment(at): Moment) {
        self.0.store(at, Ordering::Relaxed);
    }
}

impl Ticks {
    /// So many more have passed.
    pub fn advance(&self, ticks: u64) {
        self.0.fetch_add(ticks, Ordering::Relaxed);
    }

    /// The moment now.
    pub fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }

    /// Whether a short slice that began then is over.
    pub fn short_slice_is_over(&self, since: Moment) -> bool {
        self.since(since) >= SHORT_SLICE_TICKS
    }

    /// Whether a long slice that began then is over.
    pub fn long_slice_is_over(&self, since: Moment) -> bool {
        self.since(since) >= LONG_SLICE_TICKS
    }

    fn since(&self, Moment(since): Moment) -> u64 {
        self.now().0.wrapping_sub(since)
    }

    /// Whether so much time has passed for certain.
    pub fn have_passed(&self, since: Moment, time: Duration) -> bool {
        // The first tick may have come right after the moment.
        let whole = self.since(since).saturating_sub(1);
        whole > 0 && in_time(whole) >= time
    }

    /// How much time has passed, give or take a tick.
    pub fn time_since(&self, since: Moment) -> Duration {
        in_time(self.since(since))
    }
}

fn in_time(ticks: u64) -> Duration {
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// Ticks while guests run, sleeps while none does, ends when dropped.
pub struct Ticker {
    shared: Arc<Shared>,
    ticks: Ticks,
    thread: Option<JoinHandle<()>>,
}

struct Pauses {
    /// How many were without a guest.
    idle: u32,
    /// Until when ticks have been counted.
    counted: Instant,
}

impl Pauses {
    /// The ticks that have passed since this was last asked; a part of one is kept for the next time.
    fn count(&mut self) -> u64 {
        let passed = self.counted.elapsed().as_nanos() / TICK.as_nanos();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.counted += TICK.saturating_mul(passed);
        passed.into()
    }
}

#[derive(Default)]
struct Shared {
    /// A guest has run since the last tick. One that computes on is seen again at each tick,
    /// which has it yield.
    active: AtomicBool,
    asleep: AtomicBool,
    stop: Mutex<bool>,
    wake: Condvar,
}

impl Ticker {
    /// Starts the thread. It holds no engine: when one is gone it ends too.
    pub fn start(engines: [EngineWeak; 2]) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let ticks = Ticks::default();
        let thread =
            std::thread::Builder::new().name("airssys-ticker".into()).stack_size(STACK_BYTES);
        let thread = thread.spawn({
            let (shared, ticks) = (Arc::clone(&shared), ticks.clone());
            move || {
                let mut pauses = Pauses { idle: 0, counted: Instant::now() };
                let mut looked = ticks.now();
                while let Some(passed) = shared.pause(&mut pauses) {
                    ticks.advance(passed);
                    if ticks.long_slice_is_over(looked) {
                        looked = ticks.now();
                        signals::put_back();
                    }
                    for engine in &engines {
                        let Some(engine) = engine.upgrade() else { return };
                        engine.increment_epoch();
                    }
                }
            }
        })?;
        Ok(Self { shared, ticks, thread: Some(thread) })
    }

    /// The ticks so far.
    pub fn ticks(&self) -> &Ticks {
        &self.ticks
    }

    /// Says that a guest is about to run: ticks come for at least [`IDLE_TICKS`] from now on.
    pub fn keep_awake(&self) {
        // A read of what rarely changes, in nearly all cases.
        if !self.shared.active.load(Ordering::Relaxed) {
            self.shared.activate();
        }
    }
}

impl Shared {
    #[cold]
    fn activate(&self) {
        signals::put_back();
        // Sequentially consistent with `pause`: either it sees this, or this sees `asleep`.
        self.active.store(true, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            drop(self.lock());
            self.wake.notify_one();
        }
    }

    /// Waits until the next tick is due; how many have passed, which are more where the system is busy.
    /// `None` when it is time to end.
    fn pause(&self, pauses: &mut Pauses) -> Option<u64> {
        let mut stop = self.lock();
        if pauses.idle >= IDLE_TICKS {
            self.asleep.store(true, Ordering::SeqCst);
            while !*stop && !self.active.load(Ordering::SeqCst) {
                stop = self.wake.wait(stop).unwrap_or_else(PoisonError::into_inner);
            }
            self.asleep.store(false, Ordering::SeqCst);
            pauses.counted = Instant::now();
        }
        if !*stop {
            stop = self.wake.wait_timeout(stop, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
        let active = self.active.swap(false, Ordering::SeqCst);
        pauses.idle = if active { 0 } else { pauses.idle + 1 };
        (!*stop).then(|| pauses.count())
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *self.shared.lock() = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has nothing left to break here.
            let _ = thread.join();
        }
    }
}
