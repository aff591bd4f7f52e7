//! What a store does when nothing fails.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::storage::backend::{Backend, Change, Entry, Listing, StorageError, Usage};
use crate::storage::durable::backend::DurableBackend;
use crate::storage::durable::options::{Durability, DurableOptions};
use crate::storage::durable::tests::disk::{Disk, Gate};
use crate::storage::durable::tests::opened::{open, options, reports, value};
use crate::storage::model::{obeys_the_model, pages};

/// Longer than any test takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_store_does_what_a_map_does_and_keeps_it_over_reopening() {
    let (directory, number) = (tempfile::tempdir().unwrap(), Cell::new(0));
    obeys_the_model(
        40,
        || {
            number.set(number.get() + 1);
            let path = directory.path().join(number.get().to_string());
            (open(&path), path)
        },
        |(store, _)| store,
        |(store, path)| {
            drop(store);
            (open(&path), path)
        },
        |(store, _)| store.recount().unwrap(),
    );
}

fn on(disk: &Arc<Disk>, options: DurableOptions) -> DurableBackend {
    DurableBackend::on(disk.clone(), options, reports().0).unwrap()
}

fn quiet() -> DurableOptions {
    options(Path::new("disk"))
}

#[test]
fn reads_do_not_wait_for_a_sync_and_those_who_wait_share_the_next() {
    let disk = Disk::new();
    let store = on(&disk, quiet());
    store.set("app/a/0", "old", b"value".to_vec()).unwrap();
    disk.set_gate(Gate::Shut);
    thread::scope(|scope| {
        scope.spawn(|| store.set("app/a/0", "new", Vec::new()).unwrap());
        disk.wait_for(Gate::Waiting);
        let syncs = disk.syncs();
        let writers: Vec<_> = (0..64)
            .map(|n| {
                let store = &store;
                scope.spawn(move || store.set("app/b/0", &n.to_string(), Vec::new()))
            })
            .collect();
        let (tell, told) = channel();
        let reader = &store;
        scope.spawn(move || {
            let found = reader.get("app/a/0", "old", u64::MAX).unwrap();
            let listing = Listing { prefix: "", after: None, most_bytes: u64::MAX };
            let listed = reader.list("app/a/0", &listing).unwrap();
            let used = reader.usage("app/a/0").unwrap();
            tell.send((found, listed.keys.len(), used.keys)).unwrap();
        });
        let read = told.recv_timeout(PATIENCE).expect("the read does not wait");
        assert_eq!(read, (value("value"), 1, 1));
        assert!(writers.iter().all(|writer| !writer.is_finished()), "none is told too early");
        disk.set_gate(Gate::Open);
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
        // Growth of the file syncs as well; each alone would take 64.
        assert!(disk.syncs() - syncs < 40, "{}", disk.syncs() - syncs);
    });
    assert_eq!(store.usage("app/b/0").unwrap().keys, 64);
    store.recount().unwrap();
}

#[test]
fn an_acknowledged_change_is_synced() {
    let disk = Disk::new();
    let store = on(&disk, quiet());
    let mut random = fastrand::Rng::with_seed(7);
    for n in 0..20_u8 {
        store.set("app/a/0", "k", vec![n]).unwrap();
        let left = on(&disk.after_power_loss(&mut random), quiet());
        assert_eq!(left.get("app/a/0", "k", u64::MAX), Ok(Some(Arc::new(vec![n]))));
        left.recount().unwrap();
    }
}

#[test]
fn with_an_interval_changes_are_kept_at_the_next_sync_and_at_the_end() {
    let interval =
        |interval| DurableOptions { durability: Durability::Interval, interval, ..quiet() };
    let mut random = fastrand::Rng::with_seed(7);
    let disk = Disk::new();
    let store = on(&disk, interval(Duration::from_secs(3600)));
    let before = disk.syncs();
    for n in 0..100_u8 {
        store.set("app/a/0", "k", vec![n]).unwrap();
    }
    assert_eq!(store.get("app/a/0", "k", u64::MAX), Ok(Some(Arc::new(vec![99]))));
    assert!(disk.syncs() - before < 10, "no sync for each");
    store.flush().unwrap();
    let flushed = on(&disk.after_power_loss(&mut random), quiet());
    assert_eq!(flushed.get("app/a/0", "k", u64::MAX), Ok(Some(Arc::new(vec![99]))));
    store.set("app/a/0", "k", vec![100]).unwrap();
    let lost = on(&disk.after_power_loss(&mut random), quiet());
    lost.recount().unwrap();
    store.close();
    assert!(disk.is_released());
    let kept = on(&disk.after_power_loss(&mut random), quiet());
    assert_eq!(kept.get("app/a/0", "k", u64::MAX), Ok(Some(Arc::new(vec![100]))));
    kept.recount().unwrap();

    let disk = Disk::new();
    let store = on(&disk, interval(Duration::from_millis(1)));
    store.set("app/a/0", "k", vec![1]).unwrap();
    let is_kept = |random: &mut fastrand::Rng| {
        let left = on(&disk.after_power_loss(random), quiet());
        left.get("app/a/0", "k", u64::MAX).unwrap().is_some()
    };
    while !is_kept(&mut random) {
        thread::yield_now();
    }
}

#[test]
fn one_impossible_change_does_not_take_others_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("store"));
    let huge = vec![0; (1 << 30) + 1];
    let error = store.set("app/a/0", "k", huge).unwrap_err().to_string();
    assert!(error.contains("1073741825 bytes is too large"), "{error}");
    assert_eq!(store.usage("app/a/0"), Ok(Usage::default()));
}

#[test]
fn large_values_are_kept_apart_and_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    let large: Vec<_> = (0..16_u32 << 18).flat_map(u32::to_le_bytes).collect();
    for value in [large.clone(), vec![1; 20_000], b"small".to_vec(), large.clone()] {
        store.set("app/a/0", "k", value.clone()).unwrap();
        assert_eq!(store.size("app/a/0", "k"), Ok(Some(value.len() as u64)));
        assert_eq!(store.get("app/a/0", "k", u64::MAX), Ok(Some(Arc::new(value.clone()))));
        let refused = store.get("app/a/0", "k", value.len() as u64 - 1).unwrap_err();
        assert!(matches!(refused, StorageError::Io(_)), "{refused}");
        store.recount().unwrap();
    }
    drop(store);
    let store = open(&path);
    assert_eq!(store.get("app/a/0", "k", u64::MAX), Ok(Some(Arc::new(large))));
    store.delete("app/a/0", "k").unwrap();
    store.recount().unwrap();
    assert_eq!(store.usage("app/a/0"), Ok(Usage::default()));
}

#[test]
fn what_has_expired_is_missing_and_later_changes_remove_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    let entry = |expires| Some(Entry { value: b"v".to_vec(), expires: Some(expires) });
    let changes = (0..100).map(|n| Change { key: format!("k{n}").into(), to: entry(n + 1) });
    let later = Change { key: "later".into(), to: entry(u64::MAX) };
    store.apply("app/a/0", changes.chain([later]).collect()).unwrap();
    assert_eq!(store.get("app/a/0", "k5", u64::MAX), Ok(None));
    assert_eq!(store.expires("app/a/0", "later"), Ok(Some(u64::MAX)));
    drop(store);
    let store = open(&path);
    store.set("app/b/0", "k", Vec::new()).unwrap();
    store.set("app/b/0", "k", Vec::new()).unwrap();
    assert_eq!(store.usage("app/a/0"), Ok(Usage { bytes: 6, keys: 1 }));
    store.recount().unwrap();
    store.set("app/a/0", "later", b"for ever".to_vec()).unwrap();
    assert_eq!(store.expires("app/a/0", "later"), Ok(None));
    store.recount().unwrap();
}

#[test]
fn ten_thousand_namespaces_in_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for n in (thread..10_000).step_by(8) {
                    let change = |key: &str| Change {
                        key: key.into(),
                        to: Some(Entry { value: n.to_string().into_bytes(), expires: None }),
                    };
                    store.apply(&format!("app/c/{n}"), vec![change("a"), change("b")]).unwrap();
                }
            });
        }
    });
    drop(store);
    let store = open(&path);
    store.recount().unwrap();
    let listed = pages(|after| store.namespaces(after));
    let expected: BTreeSet<_> = (0..10_000).map(|n| format!("app/c/{n}")).collect();
    assert!(listed.iter().map(|key| &**key).eq(expected.iter().map(String::as_str)));
    for n in [0, 1, 10, 9_999] {
        let namespace = format!("app/c/{n}");
        let listing = Listing { prefix: "", after: None, most_bytes: u64::MAX };
        let keys = store.list(&namespace, &listing).unwrap().keys;
        assert_eq!(keys, ["a".into(), "b".into()]);
        assert_eq!(store.get(&namespace, "b", u64::MAX), Ok(value(&n.to_string())));
    }
}

#[test]
fn a_compaction_returns_what_is_not_needed_and_reads_wait_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    for n in 0..200 {
        store.set("app/a/0", &n.to_string(), vec![n; 100_000]).unwrap();
    }
    for n in 1..200 {
        store.delete("app/a/0", &n.to_string()).unwrap();
    }
    let before = store.footprint().unwrap();
    assert_eq!(before.live_bytes, 100_001);
    thread::scope(|scope| {
        scope.spawn(|| store.compact().unwrap());
        for n in 0..100 {
            let found = store.get("app/a/0", "0", u64::MAX).unwrap().unwrap();
            assert_eq!(found.len(), 100_000);
            store.set("app/b/0", "k", vec![n]).unwrap();
        }
    });
    store.compact().unwrap();
    let after = store.footprint().unwrap();
    assert!(after.total_bytes < before.total_bytes / 10, "{before:?}, {after:?}");
    store.recount().unwrap();
    drop(store);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), {
        let store = open(&path);
        store.recount().unwrap();
        store.footprint().unwrap().total_bytes
    });
}

#[test]
fn a_bloated_file_is_compacted_unasked() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("store"));
    for n in 0..10 {
        store.set("app/a/0", &n.to_string(), vec![n; 10 << 20]).unwrap();
    }
    let full = store.footprint().unwrap();
    for n in 0..10 {
        store.delete("app/a/0", &n.to_string()).unwrap();
    }
    while store.footprint().unwrap().total_bytes > full.total_bytes / 2 {
        store.set("app/a/0", "k", Vec::new()).unwrap();
    }
    store.recount().unwrap();
}

#[test]
fn a_closed_store_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    store.set("app/a/0", "k", Vec::new()).unwrap();
    store.close();
    store.close();
    for error in [
        store.get("app/a/0", "k", u64::MAX).unwrap_err(),
        store.set("app/a/0", "k", Vec::new()).unwrap_err(),
        store.compact().unwrap_err(),
    ] {
        assert!(error.to_string().contains("the engine has ended"), "{error}");
    }
    assert_eq!(open(&path).exists("app/a/0", "k"), Ok(true));
}
