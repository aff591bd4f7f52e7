//! Groups: restarts that take members along, their budgets, and group handles.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::events::Events;
use crate::harness::requests::Inbox;

const FOREVER: u64 = u64::MAX;

fn options(strategy: &str, max_restarts: u64) -> String {
    json!({ "strategy": strategy, "max-restarts": max_restarts, "window-ms": 3_600_000 })
        .to_string()
}

fn within(strategy: &str, max_restarts: u64, group: &str) -> String {
    let mut options: Value = serde_json::from_str(&options(strategy, max_restarts)).unwrap();
    options["group"] = group.into();
    options.to_string()
}

/// A member without pauses.
fn member(group: &str, max_restarts: u64) -> String {
    json!({ "group": group, "supervision": {
        "max-restarts": max_restarts, "window-ms": 3_600_000, "backoff": { "growth": "none" },
    } })
    .to_string()
}

fn id(name: &str) -> String {
    format!("app/{name}/0")
}

fn load(engine: &Engine, group: &str, name: &str) -> u64 {
    engine.load_with(&id(name), "trapper", &member(group, 100))
}

fn crash(engine: &Engine, handle: u64) {
    assert_eq!(engine.failure(handle, "unreachable").status, AIRSSYS_ERROR_TRAP);
}

fn restarts(engine: &Engine, handle: u64) -> u64 {
    engine.status(handle).unwrap()["instances"][0]["restarts"].as_u64().unwrap()
}

fn until_restarts(engine: &Engine, handles: &[u64], wanted: &[u64]) {
    let all = || handles.iter().map(|handle| restarts(engine, *handle)).collect::<Vec<_>>();
    eventually(&format!("{wanted:?} restarts"), || (all() == wanted).then_some(()));
    for handle in handles {
        engine.wait(*handle, "running", FOREVER).unwrap();
    }
}

/// Waits until the group has no restart to make.
fn until_quiet(engine: &Engine, group: u64) {
    until(engine, group, "running");
}

fn until(engine: &Engine, group: u64, state: &str) {
    let is = || engine.status(group).unwrap()["state"] == state;
    eventually(&format!("the group is {state}"), || is().then_some(()));
}

#[test]
fn a_strategy_says_which_members_restart() {
    for (strategy, after_second) in
        [("one-for-one", [0, 1, 0]), ("one-for-all", [1, 1, 1]), ("rest-for-one", [0, 1, 1])]
    {
        let engine = Engine::new();
        let group = engine.add_group("g", &options(strategy, 10)).unwrap();
        let members = ["a", "b", "c"].map(|name| load(&engine, "g", name));
        let alone = engine.load("app/alone/0", "trapper");
        crash(&engine, members[1]);
        until_restarts(&engine, &members, &after_second);
        until_quiet(&engine, group);
        assert_eq!(restarts(&engine, alone), 0);
        let made = u64::from(strategy != "one-for-one");
        assert_eq!(engine.status(group).unwrap()["restarts"], made, "{strategy}");
    }
}

#[test]
fn members_end_in_reverse_order_and_begin_in_order() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let group = engine.add_group("g", &options("one-for-all", 10)).unwrap();
    let members = ["a", "b", "c"].map(|name| load(&engine, "g", name));
    crash(&engine, members[0]);
    until_restarts(&engine, &members, &[1, 1, 1]);
    until_quiet(&engine, group);
    let told = || {
        let all = events.state_events();
        let its = all.iter().filter(|event| event.json["cause"] != "loaded");
        its.map(|event| {
            let word = |key: &str| event.json[key].as_str().unwrap().to_owned();
            format!("{} {} {}", &word("component")[4..5], word("to"), word("cause"))
        })
        .collect::<Vec<_>>()
    };
    eventually("all is told", || (told().len() >= 7).then_some(()));
    assert_eq!(
        told(),
        [
            "a crashed crash",
            "c restarting group",
            "b restarting group",
            "a restarting group",
            "a running restarted",
            "b running restarted",
            "c running restarted",
        ]
    );
    let changes: Vec<_> = events.all().into_iter().filter(|event| event.kind == "group").collect();
    assert_eq!(changes.len(), 2);
    assert_eq!(changes[0].json["component"], "app/a/0");
    for (change, to) in changes.iter().zip(["restarting", "running"]) {
        assert_eq!((&change.json["group"], &change.json["to"]), (&"g".into(), &to.into()));
        assert_eq!((&change.json["handle"], &change.json["restarts"]), (&group.into(), &1.into()));
    }
}

#[test]
fn waiting_mail_is_kept_while_the_group_restarts() {
    let engine = Engine::new();
    engine.add_group("g", &options("one-for-all", 1000)).unwrap();
    let [crashing, other] = ["a", "b"].map(|name| load(&engine, "g", name));
    let inbox = Inbox::new();
    let busy = engine.request(other, "sleep 50", inbox).unwrap();
    engine.until_busy(other, 1, 0);
    let behind: Vec<_> = (0..20).map(|_| engine.request(other, "ok", inbox).unwrap()).collect();
    crash(&engine, crashing);
    let own: Vec<_> = (0..20).map(|_| engine.request(crashing, "ok", inbox).unwrap()).collect();
    let all: Vec<_> = [busy].into_iter().chain(behind).chain(own).collect();
    let outcomes = inbox.exactly(&all);
    assert!(outcomes.values().all(|outcome| outcome.status() == AIRSSYS_OK));
    until_restarts(&engine, &[crashing, other], &[1, 1]);
}

#[test]
fn one_for_one_helps_out_once_a_member_has_used_up_its_budget() {
    let engine = Engine::new();
    let group = engine.add_group("g", &options("one-for-one", 2)).unwrap();
    let looping = engine.load_with(&id("looping"), "trapper", &member("g", 1));
    let other = load(&engine, "g", "other");
    // Two from its own budget for each that begins: at first, and after each restart by the group.
    for crashes in 1..=5 {
        crash(&engine, looping);
        engine.wait(looping, "running", FOREVER).unwrap();
        until_restarts(&engine, &[looping, other], &[crashes, 0]);
        until_quiet(&engine, group);
        assert_eq!(engine.status(group).unwrap()["restarts"], crashes / 2);
    }
    crash(&engine, looping);
    engine.wait(looping, "failed", FOREVER).unwrap();
    until(&engine, group, "failed");
    assert_eq!(engine.failure(looping, "ok").status, AIRSSYS_ERROR_COMPONENT_FAILED);
    assert_eq!(engine.text(other, "ok"), "ok", "its siblings go on");
    assert_eq!(restarts(&engine, other), 0);
    engine.start(group).unwrap();
    assert_eq!(engine.text(looping, "ok"), "ok");
    let status = engine.status(group).unwrap();
    assert_eq!((&status["state"], &status["restarts-in-window"]), (&"running".into(), &0.into()));
    crash(&engine, looping);
    engine.wait(looping, "running", FOREVER).unwrap();
}

#[test]
fn a_group_that_gives_up_fails_what_it_would_have_restarted() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let group = engine.add_group("g", &options("rest-for-one", 1)).unwrap();
    let members = ["a", "b", "c"].map(|name| load(&engine, "g", name));
    let alone = engine.load("app/alone/0", "trapper");
    crash(&engine, members[1]);
    until_restarts(&engine, &members, &[0, 1, 1]);
    until_quiet(&engine, group);
    let inbox = Inbox::new();
    let busy = engine.request(members[2], "sleep 50", inbox).unwrap();
    engine.until_busy(members[2], 1, 0);
    let waits = engine.request(members[2], "ok", inbox).unwrap();
    crash(&engine, members[1]);
    engine.wait(members[1], "failed", FOREVER).unwrap();
    engine.wait(members[2], "failed", FOREVER).unwrap();
    let outcomes = inbox.exactly(&[busy, waits]);
    assert_eq!(outcomes[&busy].status(), AIRSSYS_OK, "the message in progress ends");
    assert_eq!(outcomes[&waits].status(), AIRSSYS_ERROR_COMPONENT_FAILED);
    assert_eq!(engine.text(members[0], "ok"), "ok");
    assert_eq!(engine.text(alone, "ok"), "ok");
    let last = || {
        let mut changes = events.all().into_iter().filter(|event| event.kind == "group");
        changes.next_back().map(|event| event.json["to"].clone())
    };
    eventually("the end is told", || (last() == Some("failed".into())).then_some(()));

    engine.start(group).unwrap();
    engine.wait(group, "running", FOREVER).unwrap();
    assert_eq!(engine.text(members[2], "ok"), "ok");
}

#[test]
fn groups_escalate_to_the_group_around_them() {
    let engine = Engine::new();
    let top = engine.add_group("top", &options("rest-for-one", 1)).unwrap();
    let before = load(&engine, "top", "before");
    let inner = engine.add_group("inner", &within("one-for-all", 1, "top")).unwrap();
    let [a, b] = ["a", "b"].map(|name| load(&engine, "inner", name));
    let after = load(&engine, "top", "after");
    let all = [before, a, b, after];
    assert_eq!(engine.status(inner).unwrap()["within"], "top");

    crash(&engine, a);
    until_restarts(&engine, &all, &[0, 1, 1, 0]);
    until_quiet(&engine, inner);
    // The inner budget is exhausted: the outer group restarts it, and what came after it.
    crash(&engine, b);
    until_restarts(&engine, &all, &[0, 2, 2, 1]);
    until_quiet(&engine, top);
    until_quiet(&engine, inner);
    // The inner group has begun anew.
    crash(&engine, b);
    until_restarts(&engine, &all, &[0, 3, 3, 1]);
    until_quiet(&engine, inner);
    crash(&engine, a);
    for failed in [a, b, after] {
        engine.wait(failed, "failed", FOREVER).unwrap();
    }
    assert_eq!(engine.text(before, "ok"), "ok");
    until(&engine, top, "failed");
    until(&engine, inner, "failed");
    engine.start(top).unwrap();
    engine.wait(top, "running", FOREVER).unwrap();
    assert_eq!(engine.groups()[1]["state"], "running");
}

#[test]
fn an_initialize_that_fails_again_and_again_uses_up_the_budget() {
    let engine = Engine::new();
    let rights = r#"{"storage": ["read", "write"]}"#;
    engine.add_group("g", &options("one-for-all", 3)).unwrap();
    let mut options: Value = serde_json::from_str(&member("g", 100)).unwrap();
    options["capabilities"] = serde_json::from_str(rights).unwrap();
    options["env"] = json!({ "REFUSES_IF": "no" });
    let user = engine.load_with(&id("user"), "storage-user", &options.to_string());
    let other = load(&engine, "g", "other");
    assert_eq!(engine.text(user, "set no 1"), "ok");
    crash(&engine, other);
    engine.wait(user, "failed", FOREVER).unwrap();
    engine.wait(other, "failed", FOREVER).unwrap();
}

#[test]
fn the_host_comes_first() {
    let engine = Engine::new();
    let group = engine.add_group("g", &options("one-for-all", 100)).unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| load(&engine, "g", name));
    // A stopped member takes no part, and stays stopped.
    engine.stop(b, FOREVER).unwrap();
    crash(&engine, a);
    until_restarts(&engine, &[a, c], &[1, 1]);
    until_quiet(&engine, group);
    assert_eq!(engine.status(b).unwrap()["state"], "stopped");
    engine.start(b).unwrap();
    // While the restart waits for a busy member, the host restarts, stops and unloads others.
    let inbox = Inbox::new();
    let busy = engine.request(c, "sleep 300", inbox).unwrap();
    engine.until_busy(c, 1, 0);
    crash(&engine, a);
    engine.restart(a, FOREVER).unwrap();
    assert_eq!(engine.text(a, "ok"), "ok", "restarted without the group");
    engine.unload(b).unwrap();
    inbox.exactly(&[busy]);
    until_quiet(&engine, group);
    engine.wait(group, "running", FOREVER).unwrap();
    for member in [a, c] {
        assert_eq!(engine.text(member, "ok"), "ok");
    }
}

#[test]
fn an_interrupt_restarts_the_group_and_charges_no_budget() {
    let engine = Engine::new();
    let group = engine.add_group("g", &options("one-for-all", 0)).unwrap();
    let [a, b] = ["a", "b"].map(|name| load(&engine, "g", name));
    let inbox = Inbox::new();
    let loops = engine.request(a, "loop", inbox).unwrap();
    engine.until_busy(a, 1, 0);
    engine.interrupt(a).unwrap();
    inbox.exactly(&[loops]);
    until_restarts(&engine, &[a, b], &[1, 1]);
    until_quiet(&engine, group);
}

#[test]
fn the_handle_of_a_group_stands_for_its_members() {
    let engine = Engine::new();
    let group = engine.add_group("g", "{}").unwrap();
    assert!(engine.wait(group, "running", 0).is_ok(), "it has no members");
    let inner = engine.add_group("inner", r#"{"group": "g"}"#).unwrap();
    let a = load(&engine, "g", "a");
    let b = engine.load_with(&id("b"), "trapper", r#"{"group": "inner", "instances": 3}"#);
    let other = engine.load("app/other/0", "trapper");
    let members = engine.status(group).unwrap()["members"].clone();
    assert_eq!(
        members,
        json!([{ "handle": inner, "group": "inner" }, { "handle": a, "id": "app/a/0" }])
    );
    assert_eq!(engine.status(b).unwrap()["group"], "inner");
    assert_eq!(engine.status(other).unwrap()["group"], Value::Null);
    assert_eq!(engine.status(b).unwrap()["supervision"]["restart"], "permanent");

    engine.stop(group, FOREVER).unwrap();
    engine.wait(group, "stopped", 0).unwrap();
    let timeout = engine.wait(group, "running", 0).unwrap_err();
    assert_eq!(timeout.status, AIRSSYS_ERROR_TIMEOUT);
    assert_eq!(engine.text(other, "ok"), "ok");
    engine.start(group).unwrap();
    engine.wait(group, "running", 0).unwrap();
    engine.restart(group, FOREVER).unwrap();
    assert_eq!(restarts(&engine, a), 1);

    let refused = engine.send(group, "ok").unwrap_err();
    assert_eq!(refused.status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    assert!(refused.message.contains("is the group \"g\""), "{}", refused.message);
    assert!(engine.describe(group).is_err());

    engine.unload(group).unwrap();
    assert_eq!(engine.groups(), json!([]));
    assert_eq!(engine.list().as_array().unwrap().len(), 1);
    assert_eq!(engine.status(inner).unwrap_err().status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    engine.add_group("g", "{}").unwrap();
}

#[test]
fn what_can_not_be_a_group_is_refused() {
    let engine = Engine::new();
    engine.add_group("g", "{}").unwrap();
    for (name, says) in [
        ("", "group \"\": the name is empty"),
        ("a/b", "must not contain '/'"),
        ("g", "a group \"g\" exists, with handle 1"),
        ("..", "must not be"),
    ] {
        let refused = engine.add_group(name, "{}").unwrap_err();
        assert_eq!(refused.status, AIRSSYS_ERROR_INVALID_ARGUMENT);
        assert!(refused.message.contains(says), "{}", refused.message);
    }
    let long = "x".repeat(256);
    let refused = engine.add_group(&long, "{}").unwrap_err();
    assert!(refused.message.contains("has 256 bytes"), "{}", refused.message);
    let refused = engine.add_group("h", r#"{"group": "x"}"#).unwrap_err();
    assert_eq!(refused.status, AIRSSYS_ERROR_INVALID_OPTIONS);
    assert!(refused.message.contains("options.group"), "{}", refused.message);
    let wasm = airssys_wasm_guests::bytes("trapper");
    let refused = engine.try_load("a/b/c", &wasm, Some(r#"{"group": "x"}"#)).unwrap_err();
    assert_eq!(refused.status, AIRSSYS_ERROR_INVALID_OPTIONS);
    assert!(refused.message.contains("a group: \"g\""), "{}", refused.message);
    let mut around = "g".to_owned();
    for depth in 2..=32 {
        let name = format!("g{depth}");
        engine.add_group(&name, &json!({ "group": around }).to_string()).unwrap();
        around = name;
    }
    let refused = engine.add_group("deep", &json!({ "group": around }).to_string()).unwrap_err();
    assert!(refused.message.contains("33 deep"), "{}", refused.message);
}

#[test]
fn a_storm_of_crashes_loses_no_mail_that_waited() {
    const MEMBERS: usize = 12;
    let engine = Engine::new();
    engine.add_group("top", &options("one-for-one", 10_000)).unwrap();
    let strategies = ["one-for-all", "rest-for-one", "one-for-one"];
    let mut all = Vec::new();
    for (number, strategy) in strategies.iter().enumerate() {
        let name = format!("g{number}");
        engine.add_group(&name, &within(strategy, 10_000, "top")).unwrap();
        for at in 0..MEMBERS / 3 {
            let id = format!("app/m{number}/{at}");
            all.push(engine.load_with(&id, "trapper", &member(&name, 10_000)));
        }
    }
    let (done, inbox) = (AtomicBool::new(false), Inbox::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..60 {
                // A crash in the middle of a restart counts as part of it, and is answered.
                _ = engine.call(all[round % MEMBERS], "unreachable");
            }
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            let mut round = 0;
            while !done.load(Ordering::SeqCst) {
                _ = engine.restart(all[round % MEMBERS], FOREVER);
                round += 1;
            }
        });
        let requests: Vec<_> =
            (0..3000).map(|n| engine.request(all[n % MEMBERS], "ok", inbox).unwrap()).collect();
        let outcomes = inbox.exactly(&requests);
        assert!(outcomes.values().all(|outcome| outcome.status() == AIRSSYS_OK));
    });
    for member in &all {
        engine.wait(*member, "running", FOREVER).unwrap();
        assert_eq!(engine.text(*member, "ok"), "ok");
    }
    engine.shutdown(60_000).unwrap();
}

#[test]
fn a_shutdown_ends_the_members_of_a_group_together() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    engine.add_group("g", "{}").unwrap();
    for (name, group) in [("a", true), ("x", false), ("b", true), ("y", false)] {
        match group {
            true => load(&engine, "g", name),
            false => engine.load(&id(name), "trapper"),
        };
    }
    engine.shutdown(60_000).unwrap();
    let ended = || {
        let all = events.state_events();
        let its = all.iter().filter(|event| event.json["cause"] == "end");
        its.map(|event| event.json["component"].as_str().unwrap()[4..5].to_owned()).collect()
    };
    eventually("all have ended", || (Vec::<String>::len(&ended()) == 4).then_some(()));
    assert_eq!(ended(), ["y", "x", "b", "a"]);
}
