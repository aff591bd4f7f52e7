//! Streams asked for more than they permit, and splices with a right at one end only.

use std::fs;

use airssys_wasm::*;
use serde_json::json;

use crate::harness::stage::{Guest, Stage, hex, not_granted, quota};
use crate::harness::tree::Tree;

fn with_files(stage: &Stage, tree: &Tree, actions: &[&str]) -> Guest {
    stage.load("app/thief/0", "wasi", tree.granted(actions))
}

fn open(stage: &Stage, thief: &Guest, file: &str, flags: &str) -> String {
    stage.engine.text(thief.handle, &format!("raw-open 0 {} {flags}", hex(file)))
}

#[test]
fn writing_more_than_a_stream_permits_is_a_trap_and_takes_no_host_memory() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = with_files(&stage, &tree, &["read", "write"]);
    for to in ["out", "1"] {
        for command in [
            format!("zeroes {to} 1099511627776"),
            format!("zeroes {to} 18446744073709551615"),
            format!("zeroes-blocking {to} 4097"),
            format!("zeroes-blocking {to} 18446744073709551615"),
        ] {
            assert_eq!(open(&stage, &thief, "own", "read,write"), "1");
            let failure = stage.ends(&thief, &command, &[]);
            assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{command}: {failure}");
        }
    }
    let failure = stage.ends(&thief, "write-unasked out 100000", &[]);
    assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{failure}");
    assert_eq!(fs::read_to_string(tree.at("granted/own")).unwrap(), "mine");
    assert_eq!(stage.engine.text(thief.handle, "zeroes out 100"), "ok");
}

#[test]
fn a_read_of_any_length_returns_a_piece() {
    let (stage, tree) = (Stage::new(), Tree::new());
    fs::write(tree.at("granted/large"), vec![b'x'; 1 << 20]).unwrap();
    let thief = with_files(&stage, &tree, &["read"]);
    assert_eq!(open(&stage, &thief, "large", "read"), "1");
    for command in ["pull 1 18446744073709551615", "skip 1 18446744073709551615"] {
        stage.works_like(&thief, command, "filesystem.read", |size| {
            size.parse::<usize>().is_ok_and(|size| (1..=64 << 10).contains(&size))
        });
    }
    stage.rejected(&thief, "stdin-pull 18446744073709551615", "closed");
}

#[test]
fn a_splice_needs_the_right_at_both_ends() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let reader = with_files(&stage, &tree, &["read"]);
    assert_eq!(open(&stage, &reader, "own", "read"), "1");
    assert_eq!(open(&stage, &reader, "a.csv", "read"), "2");
    let denial = not_granted("filesystem.write", &tree.at("granted/a.csv"));
    stage.denied(&reader, "splice 1 2 100", "error: not-permitted", denial);
    stage.works(&reader, "splice 1 out 100", "4", "filesystem.read");
    let writer = stage.load("app/writer/0", "wasi", tree.granted(&["write"]));
    assert_eq!(open(&stage, &writer, "own", "write"), "1");
    let denial = not_granted("filesystem.read", &tree.at("granted/own"));
    stage.denied(&writer, "splice 1 out 100", "error: not-permitted", denial);
    tree.assert_untouched("splices");
    assert_eq!(fs::read_to_string(tree.at("granted/a.csv")).unwrap(), "1,2");
}

#[test]
fn every_operation_on_an_open_file_ends_with_the_right() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let rights = tree.granted(&["read", "write"]);
    let thief = stage.load("app/thief/0", "wasi", rights.clone());
    assert_eq!(open(&stage, &thief, "own", "read,write"), "1");
    let commands = [
        "raw-read 1",
        "raw-stat 1",
        "raw-hash 1",
        "raw-times 1",
        "raw-sync 1",
        "raw-advise 1",
        "raw-resize 1 4",
    ];
    for command in commands {
        let text = stage.observe(&thief, command).text();
        assert!(!text.starts_with("error: "), "{command}: {text}");
    }
    stage.engine.revoke(thief.handle, Some(&rights.to_string())).unwrap();
    for command in commands {
        let observed = stage.observe(&thief, command);
        assert_eq!(observed.text(), "error: not-permitted", "{command}");
        let denials = observed.denials();
        assert_eq!(denials.len(), 1, "{command}: {denials:?}");
        assert_eq!(denials[0].resource, tree.at("granted/own"), "{command}");
    }
}

#[test]
fn a_poll_list_counts_as_data_passed_to_the_host() {
    let stage = Stage::new();
    let options = json!({"quotas": {"host-call-data-bytes": 100_000}});
    let thief = stage.load_with("app/thief/0", "wasi", &options);
    assert_eq!(stage.engine.text(thief.handle, "poll-many 1000"), "1000");
    let breach = quota("host.call", "", "host-call-data-bytes", 100_000);
    stage.ends(&thief, "poll-many 1000000", &[breach]);
    let failure = stage.ends(&thief, "poll-many 0", &[]);
    assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{failure}");
}
