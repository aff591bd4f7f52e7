//! Statistics per component and in total.

use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, eventually, message_counts};
use crate::harness::gates::Gate;
use crate::harness::requests::Inbox;

fn of(engine: &Engine, handle: u64) -> Value {
    let stats = engine.stats();
    let entry = stats["per-component"].as_array().unwrap().iter();
    entry.clone().find(|entry| entry["handle"] == handle).expect("it is loaded").clone()
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

#[test]
fn accepted_refused_dropped_handled_and_sent_messages_are_counted() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let options = r#"{"mailbox": {"capacity": 2, "when-full": "drop-oldest"}, "codecs": ["cbor"]}"#;
    let slow = engine.load_with("app/slow/0", "chatty", options);
    let asker = engine.load("app/asker/0", "requester");
    let probe = engine.load("app/probe/0", "probe");

    engine.send(slow, "log info gate").unwrap();
    gate.reached();
    for n in 0..5 {
        engine.send(slow, format!("log info {n}")).unwrap();
    }
    engine.send(slow, "payload is dag-pb").unwrap_err();
    assert_eq!(of(&engine, slow)["mailbox"]["depth"], 2);
    let bytes = number(&of(&engine, slow)["mailbox"]["bytes"]);
    assert!(bytes >= 2 * "log info 0".len() as u64, "{bytes}");
    gate.open();
    eventually("it is idle", || (of(&engine, slow)["messages"]["handled"] == 3).then_some(()));
    let messages = json!({
        "accepted": 6, "refused": 1, "dropped": 3, "handled": 3, "failed": 0, "sent": 0,
    });
    assert_eq!(of(&engine, slow)["messages"], messages);
    assert_eq!(of(&engine, slow)["mailbox"], json!({ "depth": 0, "bytes": 0, "waiting": 0 }));

    engine.failure(probe, "fail runtime-error x");
    for command in [
        "send app/probe/0 silent",
        "request app/probe/0 60000 silent",
        "broadcast app/probe/0,app/probe/0 silent",
        "send no/such/one x",
        "broadcast app/probe/0,no/such/one silent",
    ] {
        engine.text(asker, command);
    }
    assert_eq!(engine.callbacks(asker, 1).len(), 1);
    // The probe got five messages. The asker handled five commands, the `callbacks` query and one
    // callback.
    eventually("the probe has all", || {
        (of(&engine, probe)["messages"]["handled"] == 5).then_some(())
    });
    let sent = &of(&engine, asker)["messages"];
    assert_eq!(sent["sent"], 5, "{sent}");
    assert_eq!(number(&sent["handled"]), number(&sent["accepted"]) + 1, "a callback is handled");
    let messages = json!({
        "accepted": 6, "refused": 0, "dropped": 0, "handled": 5, "failed": 1, "sent": 0,
    });
    assert_eq!(of(&engine, probe)["messages"], messages);
    let described = engine.describe(probe).unwrap();
    assert_eq!(described["messages"], messages, "describe says the same");
}

#[test]
fn fuel_time_memory_and_restarts_are_counted() {
    let engine = Engine::new();
    let trapper = engine.load("app/trapper/0", "trapper");
    let idle = engine.load("app/idle/0", "echo");
    let loading = of(&engine, idle);
    let spent = |command: &str| {
        let before = of(&engine, trapper);
        let _ = engine.call(trapper, command);
        let after = of(&engine, trapper);
        let more = |key: &str| number(&after[key]) - number(&before[key]);
        (more("fuel"), more("time-ns"))
    };
    let (few, _) = spent("spin 1000");
    let (many, _) = spent("spin 1000000");
    assert!(many > 1_000_000 && many > 100 * few, "{few} and {many}");
    // The clock may be too coarse for a single call.
    eventually("computing takes time", || (spent("spin 1000000").1 > 0).then_some(()));
    eventually("waits are included", || (spent("sleep 20").1 > 0).then_some(()));
    let (failed, _) = spent("unreachable");
    assert!(failed > 0, "a call that traps has used fuel too");
    assert_eq!(of(&engine, trapper)["memory-bytes"], 0, "the instance is gone");
    spent("alloc 5000000");
    let entry = of(&engine, trapper);
    assert!(number(&entry["memory-bytes"]) > 5_000_000, "{entry}");
    assert_eq!(entry["restarts"], 1);
    assert_eq!(of(&engine, idle), loading, "each has its own");
    let described = engine.describe(trapper).unwrap();
    for key in ["fuel", "time-ns", "memory-bytes", "restarts", "messages"] {
        assert_eq!(described[key], entry[key], "{key}");
    }
}

#[test]
fn totals_are_the_sums_over_components() {
    let engine = Engine::new();
    let loaded = [("a", "echo"), ("b", "trapper"), ("c", "requester")].map(|(name, guest)| {
        engine.load_with(&format!("app/{name}/0"), guest, r#"{"instances": 2}"#)
    });
    for _ in 0..5 {
        engine.call(loaded[0], "x").unwrap();
        engine.call(loaded[1], "spin 1000").unwrap();
        engine.text(loaded[2], "send app/a/0 x");
    }
    engine.failure(loaded[1], "unreachable");
    eventually("all is handled", || {
        (of(&engine, loaded[0])["messages"]["handled"] == 10).then_some(())
    });
    let stats = engine.stats();
    let each = stats["per-component"].as_array().unwrap();
    let handles: Vec<_> = each.iter().map(|entry| number(&entry["handle"])).collect();
    assert_eq!(handles, loaded, "in the order they were loaded");
    assert!(each.iter().all(|entry| entry["instances"] == 2));
    let paths =
        ["/fuel", "/time-ns", "/memory-bytes", "/restarts", "/mailbox/depth", "/mailbox/bytes"]
            .map(str::to_owned)
            .into_iter()
            .chain(
                ["accepted", "refused", "dropped", "handled", "failed", "sent"]
                    .map(|key| format!("/messages/{key}")),
            );
    for path in paths {
        let at = |entry: &Value| number(entry.pointer(&path).unwrap());
        assert_eq!(at(&stats), each.iter().map(at).sum::<u64>(), "{path}");
    }
}

#[test]
fn open_requests_are_counted() {
    let (gate, config, inbox) = (Gate::default(), Config::new(), Inbox::new());
    gate.attach(&config);
    let engine = config.engine();
    let slow = engine.load("app/slow/0", "chatty");
    let asker = engine.load("app/asker/0", "requester");
    let mine = engine.request(slow, "log info gate", inbox).unwrap();
    gate.reached();
    let guests = engine.text(asker, "request app/slow/0 600000 log info x");
    let requests = |outstanding, late| {
        json!({ "outstanding": outstanding, "late-replies": late }) == engine.stats()["requests"]
    };
    assert!(requests(2, 0));
    engine.cancel(mine).unwrap();
    assert!(requests(1, 0));
    assert_eq!(engine.text(asker, &format!("cancel {guests}")), "ok");
    assert!(requests(0, 0));
    gate.open();
    eventually("both replies came too late", || requests(0, 2).then_some(()));
}

#[test]
fn stats_cover_only_loaded_components() {
    let engine = Engine::new();
    let nothing = json!({
        "components": 0, "binaries": 0, "code-bytes": 0, "messages": message_counts(0, 0, 0),
        "mailbox": { "depth": 0, "bytes": 0, "waiting": 0 }, "fuel": 0, "time-ns": 0, "memory-bytes": 0,
        "host-bytes": 0, "restarts": 0, "per-component": [], "requests": { "outstanding": 0, "late-replies": 0 },
        "dead-letters": 0, "events-lost": 0, "audit-lost": {"allowed": 0, "denied": 0},
        "storage": null,
    });
    let mut stats = engine.stats();
    // All tests share a cache directory.
    assert!(stats.as_object_mut().unwrap().remove("cache").is_some());
    assert_eq!(stats, nothing);
    let echo = engine.load("app/echo/0", "echo");
    let probe = engine.load("app/probe/0", "probe");
    engine.call(echo, "x").unwrap();
    engine.call(echo, "x").unwrap();
    engine.failure(probe, "fail runtime-error x");
    let stats = engine.stats();
    assert_eq!((&stats["components"], &stats["binaries"]), (&json!(2), &json!(2)));
    assert_eq!(stats["messages"], message_counts(3, 2, 1));
    engine.unload(echo).unwrap();
    assert_eq!(engine.stats()["messages"], message_counts(1, 0, 1));
}
