//! Components call functions of their host with typed values, by right.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::callback::on_native_stack;
use crate::harness::engine::{Config, Engine, Failure, With, eventually};
use crate::harness::interfaces::{Answer, Call, LATER, failed, ok};
use crate::harness::requests::Inbox;

const BUFFER: &str = "editor:api/buffer@1.2.0";

fn commands(name: &str) -> String {
    format!("editor:plugin/commands#{name}")
}

/// An editor with one text.
#[derive(Clone, Default)]
struct Editor(Arc<Mutex<Vec<String>>>);

impl Editor {
    fn with(lines: &[&str]) -> Self {
        Self(Arc::new(Mutex::new(lines.iter().map(|line| (*line).to_owned()).collect())))
    }

    fn answer(&self, call: &Call) -> Answer {
        let mut lines = self.0.lock().unwrap();
        let at = call.args.get(0).and_then(Value::as_u64).unwrap_or_default() as usize;
        match &*call.function {
            "line-count" => ok(&json!(lines.len())),
            "get-line" => match lines.get(at) {
                Some(line) => ok(&json!({ "ok": line })),
                None => failed(&format!("there is no line {at}")),
            },
            "set-line" => match lines.get_mut(at) {
                Some(line) => {
                    *line = call.args[1].as_str().unwrap().to_owned();
                    ok(&json!({ "ok": null }))
                }
                None => ok(&json!({ "err": "no such line" })),
            },
            "insert" => ok(&json!({ "err": "out-of-range" })),
            "try-lock" => failed("somebody else has it"),
            "beep" => (AIRSSYS_OK, String::new()),
            "mirror" => ok(&call.args[0]),
            other => failed(&format!("{other} is not there")),
        }
    }

    fn engine(&self, options: &str) -> (Engine, u64) {
        let editor = self.clone();
        let config = Config::closed().offering(BUFFER, move |call| editor.answer(&call));
        let engine = config.engine();
        let plugin = engine.load_with("app/plugin/0", "plugin", options);
        (engine, plugin)
    }
}

const ALL: &str = r#"{"capabilities": {"host": "editor:api/*"}}"#;

#[track_caller]
fn trapped(result: Result<Value, Failure>, text: &str) {
    let failure = result.expect_err("it traps");
    assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{failure}");
    assert!(failure.message.contains(text), "{failure}");
}

#[test]
fn a_component_calls_its_host_in_the_middle_of_its_own_work() {
    let editor = Editor::with(&["one", "two", "three"]);
    let (engine, plugin) = editor.engine(ALL);
    assert_eq!(engine.invoke(plugin, &commands("shout"), &json!([])).unwrap(), json!({ "ok": 3 }));
    assert_eq!(*editor.0.lock().unwrap(), ["ONE", "TWO", "THREE"]);
    assert_eq!(engine.invoke(plugin, &commands("beep"), &json!([])).unwrap(), json!(null));
}

#[test]
fn errors_are_those_of_the_functions_type_or_traps() {
    let editor = Editor::with(&["one"]);
    let (engine, plugin) = editor.engine(ALL);
    let invoke = |name: &str, args: Value| engine.invoke(plugin, &commands(name), &args);
    // The text of a status, an error of the host's own, and one without a text.
    assert_eq!(invoke("get-line", json!([7])).unwrap(), json!({ "err": "there is no line 7" }));
    assert_eq!(invoke("set-line", json!([7, "x"])).unwrap(), json!({ "err": "no such line" }));
    let at = json!({ "line": 1, "column": 2 });
    assert_eq!(invoke("insert", json!([at, "x"])).unwrap(), json!({ "err": "out-of-range" }));
    assert_eq!(invoke("try-lock", json!([])).unwrap(), json!({ "err": null }));
    trapped(invoke("bytes", json!([1])), "editor:api/buffer#bytes: bytes is not there");
    assert_eq!(invoke("get-line", json!([0])).unwrap(), json!({ "ok": "one" }), "it goes on");
}

#[test]
fn values_of_every_kind_pass_both_ways() {
    let (engine, plugin) = Editor::default().engine(ALL);
    let values = json!([[
        "none",
        { "whole": i64::MIN },
        { "real": "-Infinity" },
        { "real": 0.1 },
        { "text": "grüße \"\u{0}\"" },
        { "bytes": "AAH/" },
        { "bytes": "" },
        { "numbers": [0, 65535] },
        { "numbers": [] },
        { "position": { "line": 1, "column": 4294967295_u32 } },
        { "nested": null },
        { "nested": { "some": null } },
        { "nested": { "some": 5 } },
        { "outcome": { "ok": 255 } },
        { "outcome": { "err": "" } },
        { "letter": "💡" },
        { "truth": true },
        { "pair": ["NaN", u64::MAX] },
        { "styles": [] },
        { "styles": ["bold", "italic"] },
    ]]);
    assert_eq!(engine.invoke(plugin, &commands("mirror"), &values).unwrap(), values[0]);
}

#[test]
fn a_function_without_a_right_fails_and_the_host_is_not_asked() {
    for (capabilities, allowed) in [
        (json!({}), false),
        (json!({ "host": [] }), false),
        (json!({ "host": "editor:api/buffer#get-line" }), false),
        (json!({ "host": "other:api/*" }), false),
        (json!({ "host": ["editor:api/buffer#line-*", "editor:api/buffer#set-line"] }), true),
        (json!({ "host": "editor:api/buffer#*" }), true),
        (json!({ "host": "*/*" }), true),
    ] {
        let asked = Arc::new(Mutex::new(0));
        let count = Arc::clone(&asked);
        let config = Config::closed().offering(BUFFER, move |call| {
            *count.lock().unwrap() += 1;
            Editor::with(&["x"]).answer(&call)
        });
        let engine = config.engine();
        let options = json!({ "capabilities": capabilities }).to_string();
        let plugin = engine.load_with("app/plugin/0", "plugin", &options);
        let count = engine.invoke(plugin, &commands("line-count"), &json!([]));
        match allowed {
            true => assert_eq!(count.unwrap(), 1, "{options}"),
            // It has no result type to report that, so it traps.
            false => {
                trapped(count, "capability denied: host.function editor:api/buffer#line-count")
            }
        }
        assert_eq!(*asked.lock().unwrap(), i32::from(allowed), "{options}");
        let set = engine.invoke(plugin, &commands("set-line"), &json!([0, "y"])).unwrap();
        match allowed {
            true => assert_eq!(set, json!({ "ok": null }), "{options}"),
            false => {
                let denied = "capability denied: host.function editor:api/buffer#set-line";
                assert_eq!(set, json!({ "err": denied }), "{options}");
            }
        }
    }
}

#[test]
fn rights_change_while_the_component_runs() {
    let (engine, plugin) = Editor::with(&["x"]).engine("{}");
    let get = || engine.invoke(plugin, &commands("get-line"), &json!([0])).unwrap();
    let is_denied = |value: &Value| value["err"].as_str().is_some_and(|it| it.contains("denied"));
    assert!(is_denied(&get()));
    let right = r#"{"host": "editor:api/buffer#get-line"}"#;
    engine.grant(plugin, right).unwrap();
    assert_eq!(get(), json!({ "ok": "x" }));
    let rule =
        r#"{"rules": [{"effect": "deny", "action": "host.function", "resource": "editor:api/*"}]}"#;
    engine.set_policies(rule).unwrap();
    assert!(is_denied(&get()));
    engine.set_policies(r#"{"rules": []}"#).unwrap();
    assert_eq!(get(), json!({ "ok": "x" }));
    engine.revoke(plugin, Some(right)).unwrap();
    assert!(is_denied(&get()));
}

#[test]
fn the_host_learns_who_calls_and_may_use_the_engine() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::clone(&seen);
    let config = Config::closed().offering(BUFFER, move |call| {
        assert!(on_native_stack());
        calls.lock().unwrap().push((call.interface, call.function, call.caller, call.handle));
        ok(&json!({ "ok": "x" }))
    });
    let engine = config.engine();
    let plugin = engine.load_with("app/plugin/7", "plugin", ALL);
    engine.invoke(plugin, &commands("get-line"), &json!([3])).unwrap();
    let caller = ("app/plugin/7".to_owned(), plugin);
    let expected = (BUFFER.to_owned(), "get-line".to_owned(), caller.0, caller.1);
    assert_eq!(*seen.lock().unwrap(), [expected]);
}

/// An engine whose host answers later, and the calls that it got.
fn patient(options: &str) -> (Engine, u64, Receiver<Call>) {
    let (sender, calls): (Sender<Call>, _) = channel();
    let sender = Mutex::new(sender);
    let config = Config::closed().offering(BUFFER, move |call| {
        sender.lock().unwrap().send(call).unwrap();
        (LATER, String::new())
    });
    let engine = config.engine();
    let plugin = engine.load_with("app/plugin/0", "plugin", options);
    (engine, plugin, calls)
}

#[test]
fn an_answer_may_come_later_from_another_thread() {
    let (engine, plugin, calls) = patient(ALL);
    thread::scope(|scope| {
        let caller = scope.spawn(|| engine.invoke(plugin, &commands("get-line"), &json!([1])));
        let call = calls.recv().unwrap();
        let failure = engine.answer(call.token + 1, &ok(&json!(1))).expect_err("nobody's token");
        assert_eq!(failure.status, AIRSSYS_ERROR_REQUEST_NOT_FOUND, "{failure}");
        engine.answer(call.token, &ok(&json!({ "ok": "late" }))).unwrap();
        assert_eq!(caller.join().unwrap().unwrap(), json!({ "ok": "late" }));
        let failure = engine.answer(call.token, &ok(&json!(1))).expect_err("answered");
        assert_eq!(failure.status, AIRSSYS_ERROR_REQUEST_NOT_FOUND, "{failure}");
        // An error, and a wait for many at once on no thread of their own.
        let inboxes: Vec<_> = (0..3).map(|_| Inbox::new()).collect();
        for inbox in &inboxes {
            let (args, with) = (json!([1]), With::default());
            engine.invoke_request(plugin, &commands("get-line"), &args, with, *inbox).unwrap();
            let call = calls.recv().unwrap();
            engine.answer(call.token, &failed("gone")).unwrap();
            assert_eq!(inbox.only().outcome.unwrap().unwrap(), br#"{"err":"gone"}"#);
        }
    });
}

#[test]
fn a_wait_for_the_host_ends_with_the_time_limit_an_interrupt_or_the_engine() {
    let options = json!({
        "capabilities": { "host": "editor:api/*" },
        "limits": { "max-execution-time-ms": 300 },
    });
    let (engine, plugin, calls) = patient(&options.to_string());
    let get = |args: Value| engine.invoke(plugin, &commands("get-line"), &args);
    let failure = get(json!([1])).expect_err("nobody answers");
    assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
    let token = calls.recv().unwrap().token;
    let failure = engine.answer(token, &ok(&json!(1))).expect_err("too late");
    assert_eq!(failure.status, AIRSSYS_ERROR_REQUEST_NOT_FOUND, "{failure}");

    let patient_options = json!({
        "capabilities": { "host": "editor:api/*" },
        "limits": { "max-execution-time-ms": 3600000 },
    });
    let (engine, plugin, calls) = patient(&patient_options.to_string());
    let inbox = Inbox::new();
    let (args, with) = (json!([1]), With::default());
    engine.invoke_request(plugin, &commands("get-line"), &args, with, inbox).unwrap();
    calls.recv().unwrap();
    engine.interrupt(plugin).unwrap();
    let failure = inbox.only().outcome.expect_err("interrupted");
    assert_eq!(failure.status, AIRSSYS_ERROR_INTERRUPTED, "{failure}");

    let last = Inbox::new();
    engine.invoke_request(plugin, &commands("get-line"), &args, with, last).unwrap();
    calls.recv().unwrap();
    drop(engine);
    let failure = last.only().outcome.expect_err("the engine is gone");
    assert_eq!(failure.status, AIRSSYS_ERROR_ENGINE_STOPPED, "{failure}");
}

#[test]
fn an_answer_that_does_not_fit_is_a_trap_that_says_so() {
    for (answer, text) in [
        (
            ok(&json!("x")),
            "the host's answer to editor:api/buffer#line-count does not fit: result: expected u32, got \"x\"",
        ),
        (ok(&json!(-1)), "result: expected u32, got -1"),
        ((AIRSSYS_OK, "1 2".into()), "result: not JSON"),
        ((AIRSSYS_OK, String::new()), "result: expected u32, got null"),
        (failed(""), "editor:api/buffer#line-count: the host gave no reason"),
    ] {
        let config = Config::closed().offering(BUFFER, move |_| answer.clone());
        let engine = config.engine();
        let plugin = engine.load_with("app/plugin/0", "plugin", ALL);
        trapped(engine.invoke(plugin, &commands("line-count"), &json!([])), text);
    }
}

#[test]
fn a_large_answer_is_charged_to_the_component() {
    let config = Config::closed().offering(BUFFER, |call| {
        let count = call.args[0].as_u64().unwrap() as usize;
        ok(&json!("A".repeat(count / 3 * 4)))
    });
    let engine = config.engine();
    let options = json!({
        "capabilities": { "host": "editor:api/*" },
        "limits": { "max-host-bytes": 4 << 20, "max-message-bytes": 1 << 20 },
    });
    let plugin = engine.load_with("app/plugin/0", "plugin", &options.to_string());
    let bytes = |count: u32| engine.invoke(plugin, &commands("bytes"), &json!([count]));
    assert_eq!(bytes(300_000).unwrap(), 300_000);
    let failure = bytes(30_000_000).expect_err("beyond the limit");
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
    assert!(failure.message.contains("max-host-bytes"), "{failure}");
}

#[test]
fn versions_are_matched_as_semantic_versioning_has_it() {
    for (offered, serves) in [
        ("editor:api/buffer@1.2.0", true),
        ("editor:api/buffer@1.3.1", true),
        ("editor:api/buffer", true),
        ("editor:api/buffer@1.1.0", false),
        ("editor:api/buffer@2.0.0", false),
        ("editor:api/buffers@1.2.0", false),
    ] {
        let config = Config::closed().offering(offered, |_| ok(&json!(5)));
        let engine = config.engine();
        let loaded = engine.try_load("app/p/0", &airssys_wasm_guests::bytes("plugin"), Some(ALL));
        assert_eq!(loaded.is_ok(), serves, "{offered}");
        match loaded {
            Ok(plugin) => {
                let count = engine.invoke(plugin, &commands("line-count"), &json!([]));
                assert_eq!(count.unwrap(), 5, "{offered}");
            }
            Err(failure) => {
                assert!(failure.message.contains("editor:api/buffer"), "{failure}");
            }
        }
    }
}

#[test]
fn malformed_names_are_refused_and_the_host_keeps_its_data() {
    let config = Config::closed();
    for (name, text) in [
        ("", "is no name of an interface"),
        ("buffer", "is no name of an interface"),
        ("editor:api", "is no name of an interface"),
        ("editor:api/buffer@1", "is no name of an interface"),
        ("editor:api/buffer@", "is no name of an interface"),
        ("editor:api/buf_fer", "is no name of an interface"),
        ("editor:api/buffer#get", "is no name of an interface"),
        ("airssys:core/storage@1.0.0", "belongs to this library"),
        ("wasi:cli/environment@0.2.0", "belongs to this library"),
    ] {
        let failure = config.try_offer(name, |_| ok(&json!(1))).expect_err(name);
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
        assert!(failure.message.contains(text), "{name}: {failure}");
    }
    config.try_offer(BUFFER, |_| ok(&json!(1))).unwrap();
    let failure = config.try_offer(BUFFER, |_| ok(&json!(1))).expect_err("twice");
    assert!(failure.message.contains("is offered already"), "{failure}");
}

#[test]
fn the_functions_data_is_dropped_once_after_its_last_use() {
    let witness = Arc::new(());
    let held = Arc::clone(&witness);
    let config = Config::closed().offering(BUFFER, move |_| {
        let _held = &held;
        ok(&json!(1))
    });
    let engine = config.engine();
    drop(config);
    let plugin = engine.load_with("app/plugin/0", "plugin", ALL);
    engine.invoke(plugin, &commands("line-count"), &json!([])).unwrap();
    assert_eq!(Arc::strong_count(&witness), 2);
    drop(engine);
    assert_eq!(Arc::strong_count(&witness), 1);
}

#[test]
fn calls_of_the_host_end_at_their_quota() {
    let (engine, plugin) = Editor::with(&["a"]).engine(
        r#"{"capabilities": {"host": "editor:api/*"},
            "quotas": {"host-functions-per-second": 3}}"#,
    );
    let text = "quota exceeded: host-functions-per-second 3";
    // More calls exceed the quota unless part of a second has passed. Then ask again.
    eventually("the quota is used up", || {
        let line = engine.invoke(plugin, &commands("get-line"), &json!([0])).unwrap();
        (line != json!({ "ok": "a" })).then(|| assert_eq!(line, json!({ "err": text })))
    });
    let failure = eventually("the quota is used up", || {
        engine.invoke(plugin, &commands("line-count"), &json!([])).err()
    });
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
    assert_eq!(failure.detail["limit"], "host-functions-per-second", "{failure}");
    assert_eq!(failure.detail["value"], 3, "{failure}");
    let quotas = engine.describe(plugin).unwrap()["quotas"].clone();
    assert_eq!(quotas["host-functions-per-second"], 3, "{quotas}");
}
