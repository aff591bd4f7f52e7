//! The targets, and the cases of one process.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::engine::{Failure, Outcome, status_name};
use crate::random::Random;
use crate::{calls, codecs, documents, generated, mutants, typed, ways};

/// A kind of input. A failing case panics or ends the process.
pub trait Target {
    fn input(&self, random: &mut Random) -> Vec<u8>;

    fn run(&mut self, input: &[u8]);
}

/// Creates a target.
type Start = fn() -> Box<dyn Target>;

/// All targets, by name.
pub const TARGETS: [(&str, Start); 7] = [
    ("generated", || Box::new(generated::Generated::new())),
    ("mutants", || Box::new(mutants::Mutants::new())),
    ("documents", || Box::new(documents::Documents::new())),
    ("codecs", || Box::new(codecs::Codecs)),
    ("ways", || Box::new(ways::Ways::new())),
    ("typed", || Box::new(typed::Typed::new())),
    ("calls", || Box::new(calls::Calls::new())),
];

fn start(name: &str) -> Box<dyn Target> {
    let (_, start) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    start()
}

/// Limits the private memory of the process and disables core files.
fn limit_this_process() {
    let limit = |resource, most| {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: a live struct.
        assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
    };
    limit(libc::RLIMIT_CORE, 0);
    // Not RLIMIT_AS, because Wasmtime reserves more address space than memory.
    limit(libc::RLIMIT_DATA, 4 << 30);
}

/// Runs cases from `seed` on until the time is over. The file `status` holds the running case, at
/// the end the number of cases.
pub fn batch(name: &str, seed: u64, time: Duration, status: &str) {
    limit_this_process();
    let (mut target, began, mut done) = (start(name), Instant::now(), 0_u64);
    let file = File::create(status).expect("a file for the status");
    while began.elapsed() < time {
        let seed = seed.wrapping_add(done);
        file.write_all_at(format!("seed {seed:020} {done:020}").as_bytes(), 0)
            .expect("the status is written");
        let input = target.input(&mut Random::new(seed));
        target.run(&input);
        done += 1;
    }
    drop(target);
    fs::write(status, format!("done - {done}")).expect("the status is written");
}

/// The inputs in the repository.
pub fn corpus(name: &str, status: &str) {
    limit_this_process();
    let mut target = start(name);
    let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus")).join(name);
    let mut files: Vec<_> = fs::read_dir(dir)
        .map(|entries| entries.map(|entry| entry.expect("an entry").path()).collect())
        .unwrap_or_default();
    files.sort();
    for file in &files {
        fs::write(status, format!("file {} 0", file.display())).expect("the status is written");
        target.run(&fs::read(file).expect("an input"));
    }
    fs::write(status, format!("done - {}", files.len())).expect("the status is written");
}

pub fn case(name: &str, seed: u64) {
    limit_this_process();
    let mut target = start(name);
    let input = target.input(&mut Random::new(seed));
    target.run(&input);
}

pub fn file(name: &str, file: &str) {
    limit_this_process();
    start(name).run(&fs::read(file).expect("an input"));
}

pub fn write_input(name: &str, seed: u64, file: &str) {
    let input = start(name).input(&mut Random::new(seed));
    fs::write(file, input).expect("the input is written");
}

/// Panics if a failure is a defect of the library.
pub fn sound<T>(outcome: Outcome<T>) -> Outcome<T> {
    if let Err(failure) = &outcome {
        assert_sound(failure);
    }
    outcome
}

pub fn assert_sound(failure: &Failure) {
    assert_ne!(status_name(failure.status), "AIRSSYS_ERROR_PANIC", "{failure}");
    assert!(failure.message.len() < 1 << 20, "{} bytes of message", failure.message.len());
}
