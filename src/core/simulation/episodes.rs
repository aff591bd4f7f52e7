//! Runs episodes in sequence, each with its own seed.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

const STEPS: u64 = 1_000_000;
const SEED: u64 = 1;

/// A simulated world. Its seed decides everything that happens.
pub trait Episode {
    /// The initial world.
    fn new(seed: u64) -> Self;

    /// Runs the episode and returns the number of steps. Panics if an invariant is broken.
    fn run(&self) -> u64;

    /// The last events.
    fn last_events(&self) -> String;
}

/// `AIRSSYS_SIMULATION_STEPS` is the minimum number of steps. `AIRSSYS_SIMULATION_SEED` is the seed
/// of the first episode; each following episode has the next seed. A failure names the seed that
/// reproduces it alone.
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
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

fn fail(seed: u64, steps: u64, events: &str, panic: &(dyn Any + Send)) -> ! {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    panic!(
        "{text}\nafter {steps} steps of episodes before; AIRSSYS_SIMULATION_SEED={seed} \
         AIRSSYS_SIMULATION_STEPS=1 has it again, after\n{events}"
    );
}
