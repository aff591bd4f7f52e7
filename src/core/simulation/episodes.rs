//! Runs one episode after the other, each with a seed of its own.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

const STEPS: u64 = 1_000_000;
const SEED: u64 = 1;

/// A world in which things happen as its seed decides.
pub trait Episode {
    /// The world before anything has happened.
    fn new(seed: u64) -> Self;

    /// All that happens, and how many steps it takes. Panics if something is not as it must be.
    fn run(&self) -> u64;

    /// What has happened last.
    fn last_events(&self) -> String;
}

/// `AIRSSYS_SIMULATION_STEPS` is how many steps there are at least, `AIRSSYS_SIMULATION_SEED` the seed of the
/// first episode; each has the next one. A failure names its episode's own, which alone has it again.
pub fn run<E: Episode>(mut over: impl FnMut(E)) {
    let least = setting("AIRSSYS_SIMULATION_STEPS", STEPS);
    let first = setting("AIRSSYS_SIMULATION_SEED", SEED);
    let (mut steps, mut seed) = (0, first);
    while steps < least {
        let episode = E::new(seed);
        match catch_unwind(AssertUnwindSafe(|| episode.run())) {
            Ok(more) => steps += more,
            Err(panic) => fail(seed, steps, &episode.last_events(), &*panic),
        }
        over(episode);
        seed += 1;
    }
    println!("{steps} steps in {} episodes", seed - first);
}

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name);
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn fail(seed: u64, steps: u64, events: &str, panic: &(dyn Any + Send)) -> ! {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    panic!(
        "{text}\nafter {steps} steps of episodes before; AIRSSYS_SIMULATION_SEED={seed} \
         AIRSSYS_SIMULATION_STEPS=1 has it again, after\n{events}"
    );
}
