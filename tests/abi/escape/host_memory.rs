//! Host memory that a component causes: bounded, charged to the component, and named in errors.

use airssys_wasm::*;
use serde_json::{Value, json};
use wit_component::StringEncoding;

use crate::harness::engine::{Config, Engine, With, eventually};
use crate::harness::gates::Gate;
use crate::harness::process::{forget_peak, peak_kib, resident_kib};
use crate::harness::raw::Raw;
use crate::harness::requests::Inbox;
use crate::harness::router::{Answer, Router};
use crate::harness::stage::{Guest, Stage, hex, quota};
use crate::harness::store::Store;

const MIB: u64 = 1 << 20;

/// Rights to message everybody and to use storage.
fn everything() -> Value {
    json!({"messaging": {"send": ["**"], "request": ["**"], "broadcast": ["**"]},
           "storage": ["read", "write", "delete"]})
}

fn host_bytes(engine: &Engine, handle: u64) -> u64 {
    engine.describe(handle).unwrap()["host-bytes"].as_u64().expect("a number")
}

/// Runs an attack during which the process may take at most `mib` MiB more.
#[track_caller]
fn within(mib: u64, attack: impl FnOnce()) {
    forget_peak();
    let before = resident_kib();
    attack();
    let taken = peak_kib().saturating_sub(before) / 1024;
    assert!(taken <= mib, "{taken} MiB, at most {mib} were to be taken");
}

#[test]
fn answers_to_oneself_are_bounded_and_every_request_has_its_outcome() {
    let stage = Stage::new();
    let thief = stage.load("app/thief/0", "hostile", everything());
    within(200, || {
        let made =
            stage.engine.text(thief.handle, "request-many 40 app/thief/0 60000 blob 10000000");
        assert_eq!(made, "40");
        eventually("every request has its outcome", || {
            let held = host_bytes(&stage.engine, thief.handle);
            assert!(held <= 64 * MIB, "{held} bytes held");
            (stage.engine.text(thief.handle, "callbacks") == "40").then_some(())
        });
    });
    let failed: u64 = stage.engine.text(thief.handle, "failed-callbacks").parse().unwrap();
    assert!((1..40).contains(&failed), "{failed} outcomes did not fit");
    assert_eq!(stage.engine.describe(thief.handle).unwrap()["restarts"], 0);
    let described = stage.engine.describe(thief.handle).unwrap();
    assert_eq!(described["mailbox"]["bytes"], 0, "{described}");
    stage.assert_intact("answers to itself");
}

#[test]
fn an_outcome_that_does_not_fit_becomes_a_small_error() {
    let engine = Engine::new();
    engine.load("app/probe/0", "probe");
    let options = json!({"limits": {"max-message-bytes": 50_000}}).to_string();
    let asker = engine.load_with("app/asker/0", "requester", &options);
    engine.text(asker, "request app/probe/0 60000 blob 10");
    engine.text(asker, "request app/probe/0 60000 blob 50001");
    let callbacks = engine.callbacks(asker, 2);
    assert_eq!(callbacks[0]["content-type"], Value::Null);
    assert_eq!(callbacks[1]["content-type"], "application/vnd.airssys.error+json");
    let document: Value = serde_json::from_str(callbacks[1]["payload"].as_str().unwrap()).unwrap();
    assert_eq!(document["code"], "resource-limit-exceeded");
    let expected = "the outcome has 50001 bytes, beyond the requester's max-message-bytes 50000";
    assert_eq!(document["message"], expected);
}

#[test]
fn a_long_error_keeps_its_code_if_its_text_does_not_fit() {
    let engine = Engine::new();
    engine.load("app/probe/0", "probe");
    let options = json!({"limits": {"max-message-bytes": 600}}).to_string();
    let asker = engine.load_with("app/asker/0", "requester", &options);
    let text = "\u{1b}".repeat(500);
    engine.text(asker, &format!("request app/probe/0 60000 fail invalid-component {text}"));
    let callbacks = engine.callbacks(asker, 1);
    let document: Value = serde_json::from_str(callbacks[0]["payload"].as_str().unwrap()).unwrap();
    assert_eq!(document["code"], "invalid-component");
    assert!(document["message"].as_str().unwrap().contains("bytes)"), "{document}");
}

#[test]
fn messages_beyond_the_maximum_size_are_refused_when_they_are_sent() {
    let engine = Engine::new();
    let options = json!({"limits": {"max-message-bytes": 100}}).to_string();
    let small = engine.load_with("app/small/0", "hostile", &options);
    let large = engine.load("app/large/0", "hostile");
    for (payload, fits) in [(vec![b' '; 100], true), (vec![b' '; 101], false)] {
        for refused in [
            engine.send(small, &payload).err(),
            engine.call(small, &payload).err().filter(|e| e.status != AIRSSYS_ERROR_RUNTIME),
            engine.request(small, &payload, Inbox::new()).err(),
        ] {
            assert_eq!(refused.is_none(), fits, "{refused:?}");
            let Some(refused) = refused else { continue };
            assert_eq!(refused.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{refused}");
            assert_eq!(refused.detail["limit"], "max-message-bytes");
            assert_eq!(refused.detail["value"], 100);
        }
    }
    let to_small = engine.text(large, "big-send app/small/0 101");
    let breach = "max-message-bytes 100 exceeded: 101 bytes";
    assert_eq!(to_small, format!("error: invalid-message(app/small/0: {breach})"));
    let from_small = engine.text(small, "big-send app/large/0 101");
    assert_eq!(from_small, format!("error: invalid-message({breach})"));
    let reply = engine.failure(small, "blob 101");
    assert_eq!(reply.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{reply}");
    assert_eq!(reply.detail["limit"], "max-message-bytes");
    let inbox = Inbox::new();
    engine.request(small, "blob 101", inbox).unwrap();
    assert_eq!(inbox.only().status(), AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED);
    for handle in [small, large] {
        assert_eq!(engine.describe(handle).unwrap()["restarts"], 0, "nobody crashed");
    }
}

#[test]
fn a_message_that_exceeds_the_receiver_s_memory_does_not_reach_it() {
    let engine = Engine::new();
    let options = json!({"limits": {"max-memory-bytes": 16 * MIB, "max-message-bytes": 100 * MIB}});
    let options = options.to_string();
    let victim = engine.load_with("app/victim/0", "requester", &options);
    engine.load_with("app/sender/0", "hostile", &options.replace("16777216", "134217728"));
    let sender = engine.find("app/sender/0").unwrap();
    engine.call(victim, "note kept").unwrap();
    for size in [15 * MIB + MIB / 2, 16 * MIB, 66 * MIB] {
        let payload = vec![b'x'; size as usize];
        let called = engine.call(victim, &payload).unwrap_err();
        assert_eq!(called.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{called}");
        assert_eq!(called.detail["limit"], "max-memory-bytes");
        assert_eq!(called.detail["value"], 16 * MIB);
        let inbox = Inbox::new();
        if engine.request(victim, &payload, inbox).is_ok() {
            assert_eq!(inbox.only().status(), AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED);
        }
    }
    // The reply to the victim's own request.
    engine.text(victim, "request app/sender/0 60000 blob 16000000");
    let callbacks = engine.callbacks(victim, 1);
    assert_eq!(callbacks[0]["content-type"], "application/vnd.airssys.error+json");
    // A send of a component.
    let dead_letters = || engine.stats()["dead-letters"].as_u64().unwrap();
    let before = dead_letters();
    assert_eq!(engine.text(sender, "big-send app/victim/0 16000000"), "ok");
    eventually("it is a dead letter", || (dead_letters() == before + 1).then_some(()));
    assert_eq!(engine.text(victim, "received"), r#"["kept"]"#, "its state is kept");
    assert_eq!(engine.describe(victim).unwrap()["restarts"], 0);
}

#[test]
fn a_component_whose_memory_has_grown_accepts_the_same_message_again() {
    let engine = Engine::new();
    let options = json!({"limits": {"max-memory-bytes": 32 * MIB}}).to_string();
    let echo = engine.load_with("app/echo/0", "echo", &options);
    for _ in 0..3 {
        let payload = vec![b'x'; 14 << 20];
        assert_eq!(engine.call(echo, &payload), Ok(Some(payload)));
    }
}

#[test]
fn long_ids_are_not_read() {
    for texts in [StringEncoding::UTF8, StringEncoding::CompactUTF16, StringEncoding::UTF16] {
        let engine = Engine::new();
        // All three parts point to the same 10 million bytes. UTF-16 has two bytes per unit.
        let units = if texts == StringEncoding::UTF16 { 5_000_000 } else { 10_000_000 };
        let id = format!("(i32.const 131072) (i32.const {units})").repeat(3);
        let raw = Raw {
            pages: 200,
            imports: r#"(import "airssys:core/host-messaging@1.0.0" "send"
                (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#,
            handler: format!(
                "(loop $again
                   (call $send {id} (i32.const 0) (i32.const 0) (i32.const 512))
                   ;; err(invalid-message)
                   (if (i32.ne (i32.load8_u (i32.const 512)) (i32.const 1)) (then unreachable))
                   (if (i32.ne (i32.load8_u (i32.const 516)) (i32.const 2)) (then unreachable))
                   (local.set $n (i32.add (local.get $n) (i32.const 1)))
                   (br_if $again (i32.lt_u (local.get $n) (i32.const 1000))))"
            ),
            texts,
        };
        let thief = engine.try_load("app/thief/0", &raw.component(), None).unwrap();
        within(16, || assert_eq!(engine.call(thief, "x"), Ok(None)));
    }
}

#[test]
fn a_broadcast_does_not_read_long_targets() {
    for texts in [StringEncoding::UTF8, StringEncoding::CompactUTF16] {
        let engine = Engine::new();
        let raw = Raw {
            pages: 740,
            imports: r#"(import "airssys:core/host-messaging@1.0.0" "broadcast"
                (func $broadcast (param i32 i32 i32 i32 i32)))"#,
            // 180 strings that point to the same 9 million bytes.
            handler: "(loop $again
                   (i64.store (i32.add (i32.const 65536) (i32.mul (local.get $n) (i32.const 8)))
                     (i64.const 0x0089544000020000))
                   (local.set $n (i32.add (local.get $n) (i32.const 1)))
                   (br_if $again (i32.lt_u (local.get $n) (i32.const 180))))
                 (local.set $n (i32.const 0))
                 (loop $again
                   (call $broadcast (i32.const 65536) (i32.const 60) (i32.const 0) (i32.const 0)
                     (i32.const 512))
                   (local.set $n (i32.add (local.get $n) (i32.const 1)))
                   (br_if $again (i32.lt_u (local.get $n) (i32.const 200))))"
                .into(),
            texts,
        };
        let thief = engine.try_load("app/thief/0", &raw.component(), None).unwrap();
        within(16, || {
            let failure = engine.call(thief, "x").unwrap_err();
            assert_eq!(failure.detail["limit"], "host-call-data-bytes", "{failure}");
        });
    }
    let engine = Engine::new();
    let thief = engine.load("app/thief/0", "hostile");
    let reply = engine.text(thief, "broadcast-many 10001 app/x/0 x");
    assert_eq!(reply, "error: invalid-message(10001 targets, at most 10000 are allowed)");
}

#[test]
fn a_long_log_record_is_cut_and_states_its_length() {
    let stage = Stage::new();
    let thief = stage.load("app/thief/0", "hostile", json!({}));
    within(40, || {
        assert_eq!(stage.engine.text(thief.handle, "log-many 1 20000000"), "ok");
        assert_eq!(stage.engine.text(thief.handle, "long-log-context 300000 0"), "ok");
        assert_eq!(stage.engine.text(thief.handle, "long-log-context 1 5000"), "ok");
    });
    let records = stage.journal.records();
    let records: Vec<_> =
        records.iter().filter(|r| r.component.as_deref() == Some("app/thief/0")).collect();
    assert!(records[0].message.len() < 66_000, "{} bytes", records[0].message.len());
    assert!(records[0].message.ends_with("x… (20000000 bytes)"));
    assert_eq!(records[1].context.len(), 65);
    assert_eq!(records[1].context[64], ("…".to_owned(), "299936 more pairs".to_owned()));
    let (key, value) = &records[2].context[0];
    assert!(key.ends_with("x… (5000 bytes)") && value.ends_with("x… (5000 bytes)"));
}

#[test]
fn keys_are_charged_and_end_at_the_limit() {
    let stage = Stage::new();
    let options = json!({"capabilities": everything(), "limits": {"max-host-bytes": 2 * MIB}});
    let thief = stage.load_with("app/thief/0", "hostile", &options);
    let reply = stage.engine.text(thief.handle, "set-many 12000 0");
    let (stored, error) = reply.split_once(' ').expect("an error");
    assert_eq!(error, "error: quota-exceeded");
    let stored: u64 = stored.parse().unwrap();
    assert!((5_000..15_000).contains(&stored), "{stored} keys in 2 MiB");
    let breach = quota("storage.write", "app/thief/0", "max-host-bytes", 2 * MIB);
    assert_eq!(stage.denials_of(&thief)[0], breach);
    assert!(host_bytes(&stage.engine, thief.handle) > MIB * 19 / 10);
    // Another component with this id shares the namespace.
    let again = stage.load_with("app/thief/0", "hostile", &options);
    assert_eq!(stage.engine.text(again.handle, "set-many 1 100000"), "0 error: quota-exceeded");
    stage.engine.unload(again.handle).unwrap();
    // A listing that exceeds the account is an error. Deleted keys free their charge.
    let keys = stage.engine.text(thief.handle, "raw-keys -");
    assert!(keys.starts_with("error: io-error(max-host-bytes 2097152 exceeded: "), "{keys}");
    for n in 0..2000 {
        let delete = format!("raw-delete {}", hex(&format!("k{n}")));
        assert_eq!(stage.engine.text(thief.handle, &delete), "ok");
    }
    let keys = stage.engine.text(thief.handle, "raw-keys -");
    assert_eq!(keys.lines().count() as u64, stored - 2000);
    assert!(keys.lines().is_sorted(), "ascending, over all pages");
    let set = format!("raw-set {} x", hex("k0"));
    assert_eq!(stage.engine.text(thief.handle, &set), "ok");
    stage.assert_intact("keys");
}

#[test]
fn stored_values_cost_no_more_than_is_charged() {
    let engine = Engine::new();
    let limits = json!({"max-host-bytes": 32 * MIB, "max-execution-time-ms": 120_000});
    let options = json!({"limits": limits}).to_string();
    let thief = engine.load_with("app/thief/0", "hostile", &options);
    let before = resident_kib();
    let reply = engine.text(thief, "set-many 250000 0");
    assert!(reply.ends_with("error: quota-exceeded"), "{reply}");
    let (charged, taken) = (host_bytes(&engine, thief), resident_kib() - before);
    // The bound includes the guest's own memory.
    assert!(taken * 1024 <= charged + 4 * MIB, "{taken} KiB for {charged} bytes");
}

#[test]
fn answers_of_the_host_s_storage_are_bounded_by_the_account() {
    let config = Config::new();
    let answer = |operation: &str, _: &str, _: &str| match operation {
        "get" => Some((AIRSSYS_STORAGE_OK, vec![b'x'; 2 << 20])),
        _ => None,
    };
    Store::scripted(answer).attach(&config);
    let engine = config.engine();
    let options = json!({"limits": {"max-host-bytes": MIB}}).to_string();
    let user = engine.load_with("app/user/0", "storage-user", &options);
    let reply = engine.text(user, "get large");
    assert!(reply.starts_with("error: io-error("), "{reply}");
}

#[test]
fn content_types_are_bounded_and_charged() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let slow = engine.load("app/slow/0", "chatty");
    engine.send(slow, "log info gate").unwrap();
    gate.reached();
    let content_type = "t".repeat(1024);
    let with = With { content_type: Some(&content_type), ..With::default() };
    for n in 1..=3 {
        engine.send_with(slow, "log info x", with).unwrap();
        let bytes = engine.describe(slow).unwrap()["mailbox"]["bytes"].as_u64().unwrap();
        assert!(bytes >= n * 1024, "{bytes}");
    }
    let content_type = "t".repeat(1025);
    let with = With { content_type: Some(&content_type), ..With::default() };
    for refused in [
        engine.send_with(slow, "x", with).unwrap_err(),
        engine.call_with(slow, "x", with).unwrap_err(),
        engine.request_with(slow, "x", with, Inbox::new()).unwrap_err(),
    ] {
        assert_eq!(refused.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{refused}");
        assert!(refused.message.contains("1025 bytes, at most 1024"), "{refused}");
    }
    gate.open();
}

#[test]
fn requests_that_nobody_answers_are_bounded_by_the_account() {
    let config = Config::new();
    Router::attach(&config, |_| Answer::Taken, |_| ());
    let engine = config.engine();
    let options = json!({"limits": {"max-host-bytes": MIB}}).to_string();
    let thief = engine.load_with("app/thief/0", "hostile", &options);
    let other = engine.load("app/other/0", "requester");
    let never = u64::MAX;
    let reply = engine.text(thief, &format!("request-many 5000 far/away/0 {never} x"));
    let (made, error) = reply.split_once(' ').expect("an error");
    assert!(error.contains("delivery-failed(max-host-bytes 1048576"), "{reply}");
    let made: u64 = made.parse().unwrap();
    assert!((500..1000).contains(&made), "{made} requests in 1 MiB");
    assert!(host_bytes(&engine, thief) <= MIB);
    assert_eq!(engine.stats()["requests"]["outstanding"], made);
    assert_eq!(engine.text(other, "request far/away/0 60000 x").len(), 16, "others still work");
    assert_eq!(engine.text(thief, "cancel-kept"), made.to_string());
    assert!(host_bytes(&engine, thief) < MIB / 4, "the charge is released");
}

#[test]
fn mail_beyond_the_receiver_s_account_is_refused_and_the_bound_named() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let options = |when_full: &str| {
        let mailbox = json!({"when-full": when_full});
        json!({"limits": {"max-host-bytes": MIB}, "mailbox": mailbox}).to_string()
    };
    let slow = engine.load_with("app/slow/0", "chatty", &options("reject"));
    engine.send(slow, "log info gate").unwrap();
    gate.reached();
    let payload = vec![b' '; 300_000];
    for _ in 0..3 {
        engine.send(slow, &payload).unwrap();
    }
    let refused = engine.send(slow, &payload).unwrap_err();
    assert_eq!(refused.status, AIRSSYS_ERROR_QUEUE_FULL, "{refused}");
    assert_eq!(refused.detail["limit"], "max-host-bytes", "{refused}");
    assert_eq!(refused.detail["value"], MIB);
    assert!(refused.message.contains("full (max-host-bytes 1048576)"), "{refused}");
    assert!(host_bytes(&engine, slow) <= MIB);
    gate.open();
    eventually("it has room again", || engine.send(slow, &payload).ok());
    // Blocking and dropping mailboxes refuse a message that waiting cannot help.
    for when_full in ["block", "drop-oldest"] {
        let full = engine.load_with("app/full/0", "chatty", &options(when_full));
        let refused = engine.send(full, vec![b' '; 2 << 20]).unwrap_err();
        assert_eq!(refused.status, AIRSSYS_ERROR_QUEUE_FULL, "{when_full}: {refused}");
        assert_eq!(refused.detail["limit"], "max-host-bytes", "{when_full}: {refused}");
    }
}

#[test]
fn everything_charged_is_released() {
    let stage = Stage::new();
    let thief = stage.load("app/thief/0", "hostile", everything());
    let Guest { handle, .. } = thief;
    let before = host_bytes(&stage.engine, handle);
    for command in [
        "set-many 1000 100",
        "raw-keys -",
        "request-many 100 app/thief/0 60000 blob 1000",
        "send-many 100 neighbour/counter/0 inc",
        "log-many 10 1000",
    ] {
        stage.engine.text(handle, command);
    }
    eventually("the callbacks came", || {
        (stage.engine.text(handle, "callbacks") == "100").then_some(())
    });
    for n in 0..1000 {
        let key = hex(&format!("k{n}"));
        assert_eq!(stage.engine.text(handle, &format!("raw-delete {key}")), "ok");
    }
    eventually("nothing is held any more", || {
        (host_bytes(&stage.engine, handle) == before).then_some(())
    });
}

#[test]
fn long_names_in_a_binary_do_not_fill_errors() {
    let engine = Engine::new();
    let name = "n".repeat(1 << 20);
    let raw = Raw { handler: "(call $deep)".into(), imports: "", ..Raw::default() };
    let deep = format!(r#"(func $deep (@name "{name}") (unreachable))"#);
    let trapper = raw.with(&deep);
    let trapper = engine.try_load("app/trapper/0", &trapper, None).unwrap();
    let failure = engine.call(trapper, "x").unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{}", failure.message.len());
    let backtrace = failure.detail["backtrace"].as_str().unwrap();
    assert!(backtrace.contains("nnn") && backtrace.len() < 20_000, "{} bytes", backtrace.len());
    let text = format!(r#"(component (import "{}" (func)))"#, "n".repeat(100_000));
    let wasm = wat::parse_str(text).unwrap();
    let failure = engine.try_load("app/importer/0", &wasm, None).unwrap_err();
    assert!(failure.message.len() < 5_000, "{} bytes", failure.message.len());
}
