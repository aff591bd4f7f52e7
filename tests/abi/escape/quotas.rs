//! Floods: each quota is named with its value, and the neighbours are unaffected.

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::stage::{Guest, Stage, quota};
use crate::harness::store::Store;

fn hostile(stage: &Stage, quotas: Value, capabilities: Value) -> Guest {
    let options = json!({"quotas": quotas, "capabilities": capabilities});
    stage.load_with("app/thief/0", "hostile", &options)
}

#[test]
fn a_flood_of_messages_ends_at_the_quota() {
    let stage = Stage::new();
    let bank = stage.load("app/bank/0", "requester", json!({}));
    let rights = json!({"messaging": {"send": ["app/bank/0"], "broadcast": ["app/bank/0"]}});
    let thief = hostile(&stage, json!({"messages-per-second": 20}), rights);
    let observed = stage.observe(&thief, "send-many 1000 app/bank/0 note x");
    let (accepted, error) = observed
        .text()
        .split_once(' ')
        .map(|(n, e)| (n.parse::<usize>().unwrap(), e.to_owned()))
        .unwrap();
    assert_eq!(error, "error: delivery-failed(quota exceeded: messages-per-second 20)");
    // One second's quota at once, plus that of the seconds that pass.
    assert!((20..500).contains(&accepted), "{accepted}");
    let denials = observed.denials();
    assert_eq!(denials.len(), 1000 - accepted);
    let breach = quota("messaging.send", "app/bank/0", "messages-per-second", 20);
    assert!(denials.iter().all(|denial| *denial == breach));
    let notes = stage.engine.json(bank.handle, "received");
    assert_eq!(notes.as_array().unwrap().len(), accepted);
    // Each target of a broadcast counts.
    let observed = stage.observe(&thief, "broadcast-many 500 app/bank/0 note x");
    let text = observed.text();
    assert!(text.contains("quota exceeded: messages-per-second 20"), "{text}");
    assert_eq!(observed.denials()[0].action, "messaging.broadcast");
}

#[test]
fn a_flood_of_requests_ends_at_the_quota() {
    let stage = Stage::new();
    let slow = stage.load("app/slow/0", "chatty", json!({}));
    stage.engine.send(slow.handle, "log info gate").unwrap();
    stage.gate.reached();
    let rights = json!({"messaging": {"request": ["app/slow/0"]}});
    let thief = hostile(&stage, json!({"outstanding-requests": 5}), rights);
    let reply = "5 error: delivery-failed(quota exceeded: outstanding-requests 5)";
    let breach = quota("messaging.request", "app/slow/0", "outstanding-requests", 5);
    let command = "request-many 50 app/slow/0 600000 millis";
    stage.denied_all(&thief, command, reply, &vec![breach; 45]);
    // Returned quota can be used again.
    stage.works(&thief, "cancel-kept", "5", "messaging.cancel");
    stage.works(&thief, "request-many 5 app/slow/0 600000 millis", "5", "messaging.request");
    stage.gate.open();
}

#[test]
fn a_crash_returns_only_the_requests_it_ends() {
    let stage = Stage::new();
    let slow = stage.load("app/slow/0", "chatty", json!({}));
    stage.engine.send(slow.handle, "log info gate").unwrap();
    stage.gate.reached();
    let rights = json!({"messaging": {"request": ["app/slow/0"]}});
    let thief = hostile(&stage, json!({"outstanding-requests": 3}), rights);
    stage.works(&thief, "request-many 3 app/slow/0 600000 millis", "3", "messaging.request");
    stage.ends(&thief, "raw-string log huge", &[]);
    let open = stage.engine.stats()["requests"]["outstanding"].as_u64().unwrap();
    let observed = stage.observe(&thief, "request-many 10 app/slow/0 600000 millis");
    let accepted = observed.text().split(' ').next().unwrap().parse::<u64>().unwrap();
    assert_eq!(open + accepted, 3, "{}", observed.text());
    stage.gate.open();
}

#[test]
fn a_mailbox_full_of_bytes_refuses_the_flooder_and_leaves_others_alone() {
    let stage = Stage::new();
    let options = json!({"mailbox": {"max-bytes": 100_000, "capacity": 1000}});
    let slow = stage.load_with("app/slow/0", "chatty", &options);
    stage.engine.send(slow.handle, "log info gate").unwrap();
    stage.gate.reached();
    let rights = json!({"messaging": {"send": ["app/slow/0", "app/bank/0"]}});
    let thief = hostile(&stage, json!({}), rights);
    let bank = stage.load("app/bank/0", "requester", json!({}));
    let payload = "x".repeat(9_000);
    let command = format!("send-many 100 app/slow/0 {payload}");
    let observed = stage.observe(&thief, &command);
    let text = observed.text();
    let (accepted, error) = text.split_once(' ').unwrap();
    assert_eq!(error, "error: queue-full");
    let accepted = accepted.parse::<usize>().unwrap();
    assert!((1..=11).contains(&accepted), "{text}");
    let described = stage.engine.describe(slow.handle).unwrap();
    assert!(described["mailbox"]["bytes"].as_u64().unwrap() <= 100_000, "{described}");
    let full = quota("messaging.send", "app/slow/0", "mailbox.max-bytes", 100_000);
    assert_eq!(observed.denials(), vec![full; 100 - accepted]);
    let sent = stage.engine.send(slow.handle, payload).unwrap_err();
    assert!(sent.message.contains("100000"), "{sent}");
    stage.works(&thief, "send-many 1 app/bank/0 note x", "1", "messaging.send");
    assert_eq!(stage.engine.text(bank.handle, "received"), r#"["x"]"#);
    stage.gate.open();
}

#[test]
fn storage_ends_at_its_quota_of_bytes() {
    let stage = Stage::new();
    let rights = json!({"storage": ["read", "write", "delete"]});
    let thief = hostile(&stage, json!({"storage-bytes": 10_000}), rights);
    let breach = quota("storage.write", "app/thief/0", "storage-bytes", 10_000);
    let reply = "9 error: quota-exceeded";
    stage.denied_all(&thief, "set-many 50 1000", reply, &vec![breach.clone(); 41]);
    stage.denied(&thief, "big-set 10001", "error: quota-exceeded", breach.clone());
    // Keys count, too. Deleting returns quota.
    stage.denied(&thief, "long-key 1024", "error: quota-exceeded", breach);
    stage.works(&thief, "raw-delete 6b30", "ok", "storage.delete");
    stage.works(&thief, "raw-set 6b30 x", "ok", "storage.write");
}

#[test]
fn storage_ends_at_its_quota_of_keys() {
    let stage = Stage::new();
    let rights = json!({"storage": ["read", "write", "delete"]});
    let thief = hostile(&stage, json!({"storage-keys": 7}), rights);
    let breach = quota("storage.write", "app/thief/0", "storage-keys", 7);
    let reply = "7 error: quota-exceeded";
    stage.denied_all(&thief, "set-many 20 1", reply, &vec![breach; 13]);
    // Existing keys can be overwritten.
    stage.works(&thief, "set-many 7 100", "7", "storage.write");
}

#[test]
fn storage_of_a_host_without_usage_ends_at_its_quota() {
    let store = Store::new();
    let stage = Stage::with(&json!({}), |config| {
        let vtable = store.vtable(false);
        // SAFETY: a live configuration, and functions that fit `user_data`.
        crate::harness::engine::check(|error| unsafe {
            airssys_config_set_storage(config.raw(), &raw const vtable, error)
        })
        .unwrap();
    });
    let rights = json!({"storage": ["read", "write", "delete"]});
    let thief = hostile(&stage, json!({"storage-keys": 2, "storage-bytes": 100}), rights);
    let keys = quota("storage.write", "app/thief/0", "storage-keys", 2);
    let reply = "2 error: quota-exceeded";
    stage.denied_all(&thief, "set-many 4 10", reply, &[keys.clone(), keys]);
    let bytes = quota("storage.write", "app/thief/0", "storage-bytes", 100);
    let command = format!("raw-set 6b30 {}", "x".repeat(200));
    stage.denied(&thief, &command, "error: quota-exceeded", bytes);
}

#[test]
fn a_flood_of_log_records_is_cut_and_reported() {
    let stage = Stage::new();
    let thief = hostile(&stage, json!({"log-bytes-per-second": 1000}), json!({}));
    let observed = stage.observe(&thief, "log-many 500 100");
    assert_eq!(observed.text(), "ok", "the guest gets no error");
    let breach = quota("log.write", "", "log-bytes-per-second", 1000);
    let denials = observed.denials();
    assert!(!denials.is_empty() && denials.iter().all(|denial| *denial == breach), "{denials:?}");
    let kept = stage.journal.of("app/thief/0").len();
    assert!((5..400).contains(&kept), "{kept} of 500 records");
    // A single large record does not circumvent the quota.
    let observed = stage.observe(&thief, "long-log-context 100 10000");
    assert_eq!(observed.text(), "ok");
    // Others are not limited.
    let chatty = stage.load("app/chatty/0", "chatty", json!({}));
    stage.engine.text(chatty.handle, "flood 300");
    assert_eq!(stage.journal.of("app/chatty/0").len(), 300);
}

#[test]
fn output_counts_as_log_records() {
    let stage = Stage::new();
    let options = json!({"quotas": {"log-bytes-per-second": 1000}});
    let thief = stage.load_with("app/thief/0", "wasi", &options);
    for command in ["flood 300 100", "spill 300000"] {
        let observed = stage.observe(&thief, command);
        assert_eq!(observed.text(), "ok", "{command}");
    }
    let bytes: usize = stage.journal.of("app/thief/0").iter().map(String::len).sum();
    assert!((1..100_000).contains(&bytes), "{bytes} bytes of 330,000");
    let denials = stage.trail.since(0);
    let breach = |d: &&crate::harness::audit::Decision| d.rule == "quota log-bytes-per-second 1000";
    assert!(denials.iter().filter(breach).all(|d| d.component == "app/thief/0"));
    assert!(denials.iter().any(|d| breach(&d)));
}

#[test]
fn one_call_passes_no_more_data_than_its_quota() {
    let stage = Stage::new();
    let quotas = json!({"host-call-data-bytes": 100_000});
    let rights = json!({"messaging": {"send": ["app/bank/0"], "broadcast": ["**"]},
                        "storage": ["read", "write"]});
    let bank = stage.load("app/bank/0", "requester", json!({}));
    let thief = hostile(&stage, quotas, rights);
    for command in [
        "big-send app/bank/0 200000",
        "big-set 200000",
        "long-key 200000",
        "long-log-context 4000 100",
        "wide-ids 2000 100",
        "log-many 1 200000",
    ] {
        let breach = quota("host.call", "", "host-call-data-bytes", 100_000);
        let failure = stage.ends(&thief, command, &[breach]);
        assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{command}: {failure}");
        assert_eq!(failure.detail["limit"], "host-call-data-bytes", "{command}: {failure}");
        assert_eq!(failure.detail["value"], 100_000, "{command}: {failure}");
    }
    assert_eq!(stage.engine.text(bank.handle, "received"), "[]");
    stage.works(&thief, "big-set 50000", "ok", "storage.write");
}

#[test]
fn random_bytes_end_at_their_quota() {
    let stage = Stage::new();
    let options = json!({"quotas": {"random-bytes-per-second": 1000}});
    for (id, command) in
        [("app/a/0", "random 600"), ("app/b/0", "insecure-random 600"), ("app/c/0", "random 600")]
    {
        let thief = stage.load_with(id, "wasi", &options);
        let size = "600";
        stage.works(&thief, command, size, "random.read");
        // More bytes exceed the quota unless part of a second has passed. Then ask again.
        let breach = quota("random.read", "", "random-bytes-per-second", 1000);
        let failure = crate::harness::engine::eventually("the quota is used up", || {
            let observed = stage.observe(&thief, "insecure-random 600");
            assert!(observed.denials().iter().all(|denial| *denial == breach));
            observed.reply.err().inspect(|_| assert!(!observed.decisions.is_empty()))
        });
        assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
        assert_eq!(failure.detail["limit"], "random-bytes-per-second", "{failure}");
        assert_eq!(failure.detail["value"], 1000, "{failure}");
    }
}

#[test]
fn one_call_for_random_bytes_gets_no_more_than_the_quota_of_a_call() {
    let stage = Stage::new();
    let options = json!({"quotas": {"host-call-data-bytes": 10_000}});
    let thief = stage.load_with("app/thief/0", "wasi", &options);
    for command in ["random 10001", "insecure-random 10001", "random 18446744073709551615"] {
        let failure =
            stage.ends(&thief, command, &[quota("host.call", "", "host-call-data-bytes", 10_000)]);
        assert_eq!(failure.detail["limit"], "host-call-data-bytes", "{command}: {failure}");
    }
    stage.works(&thief, "random 10000", "10000", "random.read");
}

#[test]
fn wasi_resources_end_at_their_quota() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    std::fs::write(directory.path().join("file"), "x").unwrap();
    let stage = Stage::new();
    let rights =
        json!({"filesystem": {path: ["read", "list-dir"]}, "network": {"outbound": ["*"]}});
    let options = json!({"quotas": {"wasi-resources": 50}, "capabilities": rights});
    let thief = stage.load_with("app/thief/0", "wasi", &options);
    let file = crate::harness::stage::hex("file");
    for command in [
        "pollables 1000".to_owned(),
        format!("open-many 0 {file} 1000"),
        "list-many 0 1000".into(),
        "sockets tcp 1000".into(),
        "sockets udp 1000".into(),
        "lookups 1000 127.0.0.1".into(),
    ] {
        let observed = stage.observe(&thief, &command);
        let denials = observed.denials();
        match &observed.reply {
            // Most interfaces trap; some return an error.
            Err(failure) => {
                assert_eq!(
                    failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED,
                    "{command}: {failure}"
                );
                assert_eq!(failure.detail["limit"], "wasi-resources", "{command}: {failure}");
                assert_eq!(failure.detail["value"], 50, "{command}: {failure}");
                assert_eq!(denials, [quota("host.call", "", "wasi-resources", 50)], "{command}");
            }
            Ok(_) => {
                let text = observed.text();
                let made = text.split(' ').next().unwrap().parse::<u64>().unwrap();
                assert!(made < 50 && text.contains("error: "), "{command}: {text}");
            }
        }
    }
    assert_eq!(stage.engine.text(thief.handle, "echo again"), "again");
    // A component that holds few resources may create any number in sequence.
    for _ in 0..100 {
        assert_eq!(stage.engine.text(thief.handle, &format!("read {path}/file")), "x");
    }
}

#[test]
fn the_flooder_takes_no_memory_or_time_of_its_neighbours() {
    let stage = Stage::new();
    let limits = json!({"max-memory-bytes": 4 << 20, "max-execution-time-ms": 1500});
    let thief = stage.load_with("app/thief/0", "trapper", &json!({"limits": limits}));
    for (command, status) in [
        ("alloc", AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED),
        ("recurse", AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED),
        ("loop", AIRSSYS_ERROR_TIMEOUT),
        ("loop-log", AIRSSYS_ERROR_TIMEOUT),
        ("sleep 600000", AIRSSYS_ERROR_TIMEOUT),
    ] {
        let failure = stage.observe(&thief, command).reply.expect_err(command);
        assert_eq!(failure.status, status, "{command}: {failure}");
    }
    assert_eq!(stage.engine.text(thief.handle, "ok"), "ok");
}
