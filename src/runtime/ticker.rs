//! The thread that advances an engine's epoch, so that guests yield.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::EngineWeak;

use crate::runtime::signals;

/// How long a guest may compute before others get their turn.
pub const TICK: Duration = Duration::from_millis(10);

/// It needs little; the environment has no say.
const STACK_BYTES: usize = 256 << 10;

/// After how many ticks without a guest call the thread goes to sleep.
const IDLE_TICKS: u32 = 100;

/// Counts ticks. That so many came says how much time has passed at least: a busy system may delay them.
#[derive(Clone, Default)]
pub struct Ticks(Arc<AtomicU64>);

/// A moment, to a tick.
#[derive(Clone, Copy, Debug)]
pub struct Moment(u64);

impl Ticks {
    /// The moment now.
    pub fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }

    /// Whether so much time has passed for certain.
    pub fn have_passed(&self, since: Moment, time: Duration) -> bool {
        // The first tick may have come right after the moment.
        let whole = self.now().0.wrapping_sub(since.0).saturating_sub(1);
        whole > 0 && TICK.saturating_mul(u32::try_from(whole).unwrap_or(u32::MAX)) >= time
    }
}

/// Ticks while guests run, sleeps while none does, ends when dropped.
pub struct Ticker {
    shared: Arc<Shared>,
    ticks: Ticks,
    thread: Option<JoinHandle<()>>,
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
                let mut idle = 0;
                while shared.pause(&mut idle) {
                    ticks.0.fetch_add(1, Ordering::Relaxed);
                    signals::put_back();
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

    /// Waits until the next tick is due; false when it is time to end. `idle`: how many ticks
    /// have passed without a guest.
    fn pause(&self, idle: &mut u32) -> bool {
        let mut stop = self.lock();
        if *idle >= IDLE_TICKS {
            self.asleep.store(true, Ordering::SeqCst);
            while !*stop && !self.active.load(Ordering::SeqCst) {
                stop = self.wake.wait(stop).unwrap_or_else(PoisonError::into_inner);
            }
            self.asleep.store(false, Ordering::SeqCst);
        }
        if !*stop {
            stop = self.wake.wait_timeout(stop, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
        *idle = if self.active.swap(false, Ordering::SeqCst) { 0 } else { *idle + 1 };
        !*stop
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
