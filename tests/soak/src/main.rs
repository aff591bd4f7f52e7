//! Random calls on all threads, with failing callbacks, on a system that is temporarily short of
//! threads, mappings and descriptors: `make soak`.
//!
//!     soak [SECONDS]      SOAK_SEED: the first seed; SOAK_SHORT="threads mappings": only these
//!
//! A round is the life of an engine. At its end every request has had exactly one outcome, and the
//! process holds no more than before. Threads run in a different order each time, so a seed does
//! not reproduce a round exactly.

#[path = "../../abi/harness"]
#[expect(dead_code, reason = "shared with the tests of the ABI")]
mod harness {
    pub mod callback;
    pub mod engine;
    pub mod events;
    pub mod log;
    pub mod requests;
    pub mod router;
    pub mod store;
}
#[path = "../../fuzz/src/random.rs"]
#[expect(dead_code, reason = "shared with the random attacks")]
mod random;

mod level;
mod round;
mod shortage;
mod watch;

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::harness::engine::eventually;
use crate::harness::requests::Inbox;
use crate::level::Level;
use crate::random::Random;
use crate::round::{Round, THREADS, Tally};
use crate::shortage::{ALL, Resource};

/// Rounds without a shortage at the start, then rounds until memory is level.
const WARM_UP: u64 = 4;
const UNTIL_LEVEL: u64 = 12;

fn main() -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_else(|| "5".into());
    if first.starts_with("--") {
        // Test runners ask for a list of tests. There are none.
        return ExitCode::SUCCESS;
    }
    let time = Duration::from_secs(first.parse().expect("seconds"));
    let seed = match std::env::var("SOAK_SEED") {
        Ok(seed) => seed.parse().expect("SOAK_SEED is a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
    };
    let short: Vec<Resource> = match std::env::var("SOAK_SHORT") {
        Ok(names) => {
            ALL.into_iter().filter(|of| names.split_whitespace().any(|n| n == of.name())).collect()
        }
        Err(_) => ALL.into(),
    };
    println!("soak: {} s, SOAK_SEED={seed}", time.as_secs());
    if let Err(error) = shortage::begin(seed) {
        println!("soak: no shortages, as this system has no seccomp: {error}");
    }
    run(time, seed, &short);
    ExitCode::SUCCESS
}

fn run(time: Duration, seed: u64, short: &[Resource]) {
    let (began, mut tally) = (Instant::now(), Tally::default());
    // Never freed, so that a late outcome is counted.
    let inboxes: &'static [Inbox] = (0..=THREADS).map(|_| Inbox::new()).collect::<Vec<_>>().leak();
    let mut rounds = 0;
    let mut before: Option<Level> = None;
    while rounds <= WARM_UP || began.elapsed() < time {
        let short = if rounds < WARM_UP { &[] } else { short };
        let _watch = watch::round(seed, rounds);
        let random = Random::new(seed ^ (rounds << 32));
        Round::new(random, inboxes).run(short, &mut tally);
        match before {
            Some(before) if rounds >= UNTIL_LEVEL => {
                eventually(
                    &format!("all is level with {before:?}, now {:?}", Level::now()),
                    || Level::now().is_within(before).then_some(()),
                );
            }
            _ => before = Some(before.unwrap_or_else(Level::now).with(Level::now())),
        }
        rounds += 1;
        if rounds.is_multiple_of(20) {
            println!("soak: {rounds} rounds: {:?}", Level::now());
        }
    }
    println!("soak: {rounds} rounds, {} requests with one outcome each", tally.requests);
    for resource in short {
        println!("soak: {} calls for {} failed", shortage::failed(*resource), resource.name());
    }
    println!("soak: level with {before:?}: {:?}", Level::now());
    print!("{tally}");
}
