//! A test of any backend: it must do what a sorted map does.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::storage::backend::{
    Backend, Change, Entry, Key, Listing, Page, StorageError, UnixMillis, Usage,
};

/// A time that has passed, and one that never does.
const EXPIRIES: [UnixMillis; 2] = [1, UnixMillis::MAX];

/// Keys that share prefixes, and characters that a backend could take for its own.
const KEYS: [&str; 8] = ["a", "a/", "a/b", "a%", "A", "ä", "\u{1}", "b"];

/// Namespaces of which one is a prefix of another.
const NAMESPACES: [&str; 4] = ["app/a/0", "app/a/01", "app/b/0", "airssys.engine"];

/// Lengths of values: none, small, and more than backends keep in one place.
const LENGTHS: [usize; 5] = [0, 1, 100, 5_000, 40_000];

/// One operation. Namespaces, keys, lengths and expiries are indices.
#[derive(Debug, Clone)]
enum Step {
    Set {
        namespace: usize,
        key: usize,
        value: (usize, u8),
    },
    Delete {
        namespace: usize,
        key: usize,
    },
    Apply {
        namespace: usize,
        changes: Vec<Option<(usize, u8, Option<usize>)>>,
    },
    /// `fits`: whether it expects what is there.
    Exchange {
        namespace: usize,
        key: usize,
        fits: bool,
        to: Option<(usize, u8)>,
    },
    Read {
        namespace: usize,
        key: usize,
    },
    List {
        namespace: usize,
        prefix: usize,
    },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let (namespace, key) = (0..NAMESPACES.len(), 0..KEYS.len());
    let value = (0..LENGTHS.len(), any::<u8>());
    let expires = prop::option::of(0..EXPIRIES.len());
    let change = prop::option::of((0..LENGTHS.len(), any::<u8>(), expires));
    prop_oneof![
        4 => (namespace.clone(), key.clone(), value.clone())
            .prop_map(|(namespace, key, value)| Step::Set { namespace, key, value }),
        2 => (namespace.clone(), key.clone())
            .prop_map(|(namespace, key)| Step::Delete { namespace, key }),
        3 => (namespace.clone(), vec(change, 0..KEYS.len()))
            .prop_map(|(namespace, changes)| Step::Apply { namespace, changes }),
        3 => (namespace.clone(), key.clone(), any::<bool>(), prop::option::of(value))
            .prop_map(|(namespace, key, fits, to)| Step::Exchange { namespace, key, fits, to }),
        3 => (namespace.clone(), key).prop_map(|(namespace, key)| Step::Read { namespace, key }),
        2 => (namespace, 0..=KEYS.len())
            .prop_map(|(namespace, prefix)| Step::List { namespace, prefix }),
        1 => Just(Step::Reopen),
    ]
}

type Model = BTreeMap<&'static str, BTreeMap<&'static str, Entry>>;

fn is_live(entry: &Entry) -> bool {
    entry.expires != Some(EXPIRIES[0])
}

/// Runs random operations on backends and compares the answers with a map. `make` makes what holds
/// a `backend`, `reopen` closes it and opens it again, `check` looks at it in the end.
pub fn obeys_the_model<S>(
    cases: u32,
    make: impl Fn() -> S,
    backend: impl Fn(&S) -> &dyn Backend,
    reopen: impl Fn(S) -> S,
    check: impl Fn(&S),
) {
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let obeys = |steps: Vec<Step>| {
        let (mut store, mut model) = (make(), Model::new());
        for step in steps {
            if let Step::Reopen = step {
                store = reopen(store);
            } else {
                take(backend(&store), &mut model, step);
            }
            compare(backend(&store), &model);
        }
        check(&store);
        Ok(())
    };
    runner.run(&vec(step(), 1..40), obeys).unwrap();
}

fn take(backend: &dyn Backend, model: &mut Model, step: Step) {
    match step {
        Step::Set { namespace, key, value: (length, byte) } => {
            let (namespace, key) = (NAMESPACES[namespace], KEYS[key]);
            let value = vec![byte; LENGTHS[length]];
            backend.set(namespace, key, value.clone()).unwrap();
            model.entry(namespace).or_default().insert(key, Entry { value, expires: None });
        }
        Step::Delete { namespace, key } => {
            let (namespace, key) = (NAMESPACES[namespace], KEYS[key]);
            backend.delete(namespace, key).unwrap();
            model.entry(namespace).or_default().remove(key);
        }
        Step::Apply { namespace, changes } => {
            let namespace = NAMESPACES[namespace];
            let entry = |(length, byte, expires): (usize, u8, Option<usize>)| Entry {
                value: vec![byte; LENGTHS[length]],
                expires: expires.map(|at| EXPIRIES[at]),
            };
            let changes: Vec<_> =
                KEYS.into_iter().zip(changes).map(|(key, to)| (key, to.map(entry))).collect();
            let all = changes.iter().map(|(key, to)| Change { key: (*key).into(), to: to.clone() });
            backend.apply(namespace, all.collect()).unwrap();
            let entries = model.entry(namespace).or_default();
            for (key, to) in changes {
                match to {
                    Some(entry) => drop(entries.insert(key, entry)),
                    None => drop(entries.remove(key)),
                }
            }
        }
        Step::Exchange { namespace, key, fits, to } => {
            let (namespace, key) = (NAMESPACES[namespace], KEYS[key]);
            let entries = model.entry(namespace).or_default();
            let now = entries.get(key).filter(|entry| is_live(entry));
            let now = now.map(|entry| Arc::new(entry.value.clone()));
            let from = match (&now, fits) {
                (now, true) => now.clone(),
                (Some(now), false) => Some(Arc::new([&now[..], b"x"].concat())),
                (None, false) => Some(Arc::default()),
            };
            let value = |(length, byte): (usize, u8)| vec![byte; LENGTHS[length]];
            let to = to.map(|to| Entry { value: value(to), expires: None });
            let change = Change { key: key.into(), to: to.clone() };
            assert_eq!(backend.exchange(namespace, from.as_ref(), change), Ok(fits));
            match to {
                Some(entry) if fits => drop(entries.insert(key, entry)),
                None if fits => drop(entries.remove(key)),
                _ => {}
            }
        }
        Step::Read { namespace, key } => {
            let (namespace, key) = (NAMESPACES[namespace], KEYS[key]);
            let entry = model.get(namespace).and_then(|entries| entries.get(key));
            let entry = entry.filter(|entry| is_live(entry));
            let found = backend.get(namespace, key, u64::MAX).unwrap();
            assert_eq!(found.as_deref(), entry.map(|entry| &entry.value), "{namespace} {key:?}");
            assert_eq!(backend.exists(namespace, key), Ok(entry.is_some()));
            let size = entry.map(|entry| entry.value.len() as u64);
            assert_eq!(backend.size(namespace, key), Ok(size));
            let expires = entry.and_then(|entry| entry.expires);
            assert_eq!(backend.expires(namespace, key), Ok(expires));
        }
        Step::List { namespace, prefix } => {
            let (namespace, prefix) =
                (NAMESPACES[namespace], KEYS.get(prefix).copied().unwrap_or_default());
            let all = model.get(namespace).into_iter().flatten();
            let expected: Vec<_> = all
                .filter(|(key, entry)| key.starts_with(prefix) && is_live(entry))
                .map(|(key, _)| *key)
                .collect();
            let listed = pages(|after| {
                let listing = Listing { prefix, after, most_bytes: u64::MAX };
                backend.list(namespace, &listing)
            });
            let listed: Vec<_> = listed.iter().map(|key| &**key).collect();
            assert_eq!(listed, expected, "{namespace}, prefix {prefix:?}");
        }
        Step::Reopen => {}
    }
}

/// Returns the keys of all pages.
pub fn pages(page: impl Fn(Option<&str>) -> Result<Page, StorageError>) -> Vec<Key> {
    let mut all = Vec::<Key>::new();
    loop {
        let Page { keys, is_last } = page(all.last().map(|key| &**key)).unwrap();
        assert!(is_last || !keys.is_empty(), "a page that is not the last has keys");
        all.extend(keys);
        if is_last {
            return all;
        }
    }
}

/// Compares usages and namespaces. What has expired may be counted until it is removed.
fn compare(backend: &dyn Backend, model: &Model) {
    let usage = |entries: &BTreeMap<&str, Entry>, live: bool| {
        let counted = entries.iter().filter(|(_, entry)| !live || is_live(entry));
        counted.fold(Usage::default(), |sum, (key, entry)| Usage {
            bytes: sum.bytes + (key.len() + entry.value.len()) as u64,
            keys: sum.keys + 1,
        })
    };
    let listed = pages(|after| backend.namespaces(after));
    assert!(listed.is_sorted_by(|a, b| a < b), "{listed:?}");
    for namespace in NAMESPACES {
        let none = BTreeMap::new();
        let entries = model.get(namespace).unwrap_or(&none);
        let (least, most) = (usage(entries, true), usage(entries, false));
        let used = backend.usage(namespace).unwrap();
        assert!(
            (least.bytes..=most.bytes).contains(&used.bytes)
                && (least.keys..=most.keys).contains(&used.keys),
            "{namespace}: {used:?} is not from {least:?} to {most:?}"
        );
        let is_listed = listed.iter().any(|found| **found == *namespace);
        assert!(is_listed || least.keys == 0, "{namespace} is missing in {listed:?}");
        assert!(!is_listed || most.keys > 0, "{namespace} is empty");
    }
}
