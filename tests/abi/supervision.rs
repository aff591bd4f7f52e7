//! Supervision: restarts after crashes, their budget and pauses, and failed components.

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::events::Events;
use crate::harness::log::Journal;
use crate::harness::requests::Inbox;

const FOREVER: u64 = u64::MAX;
const TRAPPER: &str = "app/trapper/0";

/// Supervision without pauses.
fn supervised(restart: &str, max_restarts: u64) -> String {
    json!({ "supervision": {
        "restart": restart, "max-restarts": max_restarts, "window-ms": 3_600_000,
        "backoff": { "growth": "none" },
    } })
    .to_string()
}

/// Supervision with pauses that no test waits for.
fn pausing(restart: &str) -> String {
    json!({ "supervision": {
        "restart": restart,
        "backoff": { "growth": "fixed", "first-ms": 3_600_000, "max-ms": 3_600_000 },
    } })
    .to_string()
}

#[test]
fn without_supervision_the_next_message_restarts() {
    let engine = Engine::new();
    let trapper = engine.load(TRAPPER, "trapper");
    for _ in 0..20 {
        engine.failure(trapper, "unreachable");
        let status = engine.status(trapper).unwrap();
        assert_eq!((&status["state"], &status["supervision"]), (&"crashed".into(), &json!(null)));
        assert_eq!(engine.text(trapper, "ok"), "ok");
    }
}

#[test]
fn a_permanent_component_runs_again_without_a_message() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let trapper = engine.load_with(TRAPPER, "trapper", &supervised("permanent", 5));
    assert_eq!(engine.failure(trapper, "unreachable").status, AIRSSYS_ERROR_TRAP);
    engine.wait(trapper, "running", FOREVER).unwrap();
    eventually("the restart is told", || (events.states(TRAPPER).len() == 4).then_some(()));
    assert_eq!(
        events.states(TRAPPER)[1..],
        ["running crashed crash", "crashed restarting supervisor", "restarting running restarted"]
    );
    // A worker's crash takes the same way as a caller's.
    engine.send(trapper, "unreachable").unwrap();
    let restarts = || engine.status(trapper).unwrap()["instances"][0]["restarts"] == 2;
    eventually("it restarts again", || restarts().then_some(()));
}

#[test]
fn a_used_up_budget_fails_the_component_until_it_is_started() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let trapper = engine.load_with(TRAPPER, "trapper", &supervised("permanent", 2));
    for crash in 0..3 {
        engine.wait(trapper, "running", FOREVER).unwrap();
        assert_eq!(engine.failure(trapper, "unreachable").status, AIRSSYS_ERROR_TRAP);
        let in_window =
            engine.status(trapper).unwrap()["instances"][0]["restarts-in-window"].clone();
        assert_eq!(in_window, u64::min(crash + 1, 2));
    }
    let status = engine.status(trapper).unwrap();
    assert_eq!(status["state"], "failed");
    let message = &status["instances"][0]["last-failure"]["message"];
    assert!(message.as_str().unwrap().contains("unreachable"), "{message}");
    let failure = engine.failure(trapper, "ok");
    assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_FAILED);
    assert_eq!(failure.detail, json!({"component": TRAPPER, "state": "failed"}));
    engine.stop(trapper, 0).unwrap();
    assert_eq!(engine.status(trapper).unwrap()["state"], "failed");

    engine.start(trapper).unwrap();
    let status = engine.status(trapper).unwrap();
    assert_eq!(status["state"], "running");
    assert_eq!(status["instances"][0]["restarts-in-window"], 0, "a start forgets");
    engine.failure(trapper, "unreachable");
    engine.wait(trapper, "running", FOREVER).unwrap();
    let failed = || events.states(TRAPPER).contains(&"crashed failed give-up".into());
    eventually("the failure is told", || failed().then_some(()));
}

#[test]
fn the_mail_of_a_failed_component_is_answered() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let trapper = engine.load_with(TRAPPER, "trapper", &pausing("permanent"));
    engine.failure(trapper, "unreachable");
    // It pauses: all of this waits.
    let inbox = Inbox::new();
    let requests: Vec<_> = (0..10).map(|_| engine.request(trapper, "ok", inbox).unwrap()).collect();
    engine.send(trapper, "ok").unwrap();
    // The restart itself waits in the mailbox until the pause begins.
    let depth = || engine.describe(trapper).unwrap()["mailbox"]["depth"] == 11;
    eventually("the pause begins", || depth().then_some(()));
    assert_eq!(inbox.all().len(), 0);
    engine.unload(trapper).unwrap();
    let outcomes = inbox.exactly(&requests);
    assert!(outcomes.values().all(|it| it.status() == AIRSSYS_ERROR_COMPONENT_NOT_FOUND));

    let temporary = engine.load_with(TRAPPER, "trapper", &supervised("temporary", 10));
    let inbox = Inbox::new();
    let sleep = engine.request(temporary, "sleep 300", inbox).unwrap();
    engine.until_busy(temporary, 1, 0);
    let crash = engine.request(temporary, "unreachable", inbox).unwrap();
    let behind: Vec<_> = (0..10).map(|_| engine.request(temporary, "ok", inbox).unwrap()).collect();
    let all: Vec<_> = [sleep, crash].into_iter().chain(behind.iter().copied()).collect();
    let outcomes = inbox.exactly(&all);
    assert_eq!(outcomes[&crash].status(), AIRSSYS_ERROR_TRAP);
    for request in behind {
        assert_eq!(outcomes[&request].status(), AIRSSYS_ERROR_COMPONENT_FAILED);
    }
    let dead = events.wait(21);
    assert_eq!(dead.iter().filter(|event| event.json["code"] == "delivery-failed").count(), 10);
}

#[test]
fn whoever_sees_a_failed_component_finds_it_closed() {
    let engine = Engine::new();
    for round in 0..50 {
        let (policy, command) = [("temporary", "exit 1"), ("transient", "exit 0")][round % 2];
        let wasi = engine.load_with("app/wasi/0", "wasi", &supervised(policy, 10));
        engine.send(wasi, command).unwrap();
        let (state, status) = match policy {
            "temporary" => ("failed", AIRSSYS_ERROR_COMPONENT_FAILED),
            _ => ("stopped", AIRSSYS_ERROR_COMPONENT_STOPPED),
        };
        engine.wait(wasi, state, FOREVER).unwrap();
        assert_eq!(engine.send(wasi, "print x").unwrap_err().status, status);
        engine.unload(wasi).unwrap();
    }
}

#[test]
fn mail_waits_in_order_while_a_component_pauses() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    let options = json!({ "supervision": {
        "restart": "permanent", "backoff": { "growth": "fixed", "first-ms": 300 },
    } });
    let wasi = engine.load_with("app/wasi/0", "wasi", &options.to_string());
    assert_eq!(engine.failure(wasi, "exit 1").status, AIRSSYS_ERROR_TRAP);
    assert_eq!(engine.status(wasi).unwrap()["state"], "crashed");
    let inbox = Inbox::new();
    let requests: Vec<_> =
        (10..60).map(|n| engine.request(wasi, format!("print line {n}"), inbox).unwrap()).collect();
    assert_eq!(inbox.exactly(&requests).len(), 50);
    let printed = journal.of("app/wasi/0");
    let lines: Vec<_> = printed.iter().filter(|text| text.contains("line")).collect();
    assert!(lines.len() == 50 && lines.is_sorted(), "{lines:?}");
}

#[test]
fn the_host_ends_a_pause() {
    let engine = Engine::new();
    let load = |n| engine.load_with(&format!("app/trapper/{n}"), "trapper", &pausing("permanent"));
    let crashed = |n| {
        let trapper = load(n);
        engine.failure(trapper, "unreachable");
        assert_eq!(engine.status(trapper).unwrap()["state"], "crashed");
        trapper
    };
    let restarted = crashed(0);
    engine.restart(restarted, FOREVER).unwrap();
    assert_eq!(engine.text(restarted, "ok"), "ok");

    let stopped = crashed(1);
    let inbox = Inbox::new();
    let waits = engine.request(stopped, "ok", inbox).unwrap();
    engine.stop(stopped, FOREVER).unwrap();
    assert_eq!(inbox.exactly(&[waits])[&waits].status(), AIRSSYS_OK, "a stop loses no mail");
    engine.start(stopped).unwrap();
    assert_eq!(engine.text(stopped, "ok"), "ok");

    let unloaded = crashed(2);
    engine.unload(unloaded).unwrap();
    crashed(3);
    engine.shutdown(60_000).unwrap();
}

#[test]
fn a_caller_s_timeout_holds_while_a_component_pauses() {
    let engine = Engine::new();
    for policy in ["permanent", "on-demand"] {
        let trapper = engine.load_with(TRAPPER, "trapper", &pausing(policy));
        engine.failure(trapper, "unreachable");
        let with = crate::harness::engine::With { timeout_ms: 30, ..Default::default() };
        let failure = engine.call_with(trapper, "ok", with).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT);
        assert_eq!(failure.detail["started"], false, "{failure}");
        assert_eq!(engine.describe(trapper).unwrap()["mailbox"]["depth"], 0);
        engine.unload(trapper).unwrap();
    }
}

#[test]
fn an_exit_with_code_0_is_no_crash_of_a_transient_component() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let wasi = engine.load_with("app/wasi/0", "wasi", &supervised("transient", 5));
    let failure = engine.failure(wasi, "exit 7");
    // WASI 0.2 passes on only whether it succeeded.
    assert_eq!((failure.status, &failure.detail["exit-code"]), (AIRSSYS_ERROR_TRAP, &1.into()));
    engine.wait(wasi, "running", FOREVER).unwrap();
    let failure = engine.failure(wasi, "exit 0");
    assert_eq!((failure.status, &failure.detail["exit-code"]), (AIRSSYS_ERROR_TRAP, &0.into()));
    assert_eq!(engine.status(wasi).unwrap()["state"], "stopped");
    assert_eq!(engine.failure(wasi, "print x").status, AIRSSYS_ERROR_COMPONENT_STOPPED);
    engine.start(wasi).unwrap();
    assert_eq!(engine.text(wasi, "print x"), "ok");
    let ended = || events.states("app/wasi/0").contains(&"running stopped exit".to_owned());
    eventually("the exit is told", || ended().then_some(()));

    let permanent = engine.load_with("app/wasi/1", "wasi", &supervised("permanent", 5));
    engine.failure(permanent, "exit 0");
    engine.wait(permanent, "running", FOREVER).unwrap();
    assert_eq!(engine.status(permanent).unwrap()["instances"][0]["restarts"], 1);
}

#[test]
fn restarts_that_fail_use_up_the_budget() {
    let engine = Engine::new();
    let mut options: serde_json::Value = serde_json::from_str(&supervised("permanent", 3)).unwrap();
    options["env"] = json!({ "REFUSES_IF": "closed" });
    options["capabilities"] = json!({ "storage": ["read", "write"] });
    options["limits"] = json!({ "max-fuel": 1_000_000 });
    let door = engine.load_with("app/door/0", "storage-user", &options.to_string());
    engine.text(door, "set closed yes");
    // More fuel than there is: the instance is lost.
    let failure = engine.failure(door, "fill big 10000000");
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
    engine.wait(door, "failed", FOREVER).unwrap();
    let last = engine.status(door).unwrap()["instances"][0]["last-failure"].clone();
    assert_eq!(last["code"], "instantiation-failed");
    assert!(last["message"].as_str().unwrap().contains("closed: Ok"), "{last}");
}

#[test]
fn what_the_host_does_is_not_counted() {
    let engine = Engine::new();
    let mut options: serde_json::Value = serde_json::from_str(&supervised("permanent", 1)).unwrap();
    options["limits"] = json!({ "max-execution-time-ms": 3_600_000 });
    let trapper = engine.load_with(TRAPPER, "trapper", &options.to_string());
    for handled in 0..3 {
        engine.restart(trapper, FOREVER).unwrap();
        engine.send(trapper, "loop").unwrap();
        engine.until_busy(trapper, handled + 1, 0);
        engine.interrupt(trapper).unwrap();
        let ended = || engine.describe(trapper).unwrap()["messages"]["failed"] == handled + 1;
        eventually("the interrupt ends it", || ended().then_some(()));
        engine.wait(trapper, "running", FOREVER).unwrap();
    }
    assert_eq!(engine.status(trapper).unwrap()["instances"][0]["restarts-in-window"], 0);
}

#[test]
fn each_instance_of_a_pool_has_a_budget_of_its_own() {
    let engine = Engine::new();
    let mut options: serde_json::Value = serde_json::from_str(&supervised("temporary", 0)).unwrap();
    options["instances"] = 2.into();
    let pool = engine.load_with(TRAPPER, "trapper", &options.to_string());
    engine.failure(pool, "unreachable");
    assert_eq!(engine.status(pool).unwrap()["state"], "failed");
    for _ in 0..4 {
        assert_eq!(engine.text(pool, "ok"), "ok", "the other instance serves");
    }
    engine.failure(pool, "unreachable");
    assert_eq!(engine.failure(pool, "ok").status, AIRSSYS_ERROR_COMPONENT_FAILED);
    engine.start(pool).unwrap();
    assert_eq!(engine.text(pool, "ok"), "ok");
}

#[test]
fn the_configuration_supervises_every_load_that_does_not() {
    let config = Config::new().with(&supervised("temporary", 0));
    let engine = config.engine();
    let trapper = engine.load(TRAPPER, "trapper");
    assert_eq!(engine.status(trapper).unwrap()["supervision"]["restart"], "temporary");
    engine.failure(trapper, "unreachable");
    engine.wait(trapper, "failed", 0).unwrap();
    let other = engine.load_with("app/trapper/1", "trapper", r#"{"supervision": null}"#);
    engine.failure(other, "unreachable");
    assert_eq!(engine.text(other, "ok"), "ok");
}

#[test]
fn a_storm_of_crashes_loses_no_mail_that_was_not_being_handled() {
    const COMPONENTS: u64 = 1000;
    const MESSAGES: u64 = 12;
    let config = Config::new();
    let engine = config.engine();
    let options = json!({ "supervision": {
        "restart": "permanent", "max-restarts": null,
        "backoff": { "growth": "exponential", "first-ms": 1, "max-ms": 8 },
    } })
    .to_string();
    let load = |n| engine.load_with(&format!("app/trapper/{n}"), "trapper", &options);
    let trappers: Vec<_> = (0..COMPONENTS).map(load).collect();
    let inbox = Inbox::new();
    let mut requests = Vec::new();
    for message in 0..MESSAGES {
        let command = if message % 3 == 1 { "unreachable" } else { "ok" };
        for trapper in &trappers {
            requests.push((engine.request(*trapper, command, inbox).unwrap(), command));
        }
    }
    let ids: Vec<_> = requests.iter().map(|(id, _)| *id).collect();
    let outcomes = inbox.exactly(&ids);
    for (id, command) in requests {
        let expected = if command == "ok" { AIRSSYS_OK } else { AIRSSYS_ERROR_TRAP };
        assert_eq!(outcomes[&id].status(), expected, "{command}");
    }
    for trapper in trappers {
        engine.wait(trapper, "running", FOREVER).unwrap();
        let described = engine.describe(trapper).unwrap();
        assert_eq!(described["messages"]["accepted"], MESSAGES);
        assert_eq!(described["messages"]["dropped"], 0);
        assert_eq!(described["restarts"], MESSAGES / 3);
    }
}
