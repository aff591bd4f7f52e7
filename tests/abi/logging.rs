//! Log records: their contents and order, and how many a component can cause.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::log::{Journal, set_logger};

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
fn a_record_has_level_component_message_context_and_time() {
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
fn a_log_message_may_contain_nul_or_be_empty() {
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
fn records_below_the_minimum_level_do_not_reach_the_host() {
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
fn a_failed_send_is_logged() {
    let journal = Journal::default();
    let config = Config::new();
    journal.attach(&config);
    let engine = config.engine();
    let probe = engine.load("app/probe/0", "probe");
    engine.send(probe, "fail runtime-error lost words").unwrap();
    let record = eventually("the failure is logged", || journal.records().into_iter().next());
    assert_eq!(record.level, AIRSSYS_LOG_WARN);
    assert_eq!(record.component.as_deref(), Some("app/probe/0"));
    assert!(record.message.contains("lost words"), "{}", record.message);
    assert!(record.message.contains("host/engine/0"), "{}", record.message);
}

/// The engine's bound on reports per component.
const REPORTS_PER_SECOND: usize = 5;
const REPORTS_PER_MINUTE: usize = REPORTS_PER_SECOND * 61;

fn with_log(options: &Value) -> (Engine, Journal) {
    let (config, journal) = (Config::new().with(&options.to_string()), Journal::default());
    journal.attach(&config);
    (config.engine(), journal)
}

/// The number of dropped records in a notice with this reason.
fn dropped(message: &str, reason: &str) -> Option<usize> {
    let count = message.strip_suffix(reason)?.strip_suffix(" log record(s) dropped: ")?;
    Some(count.parse().unwrap())
}

#[test]
fn failures_of_a_component_do_not_fill_the_log() {
    let (engine, journal) = with_log(&json!({}));
    let probe = engine.load_with("app/probe/0", "probe", r#"{"mailbox": {"capacity": 5000}}"#);
    let mut sent = 3_000;
    for _ in 0..sent {
        engine.send(probe, "fail runtime-error again").unwrap();
    }
    engine.health(probe).unwrap();
    let all = || {
        let (mut written, mut lost) = (0, 0);
        for message in journal.of("app/probe/0") {
            match dropped(&message, "more than 5 engine reports per second") {
                Some(count) => lost += count,
                None => {
                    assert!(message.ends_with("failed: runtime-error: again"), "{message}");
                    written += 1;
                }
            }
        }
        (written, lost)
    };
    let (written, _) = all();
    assert!((1..REPORTS_PER_MINUTE).contains(&written), "{written} of {sent}");
    // Every record is written or counted as dropped.
    eventually("all is accounted for", || {
        engine.send(probe, "fail runtime-error again").unwrap();
        engine.health(probe).unwrap();
        sent += 1;
        let (written, lost) = all();
        (written + lost == sent).then_some(())
    });
}

#[test]
fn crashes_do_not_fill_the_log() {
    let (engine, journal) = with_log(&json!({}));
    let trapper = engine.load("app/trapper/0", "hermit");
    for _ in 0..200 {
        engine.send(trapper, "unreachable").unwrap();
    }
    engine.health(trapper).unwrap();
    assert_eq!(engine.describe(trapper).unwrap()["messages"]["failed"], 200);
    let records = journal.records();
    assert!(records.len() < REPORTS_PER_MINUTE, "{} records", records.len());
    assert!(records[0].message.starts_with("crashed: "), "{}", records[0].message);
    // The bound is per component.
    let other = engine.load("app/trapper/1", "hermit");
    engine.failure(other, "unreachable");
    assert_eq!(journal.of("app/trapper/1").len(), 1);
}

#[test]
fn records_about_a_component_count_against_its_quota() {
    let (engine, journal) = with_log(&json!({}));
    let options = r#"{"quotas": {"log-bytes-per-second": 1000}}"#;
    let hostile = engine.load_with("app/hostile/0", "hostile", options);
    for _ in 0..50 {
        engine.send(hostile, "big-error 3000").unwrap();
    }
    engine.health(hostile).unwrap();
    // The first record uses the quota of the next three seconds.
    let long = journal.of("app/hostile/0").iter().filter(|text| text.len() > 1000).count();
    assert!((1..=30).contains(&long), "{long} of 50");
    let quiet = engine.load_with("app/quiet/0", "chatty", options);
    engine.text(quiet, &format!("log info {}", "x".repeat(50_000)));
    for _ in 0..20 {
        engine.call(quiet, "no such command").unwrap_err();
        engine.send(quiet, "no such command").unwrap();
    }
    engine.health(quiet).unwrap();
    assert_eq!(journal.of("app/quiet/0").len(), 1, "its own record took the quota");
}

#[test]
fn reports_on_a_component_without_the_log_right_contain_none_of_its_text() {
    let rules = json!([{"effect": "deny", "component": "app/mute/*", "action": "log.write"}]);
    let (engine, journal) = with_log(&json!({ "policies": { "rules": rules } }));
    for (id, told) in [("app/mute/0", "runtime-error"), ("app/loud/0", "runtime-error: SECRET")] {
        let probe = engine.load(id, "probe");
        engine.send(probe, "fail runtime-error SECRET").unwrap();
        engine.health(probe).unwrap();
        let report = format!("a message from host/engine/0 failed: {told}");
        assert_eq!(journal.of(id), [report]);
    }
    let trapper = engine.load("app/mute/1", "hermit");
    engine.failure(trapper, "unreachable");
    assert_eq!(journal.of("app/mute/1"), ["crashed: trap"]);
}

#[test]
fn long_records_are_cut_and_state_their_length() {
    let (engine, journal) = with_log(&json!({}));
    let chatty = engine.load("app/chatty/0", "chatty");
    for (length, whole) in [(65_536, true), (65_537, false), (300_000, false)] {
        engine.text(chatty, &format!("log info {}", "x".repeat(length)));
        let record = journal.of("app/chatty/0").pop().unwrap();
        assert!(record.len() <= 65_536 + 24, "{}", record.len());
        assert_eq!(record.len() == length, whole);
        assert_eq!(record.ends_with(&format!("… ({length} bytes)")), !whole);
    }
    let hostile = engine.load("app/hostile/0", "hostile");
    engine.send(hostile, "big-error 1000000").unwrap();
    engine.health(hostile).unwrap();
    let record = journal.of("app/hostile/0").pop().unwrap();
    assert!(record.starts_with("a message from host/engine/0 failed: runtime-error: xxx"));
    assert!(record.len() < 4_300 && record.ends_with("… (1000000 bytes)"), "{}", record.len());
}
