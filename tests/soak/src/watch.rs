//! Ends the process if a round hangs or panics, and names the round.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// The maximum duration of a round.
const PATIENCE: Duration = Duration::from_secs(180);

/// The place where the library makes Tokio start its workers.
const STARTER: &str = "airssys-start";

/// How often Tokio panicked there. Each time it leaks the descriptors of a runtime.
static LOST_STARTS: AtomicUsize = AtomicUsize::new(0);

/// How often Tokio failed to start its workers.
pub fn lost_starts() -> usize {
    LOST_STARTS.load(SeqCst)
}

static ROUND: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

/// Watches a round until it is dropped.
pub struct Watched;

pub fn round(seed: u64, number: u64) -> Watched {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() == Some(STARTER) {
                // A panic of Tokio for lack of a thread. The library catches it.
                LOST_STARTS.fetch_add(1, SeqCst);
                return;
            }
            crate::shortage::end();
            usual(panic);
            eprintln!("soak: SOAK_SEED={seed}, round {}", ROUND.load(SeqCst));
            std::process::abort();
        }));
        std::thread::spawn(move || watch(seed));
    });
    ROUND.store(number, SeqCst);
    Watched
}

impl Drop for Watched {
    fn drop(&mut self) {
        ENDED.fetch_add(1, SeqCst);
    }
}

fn watch(seed: u64) {
    let (mut ended, mut since) = (0, Instant::now());
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let now = ENDED.load(SeqCst);
        if now != ended {
            (ended, since) = (now, Instant::now());
        } else if since.elapsed() > PATIENCE {
            eprintln!("soak: SOAK_SEED={seed}, round {} hangs", ROUND.load(SeqCst));
            std::process::abort();
        }
    }
}
