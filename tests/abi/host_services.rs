//! The interface `host-services`: own id, time, sleep, and the directory of components.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::harness::engine::Engine;

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

#[test]
fn self_id_is_the_id_given_at_load() {
    let engine = Engine::new();
    let a = engine.load("höhe/name.with-dots/instance 7", "requester");
    assert_eq!(engine.text(a, "self"), "höhe/name.with-dots/instance 7");
}

#[test]
fn time_is_the_host_s_and_the_two_clocks_agree() {
    let engine = Engine::new();
    let chatty = engine.load("app/chatty/0", "chatty");
    let before = now();
    let time = engine.text(chatty, "time");
    let millis: u128 = engine.text(chatty, "millis").parse().unwrap();
    let after = now();
    let (seconds, nanoseconds) = time.split_once(' ').unwrap();
    let time = Duration::new(seconds.parse().unwrap(), nanoseconds.parse().unwrap());
    assert!((before..=after).contains(&time), "{time:?}");
    assert!((time.as_millis()..=after.as_millis()).contains(&millis), "{millis}");
}

#[test]
fn a_sleep_lasts_at_least_as_long_as_it_was_asked_to() {
    let engine = Engine::new();
    let chatty = engine.load("app/chatty/0", "chatty");
    let millis = |command| engine.text(chatty, command).parse::<u64>().unwrap();
    let before = millis("millis");
    assert_eq!(engine.text(chatty, "sleep 40"), "ok");
    assert!(millis("millis") >= before + 40);
    assert_eq!(engine.text(chatty, "sleep 0"), "ok");
}

#[test]
fn the_directory_is_sorted_and_lists_each_id_once() {
    let engine = Engine::new();
    engine.load("b/x/0", "minimal");
    let asker = engine.load("a/asker/0", "requester");
    let twice = [(); 2].map(|()| engine.load("c/echo/0", "echo"));
    engine.load("a/asker/00", "minimal");
    assert_eq!(engine.text(asker, "list"), "a/asker/0\na/asker/00\nb/x/0\nc/echo/0");
    engine.unload(twice[0]).unwrap();
    assert!(engine.text(asker, "list").contains("c/echo/0"));
    engine.unload(twice[1]).unwrap();
    assert!(!engine.text(asker, "list").contains("c/echo/0"));
}

#[test]
fn metadata_of_others_is_what_they_reported() {
    let engine = Engine::new();
    engine.load_with("app/probe/0", "probe", r#"{"env": {"HEALTH": "degraded"}}"#);
    engine.load("app/minimal/0", "minimal");
    let asker = engine.load("app/asker/0", "requester");
    let version = engine.describe(asker).unwrap()["metadata"]["version"].clone();
    assert_eq!(
        engine.json(asker, "metadata app/probe/0"),
        json!({ "id": "app/probe/0", "name": "probe", "version": version, "health": "degraded" })
    );
    assert_eq!(
        engine.json(asker, "metadata app/minimal/0"),
        json!({ "id": "app/minimal/0", "name": "", "version": "", "health": "unknown" })
    );
    assert_eq!(engine.json(asker, "metadata app/asker/0")["name"], "requester");
    let unknown = engine.text(asker, "metadata no/such/one");
    assert!(unknown.starts_with("error: invalid-state("), "{unknown}");
    assert!(unknown.contains("no/such/one"), "{unknown}");
}
