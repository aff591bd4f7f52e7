//! Exports and imports of stored data.

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine};
use crate::harness::store::Store;

/// Values whose round trip is not a matter of course.
fn filled() -> Engine {
    let engine = Engine::new();
    let all: Vec<u8> = (0..=255).collect();
    engine.store("app/a/0", "all bytes", &all).unwrap();
    engine.store("app/a/0", "empty", "").unwrap();
    engine.store("app/a/0", "größe\n%41 ", "100 %").unwrap();
    engine.store("app/a/0", &"k".repeat(1024), "x".repeat(3_000_000)).unwrap();
    engine.store("app/shared", "key", "value").unwrap();
    engine
        .batch("app/b/0", &[("later", Some(b"v"), u64::MAX / 2), ("now", Some(b"v"), 0)])
        .unwrap();
    for n in 0..2500 {
        engine.store("many/keys/0", &format!("{n}"), n.to_string()).unwrap();
    }
    engine
}

const ALL: u64 = 4 + 1 + 2 + 2500;

#[test]
fn an_export_fills_an_empty_engine_with_the_same_bytes() {
    let engine = filled();
    let export = engine.export(&[]).unwrap();
    assert!(export.starts_with("airssys-storage-export 1\nnamespace app/a/0\n"));
    assert!(export.contains(&format!("key later {}\nvalue v\n", u64::MAX / 2)));
    assert!(export.lines().next_back().unwrap().starts_with(&format!("end {ALL} ")));
    let other = Engine::new();
    let done = json!({ "keys": ALL, "stored": ALL, "kept": 0, "expired": 0 });
    let checked = json!({ "keys": ALL, "stored": 0, "kept": 0, "expired": 0 });
    assert_eq!(other.import(AIRSSYS_IMPORT_CHECK, &export), Ok(checked));
    assert_eq!(other.stored("app/shared", "key"), Ok(None), "nothing is stored by a check");
    assert_eq!(other.import(AIRSSYS_IMPORT_REFUSE, &export), Ok(done));
    assert!(other.export(&[]).unwrap() == export, "byte for byte");
    assert_eq!(other.stored_usage("app/a/0"), engine.stored_usage("app/a/0"));
    let user = other.load("app/b/0", "storage-user");
    assert_eq!(other.text(user, "list"), "later\nnow");
}

#[test]
fn a_storage_of_the_host_is_exported_and_filled_too() {
    let export = filled().export(&["app/a/0", "app/shared", "many/keys/0", "app/none/0"]).unwrap();
    assert!(!export.contains("app/b/0") && !export.contains("app/none/0"));
    for complete in [true, false] {
        let (config, store) = (Config::new(), Store::new());
        let storage = store.vtable(complete);
        // SAFETY: a live configuration, and functions that fit `user_data`.
        let set = unsafe {
            airssys_config_set_storage(config.raw(), &raw const storage, std::ptr::null_mut())
        };
        assert_eq!(set, AIRSSYS_OK);
        let engine = config.engine();
        engine.import(AIRSSYS_IMPORT_REPLACE, &export).unwrap();
        let named = ["many/keys/0", "app/shared", "app/a/0", "app/a/0"];
        assert!(engine.export(&named).unwrap() == export, "in any order");
        match complete {
            true => assert!(engine.export(&[]).unwrap() == export),
            false => {
                let failure = engine.export(&[]).unwrap_err();
                assert_eq!(failure.status, AIRSSYS_ERROR_UNSUPPORTED, "{failure}");
            }
        }
        let calls = store.calls.lock().unwrap();
        assert_eq!(calls.iter().any(|call| call.starts_with("batch many/keys/0 1000")), complete);
        assert_eq!(calls.iter().any(|call| call == "flush  "), complete);
    }
}

#[test]
fn keys_that_exist_are_refused_replaced_or_kept() {
    let source = Engine::new();
    source
        .batch("a/b/c", &[("1", Some(b"new"), 0), ("2", Some(b"new"), 0), ("3", Some(b"new"), 0)])
        .unwrap();
    let export = source.export(&[]).unwrap();
    let target = || {
        let engine = Engine::new();
        engine.store("a/b/c", "2", "old").unwrap();
        engine
    };
    let engine = target();
    let failure = engine.import(AIRSSYS_IMPORT_REFUSE, &export).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
    assert!(failure.message.contains("line 5: the key \"2\" of a/b/c exists"), "{failure}");
    assert_eq!((&failure.detail["code"], &failure.detail["line"]), (&json!("exists"), &json!(5)));
    let engine = target();
    let report = engine.import(AIRSSYS_IMPORT_KEEP, &export).unwrap();
    assert_eq!(report, json!({ "keys": 3, "stored": 2, "kept": 1, "expired": 0 }));
    assert_eq!(engine.stored("a/b/c", "2"), Ok(Some(b"old".to_vec())));
    assert_eq!(engine.stored("a/b/c", "3"), Ok(Some(b"new".to_vec())));
    let engine = target();
    let report = engine.import(AIRSSYS_IMPORT_REPLACE, &export).unwrap();
    assert_eq!(report["stored"], 3);
    assert_eq!(engine.stored("a/b/c", "2"), Ok(Some(b"new".to_vec())));
}

#[test]
fn a_damaged_export_is_an_error_with_its_line() {
    let export = filled().export(&["app/a/0"]).unwrap();
    let engine = Engine::new();
    for (text, line, words) in [
        (String::new(), 1, "no export"),
        ("{\"json\": true}\n".into(), 1, "no export"),
        (export.replacen(" 1\n", " 9\n", 1), 1, "has version 9"),
        (export.replacen("key empty -", "key empty", 1), 5, "needs its name, and the time"),
        (export.replacen("key empty", "key emptY", 1), 140, "checksum"),
        (export[..export.len() - 70].into(), 0, ""),
        (format!("{export}x"), 141, "follows its end"),
    ] {
        for mode in [AIRSSYS_IMPORT_CHECK, AIRSSYS_IMPORT_REPLACE] {
            let failure = engine.import(mode, &text).unwrap_err();
            assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
            assert_eq!(failure.detail["code"], "defect", "{failure}");
            assert!(failure.message.contains(words), "{failure}");
            assert!(line == 0 || line > 100 || failure.detail["line"] == line, "{failure}");
        }
    }
    let cut = &export[..export.rfind("end ").unwrap()];
    let failure = engine.import(AIRSSYS_IMPORT_CHECK, cut).unwrap_err();
    assert!(failure.message.contains("it was cut off"), "{failure}");
}

#[test]
fn keys_whose_time_is_over_are_left_out() {
    let source = Engine::new();
    source.batch("a/b/c", &[("k", Some(b"v"), u64::MAX / 2)]).unwrap();
    let export = source.export(&[]).unwrap();
    // The same export, long afterwards.
    let body = export[..export.rfind("end ").unwrap()].replace(&(u64::MAX / 2).to_string(), "1000");
    let digest: String = <sha2::Sha256 as sha2::Digest>::digest(body.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let engine = Engine::new();
    let report = engine.import(AIRSSYS_IMPORT_REFUSE, &format!("{body}end 1 {digest}\n")).unwrap();
    assert_eq!(report, json!({ "keys": 1, "stored": 0, "kept": 0, "expired": 1 }));
    assert_eq!(engine.stored("a/b/c", "k"), Ok(None));
    let (config, store) = (Config::new(), Store::new());
    store.attach(&config);
    let failure = config.engine().import(AIRSSYS_IMPORT_REFUSE, &export).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_UNSUPPORTED, "{failure}");
}

#[test]
fn the_host_s_callbacks_can_end_an_export_and_an_import() {
    let engine = filled();
    let mut pieces = 0;
    let failure = engine
        .export_to(&[], &mut |_| {
            pieces += 1;
            if pieces == 2 { Err("the disk is full".into()) } else { Ok(()) }
        })
        .unwrap_err();
    assert_eq!((failure.status, pieces), (AIRSSYS_ERROR_IO, 2), "{failure}");
    assert!(failure.message.contains("the disk is full"), "{failure}");
    let failure = engine
        .import_from(AIRSSYS_IMPORT_CHECK, &mut || Err("the line is dead".into()))
        .unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
    assert!(failure.message.contains("line 1: the line is dead"), "{failure}");
    let failure = engine.import(17, "").unwrap_err();
    assert!(failure.message.contains("mode is 17"), "{failure}");
    // Callbacks may use the engine.
    engine
        .export_to(&["app/shared"], &mut |_| {
            engine.store("app/meanwhile/0", "k", "v").map_err(|failure| failure.message)
        })
        .unwrap();
}

#[test]
fn an_import_of_ten_thousand_namespaces() {
    let engine = Engine::new();
    for n in 0..10_000 {
        engine.store(&format!("app/{n}/0"), "key", n.to_string()).unwrap();
    }
    let export = engine.export(&[]).unwrap();
    let other = Engine::new();
    let report = other.import(AIRSSYS_IMPORT_REFUSE, &export).unwrap();
    assert_eq!(report["stored"], 10_000);
    assert!(other.export(&[]).unwrap() == export);
}
