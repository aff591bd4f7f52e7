//! What a process normally has: environment, arguments, streams, clocks, random numbers.

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::stage::{Stage, not_granted, policy};
use crate::harness::tree::ROOT_ONLY;

fn deny(action: &str) -> Value {
    json!([{"effect": "deny", "component": "app/thief/*", "action": action, "reason": "closed"}])
}

#[test]
fn nothing_of_the_host_s_process_is_visible() {
    // Cargo sets this variable for tests, so the process has it.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && std::env::vars_os().count() > 5);
    let stage = Stage::new();
    let thief = stage.load("app/thief/0", "wasi", json!({}));
    stage.works(&thief, "env-all", "", "environment.read");
    stage.works(&thief, "args-all", "", "environment.read");
    for (command, reply) in
        [("cwd", "none"), ("stdin", ""), ("preopens", ROOT_ONLY), ("env", "0"), ("args", "0")]
    {
        let observed = stage.observe(&thief, command);
        assert_eq!(observed.text(), reply, "{command}");
    }
    // Only the variables of the load are visible.
    let given = stage.load_with("app/given/0", "wasi", &json!({"env": {"A": "1"}}));
    stage.works(&given, "env-all", "A=1", "environment.read");
}

#[test]
fn another_component_s_environment_is_not_visible() {
    let stage = Stage::new();
    let options = json!({"env": {"TOKEN": "s3cr3t"}, "config": "s3cr3t"});
    stage.load_with("app/victim/0", "wasi", &options);
    let rights = json!({"messaging": {"request": ["**"]}});
    let thief = stage.load("app/thief/0", "requester", rights);
    let seen = stage.observe(&thief, "metadata app/victim/0").text();
    assert!(seen.contains("app/victim/0") && !seen.contains("s3cr3t"), "{seen}");
    let thief = stage.load("app/victim/1", "wasi", json!({}));
    stage.works(&thief, "env-all", "", "environment.read");
}

#[test]
fn a_policy_closes_the_environment() {
    let stage = Stage::with_policies(deny("environment.read"));
    let thief = stage.load_with("app/thief/0", "wasi", &json!({"env": {"A": "1"}}));
    for command in ["env-all", "args-all"] {
        stage.denied(&thief, command, "", policy("environment.read", "", 0, "closed"));
    }
    let other = stage.load_with("app/other/0", "wasi", &json!({"env": {"A": "1"}}));
    stage.works(&other, "env-all", "A=1", "environment.read");
}

#[test]
fn a_policy_also_closes_the_environment_passed_to_initialize() {
    let stage = Stage::with_policies(deny("environment.read"));
    let options = json!({"env": {"TOKEN": "s3cr3t"}, "config": "open"});
    let thief = stage.load_with("app/thief/0", "probe", &options);
    assert_eq!(stage.denials_of(&thief), [policy("environment.read", "", 0, "closed")]);
    let config = stage.engine.text(thief.handle, "config");
    assert!(config.contains("open") && !config.contains("TOKEN"), "{config}");
    let other = stage.load_with("app/other/0", "probe", &options);
    let config = stage.engine.text(other.handle, "config");
    assert!(config.contains("s3cr3t"), "{config}");
}

#[test]
fn a_policy_closes_clocks() {
    let stage = Stage::with_policies(deny("clock.read"));
    let denial = policy("clock.read", "", 0, "closed");
    for (guest, commands) in [("wasi", ["time", "clock"]), ("chatty", ["time", "millis"])] {
        let thief = stage.load("app/thief/0", guest, json!({}));
        for command in commands {
            let failure = stage.ends(&thief, command, std::slice::from_ref(&denial));
            assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{command}: {failure}");
            assert!(failure.message.contains("capability denied: clock.read"), "{failure}");
        }
    }
    let other = stage.load("app/other/0", "chatty", json!({}));
    stage.works_like(&other, "millis", "clock.read", |millis| millis.parse::<u64>().is_ok());
}

#[test]
fn a_policy_closes_random_numbers() {
    let stage = Stage::with_policies(deny("random.read"));
    let thief = stage.load("app/thief/0", "wasi", json!({}));
    for command in ["random 1", "insecure-random 1", "seed", "random 0"] {
        let failure = stage.ends(&thief, command, &[policy("random.read", "", 0, "closed")]);
        assert!(failure.message.contains("capability denied: random.read"), "{failure}");
    }
    let other = stage.load("app/other/0", "wasi", json!({}));
    stage.works(&other, "random 16", "16", "random.read");
}

#[test]
fn a_policy_closes_the_log() {
    let stage = Stage::with_policies(deny("log.write"));
    for (guest, command) in
        [("chatty", "log error fire"), ("wasi", "print fire"), ("wasi", "eprint fire")]
    {
        let thief = stage.load("app/thief/0", guest, json!({}));
        let observed = stage.observe(&thief, command);
        assert_eq!(observed.text(), "ok", "{command}: a guest is not told");
        let denials = observed.denials();
        let denial = policy("log.write", "", 0, "closed");
        assert!(!denials.is_empty() && denials.iter().all(|one| *one == denial), "{denials:?}");
    }
    assert!(!stage.journal.messages().iter().any(|message| message.contains("fire")));
    let other = stage.load("app/other/0", "chatty", json!({}));
    stage.works(&other, "log error fire", "ok", "log.write");
    assert_eq!(stage.journal.of("app/other/0"), ["fire"]);
}

#[test]
fn a_policy_that_denies_everything_leaves_nothing() {
    let stage = Stage::with_policies(json!([
        {"effect": "deny", "component": "app/**", "reason": "quarantine"}
    ]));
    let all = json!({"messaging": {"send": ["**"], "request": ["**"], "broadcast": ["**"]},
                     "storage": ["read", "write", "delete"],
                     "network": {"outbound": ["*"], "inbound": ["127.0.0.1"]}});
    let thief = stage.load("app/thief/0", "requester", all.clone());
    let stored = stage.load("app/store/0", "storage-user", all.clone());
    let wasi = stage.load("app/wasi/0", "wasi", all);
    stage.denied(
        &thief,
        "send neighbour/keeper/0 get secret",
        "error: delivery-failed(capability denied: messaging.send neighbour/keeper/0)",
        policy("messaging.send", "neighbour/keeper/0", 0, "quarantine"),
    );
    assert_eq!(stage.engine.text(thief.handle, "list"), "");
    let observed = stage.observe(&stored, "get k");
    assert_eq!(observed.denials(), [policy("storage.read", "app/store/0", 0, "quarantine")]);
    let observed = stage.observe(&wasi, "connect 127.0.0.1:1");
    let denials = observed.denials();
    let of_network = denials.iter().all(|denial| denial.action.starts_with("network."));
    assert!(of_network && !denials.is_empty(), "{denials:?}");
    assert!(denials.iter().all(|denial| denial.by == "policy"), "{denials:?}");
    assert_eq!(stage.engine.text(wasi.handle, "env-all"), "");
}

#[test]
fn an_allow_rule_grants_nothing() {
    let stage = Stage::with_policies(json!([
        {"effect": "allow", "reason": "all"},
        {"effect": "deny", "action": "clock.read", "reason": "behind the first"}
    ]));
    let thief = stage.load("app/thief/0", "requester", json!({}));
    stage.denied(
        &thief,
        "send app/bank/0 x",
        "error: delivery-failed(capability denied: messaging.send app/bank/0)",
        not_granted("messaging.send", "app/bank/0"),
    );
    let chatty = stage.load("app/chatty/0", "chatty", json!({}));
    stage.works_like(&chatty, "millis", "clock.read", |millis| millis.parse::<u64>().is_ok());
}
