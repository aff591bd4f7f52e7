//! Logging, time, sleep, and the directory of components.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::{Config, Engine};
use crate::hosts::{Journal, set_logger};

const LEVELS: [(&str, airssys_log_level_t); 5] = [
    ("trace", AIRSSYS_LOG_TRACE),
    ("debug", AIRSSYS_LOG_DEBUG),
    ("info", AIRSSYS_LOG_INFO),
    ("warn", AIRSSYS_LOG_WARN),
    ("error", AIRSSYS_LOG_ERROR),
];

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

#[test]
fn a_record_has_level_component_text_context_and_time() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    let chatty = engine.load("app/chatty/0", "chatty");
    let before = now();
    for (name, _) in LEVELS {
        assert_eq!(engine.text(chatty, &format!("log-ctx {name} hällo a=1 b= c=x=y")), "ok");
    }
    let after = now();
    let records = journal.records();
    assert_eq!(records.len(), LEVELS.len());
    for (record, (_, level)) in records.iter().zip(LEVELS) {
        assert_eq!(record.level, level);
        assert_eq!(record.component.as_deref(), Some("app/chatty/0"));
        assert_eq!(record.message, "hällo");
        let context = [("a", "1"), ("b", ""), ("c", "x=y")];
        assert_eq!(record.context, context.map(|(k, v)| (k.to_owned(), v.to_owned())));
        let time = Duration::new(record.seconds, record.nanoseconds);
        assert!((before..=after).contains(&time), "{time:?}");
    }
}

#[test]
fn a_message_may_hold_nul_and_be_empty() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    let chatty = engine.load("app/chatty/0", "chatty");
    engine.text(chatty, "log info a\0b");
    engine.text(chatty, "log info ");
    engine.text(chatty, "log-ctx info m k\0=v\0w");
    assert_eq!(journal.messages(), ["a\0b", "", "m"]);
    let context = &journal.records()[2].context;
    assert!(context[0].1.contains('w'), "what follows a NUL is not lost: {context:?}");
}

#[test]
fn records_come_in_the_order_they_were_written() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    let chatty = engine.load("app/chatty/0", "chatty");
    engine.text(chatty, "flood 3000");
    let expected: Vec<String> = (0..3000).map(|n| format!("flood {n}")).collect();
    assert!(journal.messages() == expected);
}

#[test]
fn records_below_the_minimum_do_not_reach_the_host() {
    for (n, (_, min_level)) in LEVELS.into_iter().enumerate() {
        let (config, journal) = (Config::new(), Journal::default());
        let keep = journal.clone();
        set_logger(&config, min_level, move |record| keep.push(record));
        let engine = config.engine();
        let chatty = engine.load("app/chatty/0", "chatty");
        for (name, _) in LEVELS {
            engine.text(chatty, &format!("log {name} {name}"));
        }
        assert_eq!(
            journal.messages(),
            LEVELS[n..].iter().map(|(name, _)| *name).collect::<Vec<_>>()
        );
    }
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
fn a_guest_that_sleeps_holds_no_worker() {
    // One worker, which several sleepers would block if a sleep held it.
    let engine = Config::new().with(r#"{"workers": 1}"#).engine();
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    for n in 0..4 {
        let sleeper = engine.load_with(&format!("app/sleeper/{n}"), "chatty", options);
        engine.send(sleeper, "sleep 600000").unwrap();
        engine.until_busy(sleeper, 1, 0);
    }
    engine.load("app/echo/0", "echo");
    let asker = engine.load("app/asker/0", "requester");
    engine.text(asker, "request app/echo/0 600000 awake");
    assert_eq!(engine.callbacks(asker, 1)[0]["payload"], "awake");
}

#[test]
fn a_guest_that_computes_lets_others_run_on_the_same_worker() {
    let engine = Config::new().with(r#"{"workers": 1}"#).engine();
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    let looper = engine.load_with("app/looper/0", "trapper", options);
    engine.send(looper, "loop").unwrap();
    engine.until_busy(looper, 1, 0);
    engine.load("app/echo/0", "echo");
    let asker = engine.load("app/asker/0", "requester");
    engine.text(asker, "request app/echo/0 600000 turn");
    assert_eq!(engine.callbacks(asker, 1)[0]["payload"], "turn");
}

#[test]
fn a_component_that_never_runs_out_of_mail_lets_others_run_on_the_same_worker() {
    let engine = Config::new().with(r#"{"workers": 1}"#).engine();
    let options = r#"{"env": {"TARGET": "app/relay/0"}}"#;
    let relay = engine.load_with("app/relay/0", "relay", options);
    // It sends itself a message for each that it handles.
    engine.send(relay, u32::MAX.to_le_bytes()).unwrap();
    engine.load("app/echo/0", "echo");
    let asker = engine.load("app/asker/0", "requester");
    for turn in 1..=5 {
        engine.text(asker, "request app/echo/0 600000 turn");
        assert_eq!(engine.callbacks(asker, turn)[turn - 1]["payload"], "turn");
    }
    let described = engine.describe(relay).unwrap();
    let state = (&described["messages"]["failed"], &described["state"]);
    assert_eq!(state, (&0.into(), &"running".into()), "it goes on");
}

#[test]
fn components_see_each_other_in_order_and_once() {
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
fn metadata_of_others_is_what_they_said() {
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
