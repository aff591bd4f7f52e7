//! A storage of the host that fails, or is slow, at each of its calls in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use airssys_wasm::*;

use crate::harness::engine::{Config, Engine};
use crate::harness::store::{Answer, NO_RESULT, Store};

/// What a guest does with its storage, and what it gets if nothing fails.
const COMMANDS: [(&str, &str); 8] = [
    ("set a 1", "ok"),
    ("set b 22", "ok"),
    ("get a", "1"),
    ("exists b", "true"),
    ("list", "a\nb"),
    ("usage", "5 1000 2"),
    ("delete a", "ok"),
    ("list", "b"),
];

const OPTIONS: &str = r#"{"quotas": {"storage-bytes": 1000}}"#;

/// An engine whose storage does `fault` at the call with this number, from 0.
fn engine(
    at: usize,
    fault: impl Fn() -> Option<Answer> + Send + Sync + 'static,
) -> (Engine, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let (config, counted) =
        (Config::new().with(r#"{"host-error-texts": true}"#), Arc::clone(&calls));
    let store = Store::scripted(move |_, _, _| {
        (counted.fetch_add(1, Ordering::SeqCst) == at).then(&fault).flatten()
    });
    store.attach(&config);
    (config.engine(), calls)
}

/// The number of calls of the commands, without a fault.
fn count() -> usize {
    let (engine, calls) = engine(usize::MAX, || None);
    let user = engine.load_with("app/user/0", "storage-user", OPTIONS);
    for (command, reply) in COMMANDS {
        assert_eq!(engine.text(user, command), reply, "{command}");
    }
    calls.load(Ordering::SeqCst)
}

#[test]
fn every_failed_call_is_an_error_of_its_guest_and_of_nobody_else() {
    for fault in [
        (AIRSSYS_STORAGE_IO_ERROR, b"the disk is on fire".to_vec()),
        (AIRSSYS_STORAGE_QUOTA_EXCEEDED, Vec::new()),
        (AIRSSYS_STORAGE_INVALID_KEY, b"not this one".to_vec()),
        (NO_RESULT, b"half an answer".to_vec()),
        (1234, Vec::new()),
    ] {
        for at in 0..count() {
            let answer = fault.clone();
            let (engine, calls) = engine(at, move || Some(answer.clone()));
            let user = engine.load_with("app/user/0", "storage-user", OPTIONS);
            let mut failed = 0;
            for (command, _) in COMMANDS {
                let before = calls.load(Ordering::SeqCst);
                let reply = engine.call(user, command).unwrap().unwrap_or_default();
                let reply = String::from_utf8(reply).unwrap();
                let hit = (before..calls.load(Ordering::SeqCst)).contains(&at);
                assert_eq!(
                    reply.starts_with("error: "),
                    hit,
                    "{fault:?} at {at}: {command}: {reply}"
                );
                failed += usize::from(hit);
            }
            assert_eq!(failed, 1, "{fault:?} at {at}");
            // The same instance goes on, and so does everyone else.
            assert_eq!(engine.describe(user).unwrap()["restarts"], 0);
            for (command, reply) in COMMANDS {
                let other = engine.text(user, command);
                assert!(other == reply || command == "usage", "{command}: {other}");
            }
            let other = engine.load("app/other/0", "storage-user");
            assert_eq!(engine.text(other, "incr n"), "1");
        }
    }
}

#[test]
fn a_delay_at_every_call_in_turn_changes_nothing() {
    for at in 0..count() {
        let (engine, _) = engine(at, || {
            std::thread::sleep(Duration::from_millis(3));
            None
        });
        let user = engine.load_with("app/user/0", "storage-user", OPTIONS);
        for (command, reply) in COMMANDS {
            assert_eq!(engine.text(user, command), reply, "{command}, slow at {at}");
        }
    }
}

#[test]
fn a_call_slower_than_the_time_limit_ends_the_message_alone() {
    for at in 0..count() {
        let (engine, _) = engine(at, || {
            std::thread::sleep(Duration::from_millis(120));
            None
        });
        let options =
            r#"{"quotas": {"storage-bytes": 1000}, "limits": {"max-execution-time-ms": 40}}"#;
        let user = engine.load_with("app/user/0", "storage-user", options);
        let mut late = 0;
        for (command, _) in COMMANDS {
            match engine.call(user, command) {
                Ok(_) => {}
                Err(failure) => {
                    assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
                    late += 1;
                }
            }
        }
        assert!(late >= 1, "slow at {at}");
        let other = engine.load("app/other/0", "storage-user");
        assert_eq!(engine.text(other, "incr n"), "1");
    }
}
