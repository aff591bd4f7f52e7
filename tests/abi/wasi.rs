//! Components built for WASI: nothing is granted, and output becomes log records.

use airssys_wasm::*;

use crate::harness::engine::{Config, Engine, With};
use crate::harness::log::{Journal, Record};

fn with_journal() -> (Engine, u64, Journal) {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let engine = config.engine();
    let wasi = engine.load("app/wasi/0", "wasi");
    (engine, wasi, journal)
}

#[test]
fn a_wasi_component_gets_nothing_that_was_not_granted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    std::fs::write(directory.path().join("secret"), "secret").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();

    let engine = Engine::new();
    let wasi = engine.load("app/wasi/0", "wasi");
    assert_eq!(engine.text(wasi, "echo it runs"), "it runs");
    assert_eq!(engine.text(wasi, "env"), "0");
    assert_eq!(engine.text(wasi, "args"), "0");
    for command in [
        format!("read {path}/secret"),
        format!("write {path}/new x"),
        format!("delete {path}/secret"),
        format!("list-dir {path}"),
        "list-dir /".into(),
        "list-dir .".into(),
        format!("connect {address}"),
        "listen 127.0.0.1:0".into(),
        "resolve localhost".into(),
    ] {
        let reply = engine.text(wasi, &command);
        assert!(reply.starts_with("error: "), "{command}: {reply}");
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody connected");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    assert_eq!(engine.text(wasi, "sleep 5"), "ok");
    let time = engine.text(wasi, "time");
    assert!(time.split(' ').next().unwrap().parse::<u64>().unwrap() > 1_600_000_000, "{time}");
    assert_eq!(engine.describe(wasi).unwrap()["restarts"], 0);
}

#[test]
fn each_line_of_output_becomes_a_record() {
    let (engine, wasi, journal) = with_journal();
    engine.text(wasi, "print to out");
    engine.text(wasi, "eprint to err");
    // Blank lines make no records.
    engine.text(wasi, "print two\n\n \t\nlines\r");
    engine.text(wasi, "print ");
    let shown = |record: &Record| (record.level, record.message.clone());
    let records = journal.records();
    assert!(records.iter().all(|record| record.component.as_deref() == Some("app/wasi/0")));
    assert_eq!(
        records.iter().map(shown).collect::<Vec<_>>(),
        [
            (AIRSSYS_LOG_INFO, "to out".into()),
            (AIRSSYS_LOG_WARN, "to err".into()),
            (AIRSSYS_LOG_INFO, "two".into()),
            (AIRSSYS_LOG_INFO, "lines".into()),
        ]
    );
}

#[test]
fn a_line_may_come_in_pieces_and_an_unfinished_line_is_logged_at_the_end() {
    let (engine, wasi, journal) = with_journal();
    engine.text(wasi, "partial one ");
    engine.text(wasi, "partial line");
    assert_eq!(journal.messages(), [""; 0]);
    engine.text(wasi, "print !");
    assert_eq!(journal.messages(), ["one line!"]);
    engine.text(wasi, "partial last words");
    engine.unload(wasi).unwrap();
    drop(engine);
    assert_eq!(journal.messages(), ["one line!", "last words"]);
}

#[test]
fn a_long_line_is_split_between_characters() {
    let (engine, wasi, journal) = with_journal();
    let line = "€".repeat(9000);
    engine.text(wasi, &format!("print {line}"));
    let messages = journal.messages();
    assert!(messages.len() > 1, "one record of {} bytes", messages[0].len());
    let joined = messages.concat();
    assert!(joined == line, "{} characters were damaged", joined.matches('\u{fffd}').count());
    assert!(messages.iter().all(|message| message.len() <= 8192));
}

#[test]
fn output_that_is_not_utf_8_is_logged_lossily() {
    let (engine, wasi, journal) = with_journal();
    let reply = engine.call(wasi, b"partial \xff\xfe").unwrap_err();
    assert_eq!(reply.status, AIRSSYS_ERROR_RUNTIME, "the guest takes text only");
    engine.text(wasi, "print a\0b");
    assert_eq!(journal.messages(), ["a\0b"]);
}

#[test]
fn an_exit_ends_the_instance_with_its_code() {
    let engine = Engine::new();
    let wasi = engine.load("app/wasi/0", "wasi");
    for code in [0, 1] {
        let failure = engine.failure(wasi, &format!("exit {code}"));
        assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{failure}");
        assert!(failure.message.contains("exit"), "{failure}");
        assert_eq!(engine.text(wasi, "echo again"), "again");
    }
}

#[test]
fn a_panic_message_is_logged() {
    let (engine, wasi, journal) = with_journal();
    assert_eq!(engine.failure(wasi, "panic oh no").status, AIRSSYS_ERROR_TRAP);
    assert!(journal.messages().iter().any(|message| message.contains("oh no")));
}

#[test]
fn sleep_in_wasi_counts_against_the_time_limit_and_the_caller_s_timeout() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-execution-time-ms": 60}}"#;
    let wasi = engine.load_with("app/wasi/0", "wasi", options);
    let failure = engine.failure(wasi, "sleep 600000");
    assert_eq!(failure.detail["limit"], "max-execution-time-ms", "{failure}");
    let options = r#"{"limits": {"max-execution-time-ms": 600000}}"#;
    let wasi = engine.load_with("app/wasi/1", "wasi", options);
    let with = With { timeout_ms: 30, ..With::default() };
    let failure = engine.call_with(wasi, "sleep 600000", with).unwrap_err();
    assert_eq!(failure.detail["limit"], "timeout_ms", "{failure}");
}

#[test]
fn a_guest_that_writes_many_lines_loses_none() {
    let (engine, wasi, journal) = with_journal();
    let lines: Vec<String> = (0..5000).map(|n| format!("line {n}")).collect();
    engine.text(wasi, &format!("print {}", lines.join("\n")));
    assert!(journal.messages() == lines);
}

#[test]
fn components_for_every_version_of_wasi_0_2_are_linked() {
    let engine = Engine::new();
    for patch in (0..=12).chain([99]) {
        let wat = format!(
            r#"(component
                (import "wasi:random/random@0.2.{patch}" (instance
                    (export "get-random-u64" (func (result u64)))))
                (import "wasi:cli/environment@0.2.{patch}" (instance
                    (export "get-arguments" (func (result (list string))))))
                (import "wasi:clocks/wall-clock@0.2.{patch}" (instance)))"#
        );
        let loaded = engine.try_load("app/wasi/0", &wat::parse_str(&wat).unwrap(), None);
        engine.unload(loaded.unwrap_or_else(|failure| panic!("0.2.{patch}: {failure}"))).unwrap();
    }
    let wat = r#"(component (import "wasi:random/random@0.3.0" (instance
        (export "get-random-u64" (func (result u64))))))"#;
    let failure = engine.try_load("app/wasi/0", &wat::parse_str(wat).unwrap(), None).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{failure}");
}
