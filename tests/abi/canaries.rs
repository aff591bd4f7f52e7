//! Canaries: a new version handles a share of the mail until it is promoted or aborted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use airssys_wasm::*;
use airssys_wasm_guests::bytes;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::events::Events;
use crate::harness::gates::Gate;
use crate::harness::log::Journal;
use crate::harness::requests::Inbox;

const FOREVER: u64 = u64::MAX;
const ID: &str = "app/it/0";

/// Options of a replacement by a version that answers `config` with `V` 2.
fn second(canary: Value) -> String {
    json!({ "env": { "V": "2" }, "canary": canary }).to_string()
}

fn by_call(share: u8) -> Value {
    json!({ "share-percent": share, "promote": "by-call" })
}

fn version(engine: &Engine, handle: u64) -> u64 {
    engine.status(handle).unwrap()["instances"][0]["version"].as_u64().unwrap()
}

/// The answers of a probe to a number of calls: which version handled each.
fn answers(engine: &Engine, handle: u64, calls: usize) -> String {
    let answer = |_| match engine.json(handle, "config")["env"]["V"].as_str() {
        Some(_) => '2',
        None => '1',
    };
    (0..calls).map(answer).collect()
}

fn canary_events(events: &Events) -> Vec<Value> {
    let all = events.all();
    all.into_iter().filter(|event| event.kind == "canary").map(|event| event.json).collect()
}

/// The changes of canaries so far, once there are `count`.
fn changes(events: &Events, count: usize) -> Vec<String> {
    eventually("canaries are told of", || {
        let told = canary_events(events);
        let change = |it: &Value| match &it["reason"] {
            Value::String(reason) => format!("{} {reason}", it["change"].as_str().unwrap()),
            _ => it["change"].as_str().unwrap().to_owned(),
        };
        (told.len() >= count).then(|| told.iter().map(change).collect())
    })
}

fn no_canary(engine: &Engine, handle: u64) -> bool {
    engine.status(handle).unwrap()["canary"].is_null()
}

#[test]
fn the_share_is_exact_and_a_call_promotes() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let it = engine.load(ID, "probe");
    engine.replace(it, &bytes("probe"), Some(&second(by_call(30)))).unwrap();
    assert_eq!(answers(&engine, it, 20), "11121121121112112112");
    let canary = engine.status(it).unwrap()["canary"].clone();
    assert_eq!(canary, engine.describe(it).unwrap()["canary"]);
    let sha256 = engine.list()[0]["sha256"].clone();
    let expected = json!({
        "version": 2, "sha256": sha256, "share-percent": 30, "messages": 6, "errors": 0,
        "stable": { "messages": 14, "errors": 0 },
    });
    assert_eq!((canary, version(&engine, it)), (expected, 1));

    engine.promote(it, FOREVER).unwrap();
    assert_eq!(answers(&engine, it, 5), "22222");
    assert_eq!((no_canary(&engine, it), version(&engine, it)), (true, 2));
    assert_eq!(engine.describe(it).unwrap()["version"], 2);
    assert_eq!(engine.describe(it).unwrap()["messages"]["handled"], 25);
    // The canary itself has taken over: it has handled its messages.
    assert_eq!(engine.json(it, "calls")["handle-message"], 12);
    assert_eq!(changes(events, 2), ["begun", "promoted call"]);
    let told = canary_events(events);
    assert_eq!((&told[1]["component"], &told[1]["handle"]), (&ID.into(), &it.into()));
    assert_eq!((&told[1]["version"], &told[1]["messages"]), (&2.into(), &6.into()));
    assert_eq!(told[1]["stable"], json!({ "version": 1, "messages": 14, "errors": 0 }));
    let states = || events.states(ID);
    eventually("the replacement is told", || (states().len() == 3).then_some(()));
    assert_eq!(states()[1..], ["running replacing replace", "replacing running replaced"]);

    engine.roll_back(it).unwrap();
    assert_eq!(answers(&engine, it, 3), "111");
    for failure in [engine.promote(it, 0).unwrap_err(), engine.abort(it, 0).unwrap_err()] {
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
        assert!(failure.message.contains("app/it/0 has no canary"), "{failure}");
    }
}

#[test]
fn a_call_aborts_and_the_old_version_is_as_it_was() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let it = engine.load(ID, "probe");
    engine.replace(it, &bytes("probe"), Some(&second(by_call(50)))).unwrap();
    assert_eq!(answers(&engine, it, 6), "121212");
    engine.abort(it, FOREVER).unwrap();
    assert_eq!(answers(&engine, it, 4), "1111");
    assert_eq!(engine.json(it, "calls")["handle-message"], 8, "the same instance");
    let ended = journal.of(ID).iter().filter(|text| text.contains("probe shut down")).count();
    assert_eq!((ended, version(&engine, it)), (1, 1));
    assert_eq!(changes(events, 2), ["begun", "aborted call"]);
    assert_eq!(events.states_told(ID, 1).len(), 1, "nothing changed");
    assert_eq!(engine.roll_back(it).unwrap_err().status, AIRSSYS_ERROR_INVALID_ARGUMENT);
    // Again, and after a promotion again.
    for _ in 0..2 {
        engine.replace(it, &bytes("probe"), Some(&second(by_call(100)))).unwrap();
        assert_eq!(answers(&engine, it, 2), "22");
        engine.abort(it, FOREVER).unwrap();
        assert_eq!(answers(&engine, it, 2), "11");
    }
    engine.replace(it, &bytes("probe"), Some(&second(by_call(1)))).unwrap();
    engine.promote(it, FOREVER).unwrap();
    engine.replace(it, &bytes("echo"), Some(&second(by_call(100)))).unwrap();
    assert_eq!(engine.text(it, "hello"), "hello");
    engine.abort(it, FOREVER).unwrap();
    assert_eq!(answers(&engine, it, 2), "22");
    engine.roll_back(it).unwrap();
    assert_eq!(answers(&engine, it, 2), "11");
}

#[test]
fn enough_messages_promote() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let it = engine.load(ID, "probe");
    let terms = json!({ "share-percent": 50, "messages": 3 });
    engine.replace(it, &bytes("probe"), Some(&second(terms))).unwrap();
    assert_eq!(answers(&engine, it, 9), "121212222");
    assert_eq!(changes(events, 2), ["begun", "promoted messages"]);
    assert_eq!(canary_events(events)[1]["messages"], 3);
    assert_eq!((no_canary(&engine, it), version(&engine, it)), (true, 2));
    engine.roll_back(it).unwrap();
    assert_eq!(answers(&engine, it, 2), "11");
}

#[test]
fn errors_abort_and_leave_the_old_version_with_its_state() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let it = engine.load(ID, "counter");
    engine.text(it, "inc");
    // A probe knows no `inc`. Of 20 messages 2 may fail, so the third error decides.
    let terms = json!({ "share-percent": 50, "messages": 20, "max-error-percent": 10 });
    engine.replace(it, &bytes("probe"), Some(&second(terms))).unwrap();
    let outcomes: Vec<_> = (0..10).map(|_| engine.call(it, "inc")).collect();
    let failed = [1, 3, 5];
    for (at, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.is_err(), failed.contains(&at), "{at}: {outcome:?}");
    }
    assert_eq!(engine.text(it, "get"), "8");
    assert_eq!(changes(events, 2), ["begun", "aborted errors"]);
    let told = canary_events(events)[1].clone();
    assert_eq!((&told["messages"], &told["errors"]), (&3.into(), &3.into()));
    assert_eq!(told["stable"], json!({ "version": 1, "messages": 3, "errors": 0 }));
    assert_eq!((no_canary(&engine, it), version(&engine, it)), (true, 1));
}

#[test]
fn a_canary_that_crashes_is_no_crash_of_the_component() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let it = engine.load_with(ID, "echo", r#"{"supervision": {"restart": "temporary"}}"#);
    let terms = json!({ "share-percent": 50, "max-error-percent": null, "promote": "by-call" });
    engine.replace(it, &bytes("trapper"), Some(&second(terms))).unwrap();
    for _ in 0..3 {
        assert_eq!(engine.text(it, "unreachable"), "unreachable");
        assert_eq!(engine.failure(it, "unreachable").status, AIRSSYS_ERROR_TRAP);
    }
    let status = engine.status(it).unwrap();
    assert_eq!((&status["state"], &status["canary"]["errors"]), (&"running".into(), &3.into()));
    assert_eq!(engine.describe(it).unwrap()["restarts"], 0);
    assert!(events.states(ID).len() <= 1);
    // Promoted although it has no instance: the new version gets one.
    engine.promote(it, FOREVER).unwrap();
    assert_eq!(engine.text(it, "ok"), "ok");
    // Without an error allowed, the first one aborts.
    engine.roll_back(it).unwrap();
    let terms = json!({ "share-percent": 100, "promote": "by-call" });
    engine.replace(it, &bytes("trapper"), Some(&second(terms))).unwrap();
    assert_eq!(engine.failure(it, "unreachable").status, AIRSSYS_ERROR_TRAP);
    eventually("it is aborted", || no_canary(&engine, it).then_some(()));
    assert_eq!(engine.text(it, "unreachable"), "unreachable");
}

#[test]
fn a_crash_of_the_old_version_is_supervised_as_ever() {
    let engine = Engine::new();
    let options = r#"{"supervision": {"restart": "temporary"}}"#;
    let it = engine.load_with(ID, "trapper", options);
    engine.replace(it, &bytes("echo"), Some(&second(by_call(50)))).unwrap();
    assert_eq!(engine.failure(it, "unreachable").status, AIRSSYS_ERROR_TRAP);
    // It has failed, and the canary with it.
    assert_eq!(engine.status(it).unwrap()["state"], "failed");
    eventually("the canary ends", || no_canary(&engine, it).then_some(()));
    assert_eq!(engine.failure(it, "ok").status, AIRSSYS_ERROR_COMPONENT_FAILED);
    engine.start(it).unwrap();
    assert_eq!(engine.text(it, "ok"), "ok");
    // Without supervision, its next message makes a new instance.
    let other = engine.load("app/other/0", "trapper");
    engine.replace(other, &bytes("echo"), Some(&second(by_call(50)))).unwrap();
    assert_eq!(engine.failure(other, "unreachable").status, AIRSSYS_ERROR_TRAP);
    assert_eq!(engine.text(other, "to the canary"), "to the canary");
    assert_eq!(engine.text(other, "ok"), "ok");
    engine.abort(other, FOREVER).unwrap();
    assert_eq!(engine.describe(other).unwrap()["restarts"], 1);
}

#[test]
fn the_code_of_the_losing_version_goes_with_the_verdict() {
    let config = Config::new().with(r#"{"compile": {"max-unused-code-bytes": 0}}"#);
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let it = engine.load_with(ID, "counter", r#"{"kept-versions": 0}"#);
    let code = || engine.stats()["binaries"].as_u64().unwrap();
    let one_is_left = || eventually("its code is released", || (code() == 1).then_some(()));
    // Nobody asks the component anything between the last message and the end.
    let terms = json!({ "share-percent": 100, "messages": 2, "max-error-percent": 0 });
    engine.replace(it, &bytes("probe"), Some(&second(terms.clone()))).unwrap();
    assert_eq!(code(), 2);
    engine.failure(it, "inc");
    assert_eq!(changes(events, 2)[1], "aborted errors");
    one_is_left();
    engine.replace(it, &bytes("probe"), Some(&second(terms))).unwrap();
    assert_eq!(code(), 2);
    assert_eq!(answers(&engine, it, 2), "22");
    assert_eq!(changes(events, 4)[3], "promoted messages");
    one_is_left();
    assert_eq!(answers(&engine, it, 1), "2");
}

#[test]
fn the_memory_of_a_component_is_that_of_both_versions() {
    const MORE: u64 = 8 << 20;
    let engine = Engine::new();
    let it = engine.load(ID, "ledger");
    let memory = || {
        let described = engine.describe(it).unwrap()["memory-bytes"].as_u64().unwrap();
        assert_eq!(engine.stats()["memory-bytes"], described);
        described
    };
    let alone = memory();
    let terms = json!({ "share-percent": 50, "promote": "by-call", "max-error-percent": null });
    let try_out = || {
        engine.replace(it, &bytes("ledger"), Some(&second(terms.clone()))).unwrap();
        assert!(memory() >= 2 * alone, "{} of {alone}", memory());
    };
    try_out();
    engine.text(it, "sum");
    engine.text(it, &format!("grow {MORE}"));
    assert!(memory() >= 2 * alone + MORE, "{}", memory());
    engine.text(it, "sum");
    engine.failure(it, "unreachable");
    assert_eq!(memory(), alone, "it crashed");
    engine.text(it, "sum");
    engine.text(it, "sum");
    assert!(memory() >= 2 * alone, "it has an instance again");
    engine.abort(it, FOREVER).unwrap();
    assert_eq!(memory(), alone);
    try_out();
    engine.promote(it, FOREVER).unwrap();
    assert!(memory() < 2 * alone);
}

#[test]
fn time_decides() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let it = engine.load(ID, "probe");
    let try_for = |terms: Value| {
        engine.replace(it, &bytes("probe"), Some(&second(terms))).unwrap();
    };
    try_for(json!({ "time-ms": 1 }));
    assert_eq!(changes(events, 2)[1], "aborted time", "it has handled nothing");
    try_for(json!({ "time-ms": 1, "promote": "by-call" }));
    assert_eq!(changes(events, 4)[3], "aborted time");
    try_for(json!({ "time-ms": 1500, "share-percent": 100 }));
    answers(&engine, it, 1);
    assert_eq!(changes(events, 6)[5], "promoted time");
    assert_eq!(answers(&engine, it, 2), "22");
}

#[test]
fn state_goes_to_the_canary_and_stays_with_the_old_version() {
    let engine = Engine::new();
    let it = engine.load(ID, "ledger");
    engine.text(it, "add 5");
    let try_it = || {
        let options = json!({ "canary": by_call(50) }).to_string();
        engine.replace(it, &bytes("ledger"), Some(&options)).unwrap();
        for (add, sum) in [("add 1", "6"), ("add 1", "6"), ("add 2", "8"), ("add 2", "8")] {
            assert_eq!(engine.text(it, add), sum);
        }
    };
    try_it();
    engine.abort(it, FOREVER).unwrap();
    assert_eq!(engine.text(it, "sum"), "8");
    assert_eq!(engine.text(it, "history"), "", "it was never replaced");
    let options = json!({ "canary": by_call(50) }).to_string();
    engine.replace(it, &bytes("ledger"), Some(&options)).unwrap();
    assert_eq!(engine.text(it, "add 10"), "18");
    assert_eq!(engine.text(it, "add 1"), "9", "of the canary");
    engine.promote(it, FOREVER).unwrap();
    assert_eq!(engine.text(it, "sum"), "18", "of the old version");
    assert_eq!(engine.text(it, "history"), "8 bytes from 0.1.0");
    // A state that is not saved, or refused, leaves no canary behind.
    engine.text(it, "at-save refuse");
    let failure = engine.replace(it, &bytes("ledger"), Some(&options)).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_RUNTIME, "{failure}");
    assert!(no_canary(&engine, it));
    assert_eq!(engine.text(it, "sum"), "18");
}

#[test]
fn a_promotion_whose_state_is_not_handed_over_promotes_the_canary() {
    let engine = Engine::new();
    let it = engine.load(ID, "ledger");
    let options = json!({ "canary": by_call(50) }).to_string();
    engine.replace(it, &bytes("ledger"), Some(&options)).unwrap();
    engine.text(it, "at-save refuse");
    assert_eq!(engine.text(it, "add 7"), "7", "of the canary");
    engine.promote(it, FOREVER).unwrap();
    assert_eq!((engine.text(it, "sum"), version(&engine, it)), ("7".into(), 2));
}

#[test]
fn a_version_that_cannot_begin_leaves_no_canary() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let it = engine.load_with(ID, "probe", r#"{"instances": 2}"#);
    for (wasm, env, status) in [
        (b"nonsense".to_vec(), json!({}), AIRSSYS_ERROR_INVALID_COMPONENT),
        (bytes("minimal"), json!({}), AIRSSYS_ERROR_INVALID_COMPONENT),
        (bytes("probe"), json!({ "REFUSE": "no" }), AIRSSYS_ERROR_INITIALIZATION_FAILED),
        (bytes("probe"), json!({ "TRAP_INIT": "1" }), AIRSSYS_ERROR_TRAP),
    ] {
        let options = json!({ "env": env, "canary": {} }).to_string();
        let failure = engine.replace(it, &wasm, Some(&options)).unwrap_err();
        assert_eq!(failure.status, status, "{failure}");
        assert!(no_canary(&engine, it));
    }
    for (terms, place) in [
        (json!({ "share-percent": 0 }), "options.canary.share-percent"),
        (json!({ "share-percent": 101 }), "options.canary.share-percent"),
        (json!({ "max-error-percent": 101 }), "options.canary.max-error-percent"),
        (json!({ "messages": 0 }), "options.canary.messages"),
        (json!({ "time-ms": 0 }), "options.canary.time-ms"),
        (json!({ "promote": "later" }), "options.canary.promote"),
        (json!({ "decide": 1 }), "options.canary"),
    ] {
        let failure = engine.replace(it, &bytes("probe"), Some(&second(terms))).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_OPTIONS, "{failure}");
        assert_eq!(failure.detail["place"], place);
    }
    // Then it works. That is the first thing told.
    engine.replace(it, &bytes("probe"), Some(&second(by_call(100)))).unwrap();
    assert_eq!(answers(&engine, it, 4), "2222");
    engine.abort(it, FOREVER).unwrap();
    assert_eq!(changes(events, 2), ["begun", "aborted call"]);
}

#[test]
fn of_a_pool_one_instance_that_refuses_ends_the_whole_canary() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let it = engine.load_with(ID, "wasi", r#"{"instances": 2}"#);
    engine.send(it, "print gate").unwrap();
    gate.reached();
    // One of the two is busy for longer than the replacement may wait.
    let options = json!({ "timeout-ms": 20, "canary": by_call(100), "env": { "V": "2" } });
    let failure = engine.replace(it, &bytes("wasi"), Some(&options.to_string())).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
    assert!(no_canary(&engine, it));
    gate.open();
    for _ in 0..4 {
        assert!(!engine.text(it, "env-all").contains("V=2"));
    }
    let options = json!({ "canary": by_call(100), "env": { "V": "2" } }).to_string();
    engine.replace(it, &bytes("wasi"), Some(&options)).unwrap();
    assert!(engine.text(it, "env-all").contains("V=2"));
}

#[test]
fn every_instance_of_a_pool_shares_its_messages() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let it = engine.load_with(ID, "probe", r#"{"instances": 3}"#);
    let terms = json!({ "share-percent": 25, "messages": 30 });
    engine.replace(it, &bytes("probe"), Some(&second(terms))).unwrap();
    let all = answers(&engine, it, 108);
    // Exact for each instance, so that each may owe a part of one.
    assert!((24..=27).contains(&all.matches('2').count()), "{all}");
    eventually("it is promoted", || {
        answers(&engine, it, 1);
        no_canary(&engine, it).then_some(())
    });
    assert_eq!(changes(events, 2), ["begun", "promoted messages"]);
    assert_eq!(answers(&engine, it, 6), "222222");
    let status = engine.status(it).unwrap();
    let versions: Vec<_> =
        status["instances"].as_array().unwrap().iter().map(|it| &it["version"]).collect();
    assert_eq!(versions, [2, 2, 2]);
    engine.roll_back(it).unwrap();
    assert_eq!(answers(&engine, it, 6), "111111");
}

#[test]
fn a_component_with_a_loop_shares_its_messages() {
    let engine = Engine::new();
    let it = engine.load(ID, "requester");
    let notes = |from: usize| -> Vec<String> {
        (from..from + 50).for_each(|n| engine.send(it, format!("note {n}")).unwrap());
        let every = |n: &usize| (n - from) % 5 == 4;
        (from..from + 50).filter(every).map(|n| n.to_string()).collect()
    };
    let received = || -> Vec<String> {
        let all = engine.json(it, "received");
        all.as_array().unwrap().iter().map(|note| note.as_str().unwrap().to_owned()).collect()
    };
    engine.replace(it, &bytes("requester"), Some(&second(by_call(20)))).unwrap();
    let of_the_canary = notes(0);
    let handled = || engine.describe(it).unwrap()["messages"]["handled"] == 50;
    eventually("all are handled", || handled().then_some(()));
    engine.abort(it, FOREVER).unwrap();
    let of_the_old = received();
    assert_eq!(of_the_old.len(), 40);
    assert!(of_the_old.iter().all(|note| !of_the_canary.contains(note)), "{of_the_old:?}");
    engine.replace(it, &bytes("requester"), Some(&second(by_call(20)))).unwrap();
    let of_the_canary = notes(50);
    let handled = || engine.describe(it).unwrap()["messages"]["handled"] == 101;
    eventually("all are handled", || handled().then_some(()));
    engine.promote(it, FOREVER).unwrap();
    assert_eq!(received(), of_the_canary, "in order");
    // The loop works again.
    (0..100).for_each(|n| engine.send(it, format!("note {n}")).unwrap());
    assert_eq!(received().len(), 110);
}

#[test]
fn callbacks_go_to_the_version_that_made_the_request() {
    let engine = Engine::new();
    engine.load("app/echo/0", "echo");
    let it = engine.load(ID, "requester");
    engine.replace(it, &bytes("requester"), Some(&second(by_call(50)))).unwrap();
    engine.text(it, "request app/echo/0 60000 from the old");
    engine.text(it, "request app/echo/0 60000 from the canary");
    eventually("both are answered", || {
        (engine.stats()["requests"]["outstanding"] == 0).then_some(())
    });
    let counted = || engine.describe(it).unwrap()["messages"]["handled"] == 4;
    eventually("both callbacks are handled", || counted().then_some(()));
    for payload in ["from the old", "from the canary"] {
        let callbacks = engine.json(it, "callbacks");
        assert_eq!(callbacks.as_array().unwrap().len(), 1, "{callbacks}");
        assert!(callbacks[0].to_string().contains(payload), "{callbacks}");
    }
    let canary = engine.status(it).unwrap()["canary"].clone();
    assert_eq!((&canary["messages"], &canary["stable"]["messages"]), (&3.into(), &3.into()));
}

#[test]
fn requests_of_an_aborted_canary_are_cancelled_and_their_outcomes_dropped() {
    let engine = Engine::new();
    let sleeper = engine.load("app/sleeper/0", "trapper");
    engine.load("app/echo/0", "echo");
    let it = engine.load(ID, "requester");
    engine.replace(it, &bytes("requester"), Some(&second(by_call(100)))).unwrap();
    // One is under way, and the outcome of another waits behind a message.
    engine.text(it, "request app/sleeper/0 60000 sleep 1500");
    engine.until_busy(sleeper, 1, 0);
    let inbox = Inbox::new();
    let running = engine.request(it, "sleep-then 200 first", inbox).unwrap();
    engine.until_busy(it, 2, 0);
    let asked = engine.request(it, "request app/echo/0 60000 hello", inbox).unwrap();
    let last = engine.request(it, "sleep-then 200 done", inbox).unwrap();
    inbox.wait(2);
    let is_answered = || engine.stats()["requests"]["outstanding"] == 1;
    eventually("the outcome is under way", || is_answered().then_some(()));
    engine.abort(it, FOREVER).unwrap();
    assert_eq!(inbox.exactly(&[running, asked, last])[&last].status(), AIRSSYS_OK);
    let outstanding = engine.stats()["requests"]["outstanding"].clone();
    assert_eq!(outstanding, 0, "that to the sleeper is cancelled");
    assert_eq!(engine.json(it, "callbacks"), json!([]));
    let handled = || engine.describe(sleeper).unwrap()["messages"]["handled"] == 1;
    eventually("the sleeper is done", || handled().then_some(()));
    assert_eq!(engine.json(it, "callbacks"), json!([]));
    assert!(engine.describe(it).unwrap()["mailbox"]["depth"] == 0);
}

#[test]
fn open_requests_of_the_old_version_are_answered_to_the_promoted_one() {
    let engine = Engine::new();
    let sleeper = engine.load("app/sleeper/0", "trapper");
    let it = engine.load(ID, "requester");
    engine.replace(it, &bytes("requester"), Some(&second(by_call(50)))).unwrap();
    engine.text(it, "request app/sleeper/0 60000 sleep 200");
    engine.text(it, "request app/sleeper/0 60000 ok");
    engine.until_busy(sleeper, 2, 1);
    engine.promote(it, FOREVER).unwrap();
    assert_eq!(engine.callbacks(it, 2).len(), 2);
}

#[test]
fn no_other_version_takes_over_meanwhile() {
    let engine = Engine::new();
    let it = engine.load(ID, "probe");
    engine.replace(it, &bytes("probe"), Some(&second(json!({})))).unwrap();
    for failure in [
        engine.replace(it, &bytes("echo"), None).unwrap_err(),
        engine.reconfigure(it, r#"{"canary": {}}"#).unwrap_err(),
        engine.roll_back(it).unwrap_err(),
    ] {
        assert_eq!(failure.status, AIRSSYS_ERROR_CANARY_UNDER_WAY, "{failure}");
        assert_eq!(failure.detail["version"], 2);
        assert!(failure.message.contains("promote or abort that first"), "{failure}");
    }
    engine.abort(it, FOREVER).unwrap();
    engine.replace(it, &bytes("echo"), None).unwrap();
}

#[test]
fn stops_restarts_and_unloads_abort() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let it = engine.load_with(ID, "probe", r#"{"instances": 2}"#);
    let try_it = || engine.replace(it, &bytes("probe"), Some(&second(by_call(100)))).unwrap();
    try_it();
    engine.restart(it, FOREVER).unwrap();
    assert_eq!(answers(&engine, it, 4), "1111");
    try_it();
    engine.stop(it, FOREVER).unwrap();
    eventually("the canary ends", || no_canary(&engine, it).then_some(()));
    let failure = engine.replace(it, &bytes("probe"), Some(&second(json!({})))).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_STOPPED, "{failure}");
    engine.start(it).unwrap();
    assert_eq!(answers(&engine, it, 4), "1111");
    try_it();
    let waiting: Vec<_> = (0..10).map(|_| engine.send(it, "config")).collect();
    engine.unload(it).unwrap();
    assert!(waiting.into_iter().all(|sent| sent.is_ok()));
    let told = changes(events, 6);
    assert_eq!(
        told,
        ["begun", "aborted restart", "begun", "aborted stop", "begun", "aborted close"]
    );
    let it = engine.load(ID, "probe");
    engine.replace(it, &bytes("probe"), Some(&second(by_call(100)))).unwrap();
    engine.shutdown(60_000).unwrap();
    assert_eq!(changes(events, 8)[7], "aborted close");
    for failure in [engine.promote(it, 0).unwrap_err(), engine.abort(it, 0).unwrap_err()] {
        assert_eq!(failure.status, AIRSSYS_ERROR_ENGINE_STOPPED, "{failure}");
    }
}

#[test]
fn an_engine_is_freed_with_its_canaries() {
    let engine = Engine::new();
    let it = engine.load_with(ID, "trapper", r#"{"limits": {"max-execution-time-ms": 3600000}}"#);
    engine.replace(it, &bytes("trapper"), Some(&second(by_call(100)))).unwrap();
    engine.send(it, "loop").unwrap();
    engine.until_busy(it, 1, 0);
    std::thread::scope(|scope| {
        let promote = scope.spawn(|| engine.promote(it, FOREVER));
        let failure = engine.promote(it, 1).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
        let failure = engine.abort(it, 1).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
        assert!(failure.message.contains("promoted (call)"), "{failure}");
        assert_eq!(failure.detail["change"], "promoted");
        eventually("the shutdown gives up", || engine.shutdown(1).err());
        let promoted = promote.join().unwrap();
        let outcome = promoted.map_err(|failure| failure.status);
        assert!(matches!(outcome, Ok(()) | Err(AIRSSYS_ERROR_ENGINE_STOPPED)), "{outcome:?}");
    });
}

#[test]
fn a_component_with_a_canary_is_neither_passivated_nor_recycled() {
    let config = Config::new().with(r#"{"max-live-instances": 1}"#);
    let engine = config.engine();
    let options = r#"{"activation": "on-demand", "idle-timeout-ms": 1, "recycle-after-messages": 3,
                      "kept-versions": 1}"#;
    let it = engine.load_with(ID, "ledger", options);
    engine.text(it, "add 4");
    engine.wait(it, "passive", 60_000).unwrap();
    let options = json!({ "canary": by_call(50) }).to_string();
    engine.replace(it, &bytes("ledger"), Some(&options)).unwrap();
    let others: Vec<_> = (0..3)
        .map(|n| engine.load_with(&format!("app/o/{n}"), "counter", r#"{"idle-timeout-ms": 1}"#))
        .collect();
    for other in &others {
        engine.text(*other, "inc");
        engine.wait(*other, "passive", 60_000).unwrap();
    }
    assert_eq!(engine.status(it).unwrap()["state"], "running");
    for sum in ["5", "5", "6", "6", "7", "7", "8", "8"] {
        assert_eq!(engine.text(it, "add 1"), sum);
    }
    engine.promote(it, FOREVER).unwrap();
    assert_eq!(engine.text(it, "sum"), "8");
    engine.wait(it, "passive", 60_000).unwrap();
    assert_eq!((engine.text(it, "sum"), version(&engine, it)), ("8".into(), 2));
}

#[test]
fn health_is_that_of_the_old_version_until_the_canary_is_promoted() {
    let engine = Engine::new();
    let it = engine.load(ID, "probe");
    let options = json!({ "env": { "HEALTH": "degraded" }, "canary": by_call(50) }).to_string();
    engine.replace(it, &bytes("probe"), Some(&options)).unwrap();
    assert_eq!(engine.health(it).unwrap()["health"], "healthy");
    engine.promote(it, FOREVER).unwrap();
    assert_eq!(engine.status(it).unwrap()["health"], "degraded");
    assert_eq!(engine.health(it).unwrap()["health"], "degraded");
}

#[test]
fn host_memory_of_a_canary_is_charged_and_given_back() {
    let engine = Engine::new();
    let it = engine.load(ID, "probe");
    let held = || engine.describe(it).unwrap()["host-bytes"].as_u64().unwrap();
    let first = held();
    // The mail that ended the canary may still be in progress.
    let given_back = || eventually("it is given back", || (held() == first).then_some(()));
    for _ in 0..3 {
        engine.replace(it, &bytes("probe"), Some(&second(by_call(50)))).unwrap();
        assert!(held() > first, "the metadata of the canary");
        engine.abort(it, FOREVER).unwrap();
        given_back();
    }
    engine.replace(it, &bytes("probe"), Some(&second(by_call(50)))).unwrap();
    engine.promote(it, FOREVER).unwrap();
    given_back();
}

#[test]
fn components_that_wait_handle_their_mail_in_order() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    let it = engine.load(ID, "wasi");
    engine.replace(it, &bytes("wasi"), Some(&second(by_call(50)))).unwrap();
    for n in 10..30 {
        engine.send(it, format!("sleep {}", n % 3)).unwrap();
        engine.send(it, format!("print line {n}")).unwrap();
    }
    let handled = || engine.describe(it).unwrap()["messages"]["handled"] == 40;
    eventually("all is handled", || handled().then_some(()));
    let printed = journal.of(ID);
    let lines: Vec<_> = printed.iter().filter(|text| text.contains("line")).collect();
    assert!(lines.len() == 20 && lines.is_sorted(), "{lines:?}");
    assert_eq!(engine.status(it).unwrap()["canary"]["messages"], 20);
    engine.abort(it, FOREVER).unwrap();
}

#[test]
fn under_load_no_message_is_lost() {
    const SENDERS: usize = 4;
    let engine = Engine::new();
    let it = engine.load_with(ID, "counter", r#"{"instances": 2}"#);
    let (over, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let inbox = Inbox::new();
    let requests = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut requests = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        engine.call(it, "inc").unwrap();
                        calls.fetch_add(1, Ordering::Relaxed);
                        match engine.request(it, "inc", inbox) {
                            Ok(request) => requests.push(request),
                            Err(full) => {
                                assert_eq!(full.status, AIRSSYS_ERROR_QUEUE_FULL, "{full}")
                            }
                        }
                    }
                    requests
                })
            })
            .collect();
        let go_on = || {
            let before = calls.load(Ordering::Relaxed);
            eventually("the senders go on", || {
                (calls.load(Ordering::Relaxed) > before + 20).then_some(())
            });
        };
        for round in 0..12 {
            let terms = json!({ "share-percent": 30, "messages": 100 });
            let terms = if round % 3 == 2 { terms } else { by_call(30) };
            let options = json!({ "canary": terms }).to_string();
            engine.replace(it, &bytes("counter"), Some(&options)).unwrap();
            go_on();
            match round % 3 {
                0 => engine.promote(it, FOREVER).unwrap(),
                1 => engine.abort(it, FOREVER).unwrap(),
                _ => eventually("it is promoted", || no_canary(&engine, it).then_some(())),
            }
            go_on();
            if round % 4 == 0 {
                engine.roll_back(it).unwrap();
            }
        }
        over.store(true, Ordering::Relaxed);
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
    });
    let outcomes = inbox.exactly(&requests);
    assert!(outcomes.values().all(|it| it.status() == AIRSSYS_OK));
    let messages = engine.describe(it).unwrap()["messages"].clone();
    let sent = calls.load(Ordering::Relaxed) + requests.len() as u64;
    assert_eq!((&messages["handled"], &messages["dropped"]), (&sent.into(), &0.into()));
    assert_eq!(engine.describe(it).unwrap()["restarts"], 0);
}

#[test]
fn typed_calls_and_runs_reach_the_canary_too() {
    let engine = Engine::new();
    let calc = engine.load("app/calc/0", "calculator");
    let terms = json!({ "share-percent": 50, "promote": "by-call" });
    engine.replace(calc, &bytes("calculator"), Some(&second(terms))).unwrap();
    for n in 0..8 {
        assert_eq!(engine.invoke(calc, "add", &json!([n, 1])).unwrap(), n + 1);
    }
    let status = engine.status(calc).unwrap();
    assert_eq!(
        (&status["canary"]["messages"], &status["canary"]["errors"]),
        (&json!(4), &json!(0))
    );

    let tool = engine.load("app/tool/0", "program");
    let terms = json!({ "share-percent": 50, "promote": "by-call" });
    engine.replace(tool, &bytes("program"), Some(&second(terms))).unwrap();
    let mut versions = String::new();
    for _ in 0..4 {
        let ran = engine.invoke(tool, "wasi:cli/run", &json!(["env", "V"])).unwrap();
        versions.push(if ran["stdout"] == "Ok(\"2\")\n" { '2' } else { '1' });
    }
    assert_eq!(versions, "1212");
}
