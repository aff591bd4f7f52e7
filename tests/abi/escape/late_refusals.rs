//! Refusals after the check of the path: by the file that was opened, by Wasmtime, by the link's
//! target.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::harness::stage::{Stage, hex, not_granted};
use crate::harness::tree::{ALL, Tree, deny, race};

#[test]
fn a_closed_part_is_not_opened_by_a_race() {
    let tree = Tree::new();
    // The policy does not apply to the component that swaps.
    let stage = Stage::with_policies(deny(&tree, "app/racer/*", "filesystem.*"));
    let command = format!("read-race {} 200", tree.at("granted/race/secret"));
    let seen = race(&stage, &tree, "private", &command).0;
    assert!(!seen.contains("treasure"), "{seen}");
}

#[test]
fn a_link_out_of_the_directory_is_recorded_as_refused() {
    let (stage, tree) = (Stage::new(), Tree::new());
    symlink("../secret", tree.at("granted/link")).unwrap();
    let thief = stage.load("app/thief/0", "wasi", tree.granted(&ALL));
    let observed = stage.observe(&thief, &format!("raw-open 0 {} follow,read", hex("link")));
    assert_eq!(observed.text(), "error: not-permitted");
    assert_eq!(observed.denials().len(), 1, "{:?}", observed.decisions);
}

#[test]
fn a_refused_connection_is_recorded_with_its_address() {
    let stage = Stage::new();
    let address = "127.0.0.1:18083";
    let rights = json!({"network": {"inbound": ["127.0.0.1:18084"]}});
    let thief = stage.load("app/thief/0", "wasi", rights);
    for command in ["connect", "udp-send"] {
        let observed = stage.observe(&thief, &format!("{command} {address} x"));
        let denials = observed.denials();
        let denial = not_granted("network.outbound", address);
        assert!(denials.contains(&denial), "{command}: {denials:?}");
    }
}

#[test]
fn a_refused_pipe_is_recorded() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let pipe = tree.at("granted/pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let thief = stage.load("app/thief/0", "wasi", tree.granted(&["read"]));
    let observed = stage.observe(&thief, &format!("read {pipe}"));
    assert!(observed.text().starts_with("error: "), "{}", observed.text());
    assert_eq!(observed.denials().len(), 1, "{:?}", observed.decisions);
}
