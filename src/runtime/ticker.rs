//! The thread that advances the epoch of an engine, so that guests yield.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wasmtime::EngineWeak;

use crate::runtime::idle_sleep::{IdleSleep, Pause};
use crate::runtime::signals;

/// The unit of guest time.
pub const TICK: Duration = Duration::from_millis(1);

/// How long a guest computes before others get their turn, in ticks. The first tick may be a
/// partial one.
pub const SHORT_SLICE_TICKS: u64 = 2;

/// The same for a guest that has computed for longer. Its turns come after the short ones.
pub const LONG_SLICE_TICKS: u64 = 5;

/// The stack size of the thread. It needs little, whatever `RUST_MIN_STACK` says.
const STACK_BYTES: usize = 256 << 10;

/// The thread sleeps after this many ticks without a guest.
const IDLE_TICKS: u32 = 1000;

/// Counts ticks. They pass only while guests run.
#[derive(Clone, Default)]
pub struct Ticks(Arc<AtomicU64>);

/// A point in time, to a tick.
#[derive(Clone, Copy, Debug)]
pub struct Moment(u64);

/// A moment shared by threads. It does not order other memory accesses.
#[derive(Debug, Default)]
pub struct AtomicMoment(AtomicU64);

impl AtomicMoment {
    /// Returns the moment.
    pub fn load(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }

    /// Replaces the moment.
    pub fn store(&self, Moment(at): Moment) {
        self.0.store(at, Ordering::Relaxed);
    }
}

impl Ticks {
    /// Counts `ticks` more.
    pub fn advance(&self, ticks: u64) {
        self.0.fetch_add(ticks, Ordering::Relaxed);
    }

    /// Returns the current moment.
    pub fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }

    /// Returns whether a short slice that began at `since` is over.
    pub fn short_slice_is_over(&self, since: Moment) -> bool {
        self.since(since) >= SHORT_SLICE_TICKS
    }

    /// Returns whether a long slice that began at `since` is over.
    pub fn long_slice_is_over(&self, since: Moment) -> bool {
        self.since(since) >= LONG_SLICE_TICKS
    }

    fn since(&self, Moment(since): Moment) -> u64 {
        self.now().0.wrapping_sub(since)
    }

    /// Returns whether at least `time` has passed since `since`.
    pub fn have_passed(&self, since: Moment, time: Duration) -> bool {
        let whole = self.whole_since(since);
        !whole.is_zero() && whole >= time
    }

    /// Returns the time that has passed since `since`, rounded down to a tick.
    pub fn whole_since(&self, since: Moment) -> Duration {
        // The first tick may have come right after `since`.
        in_time(self.since(since).saturating_sub(1))
    }

    /// Returns the time that has passed since `since`, to a tick.
    pub fn time_since(&self, since: Moment) -> Duration {
        in_time(self.since(since))
    }
}

fn in_time(ticks: u64) -> Duration {
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// The time up to which ticks have been counted.
struct Counted(Instant);

impl Counted {
    /// Counts the ticks since the last count. A fraction of a tick remains for the next count.
    fn count(&mut self) -> u64 {
        let passed = self.0.elapsed().as_nanos() / TICK.as_nanos();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.0 += TICK.saturating_mul(passed);
        passed.into()
    }
}

/// A thread that ticks while guests run and sleeps while none runs. Ends on drop.
pub struct Ticker {
    sleep: Arc<IdleSleep>,
    ticks: Ticks,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread. It keeps no engine alive, and also ends when an engine is gone.
    pub fn start(engines: [EngineWeak; 2]) -> std::io::Result<Self> {
        let sleep = Arc::new(IdleSleep::new(IDLE_TICKS));
        let ticks = Ticks::default();
        let thread =
            std::thread::Builder::new().name("airssys-ticker".into()).stack_size(STACK_BYTES);
        let thread = thread.spawn({
            let (sleep, ticks) = (Arc::clone(&sleep), ticks.clone());
            move || tick(&sleep, &ticks, &engines)
        })?;
        Ok(Self { sleep, ticks, thread: Some(thread) })
    }

    /// Returns the count of ticks.
    pub fn ticks(&self) -> &Ticks {
        &self.ticks
    }

    /// Announces a guest that is about to run: at least [`IDLE_TICKS`] ticks follow.
    pub fn keep_awake(&self) {
        self.sleep.keep_awake(signals::put_back);
    }
}

/// Ticks until the end.
fn tick(sleep: &IdleSleep, ticks: &Ticks, engines: &[EngineWeak; 2]) {
    let mut counted = Counted(Instant::now());
    let mut checked_signals = ticks.now();
    loop {
        match sleep.pause(TICK) {
            Pause::Over => {}
            // No ticks passed during the sleep.
            Pause::Slept => {
                counted = Counted(Instant::now());
                continue;
            }
            Pause::Ended => return,
        }
        // On a busy system several ticks may have passed.
        let passed = counted.count();
        ticks.advance(passed);
        if ticks.long_slice_is_over(checked_signals) {
            checked_signals = ticks.now();
            signals::put_back();
        }
        for engine in engines {
            let Some(engine) = engine.upgrade() else { return };
            // Slices end on time even if this thread is late.
            (0..passed.min(LONG_SLICE_TICKS)).for_each(|_| engine.increment_epoch());
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.sleep.end();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has no consequences here.
            let _ = thread.join();
        }
    }
}
