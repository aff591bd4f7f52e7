//! The thread that advances an engine's epoch, so that guests yield.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Engine;

/// How long a guest may compute before others get their turn.
pub const TICK: Duration = Duration::from_millis(10);

/// After how many ticks without a guest call the thread goes to sleep.
const IDLE_TICKS: u32 = 100;

/// Ticks while guests run, sleeps while none does, ends when dropped.
pub struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Guest calls under way.
    running: AtomicUsize,
    asleep: AtomicBool,
    stop: Mutex<bool>,
    wake: Condvar,
}

/// A guest call under way; keeps the ticks coming.
pub struct Running<'a>(&'a Shared);

impl Ticker {
    /// Starts the thread. It holds no engine: when the last one is gone it ends too.
    pub fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("airssys-ticker".into()).spawn({
            let shared = Arc::clone(&shared);
            let engine = engine.weak();
            move || {
                while shared.pause() {
                    match engine.upgrade() {
                        Some(engine) => engine.increment_epoch(),
                        None => return,
                    }
                }
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Says that a guest is about to run.
    pub fn enter(&self) -> Running<'_> {
        // Sequentially consistent with `pause`: either it sees the call, or this sees `asleep`.
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            drop(self.shared.lock());
            self.shared.wake.notify_one();
        }
        Running(&self.shared)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    /// Waits until the next tick is due; false when it is time to end.
    fn pause(&self) -> bool {
        let mut stop = self.lock();
        let mut idle = 0;
        while !*stop {
            if idle == IDLE_TICKS {
                self.asleep.store(true, Ordering::SeqCst);
                while !*stop && self.running.load(Ordering::SeqCst) == 0 {
                    stop = self.wake.wait(stop).unwrap_or_else(PoisonError::into_inner);
                }
                self.asleep.store(false, Ordering::SeqCst);
                idle = 0;
                continue;
            }
            stop = self.wake.wait_timeout(stop, TICK).unwrap_or_else(PoisonError::into_inner).0;
            if self.running.load(Ordering::SeqCst) > 0 {
                return !*stop;
            }
            idle += 1;
        }
        false
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
