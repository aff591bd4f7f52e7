//! Limits: a breach ends its message, names the limit and its value, and affects nobody else.

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, Failure};
use crate::harness::gates::Gate;
use crate::harness::log::Journal;

const PAGE: u64 = 65_536;

fn assert_limit(failure: &Failure, status: airssys_status_t, limit: &str, value: u64) {
    assert_eq!(failure.status, status, "{failure}");
    assert_eq!(failure.detail["limit"], limit, "{failure}");
    assert_eq!(failure.detail["value"], value, "{failure}");
    assert!(failure.message.contains(&value.to_string()), "{failure}");
}

/// Loads a component in the text format.
fn load_text(engine: &Engine, text: &str, options: &str) -> Result<u64, Failure> {
    engine.try_load("app/wat/0", &wat::parse_str(text).expect("a component"), Some(options))
}

/// A component of core modules with these bodies.
fn component(modules: &[&str]) -> String {
    let modules: String = modules
        .iter()
        .enumerate()
        .map(|(n, body)| format!("(core module $m{n} {body}) (core instance (instantiate $m{n}))"))
        .collect();
    format!("(component {modules})")
}

#[test]
fn an_endless_loop_ends_at_the_time_limit() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-execution-time-ms": 80}}"#;
    let trapper = engine.load_with("app/trapper/0", "trapper", options);
    for command in ["loop", "sleep 600000", "sleep 18446744073709551615", "loop-log"] {
        let failure = engine.failure(trapper, command);
        assert_limit(&failure, AIRSSYS_ERROR_TIMEOUT, "max-execution-time-ms", 80);
        assert_eq!(engine.text(trapper, "ok"), "ok", "after {command}");
    }
    assert_eq!(engine.describe(trapper).unwrap()["restarts"], 4);
}

#[test]
fn time_in_host_callbacks_counts() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let options = r#"{"limits": {"max-execution-time-ms": 50}}"#;
    let chatty = engine.load_with("app/chatty/0", "chatty", options);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| engine.failure(chatty, "log info gate"));
        gate.reached();
        // Longer than the limit on any machine.
        std::thread::sleep(std::time::Duration::from_millis(60));
        gate.open();
        let failure = call.join().unwrap();
        assert_limit(&failure, AIRSSYS_ERROR_TIMEOUT, "max-execution-time-ms", 50);
    });
}

#[test]
fn a_guest_that_logs_endlessly_ends_at_the_time_limit() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    let options = r#"{"limits": {"max-execution-time-ms": 80}}"#;
    let trapper = engine.load_with("app/trapper/0", "trapper", options);
    let failure = engine.failure(trapper, "loop-log");
    assert_limit(&failure, AIRSSYS_ERROR_TIMEOUT, "max-execution-time-ms", 80);
    assert!(journal.messages().iter().any(|message| message == "still here"));
    let last = journal.records().pop().unwrap();
    assert_eq!(last.level, AIRSSYS_LOG_ERROR);
    assert!(last.message.contains("max-execution-time-ms 80"), "{}", last.message);
}

#[test]
fn every_message_starts_with_full_fuel() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-fuel": 1000000}}"#;
    let trapper = engine.load_with("app/trapper/0", "trapper", options);
    // Each is below the limit, the sum far above it.
    for _ in 0..200 {
        assert_eq!(engine.text(trapper, "spin 10000"), "ok");
    }
    for _ in 0..2 {
        let failure = engine.failure(trapper, "spin 10000000");
        let status = AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED;
        assert_limit(&failure, status, "max-fuel", 1_000_000);
    }
    assert_eq!(engine.text(trapper, "spin 10000"), "ok");
}

#[test]
fn endless_recursion_exhausts_only_the_guest_s_stack() {
    let engine = Engine::new();
    let trapper = engine.load("app/trapper/0", "trapper");
    let failure = engine.failure(trapper, "recurse");
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED);
    assert_eq!(failure.detail["limit"], "stack-bytes", "{failure}");
    assert_eq!(engine.text(trapper, "ok"), "ok");
}

#[test]
fn memory_beyond_the_limit_is_refused_and_the_trap_names_the_limit() {
    let engine = Engine::new();
    let limit = 8 << 20;
    let options = format!(
        r#"{{"limits": {{"max-memory-bytes": {limit}, "max-execution-time-ms": 120000}}}}"#
    );
    let trapper = engine.load_with("app/trapper/0", "trapper", &options);
    assert_eq!(engine.text(trapper, "alloc 4000000"), "ok");
    assert!(engine.describe(trapper).unwrap()["memory-bytes"].as_u64().unwrap() > 4_000_000);
    for command in ["alloc", "alloc 9000000", "alloc 2000000000"] {
        let failure = engine.failure(trapper, command);
        let status = AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED;
        assert_limit(&failure, status, "max-memory-bytes", limit);
        assert_eq!(engine.text(trapper, "ok"), "ok", "after {command}");
    }
    assert!(engine.describe(trapper).unwrap()["memory-bytes"].as_u64().unwrap() <= limit);
}

#[test]
fn a_payload_larger_than_the_component_s_memory_fails_only_its_message() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-memory-bytes": 4194304}}"#;
    let echo = engine.load_with("app/echo/0", "echo", options);
    let failure = engine.call(echo, vec![0; 5 << 20]).unwrap_err();
    let status = AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED;
    assert_limit(&failure, status, "max-memory-bytes", 4 << 20);
    assert_eq!(engine.text(echo, "ok"), "ok");
}

#[test]
fn data_passed_to_the_host_is_limited() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-memory-bytes": 1000000000, "max-execution-time-ms": 60000}}"#;
    let user = engine.load_with("app/user/0", "storage-user", options);
    let failure = engine.failure(user, "fill k 140000000");
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
    assert_eq!(failure.detail["limit"], "host-call-data-bytes", "{failure}");
    assert_eq!(engine.text(user, "exists k"), "false");
}

#[test]
fn all_memories_of_a_component_count_together() {
    let engine = Engine::new();
    let two = component(&["(memory 10)", "(memory 10)"]);
    let limit = |pages: u64| format!(r#"{{"limits": {{"max-memory-bytes": {}}}}}"#, pages * PAGE);
    let failure = load_text(&engine, &two, &limit(19)).unwrap_err();
    let status = AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED;
    assert_limit(&failure, status, "max-memory-bytes", 19 * PAGE);
    assert!(failure.message.contains(&(20 * PAGE).to_string()), "what was wanted: {failure}");
    let handle = load_text(&engine, &two, &limit(20)).unwrap();
    assert_eq!(engine.describe(handle).unwrap()["memory-bytes"], 20 * PAGE);

    let in_one_module = component(&["(memory 10) (memory 10)"]);
    let failure = load_text(&engine, &in_one_module, &limit(19)).unwrap_err();
    assert_limit(&failure, status, "max-memory-bytes", 19 * PAGE);
}

#[test]
fn initial_memories_and_tables_beyond_the_limits_are_refused_at_load() {
    let engine = Engine::new();
    let status = AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED;
    let large = component(&["(memory 4097)"]);
    let failure = load_text(&engine, &large, "{}").unwrap_err();
    assert_limit(&failure, status, "max-memory-bytes", 256 << 20);

    let tables = component(&["(table 600 funcref)", "(table 500 funcref)"]);
    let options = r#"{"limits": {"max-table-elements": 1099}}"#;
    let failure = load_text(&engine, &tables, options).unwrap_err();
    assert_limit(&failure, status, "max-table-elements", 1099);
    let options = r#"{"limits": {"max-table-elements": 1100}}"#;
    load_text(&engine, &tables, options).unwrap();
    let zero = r#"{"limits": {"max-memory-bytes": 0, "max-table-elements": 0}}"#;
    load_text(&engine, "(component)", zero).unwrap();
}

#[test]
fn more_instances_than_allowed_are_refused_and_named() {
    let engine = Engine::new();
    let three = component(&["", "", ""]);
    let failure = load_text(&engine, &three, r#"{"limits": {"max-instances": 2}}"#).unwrap_err();
    let status = AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED;
    assert_limit(&failure, status, "max-instances", 2);
    load_text(&engine, &three, r#"{"limits": {"max-instances": 3}}"#).unwrap();
}

#[test]
fn the_limit_on_instances_does_not_limit_the_memories_of_one() {
    let engine = Engine::new();
    let two_memories = component(&["(memory 1) (memory 1)"]);
    load_text(&engine, &two_memories, r#"{"limits": {"max-instances": 1}}"#)
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_failing_start_function_fails_only_that_load() {
    let engine = Engine::new();
    let trap = component(&["(func $f unreachable) (start $f)"]);
    let failure = load_text(&engine, &trap, "{}").unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{failure}");
    assert_eq!(failure.detail["during"], "instantiation", "{failure}");

    let endless = component(&["(func $f (loop br 0)) (start $f)"]);
    let options = r#"{"limits": {"max-execution-time-ms": 60}}"#;
    let failure = load_text(&engine, &endless, options).unwrap_err();
    assert_limit(&failure, AIRSSYS_ERROR_TIMEOUT, "max-execution-time-ms", 60);

    let options = r#"{"limits": {"max-fuel": 1000}}"#;
    let failure = load_text(&engine, &endless, options).unwrap_err();
    assert_limit(&failure, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "max-fuel", 1000);

    let deep = component(&["(func $f call $f) (start $f)"]);
    let failure = load_text(&engine, &deep, "{}").unwrap_err();
    assert_eq!(failure.detail["limit"], "stack-bytes", "{failure}");

    let outside = component(&[r#"(memory 1) (data (i32.const 65536) "x")"#]);
    let failure = load_text(&engine, &outside, "{}").unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{failure}");
    assert_eq!(engine.list(), json!([]));
}

#[test]
fn limits_of_a_load_replace_the_engine_s_one_by_one() {
    let config = Config::new()
        .with(r#"{"limits": {"max-fuel": 5000000, "max-instances": 9, "max-table-elements": 70}}"#);
    let engine = config.engine();
    let options = r#"{"limits": {"max-fuel": 6000000, "max-table-elements": null}}"#;
    let echo = engine.load_with("app/echo/0", "echo", options);
    let limits = json!({
        "max-memory-bytes": 256 << 20, "max-host-bytes": 64 << 20, "max-message-bytes": 16 << 20,
        "max-execution-time-ms": 5000, "max-fuel": 6_000_000,
        "max-instances": 9, "max-table-elements": 70,
    });
    assert_eq!(engine.describe(echo).unwrap()["limits"], limits);
}
