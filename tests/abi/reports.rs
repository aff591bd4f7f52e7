//! Records and events that come of what components do: how many, how long, and at whose cost.

use serde_json::{Value, json};

use crate::harness::{Config, Engine, eventually};
use crate::hosts::{Gate, Journal};
use crate::partners::Events;

/// The engine's own bound, and what may come in a minute of it.
const REPORTS_PER_SECOND: usize = 5;
const REPORTS_PER_MINUTE: usize = REPORTS_PER_SECOND * 61;

fn with_log(options: &Value) -> (Engine, Journal) {
    let (config, journal) = (Config::new().with(&options.to_string()), Journal::default());
    journal.attach(&config);
    (config.engine(), journal)
}

/// How many records a notice says were dropped, for this reason.
fn dropped(message: &str, reason: &str) -> Option<usize> {
    let count = message.strip_suffix(reason)?.strip_suffix(" log record(s) dropped: ")?;
    Some(count.parse().unwrap())
}

#[test]
fn failures_that_a_component_brings_about_do_not_fill_the_log() {
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
    // Whatever is not written is counted, sooner or later.
    eventually("all is accounted for", || {
        engine.send(probe, "fail runtime-error again").unwrap();
        engine.health(probe).unwrap();
        sent += 1;
        let (written, lost) = all();
        (written + lost == sent).then_some(())
    });
}

#[test]
fn crashes_do_not_fill_it_either() {
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
    // Another component has room of its own.
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
    // The first one takes what is there and three seconds of what is to come.
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
fn who_may_not_write_to_the_log_is_reported_in_no_words_of_its_own() {
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
    assert_eq!(journal.of("app/mute/1"), ["crashed: runtime-error"]);
}

#[test]
fn what_a_component_writes_is_cut_and_its_length_is_said() {
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

#[test]
fn a_component_can_not_crowd_out_the_events_of_others() {
    let (config, slow_host) = (Config::new(), Gate::default());
    let waits = slow_host.clone();
    let events = Events::attach(&config, move |_| waits.pass());
    let gate = Gate::default();
    let _journal = gate.attach(&config);
    let engine = config.engine();
    let letters = |id: &str, count: usize| {
        let options = r#"{"mailbox": {"capacity": 20000}}"#;
        let busy = engine.load_with(id, "chatty", options);
        engine.send(busy, "log info gate").unwrap();
        engine.until_busy(busy, 1, 0);
        for _ in 0..count {
            engine.send(busy, "x").unwrap();
        }
        busy
    };
    let noisy = letters("app/noisy/0", 12_000);
    let quiet = letters("app/quiet/0", 1);
    std::thread::scope(|scope| {
        // An unload waits for the message that is being handled.
        for handle in [noisy, quiet] {
            let unload = scope.spawn({
                let engine = &engine;
                move || engine.unload(handle).unwrap()
            });
            let expected = if handle == noisy { 12_000 } else { 12_001 };
            eventually("its mail is dead", || {
                (engine.stats()["dead-letters"] == expected).then_some(())
            });
            drop(unload);
        }
        gate.open();
    });
    slow_host.open();
    let came = eventually("the quiet one's came", || {
        let all = events.all();
        all.iter().any(|event| event.json["component"] == "app/quiet/0").then_some(all)
    });
    let noisy = came.iter().filter(|event| event.json["component"] == "app/noisy/0").count();
    assert!(noisy <= 2_501, "{noisy}");
}
