//! What a component could learn about others and the host from data that it gets anyway.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine};
use crate::harness::log::Journal;
use crate::harness::requests::Inbox;
use crate::harness::router::{Answer, Letter, Router};
use crate::harness::stage::{Stage, hex};
use crate::harness::store::Store;

/// Checks that consecutive ids look random: neither their order nor their common digits show a
/// pattern.
#[track_caller]
fn assert_unrelated(ids: &[u64]) {
    assert!(ids.len() >= 64 && !ids.contains(&0));
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), ids.len(), "an id was reused");
    let pairs = ids.len() as u32 - 1;
    let ascending = ids.windows(2).filter(|pair| pair[0] < pair[1]).count() as u32;
    // Each bound is at least six standard deviations from the expected value.
    assert!(ascending > pairs / 8 && ascending < pairs * 7 / 8, "{ascending} of {pairs} ascend");
    let apart: u32 = ids.windows(2).map(|pair| (pair[0] ^ pair[1]).count_ones()).sum();
    assert!((pairs * 25..pairs * 39).contains(&apart), "{apart} bits in {pairs} pairs");
}

fn number(correlation: &str) -> u64 {
    assert_eq!(correlation.len(), 16, "{correlation}");
    u64::from_str_radix(correlation, 16).unwrap()
}

#[test]
fn request_ids_do_not_reveal_the_number_of_requests() {
    let engine = Engine::new();
    engine.load("app/echo/0", "echo");
    let thief = engine.load("app/thief/0", "hostile");
    engine.text(thief, "request-many 200 app/echo/0 60000 x");
    let ids = engine.text(thief, "correlations");
    assert_unrelated(&ids.lines().map(number).collect::<Vec<_>>());
    // Ids of the host and of another engine: with a counter the first ones would be equal.
    let inbox = Inbox::new();
    let echo = engine.find("app/echo/0").unwrap();
    let ids: Vec<u64> = (0..64).map(|_| engine.request(echo, "x", inbox).unwrap()).collect();
    assert_unrelated(&ids);
    let firsts: Vec<u64> = (0..64)
        .map(|_| {
            let other = Engine::new();
            let echo = other.load("app/echo/0", "echo");
            other.request(echo, "x", inbox).unwrap()
        })
        .collect();
    assert_unrelated(&firsts);
}

#[test]
fn router_tokens_do_not_reveal_the_number_of_requests() {
    let (config, tokens) = (Config::new(), Arc::<Mutex<Vec<u64>>>::default());
    let keep = Arc::clone(&tokens);
    let take = move |letter: &Letter| {
        keep.lock().unwrap().push(letter.token);
        Answer::Taken
    };
    Router::attach(&config, take, |_| ());
    let engine = config.engine();
    let asker = engine.load("app/asker/0", "hostile");
    engine.text(asker, "request-many 100 far/away/0 600000 x");
    let tokens = tokens.lock().unwrap().clone();
    assert_unrelated(&tokens);
    for token in tokens {
        engine.complete(token, Some(b"y")).unwrap();
        let again = engine.complete(token, Some(b"y")).unwrap_err();
        assert_eq!(again.status, AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    }
}

#[test]
fn messages_carry_no_time_to_components_without_a_clock() {
    let deny = json!([{"effect": "deny", "component": "app/thief/*", "action": "clock.read"}]);
    let stage = Stage::with_policies(deny);
    let talk = json!({"messaging": {"send": ["**"], "request": ["**"]}});
    let asker = stage.load("app/asker/0", "requester", talk.clone());
    let seconds = |seen: &str| {
        let seen: Value = serde_json::from_str(seen).unwrap();
        (seen["seconds"].as_u64().unwrap(), seen["nanoseconds"].as_u64().unwrap())
    };
    for (id, told) in [("app/thief/0", false), ("app/other/0", true)] {
        // `probe` has the loop. Messages too long for the loop reach it by calls.
        let probe = stage.load(id, "probe", json!({}));
        let direct = seconds(&stage.engine.text(probe.handle, "message"));
        let padded = format!("message {}", "x".repeat(5000));
        let long = seconds(&stage.engine.text(probe.handle, &padded));
        for payload in ["message", &padded] {
            let asked = stage.engine.text(asker.handle, &format!("request {id} 60000 {payload}"));
            number(&asked);
        }
        let count = if told { 4 } else { 2 };
        let callbacks = stage.engine.callbacks(asker.handle, count);
        let queued =
            callbacks[count - 2..].iter().map(|it| seconds(it["payload"].as_str().unwrap()));
        for (seconds, nanoseconds) in queued.chain([direct, long]) {
            if told {
                assert!(seconds > 1_700_000_000, "{id}: {seconds}");
            } else {
                assert_eq!((seconds, nanoseconds), (0, 0), "{id}");
            }
        }
        // A time that is left out is not recorded as a denial.
        assert_eq!(stage.denials_of(&probe), []);
    }
    // Callbacks arrive in the same ways.
    stage.engine.load("app/echo/0", "echo");
    let thief = stage.load("app/thief/0", "requester", talk);
    for payload in ["x".to_owned(), "x".repeat(5000)] {
        stage.engine.text(thief.handle, &format!("request app/echo/0 60000 {payload}"));
    }
    stage.engine.callbacks(thief.handle, 2);
    assert_eq!(stage.engine.json(thief.handle, "callback-times"), json!([0, 0]));
    let told = stage.engine.json(asker.handle, "callback-times");
    let told: Vec<u64> = serde_json::from_value(told).unwrap();
    assert!(told.len() == 4 && told.iter().all(|seconds| *seconds > 1_700_000_000), "{told:?}");
    // A policy applies from the next message on.
    let probe = stage.engine.find("app/other/0").unwrap();
    stage
        .engine
        .set_policies(r#"{"rules": [{"effect": "deny", "action": "clock.read"}]}"#)
        .unwrap();
    assert_eq!(seconds(&stage.engine.text(probe, "message")), (0, 0));
    stage.engine.set_policies(r#"{"rules": []}"#).unwrap();
    assert!(seconds(&stage.engine.text(probe, "message")).0 > 0);
}

#[test]
fn file_times_carry_no_time_to_components_without_a_clock() {
    let dir = tempfile::tempdir().unwrap();
    let path = fs::canonicalize(dir.path()).unwrap();
    fs::write(path.join("a"), "x").unwrap();
    let deny = json!([{"effect": "deny", "component": "app/thief/*", "action": "clock.read"}]);
    let stage = Stage::with_policies(deny);
    let rights = json!({"filesystem": {path.to_str().unwrap(): ["read", "write", "list-dir"]}});
    for (id, times) in [("app/thief/0", "0"), ("app/other/0", "3")] {
        let guest = stage.load(id, "wasi", rights.clone());
        let preopens = stage.engine.text(guest.handle, "preopens");
        let granted = preopens.lines().find(|line| line.contains(path.to_str().unwrap()));
        let root = granted.unwrap().split(' ').next().unwrap();
        let at = format!("raw-dated-at {root} {}", hex("a"));
        assert_eq!(stage.engine.text(guest.handle, &at), times, "{id}");
        let opened = format!("raw-open {root} {} - read", hex("a"));
        let file = stage.engine.text(guest.handle, &opened);
        assert_eq!(stage.engine.text(guest.handle, &format!("raw-dated {file}")), times, "{id}");
    }
}

#[test]
fn a_listing_follows_the_grants_in_every_form() {
    let engine = Config::closed().engine();
    for id in [
        "a/b/c",
        "app/db/0",
        "app/db/00",
        "app/db/1",
        "app/dbx/0",
        "app/w-1/0",
        "app/w-2/0",
        "app/w/0",
        "apple/db/0",
        "zoo/db/0",
        "zoo/x/0",
    ] {
        engine.load(id, "minimal");
    }
    for n in 0..200 {
        engine.load(&format!("many/x{n:03}/0"), "minimal");
    }
    let seen = |send: Value, request: Value| {
        let options = json!({"capabilities": {"messaging": {"send": send, "request": request}}});
        let viewer = engine.load_with("viewer/v/0", "requester", &options.to_string());
        let seen = engine.text(viewer, "list");
        engine.unload(viewer).unwrap();
        seen.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    for (send, request, expected) in [
        (json!([]), json!([]), &none[..]),
        (json!(["app/db/0"]), json!([]), &["app/db/0"]),
        (json!(["app/db/0"]), json!(["app/db/0", "no/such/one"]), &["app/db/0"]),
        (json!(["app/db/*"]), json!(["a/b/c"]), &["a/b/c", "app/db/0", "app/db/00", "app/db/1"]),
        (json!(["app/w-*/0"]), json!([]), &["app/w-1/0", "app/w-2/0"]),
        (
            json!(["app/*/0"]),
            json!(["app/w-1/**"]),
            &["app/db/0", "app/dbx/0", "app/w-1/0", "app/w-2/0", "app/w/0"],
        ),
        (json!(["app/db/0/**"]), json!(["zoo/**"]), &["app/db/0", "zoo/db/0", "zoo/x/0"]),
        (json!(["**/db/0"]), json!([]), &["app/db/0", "apple/db/0", "zoo/db/0"]),
        (json!(["ap*/db/0"]), json!(["*/x/*"]), &["app/db/0", "apple/db/0", "zoo/x/0"]),
    ] {
        assert_eq!(seen(send.clone(), request.clone()), expected, "{send} {request}");
    }
    let many = seen(json!(["many/**"]), json!(["many/x1*/0"]));
    assert_eq!(many.len(), 200);
    assert!(many.is_sorted());
    // The viewer itself is also loaded.
    assert_eq!(seen(json!(["**"]), json!(["app/db/0"])).len(), 212);
    let deny = json!({"rules": [
        {"effect": "deny", "action": "directory.list", "resource": "many/*/0"},
        {"effect": "deny", "action": "messaging.send", "resource": "app/**"},
    ]});
    engine.set_policies(&deny.to_string()).unwrap();
    let left = seen(json!(["**"]), json!(["app/db/*"]));
    let expected = [
        "a/b/c",
        "app/db/0",
        "app/db/00",
        "app/db/1",
        "apple/db/0",
        "viewer/v/0",
        "zoo/db/0",
        "zoo/x/0",
    ];
    assert_eq!(left, expected);
}

#[test]
fn hidden_components_look_like_missing_ones() {
    let stage = Stage::with_policies(json!([
        {"effect": "deny", "action": "directory.list", "resource": "app/hidden/*", "reason": "no"},
        {"effect": "deny", "action": "messaging.*", "resource": "app/hidden/*", "reason": "no"},
    ]));
    stage.load("app/hidden/0", "echo", json!({}));
    stage.load("app/ungranted/0", "echo", json!({}));
    let rights = json!({"messaging": {"send": ["app/hidden/*"], "request": ["app/hidden/*"]}});
    let thief = stage.load("app/thief/0", "requester", rights);
    for command in ["metadata ID", "send ID x", "request ID 60000 x", "broadcast ID x"] {
        for (there, missing) in
            [("app/hidden/0", "app/hidden/1"), ("app/ungranted/0", "app/ungranted/1")]
        {
            let told = |id: &str| {
                let reply = stage.engine.text(thief.handle, &command.replace("ID", id));
                assert!(reply.starts_with("error: "), "{command}: {reply}");
                reply.replace(id, "ID")
            };
            assert_eq!(told(there), told(missing), "{command}");
        }
    }
}

#[test]
fn error_texts_of_host_callbacks_go_to_the_log_and_not_to_the_guest() {
    let secret = "postgres://admin:hunter2@db: \x1b[31mrefused\nfatal";
    let operations = ["get k", "set k v", "delete k", "exists k", "list", "usage"];
    for (result, expected) in [
        (AIRSSYS_STORAGE_IO_ERROR, "error: io-error(the host's storage failed)"),
        (AIRSSYS_STORAGE_INVALID_KEY, "error: invalid-key(the host's storage refused it)"),
    ] {
        let (config, journal) = (Config::new(), Journal::default());
        journal.attach(&config);
        Store::scripted(move |_, _, _| Some((result, secret.into()))).attach(&config);
        let engine = config.engine();
        for (n, command) in operations.into_iter().enumerate() {
            let user = engine.load(&format!("app/user/{n}"), "storage-user");
            assert_eq!(engine.text(user, command), expected, "{command}");
            let records = journal.records();
            let record = &records[n];
            // The record is the engine's and complete. Whoever prints it must escape it.
            assert_eq!((record.component.as_deref(), record.level), (None, AIRSSYS_LOG_WARN));
            let text = format!("storage failed for app/user/{n}: {secret}");
            assert_eq!(record.message, text);
            assert!(record.native_stack);
        }
    }
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let statuses = [AIRSSYS_ERROR_IO, AIRSSYS_ERROR_INVALID_MESSAGE, -1];
    let asked = AtomicUsize::new(0);
    let refuse = move |_: &Letter| {
        Answer::Refused(statuses[asked.fetch_add(1, Ordering::SeqCst) % 3], secret)
    };
    Router::attach(&config, refuse, |_| ());
    let engine = config.engine();
    for (n, command) in
        ["send far/away/0 x", "request far/away/0 60000 x", "broadcast far/away/0 x"]
            .iter()
            .enumerate()
    {
        let asker = engine.load(&format!("app/asker/{n}"), "requester");
        for _ in 0..3 {
            let reply = engine.text(asker, command);
            let kinds = ["the host's router failed", "the host's router refused it"];
            assert!(kinds.iter().any(|kind| reply.contains(kind)), "{reply}");
            assert!(!reply.contains("postgres"), "{reply}");
        }
    }
    let records = journal.records();
    assert_eq!(records.len(), 9);
    assert!(records.iter().all(|record| record.component.is_none()
        && record.message.starts_with("router failed for app/asker/")
        && record.message.ends_with(secret)));
}

#[test]
fn error_texts_of_the_host_are_shown_if_configured() {
    let config = Config::new().with(r#"{"host-error-texts": true}"#);
    let journal = Journal::default();
    journal.attach(&config);
    let long = "w".repeat(100_000);
    let answer = (AIRSSYS_STORAGE_IO_ERROR, long.clone().into_bytes());
    Store::scripted(move |_, _, _| Some(answer.clone())).attach(&config);
    let engine = config.engine();
    let user = engine.load("app/user/0", "storage-user");
    let reply = engine.text(user, "get k");
    assert!(reply.starts_with("error: io-error(wwww") && reply.ends_with("(100000 bytes))"));
    assert!(reply.len() < 4200, "{}", reply.len());
    assert_eq!(journal.records().len(), 0);
}

#[test]
fn host_failures_that_a_guest_provokes_do_not_fill_the_log() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    Store::scripted(|_, _, _| Some((AIRSSYS_STORAGE_IO_ERROR, b"no".to_vec()))).attach(&config);
    let engine = config.engine();
    let user = engine.load("app/user/0", "hostile");
    for _ in 0..20 {
        engine.text(user, "set-many 100 1");
    }
    let written = journal.records().len();
    assert!(written < 500, "{written} records for 2,000 failures");
}
