//! A disk that fails at each of its calls in turn, or loses power there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::storage::backend::{Backend, Change, Entry, StorageError};
use crate::storage::durable::backend::DurableBackend;
use crate::storage::durable::options::{Durability, DurableOptions};
use crate::storage::durable::tests::disk::{Disk, Gate, Plan, Trouble};
use crate::storage::durable::tests::opened::{options, reports, value};

/// Longer than any test takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn on(disk: &Arc<Disk>) -> DurableBackend {
    // A small cache reads more.
    let options = DurableOptions { cache_bytes: 0, ..options(Path::new("disk")) };
    DurableBackend::on(disk.clone(), options, reports().0).unwrap()
}

type Contents = BTreeMap<String, Vec<u8>>;

fn contents(store: &DurableBackend) -> Result<Contents, StorageError> {
    let mut found = Contents::new();
    for key in (0..6).map(|n| n.to_string()) {
        if let Some(value) = store.get("app/a/0", &key, u64::MAX)? {
            found.insert(key, value.to_vec());
        }
    }
    Ok(found)
}

/// The changes of a run, in order.
fn changes() -> Vec<Vec<Change>> {
    let set = |key: u32, byte: u8, len: usize| Change {
        key: key.to_string().into(),
        to: Some(Entry { value: vec![byte; len], expires: None }),
    };
    let delete = |key: u32| Change { key: key.to_string().into(), to: None };
    vec![
        vec![set(0, 1, 10)],
        vec![set(1, 2, 30_000), set(2, 3, 0)],
        vec![set(0, 4, 5_000)],
        vec![delete(1), set(3, 5, 10)],
        vec![set(4, 6, 200_000)],
        vec![delete(4)],
        vec![set(5, 7, 100), set(0, 8, 17_000)],
    ]
}

fn changed(mut contents: Contents, changes: &[Change]) -> Contents {
    for change in changes {
        match &change.to {
            Some(entry) => drop(contents.insert(change.key.to_string(), entry.value.clone())),
            None => drop(contents.remove(&*change.key)),
        }
    }
    contents
}

/// Makes the changes. Returns what was acknowledged; a failed change may have been made or not.
fn run(store: &DurableBackend) -> Vec<Contents> {
    let mut possible = vec![Contents::new()];
    for batch in changes() {
        let after: Vec<_> =
            possible.iter().map(|contents| changed(contents.clone(), &batch)).collect();
        match store.apply("app/a/0", batch) {
            Ok(()) => possible = after,
            Err(_) => possible.extend(after),
        }
        // Reads may fail as well, and are right if they do not.
        if let Ok(found) = contents(store) {
            assert!(possible.contains(&found), "{found:?} is none of {possible:?}");
        }
    }
    possible
}

/// Tries until the store works again.
fn eventually<T>(what: impl Fn() -> Result<T, StorageError>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match what() {
            Ok(done) => return done,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    }
}

/// The number of calls of a run without trouble.
fn calls() -> u64 {
    let disk = Disk::new();
    let store = on(&disk);
    disk.set_plan(Plan::Well);
    run(&store);
    disk.calls()
}

#[test]
fn after_an_error_at_any_call_the_store_goes_on_and_has_lost_nothing() {
    let calls = calls();
    assert!(calls > 50, "{calls}");
    for trouble in [Trouble::Error, Trouble::Half, Trouble::NoRoom] {
        for call in 0..calls {
            let disk = Disk::new();
            let store = on(&disk);
            disk.set_plan(Plan::Once(call, trouble));
            let possible = run(&store);
            let found = eventually(|| contents(&store));
            assert!(possible.contains(&found), "{trouble:?} at {call}: {found:?}, {possible:?}");
            store.recount().unwrap_or_else(|text| panic!("{trouble:?} at {call}: {text}"));
            eventually(|| store.set("app/a/0", "0", b"again".to_vec()));
            assert_eq!(store.get("app/a/0", "0", u64::MAX), Ok(value("again")));
            let found = contents(&store).unwrap();
            // What was acknowledged after the error is as durable as before it.
            let left = on(&disk.after_power_loss(&mut fastrand::Rng::with_seed(call)));
            assert_eq!(contents(&left), Ok(found), "{trouble:?} at {call}");
            left.recount().unwrap();
        }
    }
}

#[test]
fn a_loss_of_power_at_any_call_loses_nothing_that_was_acknowledged() {
    for call in 0..calls() {
        for seed in 0..4 {
            let disk = Disk::new();
            let store = on(&disk);
            disk.set_plan(Plan::From(call, Trouble::Error));
            let possible = run(&store);
            let left = on(&disk.after_power_loss(&mut fastrand::Rng::with_seed(seed)));
            let found = contents(&left).unwrap();
            assert!(possible.contains(&found), "at {call}, seed {seed}: {found:?}, {possible:?}");
            left.recount().unwrap_or_else(|text| panic!("at {call}, seed {seed}: {text}"));
        }
    }
}

#[test]
fn a_full_disk_is_a_quota_and_the_store_is_usable_meanwhile_and_again() {
    let disk = Disk::new();
    let store = on(&disk);
    store.set("app/a/0", "k", b"value".to_vec()).unwrap();
    disk.set_plan(Plan::Full(disk.len()));
    let large = vec![1; 1 << 20];
    for _ in 0..3 {
        let full = store.set("app/a/0", "large", large.clone());
        assert_eq!(full, Err(StorageError::QuotaExceeded));
        assert_eq!(store.get("app/a/0", "k", u64::MAX), Ok(value("value")), "reads go on");
        assert_eq!(store.usage("app/a/0").unwrap().keys, 1);
    }
    // What needs no more room is made even now.
    eventually(|| store.set("app/a/0", "k", b"other".to_vec()));
    disk.set_plan(Plan::Well);
    eventually(|| store.set("app/a/0", "large", large.clone()));
    assert_eq!(store.get("app/a/0", "large", u64::MAX), Ok(Some(Arc::new(large))));
    store.recount().unwrap();
}

#[test]
fn one_change_without_room_does_not_take_its_batch_with_it() {
    let disk = Disk::new();
    let store = on(&disk);
    store.set("app/a/0", "k", vec![0; 100_000]).unwrap();
    store.delete("app/a/0", "k").unwrap();
    disk.set_plan(Plan::Full(disk.len()));
    disk.set_gate(Gate::Shut);
    std::thread::scope(|scope| {
        scope.spawn(|| store.set("app/a/0", "first", Vec::new()).unwrap());
        disk.wait_for(Gate::Waiting);
        let writers: Vec<_> = (0..16)
            .map(|n| {
                let (store, len) = (&store, if n == 5 { 8 << 20 } else { 10 });
                scope.spawn(move || (n, store.set("app/b/0", &n.to_string(), vec![0; len])))
            })
            .collect();
        // All of them wait in line.
        std::thread::sleep(Duration::from_millis(50));
        disk.set_gate(Gate::Open);
        for writer in writers {
            let (n, outcome) = writer.join().unwrap();
            // Those that were late for the batch may be refused until the store has recovered.
            if n == 5 {
                assert_eq!(outcome, Err(StorageError::QuotaExceeded));
            }
        }
    });
    let kept = store.usage("app/b/0").unwrap().keys;
    assert!(kept > 0, "none of the others was made");
    store.recount().unwrap();
}

#[test]
fn what_fails_in_the_background_is_reported() {
    let disk = Disk::new();
    let (report, reports) = reports();
    let options = DurableOptions {
        durability: Durability::Interval,
        interval: Duration::from_millis(1),
        ..options(Path::new("disk"))
    };
    let store = DurableBackend::on(disk.clone(), options, report).unwrap();
    store.set("app/a/0", "k", vec![0; 100]).unwrap();
    store.flush().unwrap();
    disk.set_gate(Gate::Shut);
    store.set("app/a/0", "k", Vec::new()).unwrap();
    disk.wait_for(Gate::Waiting);
    disk.set_plan(Plan::From(0, Trouble::Error));
    disk.set_gate(Gate::Open);
    let deadline = Instant::now() + PATIENCE;
    while reports.lock().unwrap().is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let reports = reports.lock().unwrap();
    assert!(reports[0].contains("since the last sync, at most 1 ms ago, are lost"), "{reports:?}");
}
