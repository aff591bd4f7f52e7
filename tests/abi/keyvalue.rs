//! `wasi:keyvalue`, by a component that knows no other storage.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::audit::AuditTrail;
use crate::harness::engine::{Config, Engine, check, eventually};
use crate::harness::stage::hex;
use crate::harness::store::Store;

/// Set in a child process: the file of its storage.
const FILE: &str = "AIRSSYS_KEYVALUE_FILE";

const ID: &str = "app/kv/0";

fn on_file(path: &Path) -> Engine {
    let path = path.to_str().unwrap();
    Config::new().with(&json!({ "storage": { "path": path } }).to_string()).engine()
}

/// Runs a test on each kind of storage.
fn on_each_storage(test: impl Fn(&Engine)) {
    test(&Engine::new());
    let directory = tempfile::tempdir().unwrap();
    test(&on_file(&directory.path().join("store")));
    let (complete, simple, serial) = (Store::new(), Store::new(), Store::new());
    let config = Config::new();
    complete.attach(&config);
    test(&config.with(r#"{"storage": {"read-cache-bytes": 1000000}}"#).engine());
    test(&on_host(&simple, 0));
    test(&on_host(&serial, AIRSSYS_STORAGE_SERIALIZE));
}

/// An engine on a host's storage without batches.
fn on_host(store: &Arc<Store>, flags: u64) -> Engine {
    let config = Config::new();
    let storage = airssys_storage_t { flags, ..store.vtable(false) };
    // SAFETY: a live configuration, and functions that fit `user_data`.
    check(|error| unsafe { airssys_config_set_storage(config.raw(), &raw const storage, error) })
        .unwrap();
    config.engine()
}

#[test]
fn values_are_stored_read_and_removed() {
    on_each_storage(|engine| {
        let kv = engine.load(ID, "keyvalue");
        let says =
            |command: &str, reply: &str| assert_eq!(engine.text(kv, command), reply, "{command}");
        assert_eq!(engine.call(kv, "get - k"), Ok(None));
        says("exists - k", "false");
        says("set - k first", "ok");
        says("set default k 2nd", "ok");
        says("get - k", "2nd");
        says("exists default k", "true");
        says("set - empty ", "ok");
        assert_eq!(engine.call(kv, "get - empty"), Ok(Some(Vec::new())));
        says("list -", "empty\nk");
        says("delete - k", "ok");
        says("delete - k", "ok");
        assert_eq!(engine.call(kv, "get - k"), Ok(None));
        says("fill - large 2097152", "ok");
        let large = engine.call(kv, "get - large").unwrap().unwrap();
        assert!(large.len() == 2 << 20 && large.iter().all(|byte| *byte == b'x'));
        // The first draft is another door to the same bucket.
        assert_eq!(engine.call(kv, "draft get missing"), Ok(None));
        says("draft set d 1", "ok");
        says("get - d", "1");
        says("draft exists d", "true");
        says("draft delete d", "ok");
        says("list -", "empty\nlarge");
        let stored = engine.stored(ID, "empty").unwrap();
        assert_eq!(stored, Some(Vec::new()), "the host sees the same keys");
    });
}

#[test]
fn named_buckets_are_apart_from_each_other_and_from_the_default_one() {
    on_each_storage(|engine| {
        let kv = engine.load(ID, "keyvalue");
        for (bucket, value) in [("-", "none"), ("carts", "1"), ("users", "2"), ("bücher 📚", "3")]
        {
            let bucket = bucket.replace(' ', "_");
            assert_eq!(engine.text(kv, &format!("set {bucket} k {value}")), "ok");
            assert_eq!(engine.text(kv, &format!("get {bucket} k")), value);
            assert_eq!(engine.text(kv, &format!("list {bucket}")), "k", "{bucket}");
        }
        assert_eq!(engine.stored(ID, "bucket:carts/k").unwrap().unwrap(), b"1");
        assert_eq!(engine.text(kv, "clear -"), "1");
        assert_eq!(engine.text(kv, "get users k"), "2", "the others are not cleared");
        let refused = "error: other(invalid-key: a key that begins with \"bucket:\" is one of a \
                       named bucket)";
        for command in ["get", "exists", "delete", "set"] {
            assert_eq!(engine.text(kv, &format!("{command} - bucket:users/k")), refused);
        }
        assert_eq!(engine.text(kv, "set users a/b 4"), "ok", "keys may have slashes");
        assert_eq!(engine.text(kv, "list users"), "a/b\nk");
    });
}

#[test]
fn what_is_no_bucket_of_the_component_is_no_store() {
    let engine = Engine::new();
    let own = engine.load("app/neighbour/0", "keyvalue");
    assert_eq!(engine.text(own, "set - secret treasure"), "ok");
    assert_eq!(engine.text(own, "set shared secret treasure"), "ok");
    let kv = engine.load(ID, "keyvalue");
    let long = "b".repeat(65);
    for name in
        ["app/neighbour/0", "../neighbour/0", "/", "a/b", "a\0b", "\n", "redis://h/0", &long]
    {
        let reply = engine.text(kv, &format!("open-hex {}", hex(name)));
        assert_eq!(reply, "error: no-such-store", "{name:?}");
    }
    for name in ["app", "..", "*", "**", "airssys.engine", &long[1..]] {
        assert_eq!(engine.text(kv, &format!("list {name}")), "", "{name:?}");
        assert_eq!(engine.call(kv, format!("get {name} secret")), Ok(None), "{name:?}");
    }
    assert_eq!(engine.call(kv, "get shared secret"), Ok(None), "a bucket is the component's own");
    assert_eq!(engine.text(kv, &format!("list-after-hex - {}", hex("app/neighbour/0"))), "");
}

#[test]
fn keys_are_checked() {
    on_each_storage(|engine| {
        let kv = engine.load(ID, "keyvalue");
        for bucket in ["-", "named"] {
            for key in ["", "a\0b", &"k".repeat(1025)] {
                for command in [
                    format!("get-hex {bucket} {}", hex(key)),
                    format!("set-hex {bucket} {} v", hex(key)),
                ] {
                    let reply = engine.text(kv, &command);
                    assert!(
                        reply.starts_with("error: other(invalid-key: "),
                        "{key:.10}: {reply:.200}"
                    );
                    assert!(reply.len() < 300, "{reply}");
                }
            }
        }
        let reply = engine.text(kv, &format!("list-after-hex - {}", hex("a\0")));
        assert!(reply.starts_with("error: other(invalid-key: "), "{reply}");
        assert_eq!(engine.text(kv, &format!("set - {} v", "k".repeat(1024))), "ok");
    });
}

#[test]
fn each_right_is_checked_and_recorded_as_that_of_storage() {
    let (config, trail) = (Config::closed(), AuditTrail::default());
    trail.attach(&config);
    let engine = config.engine();
    let commands = [
        (
            "read",
            vec!["get - k", "exists - k", "list -", "get-many - k", "cas-hold - k", "draft get k"],
        ),
        ("write", vec!["set - k v", "set-many - k=v", "draft set k v"]),
        ("delete", vec!["delete - k", "delete-many - k"]),
    ];
    for granted in ["read", "write", "delete"] {
        let options = json!({"capabilities": {"storage": [granted]}}).to_string();
        let kv = engine.load_with(ID, "keyvalue", &options);
        assert_eq!(engine.text(kv, "open any"), "ok", "to open a bucket needs no right");
        for (right, commands) in &commands {
            for command in commands {
                let before = trail.since(0).len();
                let reply = engine.call(kv, *command).unwrap().unwrap_or_default();
                let denied = reply == b"error: access-denied";
                assert_eq!(denied, *right != granted, "{granted}: {command}");
                let seen = eventually("a record", || trail.since(before).into_iter().next());
                assert_eq!(seen.action, format!("storage.{right}"), "{command}");
                assert_eq!((&*seen.resource, &*seen.component), (ID, ID));
                assert_eq!(seen.decision == AIRSSYS_AUDIT_DENIED, denied);
            }
        }
        // To increment or to swap tells what is stored.
        let before = trail.since(0).len();
        assert_eq!(engine.text(kv, "incr - n 1"), "error: access-denied", "{granted}");
        let records = if granted == "read" { 2 } else { 1 };
        eventually("all records", || (trail.since(before).len() == records).then_some(()));
        engine.unload(kv).unwrap();
    }
    let both = json!({"capabilities": {"storage": ["read", "write"]}}).to_string();
    let kv = engine.load_with(ID, "keyvalue", &both);
    assert_eq!(engine.text(kv, "incr - n 1"), "1");
    assert_eq!(engine.text(kv, "cas - n 2"), "ok");
}

fn with_quotas(engine: &Engine, quotas: Value) -> u64 {
    engine.load_with(ID, "keyvalue", &json!({ "quotas": quotas }).to_string())
}

#[test]
fn quotas_are_those_of_storage_and_a_batch_is_stored_whole_or_not_at_all() {
    on_each_storage(|engine| {
        let kv = with_quotas(engine, json!({"storage-keys": 3, "storage-bytes": 100}));
        let full = "error: other(quota-exceeded)";
        assert_eq!(engine.text(kv, "set - a 1"), "ok");
        assert_eq!(engine.text(kv, "set-many - b=2 c=3 d=4"), full);
        assert_eq!(engine.text(kv, "list -"), "a");
        assert_eq!(engine.text(kv, "set-many - a=5 b=2 c=3 c=4"), "ok", "of two, the last counts");
        assert_eq!(engine.text(kv, "get-many - c a missing b"), "c=4\na=5\n-\nb=2");
        assert_eq!(engine.text(kv, "set named d 4"), full, "buckets share the quota");
        assert_eq!(engine.text(kv, "incr - n 1"), full);
        assert_eq!(engine.text(kv, "fill - a 96"), full);
        assert_eq!(engine.text(kv, "delete-many - a b missing"), "ok");
        assert_eq!(engine.text(kv, "list -"), "c");
        assert_eq!(engine.text(kv, "incr - n 1"), "1");
        assert_eq!(engine.text(kv, "cas - n 22"), "ok");
        assert_eq!(engine.text(kv, &format!("cas - n {}", "x".repeat(100))), full);
        assert_eq!(engine.text(kv, "get - n"), "22");
        engine.unload(kv).unwrap();
    });
}

#[test]
fn increments_of_several_instances_are_all_counted() {
    on_each_storage(|engine| {
        let (instances, each) = (4, 25);
        let limits = json!({"max-execution-time-ms": 600_000});
        let options = json!({ "instances": instances, "limits": limits }).to_string();
        let kv = engine.load_with(ID, "keyvalue", &options);
        thread::scope(|scope| {
            for _ in 0..instances {
                scope.spawn(|| {
                    assert_eq!(engine.text(kv, &format!("incr-many - n {each}")), "ok");
                });
            }
        });
        let sum = (instances * each).to_string();
        assert_eq!(engine.text(kv, "get - n"), sum, "a counter is in decimal digits");
    });
}

#[test]
fn an_increment_is_of_a_number_and_stays_one() {
    let engine = Engine::new();
    let kv = engine.load(ID, "keyvalue");
    assert_eq!(engine.text(kv, "incr - n -5"), "-5");
    assert_eq!(engine.text(kv, "incr - n 9223372036854775807"), "9223372036854775802");
    let refused = engine.text(kv, "incr - n 6");
    assert!(refused.contains("would not be within"), "{refused}");
    assert_eq!(engine.text(kv, "get - n"), "9223372036854775802", "as before");
    assert_eq!(engine.text(kv, "draft incr n 6"), "9223372036854775808", "it is unsigned");
    assert_eq!(engine.text(kv, "draft incr m 18446744073709551615"), "18446744073709551615");
    assert!(engine.text(kv, "draft incr m 1").contains("would not be within"));
    for value in ["", "x", "1.5", "0x10", " 1", &"9".repeat(50)] {
        engine.store(ID, "text", value).unwrap();
        let refused = engine.text(kv, "incr - text 1");
        assert!(refused.contains("\"text\" is no whole number"), "{value}: {refused}");
    }
}

#[test]
fn a_swap_fails_if_the_value_has_changed_and_can_be_tried_again() {
    on_each_storage(|engine| {
        let kv = engine.load(ID, "keyvalue");
        assert_eq!(engine.text(kv, "cas - k new"), "ok", "a missing key is made");
        assert_eq!(engine.text(kv, "cas-hold - k"), "ok");
        assert_eq!(engine.text(kv, "cas-current"), "new");
        engine.store(ID, "k", "theirs").unwrap();
        assert_eq!(engine.text(kv, "cas-current"), "new", "as it was read");
        assert_eq!(engine.text(kv, "cas-swap mine"), "failed, it is theirs");
        assert_eq!(engine.text(kv, "get - k"), "theirs");
        assert_eq!(engine.text(kv, "cas-swap mine"), "ok", "with the new handle");
        assert_eq!(engine.text(kv, "get - k"), "mine");
        assert_eq!(engine.text(kv, "cas-hold - k"), "ok");
        engine.remove_stored(ID, "k").unwrap();
        assert_eq!(engine.text(kv, "cas-swap again"), "failed, it is missing");
        assert_eq!(engine.text(kv, "cas-swap again"), "ok");
        engine.store(ID, "k", "other").unwrap();
        engine.store(ID, "k", "again").unwrap();
        assert_eq!(engine.text(kv, "get - k"), "again");
    });
}

#[test]
fn long_listings_come_in_pages_and_can_be_cleared_page_by_page() {
    on_each_storage(|engine| {
        // A file syncs each of the 2,400 removals.
        let options = json!({"limits": {"max-execution-time-ms": 600_000}}).to_string();
        let kv = engine.load_with(ID, "keyvalue", &options);
        for part in 0..3 {
            let changes: Vec<_> = (0..800).map(|n| format!("k{part}-{n:03}")).collect();
            for bucket in ["-", "named"] {
                let pairs = changes.join("=v ");
                assert_eq!(engine.text(kv, &format!("set-many {bucket} {pairs}=v")), "ok");
            }
        }
        for bucket in ["-", "named"] {
            assert_eq!(engine.text(kv, &format!("pages {bucket}")), "2400 in 3");
            let listed = engine.text(kv, &format!("list {bucket}"));
            let keys: Vec<_> = listed.lines().collect();
            assert!(keys.is_sorted() && keys.len() == 2400);
        }
        assert_eq!(engine.text(kv, "clear named"), "2400");
        assert_eq!(engine.text(kv, "pages -"), "2400 in 3");
        assert_eq!(engine.text(kv, "draft clear"), "2400 in 3");
        assert_eq!(engine.text(kv, "pages -"), "0 in 1");
        let unknown = engine.text(kv, "draft list-from 77");
        assert!(unknown.contains("the cursor 77 is none of the last 4"), "{unknown}");
    });
}

#[test]
fn a_batch_has_a_bound() {
    let engine = Engine::new();
    let kv = engine.load(ID, "keyvalue");
    assert_eq!(engine.text(kv, "set-many-n - 1000 1"), "ok");
    assert_eq!(engine.text(kv, "get-many-n - 1000"), "1000");
    for command in ["set-many-n - 1001 1", "get-many-n - 1001"] {
        let refused = engine.text(kv, command);
        assert_eq!(refused, "error: other(io-error: 1001 keys at once, at most 1000 are allowed)");
    }
}

#[test]
fn what_the_host_holds_is_charged() {
    let directory = tempfile::tempdir().unwrap();
    for engine in [Engine::new(), on_file(&directory.path().join("store"))] {
        let options = json!({"limits": {"max-host-bytes": 8 << 20}}).to_string();
        let kv = engine.load_with(ID, "keyvalue", &options);
        assert_eq!(engine.text(kv, "fill - large 2097152"), "ok");
        let refused = engine.text(kv, "cas-many - large 5");
        assert!(refused.starts_with("error: other(") && refused.contains("exceed"), "{refused}");
        let refused = engine.text(kv, "set-many-n - 10 1000000");
        assert_eq!(refused, "error: other(quota-exceeded)");
        assert_eq!(engine.text(kv, "cas-many - large 2"), "2", "what was held is free again");
    }
}

#[test]
fn handles_end_at_the_quota_of_resources() {
    let engine = Engine::new();
    let kv = with_quotas(&engine, json!({"wasi-resources": 100}));
    assert_eq!(engine.text(kv, "open-many 100 b"), "100");
    let failure = engine.failure(kv, "open-many 1 b");
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
    assert_eq!(failure.detail["limit"], "wasi-resources");
    assert_eq!(engine.text(kv, "set - k v"), "ok", "the next instance begins without");
    let failure = engine.failure(kv, "open-many 1000000 b");
    assert_eq!(failure.detail["limit"], "wasi-resources");
    let failure = engine.failure(kv, "cas-many - k 1000000");
    assert_eq!(failure.detail["limit"], "wasi-resources");
    assert_eq!(engine.text(kv, "get - k"), "v");
}

#[test]
fn data_outlives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let engine = on_file(&path);
    let kv = engine.load(ID, "keyvalue");
    assert_eq!(engine.text(kv, "set users k v"), "ok");
    assert_eq!(engine.text(kv, "incr users n 1"), "1");
    drop(engine);
    let mut child = Command::new(std::env::current_exe().unwrap());
    let part = "keyvalue::another_process_counts_on_and_is_killed";
    child.args(["--exact", part, "--ignored", "--nocapture"]).env(FILE, &path);
    let output = child.output().unwrap();
    assert!(!output.status.success(), "it kills itself");
    assert!(String::from_utf8_lossy(&output.stdout).contains("n is 2"), "{output:?}");
    let engine = on_file(&path);
    let kv = engine.load(ID, "keyvalue");
    assert_eq!(engine.text(kv, "incr users n 1"), "3");
    assert_eq!(engine.text(kv, "list users"), "k\nn");
}

#[test]
#[ignore = "a part of data_outlives_the_process"]
fn another_process_counts_on_and_is_killed() {
    let path = std::env::var(FILE).unwrap();
    let engine = on_file(Path::new(&path));
    let kv = engine.load(ID, "keyvalue");
    println!("n is {}", engine.text(kv, "incr users n 1"));
    // SAFETY: a system call without memory of ours.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

#[test]
fn an_error_of_the_host_s_storage_keeps_its_words() {
    let store = Store::scripted(|operation, _, _| {
        (operation == "get").then(|| (AIRSSYS_STORAGE_IO_ERROR, b"the host's words".to_vec()))
    });
    let config = Config::new();
    store.attach(&config);
    let engine = config.engine();
    let kv = engine.load(ID, "keyvalue");
    let reply = engine.text(kv, "get - k");
    assert_eq!(reply, "error: other(io-error: the host's storage failed)");
    assert!(store.native_stack.lock().unwrap().iter().all(|native| *native));
}
