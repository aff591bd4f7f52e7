//! The stored data of components, read and written by the host.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, Failure, check, eventually};
use crate::harness::gates::Gate;
use crate::harness::store::Store;

const ID: &str = "app/user/0";

/// An engine with storage in memory, and one with a storage of the host.
fn both() -> [Engine; 2] {
    let config = Config::new();
    Store::new().attach(&config);
    [Engine::new(), config.engine()]
}

#[test]
fn the_host_sees_what_the_component_sees() {
    for engine in both() {
        assert_eq!(engine.stored(ID, "k"), Ok(None), "nothing was ever loaded");
        engine.store(ID, "seed", "planted").unwrap();
        let user = engine.load(ID, "storage-user");
        assert_eq!(engine.text(user, "get seed"), "planted");
        engine.text(user, "set k of the guest");
        engine.text(user, "set empty ");
        assert_eq!(engine.stored(ID, "k"), Ok(Some(b"of the guest".to_vec())));
        assert_eq!(engine.stored(ID, "empty"), Ok(Some(Vec::new())), "empty is not missing");
        engine.store(ID, "k", b"\xff\0").unwrap();
        assert_eq!(engine.call(user, "get k"), Ok(Some(b"\xff\0".to_vec())));
        assert_eq!(engine.stored_usage(ID), Ok((4 + 7 + 1 + 2 + 5, 3)));
        engine.remove_stored(ID, "k").unwrap();
        engine.remove_stored(ID, "k").unwrap();
        assert_eq!(engine.text(user, "exists k"), "false");
        engine.unload(user).unwrap();
        assert_eq!(engine.stored(ID, "seed"), Ok(Some(b"planted".to_vec())));
        assert_eq!(engine.stored("app/user/1", "seed"), Ok(None));
        engine.shutdown(1000).unwrap();
        assert_eq!(engine.stored(ID, "seed"), Ok(Some(b"planted".to_vec())), "also afterwards");
    }
}

#[test]
fn keys_are_listed_page_by_page() {
    for engine in both() {
        let keys: Vec<_> = (0..2500).map(|n| format!("k{n:04}")).collect();
        for key in keys.iter().rev() {
            engine.store(ID, key, "").unwrap();
        }
        engine.store(ID, "other", "").unwrap();
        let list = |prefix, after, limit| engine.stored_keys(ID, prefix, after, limit).unwrap();
        assert_eq!(list(Some("k"), None, 0), json!({ "keys": keys, "more": false }));
        assert_eq!(list(Some("k"), None, 2500), json!({ "keys": keys, "more": false }));
        assert_eq!(list(Some("k"), None, 2499), json!({ "keys": keys[..2499], "more": true }));
        assert_eq!(
            list(None, Some("k2498"), 0),
            json!({ "keys": ["k2499", "other"], "more": false })
        );
        assert_eq!(list(None, Some("k1"), 2), json!({ "keys": ["k1000", "k1001"], "more": true }));
        assert_eq!(list(Some("x"), None, 1), json!({ "keys": [], "more": false }));
    }
}

#[test]
fn keys_ids_and_values_of_the_host_have_rules() {
    for engine in both() {
        let long = "k".repeat(1025);
        for key in ["", &long] {
            for failure in [
                engine.stored(ID, key).unwrap_err(),
                engine.store(ID, key, "v").unwrap_err(),
                engine.remove_stored(ID, key).unwrap_err(),
                engine.batch(ID, &[("k", None, 0), (key, None, 0)]).unwrap_err(),
            ] {
                assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
                assert_eq!(failure.detail["code"], "invalid-key", "{failure}");
            }
        }
        for id in ["", "app", "a/b/c/d", "airssys.engine", "a/*/c"] {
            let failure = engine.stored(id, "k").unwrap_err();
            assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ID, "{failure}");
        }
        engine.store(ID, &long[1..], "v").unwrap();
    }
}

#[test]
fn a_batch_is_made_as_a_whole() {
    for engine in both() {
        engine.store(ID, "old", "v").unwrap();
        engine
            .batch(
                ID,
                &[
                    ("old", None, 0),
                    ("never", None, 0),
                    ("new", Some(b"1"), 0),
                    ("e", Some(b""), 0),
                ],
            )
            .unwrap();
        let keys = engine.stored_keys(ID, None, None, 0).unwrap();
        assert_eq!(keys["keys"], json!(["e", "new"]));
        assert_eq!(engine.stored(ID, "e"), Ok(Some(Vec::new())));
        engine.batch(ID, &[]).unwrap();
        let twice = engine.batch(ID, &[("a", Some(b"1"), 0), ("a", None, 0)]).unwrap_err();
        assert_eq!(twice.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{twice}");
        assert!(twice.message.contains("\"a\""), "{twice}");
        assert_eq!(engine.stored(ID, "a"), Ok(None));
    }
}

#[test]
fn changes_in_an_array_have_one_size() {
    let engine = Engine::new();
    let key = c"key";
    let change = |size| airssys_storage_change_t {
        size,
        key: key.as_ptr(),
        value: key.as_ptr().cast(),
        value_len: 3,
        expires_ms: 0,
    };
    let size = size_of::<airssys_storage_change_t>();
    let batch = |changes: &[airssys_storage_change_t], count| {
        // SAFETY: a live engine, text, and changes; no more of them are read than there are.
        check(|error| unsafe {
            airssys_engine_storage_batch(
                engine.raw(),
                c"a/b/c".as_ptr(),
                changes.as_ptr(),
                count,
                error,
            )
        })
    };
    for (changes, count, words) in [
        (vec![change(size), change(size + 8)], 2, "has size 48 at 1 and 40 at 0"),
        (vec![change(0)], 1, "has size 0"),
        (vec![change(size)], usize::MAX, "impossible length"),
    ] {
        let failure = batch(&changes, count).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
    }
    let no_key = airssys_storage_change_t { key: std::ptr::null(), ..change(size) };
    let failure = batch(&[no_key], 1).unwrap_err();
    assert!(failure.message.contains("changes.key is NULL"), "{failure}");
    batch(&[change(size)], 1).unwrap();
    assert_eq!(engine.stored("a/b/c", "key"), Ok(Some(b"key".to_vec())));
}

#[test]
fn a_storage_without_a_batch_changes_one_key_at_a_time() {
    let (config, store) = (Config::new(), Store::new());
    attach(&config, &store.vtable(false)).unwrap();
    let engine = config.engine();
    engine.batch(ID, &[("one", Some(b"1"), 0)]).unwrap();
    assert_eq!(engine.stored(ID, "one"), Ok(Some(b"1".to_vec())));
    engine.batch(ID, &[("one", None, 0)]).unwrap();
    let failure = engine.batch(ID, &[("a", Some(b"1"), 0), ("b", None, 0)]).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_UNSUPPORTED, "{failure}");
    assert!(store.values.lock().unwrap().is_empty(), "{failure}");
}

fn attach(config: &Config, storage: &airssys_storage_t) -> Result<(), Failure> {
    // SAFETY: a live configuration, and functions that fit `user_data`.
    check(|error| unsafe { airssys_config_set_storage(config.raw(), storage, error) })
}

#[test]
fn a_key_whose_time_is_over_is_missing() {
    let engine = Engine::new();
    let options = r#"{"quotas": {"storage-keys": 2}}"#;
    let user = engine.load_with(ID, "storage-user", options);
    engine.store_for(ID, "short", "v", 1).unwrap();
    engine.store_for(ID, "long", "v", 3_600_000).unwrap();
    eventually("it expires", || (engine.text(user, "exists short") == "false").then_some(()));
    assert_eq!(engine.call(user, "get short"), Ok(None));
    assert_eq!(engine.text(user, "list"), "long");
    assert_eq!(engine.text(user, "get long"), "v");
    assert_eq!(engine.stored_usage(ID), Ok((5, 1)));
    assert_eq!(engine.text(user, "set other v"), "ok", "it no longer counts");
    assert_eq!(engine.text(user, "set third v"), "error: quota-exceeded");
    // What a component stores does not expire.
    engine.batch(ID, &[("long", Some(b"v"), 1)]).unwrap();
    assert_eq!(engine.text(user, "set long v"), "ok");
    assert_eq!(engine.text(user, "get long"), "v");
    assert_eq!(engine.text(user, "usage"), format!("{} {} 2", 5 + 6, u64::MAX));
}

#[test]
fn the_host_s_own_storage_does_not_expire_keys() {
    let (config, store) = (Config::new(), Store::new());
    store.attach(&config);
    let engine = config.engine();
    for failure in [
        engine.store_for(ID, "k", "v", 1000).unwrap_err(),
        engine.batch(ID, &[("a", Some(b""), 0), ("b", Some(b""), 5)]).unwrap_err(),
    ] {
        assert_eq!(failure.status, AIRSSYS_ERROR_UNSUPPORTED, "{failure}");
        assert!(failure.message.contains("expires"), "{failure}");
    }
    assert!(store.calls.lock().unwrap().is_empty());
}

#[test]
fn what_the_host_stores_counts_for_the_component() {
    for engine in both() {
        let options = r#"{"quotas": {"storage-bytes": 100}}"#;
        let user = engine.load_with(ID, "storage-user", options);
        engine.store(ID, "host", "x".repeat(1000)).unwrap();
        assert_eq!(engine.text(user, "set k v"), "error: quota-exceeded");
        engine.store(ID, "host", "x".repeat(90)).unwrap();
        assert_eq!(engine.text(user, "set k v"), "ok");
    }
    let engine = Engine::new();
    let user = engine.load(ID, "storage-user");
    let held = || engine.describe(user).unwrap()["host-bytes"].as_u64().unwrap();
    let before = held();
    engine.store(ID, "host", "x".repeat(1 << 20)).unwrap();
    assert!(held() >= before + (1 << 20), "{before}, then {}", held());
    engine.remove_stored(ID, "host").unwrap();
    assert_eq!(held(), before);
}

#[test]
fn errors_of_the_host_s_storage_reach_the_host() {
    for (result, status) in [
        (AIRSSYS_STORAGE_QUOTA_EXCEEDED, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED),
        (AIRSSYS_STORAGE_INVALID_KEY, AIRSSYS_ERROR_INVALID_ARGUMENT),
        (AIRSSYS_STORAGE_IO_ERROR, AIRSSYS_ERROR_IO),
        (77, AIRSSYS_ERROR_IO),
    ] {
        let config = Config::new();
        Store::scripted(move |_, _, _| Some((result, "it said so".into()))).attach(&config);
        let engine = config.engine();
        for failure in [
            engine.stored(ID, "k").unwrap_err(),
            engine.store(ID, "k", "v").unwrap_err(),
            engine.remove_stored(ID, "k").unwrap_err(),
            engine.stored_keys(ID, None, None, 0).unwrap_err(),
            engine.stored_usage(ID).unwrap_err(),
            engine.batch(ID, &[("a", None, 0), ("b", None, 0)]).unwrap_err(),
            engine.export(&[]).unwrap_err(),
            engine.export(&[ID]).unwrap_err(),
            engine.shutdown(1000).unwrap_err(),
        ] {
            assert_eq!(failure.status, status, "{failure}");
            let has_text =
                [AIRSSYS_STORAGE_INVALID_KEY, AIRSSYS_STORAGE_IO_ERROR].contains(&result);
            assert!(!has_text || failure.message.contains("it said so"), "{failure}");
        }
    }
}

#[test]
fn a_shutdown_flushes_the_storage() {
    let (config, store) = (Config::new(), Store::new());
    store.attach(&config);
    let engine = config.engine();
    let user = engine.load(ID, "storage-user");
    engine.text(user, "set k v");
    engine.shutdown(60_000).unwrap();
    assert_eq!(store.calls.lock().unwrap().last().unwrap(), "flush  ");
}

#[test]
fn a_table_of_the_first_version_still_works() {
    let (config, store) = (Config::new(), Store::new());
    let first = airssys_storage_t { size: 9 * size_of::<usize>(), ..store.vtable(true) };
    attach(&config, &first).unwrap();
    let engine = config.engine();
    engine.store(ID, "k", "v").unwrap();
    assert_eq!(engine.stored(ID, "k"), Ok(Some(b"v".to_vec())));
    let failure = engine.batch(ID, &[("a", None, 0), ("b", None, 0)]).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_UNSUPPORTED, "{failure}");
    let unknown = airssys_storage_t { flags: 2, ..store.vtable(true) };
    let failure = attach(&Config::new(), &unknown).unwrap_err();
    assert!(failure.message.contains("storage.flags has unknown bits 0x2"), "{failure}");
}

/// A configuration whose storage is called one call at a time.
fn serialized(store: &Arc<Store>) -> Config {
    let config = Config::new();
    let storage = airssys_storage_t { flags: AIRSSYS_STORAGE_SERIALIZE, ..store.vtable(true) };
    attach(&config, &storage).unwrap();
    config
}

#[test]
fn a_serialized_storage_serves_one_call_at_a_time() {
    static INSIDE: AtomicUsize = AtomicUsize::new(0);
    let store = Store::scripted(|_, _, _| {
        assert_eq!(INSIDE.fetch_add(1, Ordering::SeqCst), 0);
        std::thread::yield_now();
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        None
    });
    let engine = serialized(&store).engine();
    let users: Vec<_> =
        (0..8).map(|n| engine.load(&format!("app/user/{n}"), "storage-user")).collect();
    std::thread::scope(|scope| {
        for user in &users {
            scope.spawn(|| {
                for _ in 0..50 {
                    engine.text(*user, "incr n");
                    engine.stored_usage(ID).unwrap();
                }
            });
        }
    });
    for n in 0..8 {
        assert_eq!(engine.stored(&format!("app/user/{n}"), "n"), Ok(Some(b"50".to_vec())));
    }
}

#[test]
fn a_slow_serialized_storage_holds_no_worker() {
    let gate = Gate::default();
    let waits = gate.clone();
    let store = Store::scripted(move |_, _, key| {
        if key == "gate" {
            waits.pass();
        }
        None
    });
    let engine = serialized(&store).with(r#"{"workers": 1}"#).engine();
    let slow = engine.load("app/slow/0", "storage-user");
    let next = engine.load("app/next/0", "storage-user");
    engine.send(slow, "set gate x").unwrap();
    gate.reached();
    engine.send(next, "set k waits for its turn").unwrap();
    engine.load("app/echo/0", "echo");
    let asker = engine.load("app/asker/0", "requester");
    engine.text(asker, "request app/echo/0 600000 turn");
    assert_eq!(engine.callbacks(asker, 1)[0]["payload"], "turn");
    gate.open();
    assert_eq!(engine.text(next, "get k"), "waits for its turn");
}

#[test]
fn a_serialized_storage_that_needs_itself_gets_an_error() {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    static ANSWERS: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
    let store = Store::scripted(|operation, _, key| {
        let engine = ENGINE.get().unwrap();
        if (operation, key) == ("set", "again") {
            let failure = engine.stored(ID, "k").unwrap_err();
            assert_eq!(failure.status, AIRSSYS_ERROR_WOULD_DEADLOCK, "{failure}");
            ANSWERS.lock().unwrap().push("refused".into());
        }
        if (operation, key) == ("set", "other") {
            let other = engine.find("app/other/0").unwrap();
            ANSWERS.lock().unwrap().push(engine.text(other, "get k"));
        }
        None
    });
    let engine = ENGINE.get_or_init(|| serialized(&store).engine());
    let user = engine.load(ID, "storage-user");
    engine.load("app/other/0", "storage-user");
    assert_eq!(engine.text(user, "set again v"), "ok");
    engine.store("app/any/0", "again", "v").unwrap();
    assert_eq!(engine.text(user, "set other v"), "ok");
    engine.store("app/any/0", "other", "v").unwrap();
    let answers = std::mem::take(&mut *ANSWERS.lock().unwrap());
    let turn =
        "error: io-error(the storage serves one call at a time, and that call waits for this one)";
    assert_eq!(answers, ["refused", "refused", turn, turn]);
    assert_eq!(engine.text(user, "get again"), "v", "and it works as before");
    engine.free();
}

#[test]
fn a_read_cache_asks_the_host_once_and_shows_every_write() {
    let (config, store) = (Config::new(), Store::new());
    store.attach(&config);
    let engine = config.with(r#"{"storage": {"read-cache-bytes": 1000000}}"#).engine();
    let user = engine.load_with("app/db/0", "storage-user", SHARED);
    let other = engine.load_with("app/db/1", "storage-user", SHARED);
    let asked = || std::mem::take(&mut *store.calls.lock().unwrap()).len();
    for _ in 0..3 {
        assert_eq!(engine.call(user, "get missing"), Ok(None));
        assert_eq!(engine.call(other, "get missing"), Ok(None));
    }
    assert_eq!(asked(), 1);
    for (n, value) in ["first", "second", "third"].into_iter().enumerate() {
        match n {
            0 => engine.store("app/db", "k", value).unwrap(),
            1 => _ = engine.text(other, "set k second"),
            _ => {
                engine.batch("app/db", &[("k", Some(value.as_bytes()), 0), ("x", None, 0)]).unwrap()
            }
        }
        asked();
        for _ in 0..3 {
            assert_eq!(engine.text(user, "get k"), value);
            assert_eq!(engine.text(other, "get k"), value);
            assert_eq!(engine.stored("app/db", "k"), Ok(Some(value.into())));
        }
        assert!(asked() <= 1, "{value}");
    }
    engine.remove_stored("app/db", "k").unwrap();
    assert_eq!(engine.call(user, "get k"), Ok(None));
}

const SHARED: &str = r#"{"storage": {"scope": "name"}, "capabilities":
    {"storage": {"read": "app/db", "write": "app/db"}}}"#;
