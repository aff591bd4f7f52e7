//! Storage of components, in memory and through the host's callbacks.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use airssys_wasm::*;

use crate::harness::engine::{Config, Engine, check};
use crate::harness::store::{NO_RESULT, Store};

/// The contract of every backend.
pub fn obeys_the_contract(engine: &Engine) {
    let a = engine.load("app/a/0", "storage-user");
    let b = engine.load("app/b/0", "storage-user");
    let quota = u64::MAX;
    assert_eq!(engine.call(a, "get k"), Ok(None), "a missing key is not an error");
    assert_eq!(engine.text(a, "exists k"), "false");
    assert_eq!(engine.text(a, "usage"), format!("0 {quota} 0"));
    assert_eq!(engine.text(a, "list"), "");
    assert_eq!(engine.text(a, "delete k"), "ok", "deleting a missing key is fine");

    assert_eq!(engine.text(a, "set k first"), "ok");
    assert_eq!(engine.text(a, "set k 2nd"), "ok");
    assert_eq!(engine.call(a, b"set raw \xff\0\xfe").unwrap().unwrap(), b"ok");
    assert_eq!(engine.text(a, "set empty "), "ok");
    assert_eq!(engine.text(a, "get k"), "2nd");
    assert_eq!(engine.call(a, "get raw"), Ok(Some(b"\xff\0\xfe".to_vec())));
    assert_eq!(engine.call(a, "get empty"), Ok(Some(Vec::new())), "empty is not missing");
    assert_eq!(engine.text(a, "exists empty"), "true");
    assert_eq!(engine.text(a, "usage"), format!("{} {quota} 3", 1 + 3 + 3 + 3 + 5));

    assert_eq!(engine.call(b, "get k"), Ok(None), "components have separate keys");
    assert_eq!(engine.text(b, "set k other"), "ok");
    assert_eq!(engine.text(b, "delete raw"), "ok");
    assert_eq!(engine.text(a, "get k"), "2nd");
    assert_eq!(engine.text(a, "exists raw"), "true");

    for key in ["p/b", "p/a", "p", "P/c", "p/ä", "q"] {
        assert_eq!(engine.text(a, &format!("set {key} x")), "ok");
    }
    assert_eq!(engine.text(a, "list p/"), "p/a\np/b\np/ä");
    assert_eq!(engine.text(a, "list"), "P/c\nempty\nk\np\np/a\np/b\np/ä\nq\nraw");
    assert_eq!(engine.text(a, "list zzz"), "");
    assert_eq!(engine.text(a, "delete k"), "ok");
    assert_eq!(engine.call(a, "get k"), Ok(None));
    assert_eq!(engine.text(a, "exists k"), "false");

    engine.unload(a).unwrap();
    let heir = engine.load("app/a/0", "storage-user");
    assert_eq!(engine.text(heir, "exists empty"), "true", "storage outlives its component");
    assert_eq!(engine.text(heir, "incr n"), "1");
    assert_eq!(engine.text(heir, "incr n"), "2");

    assert_eq!(engine.text(heir, "fill large 5000000"), "ok");
    let large = engine.call(heir, "get large").unwrap().unwrap();
    assert!(large.len() == 5_000_000 && large.iter().all(|byte| *byte == b'x'));
}

#[test]
fn the_store_in_memory_obeys_the_contract() {
    obeys_the_contract(&Engine::new());
}

#[test]
fn a_complete_host_obeys_the_contract() {
    let (config, store) = (Config::new(), Store::new());
    store.attach(&config);
    obeys_the_contract(&config.engine());
    assert!(store.calls.lock().unwrap().iter().any(|call| call.starts_with("usage app/a/0")));
}

#[test]
fn a_host_without_exists_and_usage_obeys_the_contract() {
    let (config, store) = (Config::new(), Store::new());
    set(&config, &store.vtable(false)).unwrap();
    obeys_the_contract(&config.engine());
}

fn set(
    config: &Config,
    storage: &airssys_storage_t,
) -> Result<(), crate::harness::engine::Failure> {
    // SAFETY: a live configuration, and functions that fit `user_data`.
    check(|error| unsafe { airssys_config_set_storage(config.raw(), storage, error) })
}

#[test]
fn the_host_s_callbacks_get_the_component_s_id_and_key() {
    let (config, store) = (Config::new(), Store::new());
    store.attach(&config);
    store.put("app/user/0", "ready", "made by the host");
    let engine = config.engine();
    let user = engine.load("app/user/0", "storage-user");
    assert_eq!(engine.text(user, "get ready"), "made by the host");
    engine.text(user, "set k v");
    engine.text(user, "exists k");
    engine.text(user, "delete k");
    engine.text(user, "list pre");
    engine.text(user, "usage");
    assert_eq!(
        *store.calls.lock().unwrap(),
        [
            "get app/user/0 ready",
            "set app/user/0 k",
            "exists app/user/0 k",
            "del app/user/0 k",
            "list app/user/0 pre",
            "usage app/user/0 ",
        ]
    );
}

#[test]
fn keys_are_checked_before_the_backend() {
    let (config, store) = (Config::new(), Store::new());
    store.attach(&config);
    for engine in [config.engine(), Engine::new()] {
        let user = engine.load("app/user/0", "storage-user");
        let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
        let refused = |command: &str| {
            let reply = engine.text(user, command);
            assert!(reply.starts_with("error: invalid-key("), "{command:.40}: {reply:.300}");
            assert!(reply.len() < 500, "an error repeats too much of its input");
        };
        let long = "k".repeat(1025);
        refused("set-hex - v");
        refused(&format!("set-hex {} v", hex("a\0b")));
        refused(&format!("set-hex {} v", hex(&long)));
        for command in ["get", "delete", "exists", "set"] {
            refused(&format!("{command} {long}"));
            refused(&format!("{command} a\0b"));
        }
        refused("list a\0");
        assert_eq!(engine.text(user, &format!("set {} v", "k".repeat(1024))), "ok");
    }
    assert_eq!(store.calls.lock().unwrap().len(), 1, "only the valid key");
}

/// A configuration that shows the host's error texts to components.
const SHOWN: &str = r#"{"host-error-texts": true}"#;

/// A host whose callbacks all give the same answer.
fn host_that_answers(result: airssys_storage_result_t, text: &'static str) -> Engine {
    let config = Config::new().with(SHOWN);
    Store::scripted(move |_, _, _| Some((result, text.into()))).attach(&config);
    config.engine()
}

const COMMANDS: [&str; 6] = ["get k", "set k v", "delete k", "exists k", "list", "usage"];

#[test]
fn error_texts_of_the_host_reach_the_guest_if_configured() {
    for (result, expected) in [
        (AIRSSYS_STORAGE_QUOTA_EXCEEDED, "error: quota-exceeded"),
        (AIRSSYS_STORAGE_INVALID_KEY, "error: invalid-key(it said sö)"),
        (AIRSSYS_STORAGE_IO_ERROR, "error: io-error(it said sö)"),
    ] {
        let engine = host_that_answers(result, "it said sö");
        let user = engine.load("app/user/0", "storage-user");
        for command in COMMANDS {
            assert_eq!(engine.text(user, command), expected, "{command}");
        }
    }
}

#[test]
fn unknown_results_are_io_errors() {
    for result in [5, -1, i32::MAX, i32::MIN] {
        let engine = host_that_answers(result, "");
        let user = engine.load("app/user/0", "storage-user");
        for command in COMMANDS {
            let reply = engine.text(user, command);
            assert!(reply.starts_with("error: io-error("), "{command}: {reply}");
            assert!(reply.contains(&result.to_string()), "{command}: {reply}");
        }
    }
}

#[test]
fn errors_with_missing_or_invalid_text_still_have_text() {
    let config = Config::new().with(SHOWN);
    let answers = |operation: &str, _: &str, _: &str| match operation {
        "get" => Some((AIRSSYS_STORAGE_IO_ERROR, Vec::new())),
        _ => Some((AIRSSYS_STORAGE_IO_ERROR, b"bad \xff\xfe text\0end".to_vec())),
    };
    Store::scripted(answers).attach(&config);
    let engine = config.engine();
    let user = engine.load("app/user/0", "storage-user");
    assert_eq!(engine.text(user, "get k"), "error: io-error(the host's get failed)");
    let reply = engine.text(user, "set k v");
    assert!(reply.contains("bad ") && reply.contains("end"), "{reply:?}");
}

#[test]
fn a_callback_that_returns_without_a_result_fails() {
    let engine = host_that_answers(NO_RESULT, "half a value");
    let user = engine.load("app/user/0", "storage-user");
    for command in COMMANDS {
        let reply = engine.text(user, command);
        assert!(reply.starts_with("error: io-error("), "{command}: {reply}");
    }
}

#[test]
fn not_found_means_that_there_is_nothing_to_read_or_delete() {
    let engine = host_that_answers(AIRSSYS_STORAGE_NOT_FOUND, "");
    let user = engine.load("app/user/0", "storage-user");
    assert_eq!(engine.call(user, "get k"), Ok(None));
    assert_eq!(engine.text(user, "delete k"), "ok");
    assert_eq!(engine.text(user, "exists k"), "false");
    let set = engine.text(user, "set k v");
    assert!(set.starts_with("error: io-error("), "a failed write is not a success: {set}");
}

#[test]
fn a_get_that_writes_nothing_returns_an_empty_value() {
    let engine = host_that_answers(AIRSSYS_STORAGE_OK, "");
    let user = engine.load("app/user/0", "storage-user");
    assert_eq!(engine.call(user, "get k"), Ok(Some(Vec::new())));
}

#[test]
fn unsorted_keys_of_the_host_are_sorted_and_filtered_by_prefix() {
    let engine = host_that_answers_keys(b"b\nxa\nab\nb\na");
    let user = engine.load("app/user/0", "storage-user");
    assert_eq!(engine.text(user, "list"), "a\nab\nb\nxa");
    assert_eq!(engine.text(user, "list a"), "a\nab");
}

#[test]
fn a_key_that_is_not_utf_8_fails_the_listing() {
    let engine = host_that_answers_keys(b"good\n\xff\nalso good");
    let user = engine.load("app/user/0", "storage-user");
    let reply = engine.text(user, "list");
    assert!(
        reply.starts_with("error: io-error("),
        "an incomplete listing is not a success: {reply}"
    );
}

fn host_that_answers_keys(keys: &'static [u8]) -> Engine {
    let config = Config::new();
    let answer = move |operation: &str, _: &str, _: &str| {
        (operation == "list").then(|| (AIRSSYS_STORAGE_OK, keys.to_vec()))
    };
    Store::scripted(answer).attach(&config);
    config.engine()
}

#[test]
fn a_value_larger_than_the_guest_s_limit_ends_the_call_and_names_the_limit() {
    let config = Config::new();
    let huge = |operation: &str, _: &str, key: &str| {
        (operation == "get" && key == "huge").then(|| (AIRSSYS_STORAGE_OK, vec![b'x'; 80 << 20]))
    };
    Store::scripted(huge).attach(&config);
    let engine = config.engine();
    let options = r#"{"limits": {"max-execution-time-ms": 120000, "max-host-bytes": 134217728,
                                  "max-memory-bytes": 67108864}}"#;
    let user = engine.load_with("app/user/0", "storage-user", options);
    let failure = engine.failure(user, "get huge");
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
    assert_eq!(failure.detail["limit"], "max-memory-bytes");
    assert_eq!(engine.call(user, "get small"), Ok(None), "and the next call works");
}

#[test]
fn a_slow_storage_delays_only_the_component_that_uses_it() {
    let gate = crate::harness::gates::Gate::default();
    let (config, waits) = (Config::new(), gate.clone());
    let store = Store::scripted(move |_, _, key| {
        if key == "gate" {
            waits.pass();
        }
        None
    });
    store.attach(&config);
    // With one worker: a waiting callback must not hold it.
    let engine = config.with(r#"{"workers": 1}"#).engine();
    let slow = engine.load("app/slow/0", "storage-user");
    engine.send(slow, "set gate x").unwrap();
    gate.reached();
    engine.load("app/echo/0", "echo");
    let asker = engine.load("app/asker/0", "requester");
    engine.text(asker, "request app/echo/0 600000 turn");
    assert_eq!(engine.callbacks(asker, 1)[0]["payload"], "turn");
    gate.open();
    assert_eq!(engine.text(slow, "get gate"), "x");
}

#[test]
fn a_writer_that_refused_bytes_fails_whatever_follows() {
    unsafe extern "C" fn get(
        _: *mut c_void,
        _: *const c_char,
        key: *const c_char,
        out: *mut airssys_writer_t,
    ) {
        // The pages are never touched, so they take no memory.
        let huge = vec![0_u8; 256 << 20];
        // SAFETY: the callback's own key and writer, and bytes.
        unsafe {
            assert!(airssys_writer_write(out, ptr::null(), 0));
            assert!(airssys_writer_write(out, b"ab".as_ptr(), 2));
            match CStr::from_ptr(key).to_bytes() {
                b"huge" => assert!(!airssys_writer_write(out, huge.as_ptr(), huge.len())),
                b"null" => assert!(!airssys_writer_write(out, ptr::null(), 1)),
                _ => assert!(airssys_writer_write(out, b"c".as_ptr(), 1)),
            }
            airssys_writer_finish(out, AIRSSYS_STORAGE_IO_ERROR);
            airssys_writer_finish(out, AIRSSYS_STORAGE_OK);
        }
    }
    let config = Config::new();
    let storage = airssys_storage_t { get: Some(get), ..Store::new().vtable(false) };
    set(&config, &storage).unwrap();
    let engine = config.engine();
    let user = engine.load("app/user/0", "storage-user");
    assert_eq!(engine.text(user, "get k"), "abc", "the last of several results counts");
    for key in ["huge", "null"] {
        let reply = engine.text(user, &format!("get {key}"));
        assert!(reply.starts_with("error: io-error("), "half a value is not a success: {reply}");
    }
}
