//! `wasi:config` and `wasi:logging`.

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine};
use crate::harness::log::Journal;
use crate::harness::stage::hex;

const ID: &str = "app/settings/0";

fn load(engine: &Engine, options: Value) -> u64 {
    engine.load_with(ID, "settings", &options.to_string())
}

#[test]
fn values_are_those_of_the_configuration_and_of_the_environment() {
    let engine = Engine::bare();
    let settings = load(
        &engine,
        json!({
            "config": {"url": "http://h/", "retries": 3, "nested": {"a": [1]}, "A": "of config"},
            "env": {"A": "of env", "B": "2"},
        }),
    );
    let all = "A=of config\nB=2\nnested={\"a\":[1]}\nretries=3\nurl=http://h/";
    for prefix in ["", "draft-", "runtime-"] {
        assert_eq!(engine.text(settings, &format!("{prefix}all")), all);
        assert_eq!(engine.text(settings, &format!("{prefix}get url")), "http://h/");
        assert_eq!(engine.text(settings, &format!("{prefix}get A")), "of config");
        assert_eq!(engine.call(settings, format!("{prefix}get a")), Ok(None), "case counts");
    }
    for key in ["", "a\0b", &"k".repeat(5000)] {
        assert_eq!(engine.call(settings, format!("get-hex {}", hex(key))), Ok(None));
    }
    engine.reconfigure(settings, r#"{"config": {"url": "http://new/"}}"#).unwrap();
    assert_eq!(engine.text(settings, "all"), "A=of env\nB=2\nurl=http://new/");
    engine.reconfigure(settings, r#"{"config": null, "env": {}}"#).unwrap();
    assert_eq!(engine.text(settings, "all"), "");
}

#[test]
fn a_configuration_that_is_no_object_has_no_values() {
    let engine = Engine::bare();
    for config in [json!("text"), json!([1]), json!(7), json!("{\"cut"), Value::Null] {
        let settings = load(&engine, json!({"config": config, "env": {"A": "1"}}));
        assert_eq!(engine.text(settings, "all"), "A=1", "{config}");
        engine.unload(settings).unwrap();
    }
    let text = load(&engine, json!({"config": "{\"of\": \"a file\"}"}));
    assert_eq!(engine.text(text, "all"), "of=a file", "JSON in a string is JSON");
}

#[test]
fn who_may_not_read_the_environment_reads_no_configuration() {
    let engine = Engine::bare();
    let settings = load(&engine, json!({"config": {"secret": "s"}}));
    assert_eq!(engine.text(settings, "get secret"), "s");
    let rule = json!({"rules": [
        {"effect": "deny", "component": ID, "action": "environment.read"},
    ]});
    engine.set_policies(&rule.to_string()).unwrap();
    for command in ["get secret", "all", "draft-get secret", "runtime-all", "get missing"] {
        let reply = engine.text(settings, command);
        assert!(reply.starts_with("error: "), "{command}: {reply}");
        assert!(reply.contains("capability denied: environment.read"), "{command}: {reply}");
    }
}

#[test]
fn records_are_those_of_the_log() {
    for with_logger in [true, false] {
        let (config, journal) = (Config::bare(), Journal::default());
        if with_logger {
            journal.attach(&config);
        }
        let engine = config.engine();
        let settings = load(&engine, json!({}));
        let levels = ["trace", "debug", "info", "warn", "error", "critical"];
        for level in levels {
            assert_eq!(engine.text(settings, &format!("log {level} db went wrong")), "ok");
        }
        assert_eq!(engine.text(settings, "log info - without context"), "ok");
        assert_eq!(engine.text(settings, "unversioned-log old as before"), "ok");
        if !with_logger {
            continue;
        }
        let records = journal.records();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let expected = [
            AIRSSYS_LOG_TRACE,
            AIRSSYS_LOG_DEBUG,
            AIRSSYS_LOG_INFO,
            AIRSSYS_LOG_WARN,
            AIRSSYS_LOG_ERROR,
            AIRSSYS_LOG_ERROR,
        ];
        for (record, level) in records.iter().zip(expected) {
            assert_eq!((record.level, &*record.message), (level, "went wrong"));
            assert_eq!(record.component.as_deref(), Some(ID));
            assert_eq!(record.context[0], pair("context", "db"));
            assert!(record.native_stack);
        }
        assert_eq!(records[4].context.len(), 1);
        assert_eq!(records[5].context[1], pair("level", "critical"));
        assert_eq!((&*records[6].message, records[6].context.len()), ("without context", 0));
        assert_eq!(records[7].message, "as before");
        assert_eq!(records[7].context, [pair("context", "old")]);
        assert_eq!(records.len(), 8);
    }
}

#[test]
fn a_record_is_bounded_and_counts_against_the_quota() {
    let (config, journal) = (Config::bare(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    let settings = load(&engine, json!({"quotas": {"log-bytes-per-second": 1000}}));
    assert_eq!(engine.text(settings, "log-large 1000000 1000000"), "ok");
    let record = journal.records().remove(0);
    assert!(record.message.len() < 66_000 && record.message.ends_with("… (1000000 bytes)"));
    assert!(record.context[0].1.len() < 4200, "{}", record.context[0].1.len());
    assert_eq!(engine.text(settings, "log-many 1000"), "ok");
    assert_eq!(journal.records().len(), 1, "the large one has left a debt");

    let rule = json!({"rules": [
        {"effect": "deny", "component": ID, "action": "log.write"},
    ]});
    let (config, journal) = (Config::bare(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    engine.set_policies(&rule.to_string()).unwrap();
    let settings = load(&engine, json!({}));
    assert_eq!(engine.text(settings, "log info - not written"), "ok");
    assert_eq!(journal.records().len(), 0);
}
