//! Damaged files: they open with all that was acknowledged, or not at all.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::storage::backend::{Backend, Change, Entry, StorageError, Usage};
use crate::storage::durable::backend::DurableBackend;
use crate::storage::durable::options::DurableOptions;
use crate::storage::durable::record;
use crate::storage::durable::tests::opened::{options, reports, value};

const KEYS: u8 = 100;

fn contents(n: u8) -> Vec<u8> {
    vec![n; usize::from(n) * 300]
}

/// Returns the bytes of a store with some keys.
fn intact(path: &Path) -> Vec<u8> {
    let store = DurableBackend::open(options(path), reports().0).unwrap();
    for n in 0..KEYS {
        store.set(&format!("app/{}/0", n % 7), &n.to_string(), contents(n)).unwrap();
    }
    drop(store);
    fs::read(path).unwrap()
}

/// What came of opening a damaged file.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Everything,
    Refused,
    /// Some reads failed, and said so.
    Errors,
    /// A key was missing, without an error.
    Missing,
}

fn open_damaged(path: &Path, bytes: &[u8], check_on_open: bool) -> Found {
    fs::write(path, bytes).unwrap();
    let options = DurableOptions { check_on_open, ..options(path) };
    let store = match DurableBackend::open(options, reports().0) {
        Ok(store) => store,
        Err(error) => {
            assert_eq!(fs::read(path).unwrap().len(), bytes.len(), "left as it is");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            return Found::Refused;
        }
    };
    let mut found = Found::Everything;
    for n in 0..KEYS {
        match store.get(&format!("app/{}/0", n % 7), &n.to_string(), u64::MAX) {
            Ok(Some(value)) => assert_eq!(value, Arc::new(contents(n)), "wrong data"),
            Ok(None) => found = Found::Missing,
            Err(_) if found == Found::Everything => found = Found::Errors,
            Err(_) => {}
        }
    }
    found
}

#[test]
fn a_torn_tail_or_one_too_many_is_noticed_or_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = intact(&directory.path().join("store"));
    let path = directory.path().join("damaged");
    for cut in [1, 100, 4096, 50_000, bytes.len() - 4096, bytes.len() - 20] {
        let found = open_damaged(&path, &bytes[..bytes.len() - cut], true);
        assert!(matches!(found, Found::Refused | Found::Everything), "{cut}: {found:?}");
    }
    for garbage in [1, 4096, 1 << 20] {
        let longer = [&bytes[..], &vec![0xa5; garbage]].concat();
        let found = open_damaged(&path, &longer, true);
        assert!(matches!(found, Found::Refused | Found::Everything), "{garbage}: {found:?}");
    }
}

#[test]
fn flipped_bits_never_become_wrong_data() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = intact(&directory.path().join("store"));
    let path = directory.path().join("damaged");
    let mut random = fastrand::Rng::with_seed(11);
    let mut refused = 0;
    for n in 0..150 {
        let mut damaged = bytes.clone();
        // The header is small, and worth more than its share.
        let at = random.usize(..if n % 5 == 0 { 320 } else { bytes.len() });
        damaged[at] ^= 1 << random.u32(..8);
        let found = open_damaged(&path, &damaged, true);
        assert!(
            matches!(found, Found::Refused | Found::Everything),
            "a flipped bit at {at}: {found:?}"
        );
        refused += u32::from(found == Found::Refused);
        // Without the check wrong data is still noticed when it is read.
        open_damaged(&path, &damaged, false);
    }
    assert!(refused > 30, "{refused} of 150 were noticed at the opening");
}

const NAMESPACE: &str = "app/damaged/0";

/// Changes the first byte of this wherever it is in the file.
fn damage(path: &Path, bytes: &[u8]) {
    let mut file = fs::read(path).unwrap();
    let places: Vec<_> =
        file.windows(bytes.len()).enumerate().filter(|(_, window)| *window == bytes).collect();
    let places: Vec<_> = places.into_iter().map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| file[at] ^= 0x20);
    fs::write(path, file).unwrap();
}

fn unchecked(path: &Path) -> DurableBackend {
    let options = DurableOptions { check_on_open: false, cache_bytes: 0, ..options(path) };
    DurableBackend::open(options, reports().0).unwrap()
}

fn set_to(key: &str, value: &[u8], expires: Option<u64>) -> Change {
    Change { key: key.into(), to: Some(Entry { value: value.to_vec(), expires }) }
}

#[test]
fn a_damaged_record_is_an_error_until_it_is_replaced_or_removed() {
    type Way = fn(&DurableBackend, &str) -> Result<(), StorageError>;
    let ways: [Way; 4] = [
        |store, key| store.set(NAMESPACE, key, b"new".to_vec()),
        |store, key| store.delete(NAMESPACE, key),
        |store, key| store.apply(NAMESPACE, vec![set_to(key, &[1; 20_000], Some(u64::MAX - 1))]),
        |store, key| {
            store.set(NAMESPACE, "other", b"longer".to_vec())?;
            store.apply(NAMESPACE, vec![set_to(key, b"", None), set_to("more", b"more", None)])
        },
    ];
    let (directory, large) = (tempfile::tempdir().unwrap(), vec![7; 20_011]);
    let large_record =
        [&20_011_u64.to_le_bytes()[..], &record::checksum(&large).to_le_bytes()].concat();
    for (n, way) in ways.into_iter().enumerate() {
        let path = directory.path().join(n.to_string());
        let store = DurableBackend::open(options(&path), reports().0).unwrap();
        let damaged = ["small", "expires", "large"];
        let all = vec![
            set_to("small", b"a small value", None),
            set_to("expires", b"a value with an expiry", Some(u64::MAX)),
            set_to("large", &large, Some(u64::MAX)),
            set_to("other", b"other", Some(u64::MAX)),
        ];
        store.apply(NAMESPACE, all).unwrap();
        store.set("app/other/0", "k", b"kept".to_vec()).unwrap();
        drop(store);
        for bytes in [&b"a small value"[..], b"a value with an expiry", &large_record] {
            damage(&path, bytes);
        }
        let store = unchecked(&path);
        for key in damaged {
            let error = store.get(NAMESPACE, key, u64::MAX).unwrap_err();
            let StorageError::File { path: named, problem } = &error else { panic!("{error}") };
            assert_eq!(**named, *path);
            let expected = format!(
                "the storage's file is damaged: key {key:?} of {NAMESPACE} does not match its \
                 checksum"
            );
            assert_eq!(*problem, expected);
            assert_eq!(store.exists(NAMESPACE, key), Ok(true));
        }
        assert!(store.recount().unwrap_err().contains("checksum"));
        for key in damaged {
            way(&store, key).unwrap();
            assert!(store.get(NAMESPACE, key, u64::MAX).is_ok());
        }
        assert_eq!(store.get("app/other/0", "k", u64::MAX), Ok(value("kept")));
        store.recount().unwrap();
        drop(store);
        // The file is sound again.
        let store = DurableBackend::open(options(&path), reports().0).unwrap();
        store.recount().unwrap();
        for key in ["small", "expires", "large", "other", "more"] {
            store.delete(NAMESPACE, key).unwrap();
        }
        assert_eq!(store.usage(NAMESPACE), Ok(Usage::default()));
        store.recount().unwrap();
    }
}

#[test]
fn a_damaged_usage_is_counted_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = DurableBackend::open(options(&path), reports().0).unwrap();
    store.set(NAMESPACE, "k", vec![1; 1000]).unwrap();
    store.set(NAMESPACE, "l", vec![1; 20_000]).unwrap();
    store.set("app/other/0", "k", vec![1; 10]).unwrap();
    let usage = store.usage(NAMESPACE).unwrap();
    assert_eq!(usage, Usage { bytes: 21_002, keys: 2 });
    drop(store);
    damage(&path, &record::of_usage(&record::place(NAMESPACE, ""), usage));
    let store = unchecked(&path);
    assert_eq!(store.usage(NAMESPACE), Ok(usage));
    assert_eq!(store.footprint().unwrap().live_bytes, 21_013);
    assert!(store.recount().is_err());
    store.set(NAMESPACE, "k", Vec::new()).unwrap();
    assert_eq!(store.usage(NAMESPACE), Ok(Usage { bytes: 20_002, keys: 2 }));
    store.recount().unwrap();
}

#[test]
fn a_damaged_expiry_removes_nothing_that_has_not_expired() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = DurableBackend::open(options(&path), reports().0).unwrap();
    let expires = 0x2000_0000_0000_0000;
    store.apply(NAMESPACE, vec![set_to("k", b"value", Some(expires))]).unwrap();
    drop(store);
    let entry = [&expires.to_be_bytes()[..], &record::place(NAMESPACE, "k")].concat();
    damage(&path, &entry);
    let store = unchecked(&path);
    store.set(NAMESPACE, "l", Vec::new()).unwrap();
    assert_eq!(store.get(NAMESPACE, "k", u64::MAX), Ok(value("value")));
    assert_eq!(store.usage(NAMESPACE).unwrap().keys, 2);
    store.delete(NAMESPACE, "k").unwrap();
    store.recount().unwrap();
}
