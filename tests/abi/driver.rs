//! A component that sends messages handles its mail in one long call: a loop added at load calls
//! the handler. A call of the host reaches the handler directly. The results are the same.

use std::time::{SystemTime, UNIX_EPOCH};

use airssys_wasm::*;
use serde_json::Value;

use crate::harness::engine::{Engine, Outcome, With, eventually};
use crate::harness::requests::Inbox;

/// The outcomes of concurrent requests, in order.
fn outcomes(engine: &Engine, handle: u64, commands: &[&str]) -> Vec<Outcome<Option<Vec<u8>>>> {
    let inbox = Inbox::new();
    let requests: Vec<u64> =
        commands.iter().map(|command| engine.request(handle, command, inbox).unwrap()).collect();
    let completed = inbox.exactly(&requests);
    requests.iter().map(|request| completed[request].outcome.clone()).collect()
}

#[test]
fn a_message_arrives_the_same_both_ways() {
    let engine = Engine::new();
    let probe = engine.load("app/probe/0", "probe");
    let senders = [None, Some("a/b/c"), Some("a-namespace/with-a-long-name/and-an-instance")];
    let long = "x/".repeat(150);
    let types = [None, Some(""), Some("text/plain"), Some(&*long)];
    let text: String = "message ".chars().chain(('!'..='~').cycle().take(50_000)).collect();
    // Lengths around the 40 and 96 bytes of the two short forms, with a sender and a correlation id
    // of 16 bytes, and around the length from which payloads are copied once more.
    let lengths =
        [7, 8, 12, 13, 14, 21, 22, 37, 38, 39, 68, 69, 70, 77, 78, 79, 4096, 4097, 40_000];
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for length in lengths {
        for sender in senders {
            for content_type in types {
                let payload = &text[..length];
                let with = || With { sender, content_type, ..With::default() };
                let read = |reply: Option<Vec<u8>>| -> Value {
                    serde_json::from_slice(&reply.expect("a reply")).unwrap()
                };
                let mut called = read(engine.call_with(probe, payload, with()).unwrap());
                let inbox = Inbox::new();
                engine.request_with(probe, payload, with(), inbox).unwrap();
                let mut mailed = read(inbox.only().outcome.unwrap());
                assert_eq!(mailed["payload"], payload);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
                let seconds = mailed["seconds"].as_u64().unwrap();
                assert!((began - 1..=now).contains(&seconds), "{seconds}");
                assert!(mailed["nanoseconds"].as_u64().unwrap() < 1_000_000_000);
                assert_eq!(mailed["content-type"], serde_json::json!(content_type));
                assert_eq!(mailed["sender"], sender.unwrap_or("host/engine/0"));
                for field in ["seconds", "nanoseconds", "correlation-id"] {
                    let [called, mailed] = [&mut called, &mut mailed]
                        .map(|message| message.as_object_mut().unwrap().remove(field).unwrap());
                    assert_eq!(called.is_number(), mailed.is_number(), "{field}");
                }
                assert_eq!(called["reply-to"], Value::Null);
                called["reply-to"] = called["sender"].clone();
                assert_eq!(called, mailed);
            }
        }
    }
}

#[test]
fn a_component_s_request_arrives_complete() {
    let engine = Engine::new();
    engine.load("app/probe/0", "probe");
    for id in ["a/b/c", "a-namespace/with-a-long-name/and-an-instance"] {
        let asker = engine.load(id, "requester");
        let commands = ["message", "message with a payload that is no small one ........"];
        for (at, command) in commands.iter().enumerate() {
            let correlation = engine.text(asker, &format!("request app/probe/0 60000 {command}"));
            let callbacks = engine.callbacks(asker, at + 1);
            let answer: Value =
                serde_json::from_str(callbacks[at]["payload"].as_str().unwrap()).unwrap();
            assert_eq!(callbacks[at]["correlation"], *correlation);
            assert_eq!(callbacks[at]["sender"], "app/probe/0");
            assert_eq!(answer["correlation-id"], *correlation, "{id}");
            assert_eq!(answer["reply-to"], id);
            assert_eq!(answer["sender"], id);
            assert_eq!(answer["payload-len"], command.len());
        }
    }
}

#[test]
fn every_answer_is_the_same_both_ways() {
    let engine = Engine::new();
    let probe = engine.load("app/probe/0", "probe");
    let failures = [
        "component-not-found",
        "instantiation-failed",
        "export-not-found",
        "timeout",
        "resource-limit-exceeded",
        "invalid-component",
        "runtime-error",
    ];
    let failures = failures.map(|case| format!("fail {case} what was wrong, \u{e4}\u{f6}\u{fc}"));
    let replies = ["silent", "empty", "blob 1", "blob 70000", "self"].map(String::from);
    for command in failures.iter().chain(&replies) {
        let [mailed] = outcomes(&engine, probe, &[command]).try_into().unwrap();
        assert_eq!(mailed, engine.call(probe, command), "{command}");
    }
    assert_eq!(engine.describe(probe).unwrap()["restarts"], 0);
}

#[test]
fn every_failure_is_the_same_both_ways() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-execution-time-ms": 200, "max-memory-bytes": 8388608}}"#;
    let guest = engine.load_with("app/requester/0", "requester", options);
    for (command, status) in [
        ("loop", AIRSSYS_ERROR_TIMEOUT),
        ("sleep-then 60000 x", AIRSSYS_ERROR_TIMEOUT),
        ("recurse", AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED),
        ("alloc", AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED),
        ("unreachable", AIRSSYS_ERROR_TRAP),
        ("oob", AIRSSYS_ERROR_TRAP),
        ("nonsense", AIRSSYS_ERROR_RUNTIME),
    ] {
        let [mailed] = outcomes(&engine, guest, &[command]).try_into().unwrap();
        let (mailed, called) = (mailed.unwrap_err(), engine.failure(guest, command));
        assert_eq!(mailed.status, status, "{mailed}");
        // The first line names the function that trapped. The loop is below it.
        assert_eq!(mailed.message.lines().next(), called.message.lines().next());
    }
}

#[test]
fn a_failure_ends_only_its_own_message() {
    let engine = Engine::new();
    let guest = engine.load("app/requester/0", "requester");
    let commands = [
        "sleep-then 50 first",
        "note a",
        "ok",
        "unreachable",
        "note b",
        "nonsense",
        "note c",
        "ok",
    ];
    let told: Vec<_> = outcomes(&engine, guest, &commands)
        .into_iter()
        .map(|outcome| outcome.map_err(|failure| failure.status))
        .collect();
    let some = |text: &str| Ok(Some(text.as_bytes().to_vec()));
    let (trap, error) = (Err(AIRSSYS_ERROR_TRAP), Err(AIRSSYS_ERROR_RUNTIME));
    assert_eq!(
        told,
        [some("first"), Ok(None), some("ok"), trap, Ok(None), error, Ok(None), some("ok")]
    );
    assert_eq!(engine.json(guest, "received"), serde_json::json!(["b", "c"]), "a new instance's");
    let messages = &engine.describe(guest).unwrap()["messages"];
    assert_eq!((&messages["handled"], &messages["failed"]), (&7.into(), &2.into()), "{messages}");
}

#[test]
fn every_message_has_its_own_time_limit() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-execution-time-ms": 2000}}"#;
    let guest = engine.load_with("app/requester/0", "requester", options);
    let told = outcomes(&engine, guest, &["sleep-then 500 x"; 6]);
    assert!(told.iter().all(Result::is_ok), "{told:?}");
}

#[test]
fn every_message_has_its_own_fuel() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-fuel": 1000000}}"#;
    let guest = engine.load_with("app/requester/0", "requester", options);
    let fuel = || engine.stats()["fuel"].as_u64().unwrap();
    let before = fuel();
    let commands = [["spin 20000"; 20].as_slice(), &["spin 1000000"], &["ok"]].concat();
    let told = outcomes(&engine, guest, &commands);
    let failed: Vec<_> = told.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert_eq!(failed.len(), 1, "{told:?}");
    assert_eq!(failed[0].status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED);
    assert!(told[20].is_err());
    let used = fuel() - before;
    let once = {
        let before = fuel();
        engine.call(guest, "spin 20000").unwrap();
        fuel() - before
    };
    assert!(used >= 20 * once + 900_000, "{used} in all, {once} for one");
}

#[test]
fn a_call_reaches_a_component_that_waits_for_mail() {
    let engine = Engine::new();
    let guest = engine.load("app/requester/0", "requester");
    for n in 1..=300 {
        engine.send(guest, "note x").unwrap();
        if n % 3 == 0 {
            eventually("the message is handled", || {
                (engine.describe(guest).unwrap()["messages"]["handled"].as_u64()? >= n + n / 3 - 1)
                    .then_some(())
            });
            let received = engine.json(guest, "received");
            assert_eq!(received.as_array().unwrap().len() as u64, n);
        }
    }
    assert_eq!(engine.describe(guest).unwrap()["restarts"], 0);
    engine.send(guest, "note x").unwrap();
    engine.unload(guest).unwrap();
}

#[test]
fn components_may_not_import_the_names_of_the_loop() {
    let engine = Engine::new();
    for name in ["next", "take", "take-small", "take-tiny", "answer"] {
        let wasm =
            wat::parse_str(format!(r#"(component (import "airssys-driver-{name}" (func)))"#));
        let failure = engine.try_load("app/thief/0", &wasm.unwrap(), None).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{failure}");
        assert!(failure.message.contains(name), "{failure}");
    }
}

#[test]
fn the_loop_does_not_count_as_an_instance_of_the_component() {
    let engine = Engine::new();
    // `wit-component` makes three instances of a module with imports: itself and two adapters.
    let load = |instances: u32| {
        let options = format!(r#"{{"limits": {{"max-instances": {instances}}}}}"#);
        let wasm = airssys_wasm_guests::bytes("requester");
        engine.try_load("app/requester/0", &wasm, Some(&options))
    };
    assert_eq!(load(2).unwrap_err().status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED);
    let guest = load(3).unwrap();
    let [mailed] = outcomes(&engine, guest, &["ok"]).try_into().unwrap();
    assert_eq!(mailed, Ok(Some(b"ok".to_vec())));
}
