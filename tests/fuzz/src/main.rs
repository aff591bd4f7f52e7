//! Random attacks through the C ABI: `make fuzz`.
//!
//! Each target makes inputs from numbers, so a number reproduces a case. Batches of cases run in
//! child processes with little memory. A case that ends the process or takes too long is a failure,
//! and its input is kept.
//!
//!     fuzz [SECONDS [TARGET…]]     each target for this long; FUZZ_SEED: the first seed
//!     fuzz case TARGET SEED        one case
//!     fuzz file TARGET FILE        one input
//!
//! With FUZZ_DEEP=1 binaries are nested and repeated without bounds.

#[path = "../../abi/harness"]
#[expect(dead_code, reason = "shared with the tests of the ABI")]
mod harness {
    pub mod callback;
    pub mod engine;
    pub mod handmade;
    pub mod interfaces;
    pub mod log;
    pub mod published;
    pub mod requests;
    pub mod router;
    pub mod store;
    pub mod typed;
}

mod binaries;
mod calls;
mod codecs;
mod documents;
mod generated;
mod mutants;
mod random;
mod supervisor;
mod target;
mod typed;
mod ways;

use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        // Test runners ask for a list of tests. There are none.
        ["--list", ..] | ["--exact", ..] => ExitCode::SUCCESS,
        ["batch", target, seed, millis, status] => {
            let time = Duration::from_millis(millis.parse().expect("milliseconds"));
            target::batch(target, seed.parse().expect("a number"), time, status);
            ExitCode::SUCCESS
        }
        ["corpus", target, status] => {
            target::corpus(target, status);
            ExitCode::SUCCESS
        }
        ["input", target, seed, file] => {
            target::write_input(target, seed.parse().expect("a number"), file);
            ExitCode::SUCCESS
        }
        ["case", target, seed] => {
            target::case(target, seed.parse().expect("a number"));
            ExitCode::SUCCESS
        }
        ["file", target, file] => {
            target::file(target, file);
            ExitCode::SUCCESS
        }
        ref words => {
            let seconds = words.first().map_or(10, |word| word.parse().expect("seconds"));
            supervisor::run(Duration::from_secs(seconds), words.get(1..).unwrap_or_default())
        }
    }
}
