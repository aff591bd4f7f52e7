//! A process that writes is killed at random points. What it was told is in the file.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::storage::backend::{Backend, Change, Entry, Listing};
use crate::storage::durable::backend::DurableBackend;
use crate::storage::durable::options::{Durability, DurableOptions};
use crate::storage::durable::tests::opened::{options, reports};
use crate::storage::model::pages;

/// Set in the process that writes: the file, the durability, and where each thread goes on.
const WRITER: &str = "AIRSSYS_CRASH_WRITER";
/// How often a writer is killed; the long run sets it.
const KILLS: &str = "AIRSSYS_CRASH_KILLS";
const FEW_KILLS: u32 = 20;
const THREADS: usize = 4;
const KEYS: u64 = 12;

/// The contents of a thread's namespace.
type Contents = BTreeMap<String, Vec<u8>>;

/// Returns the change that a thread makes after `n` others.
fn change(thread: usize, n: u64) -> Vec<Change> {
    let mut random = fastrand::Rng::with_seed(n * THREADS as u64 + thread as u64);
    let count = if random.u32(..8) == 0 { 3 } else { 1 };
    let first = random.u64(..KEYS);
    let mut one = |key: u64| {
        let to = (random.u32(..5) > 0).then(|| {
            let len = [0, 20, 300, 9_000, 60_000][random.usize(..5)];
            let mut value = n.to_le_bytes().to_vec();
            value.resize(8 + len, random.u8(..));
            Entry { value, expires: None }
        });
        Change { key: key.to_string().into(), to }
    };
    (0..count).map(|more| one((first + more) % KEYS)).collect()
}

fn namespace(thread: usize) -> String {
    format!("app/writer/{thread}")
}

fn make(contents: &mut Contents, changes: Vec<Change>) {
    for change in changes {
        match change.to {
            Some(entry) => drop(contents.insert(change.key.into(), entry.value)),
            None => drop(contents.remove(&*change.key)),
        }
    }
}

fn opened(path: &Path, durability: Durability) -> DurableBackend {
    let interval = Duration::from_millis(3);
    let options = DurableOptions { durability, interval, ..options(path) };
    DurableBackend::open(options, reports().0).unwrap()
}

/// The process that writes, until it is killed. It does nothing in an ordinary run.
#[test]
fn writer() {
    let Ok(task) = std::env::var(WRITER) else { return };
    let mut parts = task.split('|');
    let path = parts.next().unwrap();
    let durability = match parts.next().unwrap() {
        "sync" => Durability::Sync,
        _ => Durability::Interval,
    };
    let begin: Vec<u64> = parts.map(|n| n.parse().unwrap()).collect();
    let store = opened(Path::new(path), durability);
    thread::scope(|scope| {
        for (thread, begin) in begin.into_iter().enumerate() {
            let store = &store;
            scope.spawn(move || {
                for n in begin.. {
                    store.apply(&namespace(thread), change(thread, n)).unwrap();
                    // One write, which a kill does not divide.
                    let line = format!("done {thread} {n}\n");
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

fn start(path: &Path, durability: Durability, begin: &[u64]) -> Child {
    let durability = if durability == Durability::Sync { "sync" } else { "interval" };
    let mut task = format!("{}|{durability}", path.display());
    begin.iter().for_each(|n| task += &format!("|{n}"));
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "storage::durable::tests::crash::writer", "--nocapture"])
        .env(WRITER, task)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_writer_loses_nothing_that_it_was_told_is_kept() {
    let kills = std::env::var(KILLS).map_or(FEW_KILLS, |kills| kills.parse().unwrap());
    let seed = std::env::var("AIRSSYS_CRASH_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("AIRSSYS_CRASH_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut contents = vec![Contents::new(); THREADS];
    let mut begin = vec![0_u64; THREADS];
    let mut acknowledged = 0;
    for kill in 0..kills {
        let durability = if kill % 4 == 3 { Durability::Interval } else { Durability::Sync };
        let mut child = start(&path, durability, &begin);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut done = begin.clone();
        let mut note = |line: String| {
            // The test's own output may precede it on the line.
            let Some((_, told)) = line.split_once("done ") else { return false };
            let (thread, n) = told.split_once(' ').unwrap();
            let (thread, n): (usize, u64) = (thread.parse().unwrap(), n.parse().unwrap());
            assert_eq!(done[thread], n, "each thread tells in order");
            done[thread] = n + 1;
            acknowledged += 1;
            true
        };
        // Sometimes before the first, and while the file is being made.
        let mut left = random.u32(..60);
        if left < 4 {
            thread::sleep(Duration::from_micros(random.u64(..30_000)));
            left = 0;
        }
        while left > 0 {
            let line = lines.next().expect("the writer lives until it is killed").unwrap();
            left -= u32::from(note(line));
        }
        thread::sleep(Duration::from_micros(random.u64(..2_000)));
        child.kill().unwrap();
        lines.map_while(Result::ok).for_each(|line| _ = note(line));
        child.wait().unwrap();

        let store = opened(&path, Durability::Sync);
        store.recount().unwrap_or_else(|text| panic!("after kill {kill}: {text}"));
        for thread in 0..THREADS {
            let namespace = namespace(thread);
            let keys = pages(|after| {
                store.list(&namespace, &Listing { prefix: "", after, most_bytes: u64::MAX })
            });
            let value = |key: &str| store.get(&namespace, key, u64::MAX).unwrap().unwrap().to_vec();
            let found: Contents = keys.iter().map(|key| (key.to_string(), value(key))).collect();
            // One more may have been made than was told; with an interval, fewer.
            let (mut at, mut expected) = (begin[thread], contents[thread].clone());
            let least = match durability {
                Durability::Sync => done[thread],
                Durability::Interval => begin[thread],
            };
            while at < least || found != expected {
                assert!(
                    at <= done[thread],
                    "after kill {kill}, thread {thread}: what is in the file was never there"
                );
                make(&mut expected, change(thread, at));
                at += 1;
            }
            (begin[thread], contents[thread]) = (at, expected);
        }
    }
    println!("{acknowledged} changes acknowledged over {kills} kills");
    assert!(acknowledged > u64::from(kills), "{acknowledged}");
}
