//! The check of a host's storage finds every rule that is broken, by its name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;

use airssys_wasm::*;
use serde_json::Value;

use crate::harness::callback::text;
use crate::harness::engine::{NO_BYTES, Outcome, check, take};

/// What is wrong with a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// A callback that never finishes.
    NoFinish(&'static str),
    SetNotFound,
    DeleteMissingFails,
    DeletesTooMuch,
    KeepsFirst,
    Appends,
    EmptyIsMissing,
    EmptyIsRemoved,
    ExistsIsTrue,
    CutsValueAtNul,
    ValueIsText,
    CutsLargeValue,
    RefusesLongKey,
    CutsLongKey,
    FoldsCase,
    Composes,
    CutsKeyAsUtf16,
    TrimsKeys,
    CutsKeyAtLine,
    JoinsNamespace,
    NamespaceAsPrefix,
    FoldsNamespaceCase,
    /// `%` and `_` match as in SQL's LIKE.
    PrefixLike,
    /// `*`, `?` and `[` match as in a shell.
    PrefixGlob,
    IgnoresPrefix,
    ListsTwice,
    ListsThousand,
    /// Finds only what was stored in ascending order.
    NeedsOrder,
    UsageForgetsReplaced,
    UsageCountsCharacters,
    UsageOfAll,
    /// Reads everything, changes it, and writes everything, without a lock in between.
    LosesUpdates,
    TearsValues,
    BatchHalf,
    BatchOneByOne,
    BatchSkipsRemovals,
    NamespacesKeepsEmpty,
    NamespacesTwice,
}

/// The storage that has the fault.
struct Broken {
    fault: Fault,
    values: Mutex<BTreeMap<(String, String), Vec<u8>>>,
    /// What the storage itself counts, for faults of usage.
    counted: AtomicI64,
}

type Values = BTreeMap<(String, String), Vec<u8>>;

impl Broken {
    fn new(fault: Fault) -> Self {
        Self { fault, values: Mutex::default(), counted: AtomicI64::new(0) }
    }

    fn table(&self) -> airssys_storage_t {
        airssys_storage_t {
            size: size_of::<airssys_storage_t>(),
            user_data: ptr::from_ref(self).cast_mut().cast(),
            drop: Some(must_not_be_dropped),
            get: Some(get),
            set: Some(set),
            del: Some(del),
            list: Some(list),
            exists: Some(exists),
            usage: Some(usage),
            flags: 0,
            batch: Some(batch),
            flush: Some(flush),
            namespaces: Some(namespaces),
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn place(&self, ns: &str, key: &str) -> (String, String) {
        let (mut ns, mut key) = (ns.to_owned(), key.to_owned());
        match self.fault {
            Fault::CutsLongKey => key = key.chars().take(255).collect(),
            Fault::FoldsCase => key = key.to_lowercase(),
            Fault::Composes => key = key.replace("e\u{301}", "\u{e9}"),
            Fault::CutsKeyAsUtf16 => {
                let units = key.encode_utf16().take_while(|unit| unit & 0xff != 0);
                key = String::from_utf16_lossy(&units.collect::<Vec<_>>());
            }
            Fault::TrimsKeys => key = key.trim().to_owned(),
            Fault::CutsKeyAtLine => key = key.lines().next().unwrap_or_default().to_owned(),
            Fault::JoinsNamespace => (ns, key) = (String::new(), format!("{ns}/{key}")),
            Fault::FoldsNamespaceCase => ns = ns.to_lowercase(),
            _ => {}
        }
        (ns, key)
    }

    fn change(&self, change: impl FnOnce(&mut Values)) {
        if !self.is(Fault::LosesUpdates) {
            return change(&mut self.values.lock().unwrap());
        }
        let mut all = self.values.lock().unwrap().clone();
        thread::yield_now();
        change(&mut all);
        *self.values.lock().unwrap() = all;
    }

    fn set(&self, ns: &str, key: &str, value: &[u8]) {
        let mut value = value.to_vec();
        match self.fault {
            Fault::CutsValueAtNul => {
                value.truncate(value.iter().position(|byte| *byte == 0).unwrap_or(value.len()));
            }
            Fault::ValueIsText => value = String::from_utf8_lossy(&value).into_owned().into_bytes(),
            Fault::CutsLargeValue => value.truncate((16 << 20) - 1),
            _ => {}
        }
        let place = self.place(ns, key);
        if self.is(Fault::TearsValues) && value.len() > 10_000 {
            let half = value.len() / 2;
            self.values.lock().unwrap().insert(place.clone(), value[..half].to_vec());
            thread::yield_now();
        }
        self.change(|values| {
            let size = (key.len() + value.len()) as i64;
            self.counted.fetch_add(size, Ordering::SeqCst);
            match self.fault {
                Fault::KeepsFirst => drop(values.entry(place).or_insert(value)),
                Fault::Appends => values.entry(place).or_default().extend(value),
                Fault::EmptyIsRemoved if value.is_empty() => drop(values.remove(&place)),
                _ => drop(values.insert(place, value)),
            }
        });
    }

    fn get(&self, ns: &str, key: &str) -> Option<Vec<u8>> {
        let place = self.place(ns, key);
        let values = self.values.lock().unwrap();
        if self.is(Fault::NeedsOrder) && ns.contains("/order/") && key.ends_with('7') {
            return None;
        }
        let value = values.get(&place).cloned();
        value.filter(|value| !self.is(Fault::EmptyIsMissing) || !value.is_empty())
    }

    fn remove(&self, ns: &str, key: &str) -> bool {
        let place = self.place(ns, key);
        let mut found = false;
        self.change(|values| {
            let removed = values.remove(&place);
            found = removed.is_some();
            let size = removed.map_or(0, |value| (key.len() + value.len()) as i64);
            self.counted.fetch_sub(size, Ordering::SeqCst);
            if self.is(Fault::DeletesTooMuch) {
                values.retain(|(of, other), _| *of != place.0 || !other.starts_with(&place.1));
            }
        });
        found
    }

    fn list(&self, ns: &str, prefix: &str) -> Vec<String> {
        let values = self.values.lock().unwrap();
        let (of, start) = match self.fault {
            Fault::JoinsNamespace => (String::new(), format!("{ns}/")),
            _ => (self.place(ns, "").0, String::new()),
        };
        let keys = values.keys().filter_map(|(owner, key)| {
            let own = match self.fault {
                Fault::NamespaceAsPrefix => owner.starts_with(&of),
                _ => *owner == of,
            };
            let key = key.strip_prefix(&*start)?;
            let begins = match self.fault {
                Fault::PrefixLike => like(prefix, key, &['%'], &['_']),
                Fault::PrefixGlob => like(prefix, key, &['*'], &['?', '[']),
                Fault::IgnoresPrefix => true,
                _ => key.starts_with(prefix),
            };
            (own && begins).then(|| key.to_owned())
        });
        let mut keys: Vec<_> = keys.collect();
        match self.fault {
            Fault::ListsTwice => keys.extend(keys.clone()),
            Fault::ListsThousand => keys.truncate(1000),
            _ => {}
        }
        keys
    }

    fn usage(&self, ns: &str) -> (u64, u64) {
        let of = self.place(ns, "").0;
        let values = self.values.lock().unwrap();
        let own =
            values.iter().filter(|((owner, _), _)| self.is(Fault::UsageOfAll) || *owner == of);
        let (mut bytes, mut keys) = (0, 0);
        for ((_, key), value) in own {
            keys += 1;
            let length = match self.fault {
                Fault::UsageCountsCharacters => key.chars().count(),
                _ => key.len(),
            };
            bytes += (length + value.len()) as u64;
        }
        if self.is(Fault::UsageForgetsReplaced) && keys > 0 {
            bytes = self.counted.load(Ordering::SeqCst).unsigned_abs();
        }
        (bytes, keys)
    }
}

/// Whether a key begins with a prefix in which some characters match any text, and others any
/// character.
fn like(prefix: &str, key: &str, any: &[char], one: &[char]) -> bool {
    let mut pattern = prefix.chars();
    match pattern.next() {
        None => true,
        Some(start) if any.contains(&start) => {
            let ends = key.char_indices().map(|(at, _)| at).chain([key.len()]);
            ends.into_iter().any(|at| like(pattern.as_str(), &key[at..], any, one))
        }
        Some(start) => {
            let mut key = key.chars();
            let same = key.next().is_some_and(|first| first == start || one.contains(&start));
            same && like(pattern.as_str(), key.as_str(), any, one)
        }
    }
}

fn broken<'a>(user_data: *mut c_void) -> &'a Broken {
    // SAFETY: made by `table`, whose storage lives longer than the check.
    unsafe { &*user_data.cast::<Broken>() }
}

fn finish(broken: &Broken, operation: &str, out: *mut airssys_writer_t, result: i32) {
    if !matches!(broken.fault, Fault::NoFinish(of) if of == operation) {
        // SAFETY: the callback's own writer.
        unsafe { airssys_writer_finish(out, result) };
    }
}

unsafe extern "C" fn must_not_be_dropped(_: *mut c_void) {
    std::process::abort();
}

unsafe extern "C" fn get(
    user_data: *mut c_void,
    ns: *const c_char,
    key: *const c_char,
    out: *mut airssys_writer_t,
) {
    let broken = broken(user_data);
    let value = broken.get(&text(ns), &text(key));
    let result = if value.is_some() { AIRSSYS_STORAGE_OK } else { AIRSSYS_STORAGE_NOT_FOUND };
    let value = value.unwrap_or_default();
    // SAFETY: the callback's own writer, and bytes.
    unsafe { airssys_writer_write(out, value.as_ptr(), value.len()) };
    finish(broken, "get", out, result);
}

unsafe extern "C" fn set(
    user_data: *mut c_void,
    ns: *const c_char,
    key: *const c_char,
    value: *const u8,
    len: usize,
    out: *mut airssys_writer_t,
) {
    let (broken, key) = (broken(user_data), text(key));
    if broken.is(Fault::RefusesLongKey) && key.len() > 255 {
        return finish(broken, "set", out, AIRSSYS_STORAGE_INVALID_KEY);
    }
    // SAFETY: the value has `len` bytes.
    broken.set(&text(ns), &key, unsafe { std::slice::from_raw_parts(value, len) });
    let not_found = broken.is(Fault::SetNotFound);
    finish(
        broken,
        "set",
        out,
        if not_found { AIRSSYS_STORAGE_NOT_FOUND } else { AIRSSYS_STORAGE_OK },
    );
}

unsafe extern "C" fn del(
    user_data: *mut c_void,
    ns: *const c_char,
    key: *const c_char,
    out: *mut airssys_writer_t,
) {
    let broken = broken(user_data);
    let found = broken.remove(&text(ns), &text(key));
    let result = match broken.fault {
        Fault::DeleteMissingFails if !found => AIRSSYS_STORAGE_IO_ERROR,
        _ if found => AIRSSYS_STORAGE_OK,
        _ => AIRSSYS_STORAGE_NOT_FOUND,
    };
    finish(broken, "del", out, result);
}

fn push(keys: *mut airssys_keys_t, all: impl IntoIterator<Item = String>) {
    for key in all {
        let key = CString::new(key).expect("no NUL");
        // SAFETY: the callback's own list, and text.
        assert!(unsafe { airssys_keys_push(keys, key.as_ptr()) });
    }
}

unsafe extern "C" fn list(
    user_data: *mut c_void,
    ns: *const c_char,
    prefix: *const c_char,
    keys: *mut airssys_keys_t,
    out: *mut airssys_writer_t,
) {
    let broken = broken(user_data);
    push(keys, broken.list(&text(ns), &text(prefix)));
    finish(broken, "list", out, AIRSSYS_STORAGE_OK);
}

unsafe extern "C" fn exists(
    user_data: *mut c_void,
    ns: *const c_char,
    key: *const c_char,
    exists: *mut bool,
    out: *mut airssys_writer_t,
) {
    let broken = broken(user_data);
    let found = broken.is(Fault::ExistsIsTrue) || broken.get(&text(ns), &text(key)).is_some();
    // SAFETY: the callback's own output.
    unsafe { exists.write(found) };
    finish(broken, "exists", out, AIRSSYS_STORAGE_OK);
}

unsafe extern "C" fn usage(
    user_data: *mut c_void,
    ns: *const c_char,
    bytes: *mut u64,
    keys: *mut u64,
    out: *mut airssys_writer_t,
) {
    let broken = broken(user_data);
    let used = broken.usage(&text(ns));
    // SAFETY: the callback's own outputs.
    unsafe {
        bytes.write(used.0);
        keys.write(used.1);
    }
    finish(broken, "usage", out, AIRSSYS_STORAGE_OK);
}

unsafe extern "C" fn batch(
    user_data: *mut c_void,
    ns: *const c_char,
    batch: *const airssys_storage_batch_t,
    out: *mut airssys_writer_t,
) {
    let (broken, ns) = (broken(user_data), text(ns));
    // SAFETY: the callback's own changes.
    let changes = unsafe { std::slice::from_raw_parts((*batch).changes, (*batch).count) };
    let changes: Vec<_> = changes
        .iter()
        .map(|change| {
            // SAFETY: as above; a value has `value_len` bytes.
            let change = unsafe { &**change };
            let value = (!change.value.is_null()).then(|| {
                // SAFETY: as above.
                unsafe { std::slice::from_raw_parts(change.value, change.value_len) }.to_vec()
            });
            (broken.place(&ns, &text(change.key)), value)
        })
        .collect();
    let most = if broken.is(Fault::BatchHalf) { changes.len().div_ceil(2) } else { changes.len() };
    if broken.is(Fault::BatchOneByOne) {
        for (place, value) in changes {
            let mut values = broken.values.lock().unwrap();
            match value {
                Some(value) => drop(values.insert(place, value)),
                None => drop(values.remove(&place)),
            }
            drop(values);
            thread::yield_now();
        }
    } else {
        broken.change(|values| {
            for (place, value) in changes.into_iter().take(most) {
                match value {
                    Some(value) => drop(values.insert(place, value)),
                    None if broken.is(Fault::BatchSkipsRemovals) => {}
                    None => drop(values.remove(&place)),
                }
            }
        });
    }
    finish(broken, "batch", out, AIRSSYS_STORAGE_OK);
}

unsafe extern "C" fn flush(user_data: *mut c_void, out: *mut airssys_writer_t) {
    finish(broken(user_data), "flush", out, AIRSSYS_STORAGE_OK);
}

unsafe extern "C" fn namespaces(
    user_data: *mut c_void,
    names: *mut airssys_keys_t,
    out: *mut airssys_writer_t,
) {
    let broken = broken(user_data);
    let all: BTreeSet<_> = broken.values.lock().unwrap().keys().map(|(ns, _)| ns.clone()).collect();
    if broken.is(Fault::NamespacesTwice) {
        push(names, all.clone());
    }
    if broken.is(Fault::NamespacesKeepsEmpty)
        && let Some(root) = all.iter().find_map(|name| name.split('/').next())
    {
        push(names, [format!("{root}/list/gone")]);
    }
    push(names, all);
    finish(broken, "namespaces", out, AIRSSYS_STORAGE_OK);
}

fn selftest(storage: &airssys_storage_t, timeout_ms: u64) -> Outcome<Value> {
    let mut report = NO_BYTES;
    // SAFETY: a storage, and outputs that are valid for writing.
    check(|error| unsafe {
        airssys_storage_selftest(storage, timeout_ms, &raw mut report, error)
    })?;
    Ok(serde_json::from_slice(&take(report).expect("a report")).expect("JSON"))
}

/// The names of the rules with a result.
fn rules(report: &Value, result: &str) -> Vec<String> {
    let rules = report["rules"].as_array().expect("rules").iter();
    let with = rules.filter(|rule| rule["result"] == result);
    with.map(|rule| rule["rule"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_storage_that_breaks_no_rule_passes_and_is_empty_afterwards() {
    let storage = Broken::new(Fault::Nothing);
    for serialize in [0, AIRSSYS_STORAGE_SERIALIZE] {
        let report =
            selftest(&airssys_storage_t { flags: serialize, ..storage.table() }, 0).unwrap();
        assert_eq!(report["conforms"], true);
        assert_eq!(rules(&report, "skipped"), ["expiry"]);
        assert!(
            rules(&report, "held").len() > 20 && rules(&report, "broken").is_empty(),
            "{report}"
        );
        assert!(storage.values.lock().unwrap().is_empty());
    }
    let least = airssys_storage_t {
        exists: None,
        usage: None,
        batch: None,
        flush: None,
        namespaces: None,
        ..storage.table()
    };
    let report = selftest(&least, 0).unwrap();
    assert_eq!(rules(&report, "skipped"), ["batch", "batch-at-once", "namespace-list", "expiry"]);
}

#[test]
fn every_broken_rule_is_found_by_its_name() {
    let not_finished =
        ["get", "set", "del", "list", "exists", "usage", "batch", "flush", "namespaces"];
    let faults = not_finished.map(|operation| (Fault::NoFinish(operation), "answers")).into_iter();
    for (fault, rule) in faults.chain([
        (Fault::SetNotFound, "answers"),
        (Fault::DeleteMissingFails, "delete"),
        (Fault::DeletesTooMuch, "delete"),
        (Fault::KeepsFirst, "replace"),
        (Fault::Appends, "replace"),
        (Fault::EmptyIsMissing, "empty-value"),
        (Fault::EmptyIsRemoved, "empty-value"),
        (Fault::ExistsIsTrue, "exists"),
        (Fault::CutsValueAtNul, "value-bytes"),
        (Fault::ValueIsText, "value-bytes"),
        (Fault::CutsLargeValue, "large-value"),
        (Fault::RefusesLongKey, "long-key"),
        (Fault::CutsLongKey, "long-key"),
        (Fault::FoldsCase, "key-case"),
        (Fault::Composes, "key-unicode"),
        (Fault::CutsKeyAsUtf16, "key-unicode"),
        (Fault::TrimsKeys, "key-characters"),
        (Fault::CutsKeyAtLine, "key-characters"),
        (Fault::JoinsNamespace, "namespaces"),
        (Fault::NamespaceAsPrefix, "namespaces"),
        (Fault::FoldsNamespaceCase, "namespaces"),
        (Fault::PrefixLike, "prefix"),
        (Fault::PrefixGlob, "prefix"),
        (Fault::IgnoresPrefix, "prefix"),
        (Fault::ListsTwice, "list"),
        (Fault::ListsThousand, "list"),
        (Fault::NeedsOrder, "order"),
        (Fault::UsageForgetsReplaced, "usage"),
        (Fault::UsageCountsCharacters, "usage"),
        (Fault::UsageOfAll, "usage"),
        (Fault::LosesUpdates, "threads"),
        (Fault::TearsValues, "whole-values"),
        (Fault::BatchHalf, "batch"),
        (Fault::BatchOneByOne, "batch-at-once"),
        (Fault::BatchSkipsRemovals, "batch"),
        (Fault::NamespacesKeepsEmpty, "namespace-list"),
        (Fault::NamespacesTwice, "namespace-list"),
    ]) {
        let storage = Broken::new(fault);
        let failure = selftest(&storage.table(), 0).expect_err(&format!("{fault:?} passes"));
        assert_eq!(failure.status, AIRSSYS_ERROR_NOT_CONFORMING, "{fault:?}: {failure}");
        assert_eq!(failure.detail["conforms"], false);
        let broken = rules(&failure.detail, "broken");
        assert!(broken.iter().any(|name| name == rule), "{fault:?}: {broken:?}");
        assert!(failure.message.contains(&format!("\n\n{rule}: ")), "{failure}");
        for rule in failure.detail["rules"].as_array().unwrap() {
            let words = ["did", "expected", "found"].iter().all(|word| rule[word].is_string());
            assert_eq!(words, rule["result"] == "broken", "{rule}");
        }
    }
}

#[test]
fn a_storage_that_hangs_is_told_so() {
    static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
    unsafe extern "C" fn hang(_: *mut c_void, out: *mut airssys_writer_t) {
        drop(GATE.1.wait_while(GATE.0.lock().unwrap(), |open| !*open).unwrap());
        // SAFETY: the callback's own writer.
        unsafe { airssys_writer_finish(out, AIRSSYS_STORAGE_OK) };
    }
    // It must live until the callback has returned.
    let storage: &'static Broken = Box::leak(Box::new(Broken::new(Fault::Nothing)));
    let table = airssys_storage_t { flush: Some(hang), ..storage.table() };
    let failure = selftest(&table, 500).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
    assert_eq!(rules(&failure.detail, "broken"), ["answers"], "{failure}");
    assert!(failure.message.contains("an end within 500 ms"), "{failure}");
    *GATE.0.lock().unwrap() = true;
    GATE.1.notify_all();
}

#[test]
fn a_table_that_is_no_storage_is_refused() {
    let storage = Broken::new(Fault::Nothing);
    let failure = selftest(&airssys_storage_t { get: None, ..storage.table() }, 0).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
    assert!(failure.message.contains("storage.get is NULL"), "{failure}");
}
