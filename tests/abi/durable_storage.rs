//! Storage in a file, through components and engines.

use std::path::Path;
use std::process::Command;

use airssys_wasm::*;
use serde_json::json;

use crate::harness::child::{self, Limited};
use crate::harness::engine::{Config, Engine, Failure, check, eventually};
use crate::harness::log::Journal;
use crate::harness::store::Store;
use crate::storage::obeys_the_contract;

/// Set in a child process: the file of its storage.
const FILE: &str = "AIRSSYS_DURABLE_FILE";

fn config(path: &Path) -> Config {
    with(path, json!({}))
}

fn with(path: &Path, mut options: serde_json::Value) -> Config {
    options["path"] = path.to_str().unwrap().into();
    Config::new().with(&json!({ "storage": options }).to_string())
}

fn compact(engine: &Engine) -> Result<(), Failure> {
    // SAFETY: a live engine.
    check(|error| unsafe { airssys_engine_storage_compact(engine.raw(), error) })
}

#[test]
fn a_file_obeys_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    obeys_the_contract(&config(&directory.path().join("store")).engine());
}

#[test]
fn values_outlive_the_engine_and_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    for n in 1..=2 {
        let engine = config(&path).engine();
        let user = engine.load("app/user/0", "storage-user");
        assert_eq!(engine.text(user, "incr n"), n.to_string());
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let part = "durable_storage::another_process_counts_on_and_is_killed";
    child.args(["--exact", part, "--ignored", "--nocapture"]).env(FILE, &path);
    let output = child.output().unwrap();
    assert!(!output.status.success(), "it kills itself");
    assert!(String::from_utf8_lossy(&output.stdout).contains("n is 3"), "{output:?}");
    let engine = config(&path).engine();
    let user = engine.load("app/user/0", "storage-user");
    assert_eq!(engine.text(user, "get n"), "3");
    assert_eq!(engine.text(user, "usage"), format!("2 {} 1", u64::MAX));
}

#[test]
#[ignore = "a part of values_outlive_the_engine_and_the_process"]
fn another_process_counts_on_and_is_killed() {
    let path = std::env::var(FILE).unwrap();
    let engine = config(Path::new(&path)).engine();
    let user = engine.load("app/user/0", "storage-user");
    println!("n is {}", engine.text(user, "incr n"));
    // SAFETY: a system call without memory of ours.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

#[test]
fn one_engine_at_a_time_has_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let first = config(&path).engine();
    let refused = config(&path).try_engine().map(drop).unwrap_err();
    assert_eq!(refused.status, AIRSSYS_ERROR_IO);
    assert_eq!(refused.detail["problem"], "in-use");
    assert_eq!(refused.detail["path"], path.to_str().unwrap());
    assert!(refused.message.contains("give each engine a file of its own"), "{refused}");
    first.free();
    drop(config(&path).engine());
}

#[test]
fn unusable_configurations_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let both = config(&path);
    Store::new().attach(&both);
    let refused = both.try_engine().map(drop).unwrap_err();
    assert_eq!(refused.status, AIRSSYS_ERROR_INVALID_OPTIONS);
    assert!(refused.message.contains("set one of them"), "{refused}");
    assert!(!path.exists());

    let refused = config(&directory.path().join("no/store")).try_engine().map(drop).unwrap_err();
    assert_eq!(refused.status, AIRSSYS_ERROR_IO);
    assert_eq!(refused.detail["problem"], "no-directory");
    let without = Config::new().with(r#"{"storage": {"durability": "sync"}}"#);
    let refused = without.try_engine().map(drop).unwrap_err();
    assert_eq!(refused.status, AIRSSYS_ERROR_INVALID_OPTIONS);
    assert!(refused.message.contains("path"), "{refused}");
}

#[test]
fn a_shutdown_writes_what_an_interval_left_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let options = json!({ "durability": "interval", "interval-ms": 3_600_000 });
    let engine = with(&path, options.clone()).engine();
    let user = engine.load("app/user/0", "storage-user");
    assert_eq!(engine.text(user, "set k value"), "ok");
    // SAFETY: a live engine.
    check(|error| unsafe { airssys_engine_shutdown(engine.raw(), 60_000, error) }).unwrap();
    let copy = directory.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    drop(engine);
    for path in [copy, path] {
        let engine = with(&path, options.clone()).engine();
        let user = engine.load("app/user/0", "storage-user");
        assert_eq!(engine.text(user, "get k"), "value");
    }
}

#[test]
fn stats_show_the_size_of_the_file_and_a_compaction_makes_it_smaller() {
    let directory = tempfile::tempdir().unwrap();
    let engine = config(&directory.path().join("store")).engine();
    let user = engine.load("app/user/0", "storage-user");
    for n in 0..20 {
        assert_eq!(engine.text(user, &format!("fill k{n} 500000")), "ok");
    }
    for n in 1..20 {
        assert_eq!(engine.text(user, &format!("delete k{n}")), "ok");
    }
    let before = engine.stats();
    assert_eq!(before["storage"]["live-bytes"], 500_002);
    compact(&engine).unwrap();
    let after = engine.stats();
    let total = |stats: &serde_json::Value| stats["storage"]["total-bytes"].as_u64().unwrap();
    assert!(total(&after) < total(&before) / 4, "{before} {after}");
    assert_eq!(engine.call(user, "get k0").unwrap().unwrap().len(), 500_000);

    let memory = Engine::new();
    assert!(memory.stats()["storage"].is_null());
    compact(&memory).unwrap();
}

#[test]
fn a_component_learns_what_is_damaged_and_not_where_the_file_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let engine = config(&path).engine();
    let user = engine.load("app/user/0", "storage-user");
    assert_eq!(engine.text(user, "set k a-long-value"), "ok");
    assert_eq!(engine.text(user, "set l another"), "ok");
    drop(engine);
    let mut bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() - 12 {
        if bytes[at..].starts_with(b"a-long-value") {
            bytes[at] = b'b';
        }
    }
    std::fs::write(&path, bytes).unwrap();
    for shown in [false, true] {
        let config = with(&path, json!({ "check-on-open": false }))
            .with(&json!({ "host-error-texts": shown }).to_string());
        let journal = Journal::default();
        journal.attach(&config);
        let engine = config.engine();
        let quotas = r#"{"quotas": {"storage-bytes": 1000, "storage-keys": 2}}"#;
        let user = engine.load_with("app/user/0", "storage-user", quotas);
        let problem = "the storage's file is damaged: key \"k\" of app/user/0 does not match its \
                       checksum";
        let told = format!("{}: {problem}", path.display());
        if shown {
            assert_eq!(engine.text(user, "get k"), format!("error: io-error({told})"));
            assert_eq!(engine.text(user, "set k again"), "ok");
            assert_eq!(engine.text(user, "get k"), "again");
            assert_eq!(engine.text(user, "usage"), "14 1000 2");
        } else {
            assert_eq!(engine.text(user, "get k"), format!("error: io-error({problem})"));
            let logged = &journal.records()[0];
            assert_eq!(logged.message, format!("storage failed for app/user/0: {told}"));
            let failure = engine.stored("app/user/0", "k").unwrap_err();
            assert!(failure.message.contains(&told), "{failure}");
        }
    }
}

#[test]
fn a_full_disk_is_a_quota_to_the_component_until_there_is_room() {
    child::passes("durable_storage::a_process_whose_files_may_not_grow");
}

#[test]
#[ignore = "a part of a_full_disk_is_a_quota_to_the_component_until_there_is_room"]
fn a_process_whose_files_may_not_grow() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let engine = config(&path).engine();
    let user = engine.load("app/user/0", "storage-user");
    let other = engine.load("app/other/0", "storage-user");
    assert_eq!(engine.text(other, "set k kept"), "ok");
    // SAFETY: a system call without memory of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let full = Limited::to(libc::RLIMIT_FSIZE, 300_000);
    for _ in 0..3 {
        assert_eq!(engine.text(user, "fill large 2000000"), "error: quota-exceeded");
        assert_eq!(engine.text(other, "get k"), "kept");
    }
    drop(full);
    eventually("the store is usable again", || {
        (engine.text(user, "fill large 2000000") == "ok").then_some(())
    });
    drop(engine);
    let engine = config(&path).engine();
    let user = engine.load("app/user/0", "storage-user");
    assert_eq!(engine.call(user, "get large").unwrap().unwrap().len(), 2_000_000);
}
