//! Changes of rights, and moments at which rights might not be enforced.

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::eventually;
use crate::harness::stage::{Denial, Guest, Stage, not_granted, policy, quota};
use crate::harness::tree::ROOT_ONLY;

const SEND: &str = "send-many 1 app/bank/0 note x";
const REFUSED: &str = "0 error: delivery-failed(capability denied: messaging.send app/bank/0)";

fn denied() -> Denial {
    not_granted("messaging.send", "app/bank/0")
}

fn to_bank() -> Value {
    json!({"messaging": {"send": ["app/bank/0"]}})
}

fn bank(stage: &Stage) -> Guest {
    stage.load("app/bank/0", "requester", json!({}))
}

fn received(stage: &Stage, bank: &Guest) -> usize {
    let notes: Vec<Value> =
        serde_json::from_str(&stage.engine.text(bank.handle, "received")).unwrap();
    notes.len()
}

#[test]
fn a_revoked_right_is_denied_from_the_next_message_on() {
    let stage = Stage::new();
    let (bank, thief) = (bank(&stage), stage.load("app/thief/0", "hostile", to_bank()));
    // Twice, because the second decision is cached.
    stage.works(&thief, SEND, "1", "messaging.send");
    stage.works(&thief, SEND, "1", "messaging.send");
    stage.engine.revoke(thief.handle, Some(&to_bank().to_string())).unwrap();
    stage.denied(&thief, SEND, REFUSED, denied());
    stage.engine.grant(thief.handle, &to_bank().to_string()).unwrap();
    stage.works(&thief, SEND, "1", "messaging.send");
    stage.engine.revoke(thief.handle, None).unwrap();
    stage.denied(&thief, SEND, REFUSED, denied());
    assert_eq!(received(&stage, &bank), 3);
    let explained = stage.engine.explain(thief.handle, "messaging.send", "app/bank/0").unwrap();
    assert_eq!((&explained["allowed"], &explained["by"]), (&json!(false), &json!("not-granted")));
}

#[test]
fn revoking_storage_takes_effect_at_once() {
    let stage = Stage::new();
    let storage = json!({"storage": ["read", "write"]});
    let thief = stage.load("app/thief/0", "storage-user", storage.clone());
    stage.works(&thief, "set k v", "ok", "storage.write");
    stage.works(&thief, "get k", "v", "storage.read");
    stage.engine.revoke(thief.handle, Some(r#"{"storage": ["read"]}"#)).unwrap();
    let reply = "error: io-error(capability denied: storage.read app/thief/0)";
    stage.denied(&thief, "get k", reply, not_granted("storage.read", "app/thief/0"));
    stage.works(&thief, "set k w", "ok", "storage.write");
}

#[test]
fn a_grant_expires_on_time_and_stays_expired() {
    let stage = Stage::new();
    let (bank, mut rights) = (bank(&stage), to_bank());
    rights["expires-in-ms"] = json!(200);
    let thief = stage.load("app/thief/0", "hostile", rights.clone());
    let mut sent = 0;
    // Asks repeatedly, so that the right is cached while it is valid.
    eventually("it has expired", || match stage.engine.text(thief.handle, SEND).as_str() {
        "1" => {
            sent += 1;
            None
        }
        REFUSED => Some(()),
        other => panic!("{other}"),
    });
    drop(stage.decided(&thief));
    stage.denied(&thief, SEND, REFUSED, denied());
    // A crash does not renew the grant.
    stage.ends(&thief, "raw-string log huge", &[]);
    stage.denied(&thief, SEND, REFUSED, denied());
    assert_eq!(received(&stage, &bank), sent);
    rights["expires-in-ms"] = json!(3_600_000);
    stage.engine.grant(thief.handle, &rights.to_string()).unwrap();
    stage.works(&thief, SEND, "1", "messaging.send");
}

#[test]
fn a_grant_that_expired_before_the_load_has_no_effect() {
    let stage = Stage::new();
    let (bank, mut rights) = (bank(&stage), to_bank());
    rights["expires-at-ms"] = json!(1);
    rights["storage"] = json!(["read"]);
    let thief = stage.load("app/thief/0", "hostile", rights);
    stage.denied(&thief, SEND, REFUSED, denied());
    let reply = "error: io-error(capability denied: storage.read app/thief/0)";
    stage.denied(&thief, "raw-get 6b", reply, not_granted("storage.read", "app/thief/0"));
    assert_eq!(received(&stage, &bank), 0);
}

#[test]
fn a_directory_with_expired_grants_is_not_visible() {
    let stage = Stage::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let rights = json!({"filesystem": {path: ["read", "list-dir"]}, "expires-at-ms": 1});
    let thief = stage.load("app/thief/0", "wasi", rights);
    stage.rejected(&thief, "preopens", ROOT_ONLY);
}

#[test]
fn initialize_has_no_more_rights_than_the_rest() {
    let stage = Stage::new();
    let bank = bank(&stage);
    let at = |command: &str| json!({"env": {"AT_INITIALIZE": command}});
    let thief = stage.load_with("app/thief/0", "hostile", &at(SEND));
    assert_eq!(stage.denials_of(&thief), [denied()]);
    assert_eq!(stage.engine.text(thief.handle, "kept"), REFUSED);
    assert_eq!(received(&stage, &bank), 0);
    stage.assert_intact("initialize");
    // Grants apply in `initialize`, too.
    let mut options = at(SEND);
    options["capabilities"] = to_bank();
    let client = stage.load_with("app/client/0", "hostile", &options);
    assert_eq!(stage.denials_of(&client), []);
    assert_eq!(received(&stage, &bank), 1);
}

#[test]
fn a_callback_has_no_more_rights_than_the_rest() {
    let stage = Stage::new();
    let bank = bank(&stage);
    stage.load("app/echo/0", "echo", json!({}));
    let rights = json!({"messaging": {"request": ["app/echo/0"]}});
    let thief = stage.load("app/thief/0", "hostile", rights);
    stage.engine.text(thief.handle, &format!("on-callback {SEND}"));
    assert_eq!(stage.engine.text(thief.handle, "request-many 1 app/echo/0 600000 x"), "1");
    eventually("the callback came", || {
        (stage.engine.text(thief.handle, "callbacks") == "1").then_some(())
    });
    assert_eq!(stage.engine.text(thief.handle, "kept"), REFUSED);
    assert_eq!(stage.denials_of(&thief), [denied()]);
    assert_eq!(received(&stage, &bank), 0);
    stage.assert_intact("a callback");
}

#[test]
fn shutdown_has_no_more_rights_than_the_rest() {
    let stage = Stage::new();
    let bank = bank(&stage);
    let options = json!({"env": {"AT_SHUTDOWN": SEND}});
    let thief = stage.load_with("app/thief/0", "hostile", &options);
    stage.engine.unload(thief.handle).unwrap();
    assert_eq!(stage.denials_of(&thief), [denied()]);
    assert_eq!(received(&stage, &bank), 0);
    stage.assert_intact("shutdown");
}

#[test]
fn a_crash_changes_no_rights() {
    let stage = Stage::new();
    let (bank, mut rights) = (bank(&stage), to_bank());
    rights["storage"] = json!(["read"]);
    let thief = stage.load("app/thief/0", "hostile", rights);
    for _ in 0..2 {
        let reply = "error: io-error(capability denied: storage.write app/thief/0)";
        let denial = not_granted("storage.write", "app/thief/0");
        stage.denied(&thief, "raw-set 6b v", reply, denial);
        stage.works(&thief, SEND, "1", "messaging.send");
        let failure = stage.ends(&thief, "raw-string log huge", &[]);
        assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{failure}");
    }
    // A revoked right stays revoked.
    stage.engine.revoke(thief.handle, None).unwrap();
    stage.ends(&thief, "raw-string log huge", &[]);
    stage.denied(&thief, SEND, REFUSED, denied());
    assert_eq!(received(&stage, &bank), 2);
}

#[test]
fn a_crash_does_not_refill_a_quota() {
    let stage = Stage::new();
    let bank = bank(&stage);
    let options = json!({"capabilities": to_bank(), "quotas": {"messages-per-second": 1}});
    let thief = stage.load_with("app/thief/0", "hostile", &options);
    stage.engine.text(thief.handle, "send-many 1 app/bank/0 note x");
    drop(stage.decided(&thief));
    // Three crashes within one second, the time for one message. Slower attempts are repeated.
    eventually("three crashes within a second", || {
        let begun = std::time::Instant::now();
        let before = received(&stage, &bank);
        for _ in 0..3 {
            stage.engine.call(thief.handle, "raw-string log huge").unwrap_err();
            stage.engine.text(thief.handle, "send-many 1 app/bank/0 note x");
        }
        let sent = received(&stage, &bank) - before;
        assert!(sent as u64 <= 1 + begun.elapsed().as_secs() + 1, "{sent} messages");
        (begun.elapsed().as_millis() < 900 && sent <= 1).then_some(())
    });
    let denial = quota("messaging.send", "app/bank/0", "messages-per-second", 1);
    assert!(stage.denials_of(&thief).contains(&denial));
    stage.assert_intact("crashes");
}

#[test]
fn a_revocation_applies_to_all_instances_of_a_pool() {
    let stage = Stage::new();
    let bank = bank(&stage);
    let options = json!({"instances": 3, "capabilities": to_bank()});
    let thief = stage.load_with("app/thief/0", "hostile", &options);
    for _ in 0..6 {
        stage.works(&thief, SEND, "1", "messaging.send");
    }
    stage.engine.revoke(thief.handle, None).unwrap();
    for _ in 0..6 {
        stage.denied(&thief, SEND, REFUSED, denied());
    }
    assert_eq!(received(&stage, &bank), 6);
}

#[test]
fn instances_of_a_pool_share_a_quota() {
    let stage = Stage::new();
    let slow = stage.load("app/slow/0", "chatty", json!({}));
    stage.engine.send(slow.handle, "log info gate").unwrap();
    stage.gate.reached();
    let rights = json!({"messaging": {"request": ["app/slow/0"]}});
    let options = json!({"instances": 3, "capabilities": rights,
                         "quotas": {"outstanding-requests": 4}});
    let thief = stage.load_with("app/thief/0", "hostile", &options);
    let mut accepted = 0;
    let mut denials = Vec::new();
    for _ in 0..6 {
        let observed = stage.observe(&thief, "request-many 1 app/slow/0 600000 millis");
        accepted += u64::from(observed.text() == "1");
        denials.extend(observed.denials());
    }
    assert_eq!(accepted, 4);
    let breach = quota("messaging.request", "app/slow/0", "outstanding-requests", 4);
    assert_eq!(denials, [breach.clone(), breach]);
    stage.gate.open();
}

#[test]
fn a_policy_applies_from_the_next_decision_of_a_running_guest() {
    let stage = Stage::new();
    let (bank, thief) = (bank(&stage), stage.load("app/thief/0", "hostile", to_bank()));
    stage.works(&thief, SEND, "1", "messaging.send");
    let rules = json!({"rules": [{"effect": "deny", "action": "messaging.send", "reason": "now"}]});
    let reply = std::thread::scope(|scope| {
        let (engine, handle) = (&stage.engine, thief.handle);
        let call = scope.spawn(move || engine.text(handle, &format!("log-then {SEND}")));
        // The guest is handling a message.
        stage.gate.reached();
        stage.engine.set_policies(&rules.to_string()).unwrap();
        stage.gate.open();
        call.join().unwrap()
    });
    assert_eq!(reply, REFUSED);
    let denials = stage.denials_of(&thief);
    assert_eq!(denials, [policy("messaging.send", "app/bank/0", 0, "now")]);
    assert_eq!(received(&stage, &bank), 1);
    stage.assert_intact("a new policy");
    stage.engine.set_policies("{}").unwrap();
    stage.works(&thief, SEND, "1", "messaging.send");
}

#[test]
fn a_grant_can_be_revoked_in_the_middle_of_a_message() {
    let stage = Stage::new();
    let (bank, thief) = (bank(&stage), stage.load("app/thief/0", "hostile", to_bank()));
    stage.works(&thief, SEND, "1", "messaging.send");
    let reply = std::thread::scope(|scope| {
        let (engine, handle) = (&stage.engine, thief.handle);
        let call = scope.spawn(move || engine.text(handle, &format!("log-then {SEND}")));
        stage.gate.reached();
        stage.engine.revoke(thief.handle, None).unwrap();
        stage.gate.open();
        call.join().unwrap()
    });
    assert_eq!(reply, REFUSED);
    assert_eq!(stage.denials_of(&thief), [denied()]);
    assert_eq!(received(&stage, &bank), 1);
}

#[test]
fn rights_belong_to_one_load_and_not_to_an_id() {
    let stage = Stage::new();
    let (bank, first) = (bank(&stage), stage.load("app/thief/0", "hostile", to_bank()));
    stage.works(&first, SEND, "1", "messaging.send");
    // Another component with the same id, and a later one.
    let beside = stage.load("app/thief/0", "hostile", json!({}));
    stage.denied(&beside, SEND, REFUSED, denied());
    stage.engine.unload(first.handle).unwrap();
    stage.engine.unload(beside.handle).unwrap();
    let successor = stage.load("app/thief/0", "hostile", json!({}));
    stage.denied(&successor, SEND, REFUSED, denied());
    assert_eq!(received(&stage, &bank), 1);
}

#[test]
fn a_target_reloaded_under_a_granted_id_gets_the_mail() {
    let stage = Stage::new();
    let (bank, thief) = (bank(&stage), stage.load("app/thief/0", "hostile", to_bank()));
    stage.works(&thief, SEND, "1", "messaging.send");
    stage.engine.unload(bank.handle).unwrap();
    stage.works(&thief, SEND, "0 error: target-not-found(app/bank/0)", "messaging.send");
    let rules = json!({"rules": [{"effect": "deny", "resource": "app/bank/0", "reason": "x"}]});
    stage.engine.set_policies(&rules.to_string()).unwrap();
    let bank = self::bank(&stage);
    stage.denied(&thief, SEND, REFUSED, policy("messaging.send", "app/bank/0", 0, "x"));
    assert_eq!(received(&stage, &bank), 0);
}
