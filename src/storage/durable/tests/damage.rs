//! Damaged files: they open with all that was acknowledged, or not at all.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::storage::backend::Backend;
use crate::storage::durable::backend::DurableBackend;
use crate::storage::durable::options::DurableOptions;
use crate::storage::durable::tests::opened::{options, reports};

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
