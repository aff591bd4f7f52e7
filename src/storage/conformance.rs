//! What every backend must do, as rules that can be checked.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::core::id::shorten;
use crate::storage::backend::{Backend, Change, Entry, Listing, StorageError, Usage, Value};
use crate::storage::component_storage::MAX_KEY_BYTES;
use crate::storage::expiry;

/// The size of the largest value that is stored.
const LARGE_VALUE_BYTES: usize = 16 << 20;

/// The number of keys in a long listing.
const MANY_KEYS: usize = 1001;

/// The number of threads that use the backend at once.
const THREADS: usize = 8;

/// The keys that each of them stores.
const KEYS_PER_THREAD: usize = 40;

/// The changes of one key that others watch.
const WATCHED_CHANGES: usize = 200;

/// A rule.
struct Rule {
    name: &'static str,
    text: &'static str,
    check: fn(&Kit) -> Outcome,
}

/// What came of a rule.
type Outcome = Result<Kept, Finding>;

/// Whether a rule that is not broken was checked.
#[derive(Debug)]
enum Kept {
    Held,
    /// The backend lacks what the rule is about.
    Skipped(String),
}

/// How a rule is broken.
#[derive(Debug)]
struct Finding {
    /// What was done.
    did: String,
    expected: String,
    found: String,
}

/// What came of all rules.
pub struct Report {
    outcomes: Vec<(&'static Rule, Outcome)>,
    /// Whether a call has not returned.
    pub hangs: bool,
}

/// Checks all rules. Each may take as long as `limit`.
pub fn check(backend: Arc<dyn Backend>, limit: Duration) -> Report {
    let number = fastrand::u64(..);
    let root = format!("airssys-selftest-{number:016x}");
    let kit = Arc::new(Kit { backend, root, written: Mutex::default() });
    let mut report = Report { outcomes: Vec::new(), hangs: false };
    for rule in RULES {
        let outcome = if report.hangs {
            Ok(Kept::Skipped("a call has not returned".into()))
        } else {
            let (tell, told) = channel();
            let worker = Arc::clone(&kit);
            thread::spawn(move || tell.send((rule.check)(&worker)));
            told.recv_timeout(limit).unwrap_or_else(|problem| {
                report.hangs = problem == RecvTimeoutError::Timeout;
                Err(match report.hangs {
                    true => finding(
                        "what the rule says".into(),
                        format!("an end within {} ms", limit.as_millis()),
                        "no end".into(),
                    ),
                    false => finding("what the rule says".into(), "an end", "a panic".into()),
                })
            })
        };
        report.outcomes.push((rule, outcome));
    }
    if !report.hangs {
        kit.clean_up();
    }
    report
}

impl Report {
    /// Returns whether no rule is broken.
    pub fn conforms(&self) -> bool {
        self.outcomes.iter().all(|(_, outcome)| outcome.is_ok())
    }

    /// Returns the report for people.
    pub fn text(&self) -> String {
        let broken = || self.outcomes.iter().filter(|(_, outcome)| outcome.is_err());
        let mut text = format!("{} of {} rules are broken", broken().count(), self.outcomes.len());
        for (rule, outcome) in broken() {
            let Err(Finding { did, expected, found }) = outcome else { continue };
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "\n\n{}: {}\n    did:      {did}\n    expected: {expected}\n    found:    {found}",
                rule.name, rule.text,
            );
        }
        text
    }

    /// Returns the report for programs.
    pub fn json(&self) -> Json {
        let rules = self.outcomes.iter().map(|(rule, outcome)| {
            let mut entry = json!({ "rule": rule.name, "text": rule.text });
            match outcome {
                Ok(Kept::Held) => entry["result"] = "held".into(),
                Ok(Kept::Skipped(reason)) => {
                    entry["result"] = "skipped".into();
                    entry["reason"] = reason.as_str().into();
                }
                Err(Finding { did, expected, found }) => {
                    entry["result"] = "broken".into();
                    entry["did"] = did.as_str().into();
                    entry["expected"] = expected.as_str().into();
                    entry["found"] = found.as_str().into();
                }
            }
            entry
        });
        json!({ "conforms": self.conforms(), "rules": rules.collect::<Json>() })
    }
}

fn finding(did: String, expected: impl Into<String>, found: String) -> Finding {
    Finding { did, expected: expected.into(), found }
}

/// The backend that is checked.
struct Kit {
    backend: Arc<dyn Backend>,
    /// The first part of all namespaces that are used.
    root: String,
    /// What is to be removed at the end.
    written: Mutex<BTreeSet<(String, String)>>,
}

impl Kit {
    /// Returns a namespace of its own.
    fn namespace(&self, rest: &str) -> String {
        format!("{}/{rest}", self.root)
    }

    fn note(&self, namespace: &str, key: &str) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert((namespace.into(), key.into()));
    }

    fn set(&self, namespace: &str, key: &str, value: &[u8]) -> Result<(), Finding> {
        self.note(namespace, key);
        let stored = self.backend.set(namespace, key, value.to_vec());
        stored.map_err(|error| {
            finding(
                format!("set {} to {}", at(namespace, key), shown(value)),
                "AIRSSYS_STORAGE_OK",
                error.to_string(),
            )
        })
    }

    fn get(&self, namespace: &str, key: &str) -> Result<Option<Value>, Finding> {
        let read = self.backend.get(namespace, key, u64::MAX);
        read.map_err(|error| failed(format!("get {}", at(namespace, key)), &error))
    }

    fn delete(&self, namespace: &str, key: &str) -> Result<(), Finding> {
        let removed = self.backend.delete(namespace, key);
        removed.map_err(|error| failed(format!("del {}", at(namespace, key)), &error))
    }

    fn exists(&self, namespace: &str, key: &str) -> Result<bool, Finding> {
        let found = self.backend.exists(namespace, key);
        found.map_err(|error| failed(format!("exists {}", at(namespace, key)), &error))
    }

    /// Returns the keys of a listing as the backend gives them.
    fn list(&self, namespace: &str, prefix: &str) -> Result<Vec<String>, Finding> {
        let (mut keys, mut last) = (Vec::new(), None::<String>);
        loop {
            let listing = Listing { prefix, after: last.as_deref(), most_bytes: u64::MAX };
            let page = self.backend.list(namespace, &listing);
            let page = page.map_err(|error| {
                failed(format!("list {} with the prefix {prefix:?}", of(namespace)), &error)
            })?;
            keys.extend(page.keys.iter().map(|key| String::from(&**key)));
            if page.is_last {
                return Ok(keys);
            }
            last = keys.last().cloned();
        }
    }

    fn usage(&self, namespace: &str) -> Result<Usage, Finding> {
        let used = self.backend.usage(namespace);
        used.map_err(|error| failed(format!("usage of {}", of(namespace)), &error))
    }

    fn apply(
        &self,
        namespace: &str,
        changes: &[(&str, Option<&[u8]>)],
    ) -> Result<(), StorageError> {
        let change = |(key, value): &(&str, Option<&[u8]>)| {
            self.note(namespace, key);
            let to = value.map(|value| Entry { value: value.to_vec(), expires: None });
            Change { key: (*key).into(), to }
        };
        self.backend.apply(namespace, changes.iter().map(change).collect())
    }

    fn has_batch(&self) -> bool {
        self.backend.apply(&self.namespace("batch/none"), Vec::new()).is_ok()
    }

    /// Checks the value of a key.
    fn holds(&self, namespace: &str, key: &str, value: Option<&[u8]>) -> Result<(), Finding> {
        let found = self.get(namespace, key)?;
        let found = found.as_ref().map(|value| &***value);
        if found == value {
            return Ok(());
        }
        let did = match value {
            Some(value) => format!("set {} to {}, then get", at(namespace, key), shown(value)),
            None => format!("get {}, which does not exist", at(namespace, key)),
        };
        Err(finding(did, shown_or_missing(value), shown_or_missing(found)))
    }

    /// Checks a listing, in any order.
    fn lists(&self, namespace: &str, prefix: &str, keys: &[&str]) -> Result<(), Finding> {
        let mut found = self.list(namespace, prefix)?;
        found.sort_unstable();
        let mut expected: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        expected.sort_unstable();
        if found == expected {
            return Ok(());
        }
        let did = format!("list {} with the prefix {prefix:?}", of(namespace));
        Err(finding(did, some_of(&expected, &found), some_of(&found, &expected)))
    }

    /// Stores values under keys in one namespace and checks that each key has its own.
    fn keeps_apart(&self, namespace: &str, keys: &[&str]) -> Outcome {
        for key in keys {
            self.set(namespace, key, key.as_bytes())?;
        }
        for key in keys {
            self.holds(namespace, key, Some(key.as_bytes()))?;
        }
        self.lists(namespace, "", keys)?;
        for (at, key) in keys.iter().enumerate() {
            self.delete(namespace, key)?;
            self.lists(namespace, "", &keys[at + 1..])?;
        }
        Ok(Kept::Held)
    }

    /// Checks the usage against a recount.
    fn counts(&self, namespace: &str, did: &str) -> Result<(), Finding> {
        let mut expected = Usage::default();
        for key in self.list(namespace, "")?.into_iter().collect::<BTreeSet<_>>() {
            if let Some(value) = self.get(namespace, &key)? {
                expected.keys += 1;
                expected.bytes += (key.len() + value.len()) as u64;
            }
        }
        let found = self.usage(namespace)?;
        let shown = |used: Usage| format!("{} bytes and {} keys", used.bytes, used.keys);
        match found == expected {
            true => Ok(()),
            false => {
                let did = format!("usage of {} after {did}", of(namespace));
                Err(finding(did, shown(expected), shown(found)))
            }
        }
    }

    /// Runs `work` on several threads, which begin together, and returns the first finding.
    fn together(&self, work: impl Fn(usize) -> Result<(), Finding> + Sync) -> Result<(), Finding> {
        let barrier = Barrier::new(THREADS);
        thread::scope(|scope| {
            let work = |number| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(number)
                })
            };
            let threads: Vec<_> = (0..THREADS).map(work).collect();
            let ends = threads.into_iter().map(|thread| {
                let panicked = |_| {
                    Err(finding("calls from several threads".into(), "an end", "a panic".into()))
                };
                thread.join().unwrap_or_else(panicked)
            });
            ends.collect::<Vec<_>>().into_iter().collect()
        })
    }

    fn clean_up(&self) {
        let written =
            std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        for (namespace, key) in written {
            // A backend that fails has failed before.
            let _ = self.backend.delete(&namespace, &key);
        }
    }
}

fn failed(did: String, error: &StorageError) -> Finding {
    finding(did, "AIRSSYS_STORAGE_OK", error.to_string())
}

fn of(namespace: &str) -> String {
    // The first part is the same for all.
    format!("namespace {:?}", namespace.split_once('/').map_or(namespace, |(_, rest)| rest))
}

fn at(namespace: &str, key: &str) -> String {
    format!("key {:?} in {}", shorten(key), of(namespace))
}

fn shown(value: &[u8]) -> String {
    const MOST: usize = 48;
    let start = value[..value.len().min(MOST)].escape_ascii();
    match value.len() {
        ..=MOST => format!("\"{start}\""),
        bytes => format!("\"{start}\"… ({bytes} bytes)"),
    }
}

fn shown_or_missing(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "no value".into(), shown)
}

/// Describes the keys of a listing, those first that the other lacks.
fn some_of(keys: &[String], other: &[String]) -> String {
    let lacks = |key: &&String| !other.contains(key);
    let (differ, same): (Vec<_>, Vec<_>) = keys.iter().partition(lacks);
    let first: Vec<_> = differ.into_iter().chain(same).take(8).map(|key| shorten(key)).collect();
    match keys.len() {
        0..=8 => format!("{first:?}"),
        count => format!("{count} keys, {first:?} among them"),
    }
}

/// All rules, the simple ones first.
const RULES: &[Rule] = &[
    Rule {
        name: "answers",
        text: "Every callback finishes, with AIRSSYS_STORAGE_OK if it did what was asked. Only get, \
               exists and del may finish with AIRSSYS_STORAGE_NOT_FOUND.",
        check: |kit| {
            let ns = kit.namespace("answers/0");
            kit.set(&ns, "key", b"value")?;
            kit.get(&ns, "key")?;
            kit.exists(&ns, "key")?;
            kit.list(&ns, "")?;
            kit.usage(&ns)?;
            kit.delete(&ns, "key")?;
            kit.get(&ns, "key")?;
            let flushed = kit.backend.flush();
            flushed.map_err(|error| failed("flush".into(), &error))?;
            match kit.apply(&ns, &[("a", Some(b"1")), ("b", Some(b"2"))]) {
                Ok(()) | Err(StorageError::Unsupported(_)) => {}
                Err(error) => return Err(failed("a batch of two keys".into(), &error)),
            }
            match kit.backend.namespaces(None) {
                Ok(_) | Err(StorageError::Unsupported(_)) => Ok(Kept::Held),
                Err(error) => Err(failed("namespaces".into(), &error)),
            }
        },
    },
    Rule {
        name: "missing",
        text: "A key that was never stored is missing, which is not an error, and its namespace is empty.",
        check: |kit| {
            let ns = kit.namespace("missing/0");
            kit.holds(&ns, "never", None)?;
            kit.lists(&ns, "", &[])?;
            if kit.exists(&ns, "never")? {
                return Err(finding("exists of a missing key".into(), "false", "true".into()));
            }
            kit.counts(&ns, "nothing").map(|()| Kept::Held)
        },
    },
    Rule {
        name: "replace",
        text: "set replaces an older value, by a longer and by a shorter one.",
        check: |kit| {
            let ns = kit.namespace("replace/0");
            for value in ["first", "a second value, which is longer", "3rd", ""] {
                kit.set(&ns, "key", value.as_bytes())?;
                kit.holds(&ns, "key", Some(value.as_bytes()))?;
            }
            kit.lists(&ns, "", &["key"]).map(|()| Kept::Held)
        },
    },
    Rule {
        name: "delete",
        text: "del removes the key and no other one. A missing key is not an error.",
        check: |kit| {
            let (ns, other) = (kit.namespace("delete/0"), kit.namespace("delete/1"));
            for (ns, key) in [(&ns, "a"), (&ns, "ab"), (&ns, "b"), (&other, "a")] {
                kit.set(ns, key, b"value")?;
            }
            kit.delete(&ns, "a")?;
            kit.delete(&ns, "a")?;
            kit.delete(&ns, "never")?;
            kit.delete(&kit.namespace("delete/2"), "never")?;
            kit.holds(&ns, "a", None)?;
            kit.lists(&ns, "", &["ab", "b"])?;
            kit.holds(&other, "a", Some(b"value"))?;
            kit.set(&ns, "a", b"again")?;
            kit.holds(&ns, "a", Some(b"again")).map(|()| Kept::Held)
        },
    },
    Rule {
        name: "empty-value",
        text: "An empty value is a value, not a missing key.",
        check: |kit| {
            let ns = kit.namespace("empty/0");
            kit.set(&ns, "key", b"")?;
            kit.holds(&ns, "key", Some(b""))?;
            if !kit.exists(&ns, "key")? {
                let did = "set a key to an empty value, then exists".into();
                return Err(finding(did, "true", "false".into()));
            }
            kit.lists(&ns, "", &["key"])?;
            kit.counts(&ns, "storing an empty value").map(|()| Kept::Held)
        },
    },
    Rule {
        name: "exists",
        text: "exists agrees with get.",
        check: |kit| {
            let ns = kit.namespace("exists/0");
            kit.set(&ns, "key", b"value")?;
            for key in ["key", "ke", "keys", "KEY"] {
                let (expected, found) = (kit.get(&ns, key)?.is_some(), kit.exists(&ns, key)?);
                if expected != found {
                    let did = format!("exists {}", at(&ns, key));
                    return Err(finding(did, expected.to_string(), found.to_string()));
                }
            }
            kit.delete(&ns, "key")?;
            match kit.exists(&ns, "key")? {
                false => Ok(Kept::Held),
                true => Err(finding("del, then exists".into(), "false", "true".into())),
            }
        },
    },
    Rule {
        name: "value-bytes",
        text: "A value is any bytes: NUL, line ends, and what is not UTF-8.",
        check: |kit| {
            let ns = kit.namespace("bytes/0");
            let all: Vec<u8> = (0..=255).collect();
            for (key, value) in [
                ("all", &*all),
                ("nul", b"\0"),
                ("inside", b"a\0b"),
                ("behind", b"ab\0"),
                ("lines", b"\r\n\n\r"),
                ("spaces", b" a "),
                ("text", "größe".as_bytes()),
                ("broken", b"\xff\xfe\xc3"),
            ] {
                kit.set(&ns, key, value)?;
                kit.holds(&ns, key, Some(value))?;
            }
            Ok(Kept::Held)
        },
    },
    Rule {
        name: "large-value",
        text: "A value of 16 MiB is stored and read whole.",
        check: |kit| {
            let ns = kit.namespace("large/0");
            for size in [65_535, 65_536, (1 << 20) + 1, LARGE_VALUE_BYTES] {
                let value: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
                kit.set(&ns, "key", &value)?;
                kit.holds(&ns, "key", Some(&value))?;
            }
            kit.delete(&ns, "key").map(|()| Kept::Held)
        },
    },
    Rule {
        name: "long-key",
        text: "Keys of 1,024 bytes are accepted, and differ if their last bytes do.",
        check: |kit| {
            let long = "k".repeat(MAX_KEY_BYTES - 1);
            let wide = "ö".repeat(MAX_KEY_BYTES / 2 - 1);
            let keys =
                [format!("{long}1"), format!("{long}2"), format!("{wide}ä"), format!("{wide}ü")];
            kit.keeps_apart(&kit.namespace("long/0"), &keys.each_ref().map(String::as_str))
        },
    },
    Rule {
        name: "key-case",
        text: "Keys that differ in case differ.",
        check: |kit| {
            kit.keeps_apart(
                &kit.namespace("case/0"),
                &["key", "Key", "KEY", "größe", "GRÖSSE", "grösse"],
            )
        },
    },
    Rule {
        name: "key-unicode",
        text: "Keys are compared by their bytes: no Unicode normalization, no cut in another encoding.",
        check: |kit| {
            let keys = [
                "e\u{301}",
                "\u{e9}",
                "\u{212b}",
                "\u{c5}",
                "ﬁ",
                "fi",
                "\u{100}",
                "\u{100}a",
                "\u{100}b",
                "\u{1f980}",
                "\u{1f981}",
                "a\u{200b}",
                "a",
                "\u{feff}a",
            ];
            kit.keeps_apart(&kit.namespace("unicode/0"), &keys)
        },
    },
    Rule {
        name: "key-characters",
        text: "A key may contain every character but NUL: spaces at its ends, line ends, quotes, slashes.",
        check: |kit| {
            let keys = [
                "a", "a ", " a", "a\t", "a\n", "a\nb", "a\r\n", "a/b", "a/", "/a", "../a", "..",
                ".", "a\\b", "'", "\"", "a'; --", "a:b", "a%20b", "%", "a+b", "\u{1}", "\u{7f}",
                "NULL", "0", "00", "-1", "1e0", "a=b", "a;b", "a,b", "con", "#a", "~",
            ];
            kit.keeps_apart(&kit.namespace("characters/0"), &keys)
        },
    },
    Rule {
        name: "namespaces",
        text: "Each namespace has its own keys, whatever its name has in common with others.",
        check: |kit| {
            let rests = [
                "b/c",
                "b/cd",
                "b/C",
                "b/c ",
                "bc",
                "b",
                "b_c",
                "b%c",
                "b/_",
                "b/%",
                "b/c:d",
                "b/c.d",
                "b/größe",
                "b/gro\u{308}ße",
            ];
            let namespaces = rests.map(|rest| kit.namespace(rest));
            // Keys that make the same text with different namespaces.
            let keys = ["key", "c/key", "d:key", ":d:key", "d/key", "d.key"];
            for namespace in &namespaces {
                for key in keys {
                    kit.set(namespace, key, format!("{namespace} {key}").as_bytes())?;
                }
            }
            for (at, namespace) in namespaces.iter().enumerate() {
                kit.lists(namespace, "", &keys)?;
                for key in keys {
                    kit.holds(namespace, key, Some(format!("{namespace} {key}").as_bytes()))?;
                    kit.delete(namespace, key)?;
                }
                kit.lists(namespace, "", &[])?;
                for later in &namespaces[at + 1..] {
                    kit.lists(later, "", &keys)?;
                }
            }
            Ok(Kept::Held)
        },
    },
    Rule {
        name: "prefix",
        text: "A prefix is text, not a pattern: list gives the keys that begin with its bytes.",
        check: |kit| {
            let ns = kit.namespace("prefix/0");
            let starts = [
                "a%", "a_", "a*", "a?", "a[", "a[b]", "a\\", "a.", "a^", "a$", "a(", "a{", "a|",
                "a+", "a'", "a\"", "A", "ab", "aä", "a\u{301}", "a ",
            ];
            let mut keys = vec!["a".to_owned(), "b".to_owned(), "ba%".to_owned()];
            keys.extend(starts.iter().flat_map(|start| [(*start).to_owned(), format!("{start}1")]));
            for key in &keys {
                kit.set(&ns, key, b"")?;
            }
            for prefix in starts.iter().copied().chain(["a", "b", "ab1x", ""]) {
                let matching: Vec<_> =
                    keys.iter().map(String::as_str).filter(|key| key.starts_with(prefix)).collect();
                kit.lists(&ns, prefix, &matching)?;
            }
            Ok(Kept::Held)
        },
    },
    Rule {
        name: "list",
        text: "list gives all keys of a namespace, each once, however many they are.",
        check: |kit| {
            let ns = kit.namespace("list/0");
            let keys: Vec<_> = (0..MANY_KEYS).map(|n| format!("k{n}")).collect();
            for key in &keys {
                kit.set(&ns, key, b"")?;
            }
            kit.lists(&ns, "", &keys.iter().map(String::as_str).collect::<Vec<_>>())?;
            let some: Vec<_> =
                keys.iter().map(String::as_str).filter(|key| key.starts_with("k10")).collect();
            kit.lists(&ns, "k10", &some).map(|()| Kept::Held)
        },
    },
    Rule {
        name: "order",
        text: "The order in which keys are stored and removed does not matter.",
        check: |kit| {
            let ns = kit.namespace("order/0");
            let keys: Vec<_> = (0..60).map(|n| format!("k{:02}", n * 37 % 60)).collect();
            for (at, key) in keys.iter().enumerate() {
                kit.set(&ns, key, at.to_string().as_bytes())?;
            }
            for key in keys.iter().step_by(3) {
                kit.delete(&ns, key)?;
            }
            for (at, key) in keys.iter().enumerate() {
                let value = (!at.is_multiple_of(3)).then(|| at.to_string());
                kit.holds(&ns, key, value.as_ref().map(String::as_bytes))?;
            }
            for key in keys.iter().rev().step_by(2) {
                kit.set(&ns, key, b"again")?;
                kit.holds(&ns, key, Some(b"again"))?;
            }
            Ok(Kept::Held)
        },
    },
    Rule {
        name: "usage",
        text: "usage is the bytes of all keys and values of a namespace, and the number of its keys.",
        check: |kit| {
            let (ns, other) = (kit.namespace("usage/0"), kit.namespace("usage/01"));
            kit.set(&other, "other", b"a value of its own")?;
            for (did, key, value) in [
                ("storing a key", "key", Some("value")),
                ("storing a second one", "größe", Some("ä")),
                ("storing an empty value", "empty", Some("")),
                ("replacing a value by a longer one", "key", Some("a longer value")),
                ("replacing a value by a shorter one", "key", Some("v")),
                ("removing a key", "größe", None),
                ("removing a missing key", "größe", None),
                ("storing it again", "größe", Some("1234")),
            ] {
                match value {
                    Some(value) => kit.set(&ns, key, value.as_bytes())?,
                    None => kit.delete(&ns, key)?,
                }
                kit.counts(&ns, did)?;
                kit.counts(&other, "changes of another namespace")?;
            }
            if kit.has_batch() {
                let changes: [(&str, Option<&[u8]>); 3] =
                    [("key", Some(b"new")), ("empty", None), ("more", Some(b"12345"))];
                kit.apply(&ns, &changes).map_err(|error| failed("a batch".into(), &error))?;
                kit.counts(&ns, "a batch")?;
            }
            for key in kit.list(&ns, "")? {
                kit.delete(&ns, &key)?;
            }
            kit.counts(&ns, "removing all keys").map(|()| Kept::Held)
        },
    },
    Rule {
        name: "threads",
        text: "What several threads store at once is all there.",
        check: |kit| {
            let shared = kit.namespace("threads/all");
            kit.together(|number| {
                let own = kit.namespace(&format!("threads/{number}"));
                for n in 0..KEYS_PER_THREAD {
                    let (key, value) = (format!("{number}-{n}"), format!("value {number} {n}"));
                    for ns in [&shared, &own] {
                        kit.set(ns, &key, value.as_bytes())?;
                        kit.holds(ns, &key, Some(value.as_bytes()))?;
                    }
                    if n % 4 == 3 {
                        kit.delete(&shared, &key)?;
                    }
                }
                Ok(())
            })?;
            let mut all = Vec::new();
            for number in 0..THREADS {
                let own = kit.namespace(&format!("threads/{number}"));
                let keys: Vec<_> = (0..KEYS_PER_THREAD).map(|n| format!("{number}-{n}")).collect();
                kit.lists(&own, "", &keys.iter().map(String::as_str).collect::<Vec<_>>())?;
                all.extend(
                    (0..KEYS_PER_THREAD).filter(|n| n % 4 != 3).map(|n| format!("{number}-{n}")),
                );
            }
            kit.lists(&shared, "", &all.iter().map(String::as_str).collect::<Vec<_>>())?;
            kit.counts(&shared, "changes by several threads").map(|()| Kept::Held)
        },
    },
    Rule {
        name: "whole-values",
        text: "get gives a value that was stored, not a part of one and a part of another.",
        check: |kit| {
            let ns = kit.namespace("whole/0");
            let values = [vec![b'a'; 20_000], vec![b'b'; 30_000]];
            kit.set(&ns, "key", &values[0])?;
            let ended = AtomicBool::new(false);
            let outcome = kit.together(|number| {
                if number < 2 {
                    for n in 0..WATCHED_CHANGES {
                        kit.set(&ns, "key", &values[(n + number) % 2])?;
                    }
                    ended.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                for _ in 0..WATCHED_CHANGES * 10 {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    let found = kit.get(&ns, "key")?;
                    let found = found.as_ref().map(|value| &***value);
                    if !values.iter().any(|value| found == Some(value)) {
                        let did = "get of a key that others set".into();
                        let expected = "20000 times a, or 30000 times b";
                        return Err(finding(did, expected, shown_or_missing(found)));
                    }
                }
                Ok(())
            });
            outcome?;
            kit.counts(&ns, "changes of one key by several threads").map(|()| Kept::Held)
        },
    },
    Rule {
        name: "batch",
        text: "batch makes all its changes, and no other one.",
        check: |kit| {
            if !kit.has_batch() {
                return Ok(Kept::Skipped("it has no batch".into()));
            }
            let (ns, other) = (kit.namespace("batch/0"), kit.namespace("batch/1"));
            for (ns, key) in [(&ns, "kept"), (&ns, "gone"), (&ns, "new-value"), (&other, "gone")] {
                kit.set(ns, key, b"old")?;
            }
            let changes: [(&str, Option<&[u8]>); 6] = [
                ("gone", None),
                ("never", None),
                ("new-value", Some(b"new")),
                ("empty", Some(b"")),
                ("bytes", Some(b"\0\xff")),
                ("größe", Some(b"x")),
            ];
            kit.apply(&ns, &changes).map_err(|error| failed("a batch of 6 keys".into(), &error))?;
            for (key, value) in changes {
                kit.holds(&ns, key, value)?;
            }
            kit.lists(&ns, "", &["kept", "new-value", "empty", "bytes", "größe"])?;
            kit.holds(&other, "gone", Some(b"old")).map(|()| Kept::Held)
        },
    },
    Rule {
        name: "batch-at-once",
        text: "No call sees some changes of a batch without the others.",
        check: |kit| {
            if !kit.has_batch() {
                return Ok(Kept::Skipped("it has no batch".into()));
            }
            let ns = kit.namespace("batch/2");
            let number = |value: Option<Value>| {
                let value = value.map(|value| String::from_utf8_lossy(&value).into_owned());
                value.and_then(|value| value.parse::<usize>().ok())
            };
            let set_both = |n: usize| {
                let text = n.to_string();
                let mut changes = [("x", Some(text.as_bytes())), ("y", Some(text.as_bytes()))];
                if n % 2 == 1 {
                    changes.reverse();
                }
                let made = kit.apply(&ns, &changes);
                made.map_err(|error| failed("a batch of x and y".into(), &error))
            };
            set_both(0)?;
            let ended = AtomicBool::new(false);
            kit.together(|thread| {
                if thread == 0 {
                    let made = (1..=WATCHED_CHANGES).try_for_each(set_both);
                    ended.store(true, Ordering::Relaxed);
                    return made;
                }
                // The one that is read later is never the older one.
                let (first, second) = if thread % 2 == 0 { ("x", "y") } else { ("y", "x") };
                while !ended.load(Ordering::Relaxed) {
                    let before = number(kit.get(&ns, first)?);
                    let after = number(kit.get(&ns, second)?);
                    if before > after {
                        let did = format!(
                            "batches that set x and y to the same number; get of {first}, then of {second}"
                        );
                        let found = format!("{before:?}, then {after:?}");
                        return Err(finding(did, "the same number, or a greater one", found));
                    }
                }
                Ok(())
            })?;
            Ok(Kept::Held)
        },
    },
    Rule {
        name: "namespace-list",
        text: "namespaces gives the names of all namespaces that hold keys, each once.",
        check: |kit| {
            let (full, emptied) = (["list/a", "list/b", "list/B"], kit.namespace("list/gone"));
            for rest in full {
                kit.set(&kit.namespace(rest), "key", b"")?;
            }
            kit.set(&emptied, "key", b"")?;
            kit.delete(&emptied, "key")?;
            let (mut names, mut last) = (Vec::new(), None);
            loop {
                let page = match kit.backend.namespaces(last.as_deref()) {
                    Err(StorageError::Unsupported(_)) => {
                        return Ok(Kept::Skipped("it has no namespaces".into()));
                    }
                    page => page.map_err(|error| failed("namespaces".into(), &error))?,
                };
                names.extend(page.keys.iter().map(|name| String::from(&**name)));
                last = page.keys.last().cloned();
                if page.is_last {
                    break;
                }
            }
            let start = kit.namespace("list/");
            names.retain(|name| name.starts_with(&start) && *name != kit.namespace("list/0"));
            names.sort_unstable();
            let mut expected = full.map(|rest| kit.namespace(rest)).to_vec();
            expected.sort_unstable();
            match names == expected {
                true => Ok(Kept::Held),
                false => Err(finding(
                    "namespaces, after keys were stored in three and removed from one".into(),
                    format!("{expected:?}"),
                    format!("{names:?}"),
                )),
            }
        },
    },
    Rule {
        name: "expiry",
        text: "A key whose time is over is missing; one whose time is not is there.",
        check: |kit| {
            let ns = kit.namespace("expiry/0");
            let later = expiry::after(3_600_000);
            let change = |key: &str, expires| {
                kit.note(&ns, key);
                let to = Some(Entry { value: b"value".to_vec(), expires: Some(expires) });
                Change { key: key.into(), to }
            };
            let changes = vec![change("over", 1), change("later", later)];
            match kit.backend.apply(&ns, changes) {
                Err(StorageError::Unsupported(reason)) => return Ok(Kept::Skipped(reason.into())),
                made => made.map_err(|error| failed("keys that expire".into(), &error))?,
            }
            kit.holds(&ns, "over", None)?;
            kit.lists(&ns, "", &["later"])?;
            kit.holds(&ns, "later", Some(b"value"))?;
            for (key, expected) in [("later", Some(later)), ("over", None)] {
                let found = kit.backend.expires(&ns, key);
                let found = found.map_err(|error| failed("expires".into(), &error))?;
                if found != expected {
                    let did = format!("expires of {key}");
                    return Err(finding(did, format!("{expected:?}"), format!("{found:?}")));
                }
            }
            kit.set(&ns, "later", b"value")?;
            match kit.backend.expires(&ns, "later") {
                Ok(None) => Ok(Kept::Held),
                other => {
                    let did = "set of a key that expired, then expires".into();
                    Err(finding(did, "none", format!("{other:?}")))
                }
            }
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::durable::backend::DurableBackend;
    use crate::storage::durable::options::DurableOptions;
    use crate::storage::memory::MemoryBackend;

    fn conforms(backend: Arc<dyn Backend>) {
        let report = check(Arc::clone(&backend), Duration::from_secs(60));
        assert!(report.conforms() && !report.hangs, "{}", report.text());
        let skipped =
            report.outcomes.iter().filter(|(_, kept)| matches!(kept, Ok(Kept::Skipped(_))));
        assert_eq!(skipped.count(), 0, "{}", report.json());
        assert_eq!(backend.namespaces(None).unwrap().keys.len(), 0, "it cleans up");
    }

    #[test]
    fn the_backend_in_a_file_conforms() {
        let directory = tempfile::tempdir().unwrap();
        let options = DurableOptions::new(directory.path().join("storage"));
        conforms(Arc::new(DurableBackend::open(options, Arc::new(|_| ())).unwrap()));
    }

    #[test]
    fn the_backend_in_memory_conforms() {
        conforms(Arc::new(MemoryBackend::default()));
    }
}
