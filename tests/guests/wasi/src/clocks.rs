//! Clocks, random numbers and pollables.

use std::cell::RefCell;
use std::thread;
use std::time::{Duration, SystemTime};

use guest_kit::{Args, Reply, text};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::io::poll::{self, Pollable};
use wasip2::random::{insecure, insecure_seed, random};

use crate::failure::{Failure, keep};

pub const COMMANDS: &[&str] =
    &["time", "clock", "sleep", "random", "insecure-random", "seed", "pollables", "poll-many"];

const FOREVER: u64 = u64::MAX;

thread_local! {
    static POLLABLES: RefCell<Vec<Pollable>> = const { RefCell::new(Vec::new()) };
}

pub fn handle(command: &str, mut args: Args<'_>) -> Reply {
    match command {
        "time" => {
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            text(format!("{} {}", now.as_secs(), now.subsec_nanos()))
        }
        "clock" => {
            let (wall, tick) = (wall_clock::now(), wall_clock::resolution());
            let (steady, steady_tick) = (monotonic_clock::now(), monotonic_clock::resolution());
            text(format!(
                "wall {} {} resolution {} {}\nmonotonic {steady} resolution {steady_tick}",
                wall.seconds, wall.nanoseconds, tick.seconds, tick.nanoseconds
            ))
        }
        "sleep" => {
            thread::sleep(Duration::from_millis(args.number()?));
            text("ok")
        }
        "random" => text(random::get_random_bytes(args.number()?).len().to_string()),
        "insecure-random" => {
            text(insecure::get_insecure_random_bytes(args.number()?).len().to_string())
        }
        "seed" => {
            let (low, high) = insecure_seed::insecure_seed();
            text(format!("{low:016x}{high:016x}"))
        }
        "pollables" => {
            let make = || Ok::<_, Failure>(monotonic_clock::subscribe_duration(FOREVER));
            let count = args.number()?;
            POLLABLES.with_borrow_mut(|kept| keep(kept, count, make))
        }
        "poll-many" => {
            // One ready pollable, many times in one list.
            let ready = monotonic_clock::subscribe_duration(0);
            let list = vec![&ready; args.number()?];
            text(poll::poll(&list).len().to_string())
        }
        other => Args::unknown(other),
    }
}
