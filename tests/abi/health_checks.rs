//! Checks of health: their events, and what follows unhealthy ones.

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::events::{Event, Events};

const FOREVER: u64 = u64::MAX;
const ID: &str = "app/probe/0";

fn checked(health: Value, more: Value) -> String {
    let mut options = json!({ "health": health });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    options.to_string()
}

fn changes(events: &Events) -> Vec<String> {
    let all = events.all();
    let changes = all.iter().filter(|event| event.json["event"] == "health");
    let words = |event: &Event| {
        let word = |key: &str| event.json[key].as_str().unwrap().to_owned();
        format!("{} {}", word("from"), word("to"))
    };
    changes.map(words).collect()
}

#[test]
fn changes_of_health_are_events() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let health = json!({ "interval-ms": 5, "unhealthy-after": null });
    let it = engine.load_with(ID, "probe", &checked(health, json!({})));
    for name in ["degraded", "unhealthy", "healthy"] {
        engine.text(it, &format!("health {name}"));
        let seen = || engine.status(it).unwrap()["health"] == name;
        eventually("the health is checked", || seen().then_some(()));
    }
    let expected = ["healthy degraded", "degraded unhealthy", "unhealthy healthy"];
    eventually("the changes are told", || (changes(events).len() == 3).then_some(()));
    assert_eq!(changes(events), expected);
    let event = events.all().into_iter().find(|event| event.json["event"] == "health").unwrap();
    assert_eq!((&event.json["component"], &event.json["handle"]), (&ID.into(), &it.into()));
    assert_eq!(event.json["instance"], 0);
    assert_eq!(engine.status(it).unwrap()["state"], "running");
}

#[test]
fn the_whole_engine_is_ready_if_every_component_is() {
    let engine = Engine::new();
    let ready = || engine.health(AIRSSYS_ALL_COMPONENTS).unwrap();
    assert_eq!(ready(), json!({"live": true, "ready": true, "components": 0, "not-ready": []}));
    let probe = engine.load(ID, "probe");
    let stopped = engine.load("app/stopped/0", "counter");
    engine.stop(stopped, FOREVER).unwrap();
    assert_eq!(ready()["ready"], true);
    let options = r#"{"supervision": {"restart": "temporary"}}"#;
    let failed = engine.load_with("app/failed/0", "trapper", options);
    engine.failure(failed, "unreachable");
    engine.text(probe, "health unhealthy");
    engine.health(probe).unwrap();
    let all = ready();
    assert_eq!(
        (&all["live"], &all["ready"], &all["components"]),
        (&true.into(), &false.into(), &3.into())
    );
    let listed: Vec<_> = all["not-ready"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["id"].clone(), it["state"].clone()))
        .collect();
    assert_eq!(listed, [(ID.into(), "running".into()), ("app/failed/0".into(), "failed".into())]);
}

#[test]
fn without_checks_nobody_asks() {
    let engine = Engine::new();
    let it = engine.load(ID, "probe");
    let other = checked(json!({ "interval-ms": 5 }), json!({}));
    let other = engine.load_with("app/probe/1", "probe", &other);
    let asked = |handle| engine.json(handle, "calls")["health"].as_u64().unwrap();
    // Asked by the load; each look itself is mail, after which one check is left out.
    let mut pause = std::time::Duration::from_millis(1);
    eventually("the other is asked again and again", || {
        std::thread::sleep(pause);
        pause *= 2;
        (asked(other) > 3).then_some(())
    });
    assert_eq!(asked(it), 1);
}

#[test]
fn an_unhealthy_component_is_restarted_by_its_supervision() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let health = json!({ "interval-ms": 5, "unhealthy-after": 2 });
    let more =
        json!({ "supervision": { "restart": "permanent", "backoff": { "growth": "none" } } });
    let it = engine.load_with(ID, "probe", &checked(health, more));
    engine.text(it, "health unhealthy");
    let restarts = || engine.status(it).unwrap()["instances"][0]["restarts"] == 1;
    eventually("it is restarted", || restarts().then_some(()));
    engine.wait(it, "running", FOREVER).unwrap();
    let last = engine.status(it).unwrap()["instances"][0]["last-failure"].clone();
    assert_eq!(last["message"], "it was unhealthy 2 times in a row");
    let told = || events.states(ID);
    eventually("the changes are told", || (told().len() == 4).then_some(()));
    assert_eq!(told()[1], "running crashed crash");
}

#[test]
fn an_unhealthy_component_fails_without_a_restart() {
    let engine = Engine::new();
    let health = json!({ "interval-ms": 5, "unhealthy-after": 1 });
    let more = json!({ "supervision": { "restart": "temporary" } });
    let it = engine.load_with(ID, "probe", &checked(health, more));
    engine.text(it, "health unhealthy");
    engine.wait(it, "failed", FOREVER).unwrap();
    assert_eq!(engine.failure(it, "calls").status, AIRSSYS_ERROR_COMPONENT_FAILED);
}

#[test]
fn a_check_that_hangs_loses_the_instance_within_its_own_time() {
    let engine = Engine::new();
    let health = json!({ "interval-ms": 5, "timeout-ms": 20 });
    let more = json!({
        "env": { "HANGS_AFTER": "2" },
        "limits": { "max-execution-time-ms": 3_600_000 },
        "supervision": { "restart": "permanent", "backoff": { "growth": "none" } },
    });
    let it = engine.load_with(ID, "probe", &checked(health, more));
    let restarted = || engine.status(it).unwrap()["instances"][0]["restarts"].as_u64() >= Some(1);
    eventually("the check ends", || restarted().then_some(()));
    let last = engine.status(it).unwrap()["instances"][0]["last-failure"].clone();
    assert_eq!(last["code"], "timeout");
    assert_eq!(last["message"], "health did not return within timeout-ms 20");
}

#[test]
fn a_stopped_or_crashed_component_is_not_checked() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let health = json!({ "interval-ms": 1 });
    let crashed = engine.load_with("app/t/0", "trapper", &checked(health.clone(), json!({})));
    engine.failure(crashed, "unreachable");
    let stopped = engine.load_with("app/t/1", "trapper", &checked(health.clone(), json!({})));
    engine.stop(stopped, FOREVER).unwrap();
    let witness = engine.load_with(ID, "probe", &checked(health, json!({})));
    engine.text(witness, "health degraded");
    eventually("checks are made", || (!changes(events).is_empty()).then_some(()));
    assert_eq!(engine.status(crashed).unwrap()["state"], "crashed");
    assert_eq!(engine.status(stopped).unwrap()["state"], "stopped");
}
