//! An id is served as long as one of its components takes the message.

use std::sync::atomic::{AtomicBool, Ordering};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::{Config, Engine};
use crate::hosts::Gate;
use crate::partners::{Inbox, Letter};

fn letter(payload: &str, request: bool) -> Letter {
    Letter {
        source: "far/sender/0".into(),
        target: "app/served/0".into(),
        request,
        correlation: u64::from(request),
        payload: payload.into(),
        ..Letter::default()
    }
}

#[test]
fn an_id_is_found_while_another_component_of_it_comes_and_goes() {
    let (engine, over) = (Engine::new(), AtomicBool::new(false));
    let options = r#"{"mailbox": {"capacity": 100000}}"#;
    engine.load_with("app/served/0", "echo", options);
    let sender = engine.load("app/sender/0", "requester");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let other = engine.load_with("app/served/0", "echo", options);
                engine.unload(other).unwrap();
            }
        });
        let target = "app/served/0";
        for n in 0..20_000 {
            let reply = engine.text(sender, &format!("send {target} {n}"));
            let delivered = engine.deliver(&letter("x", false), None);
            if reply != "ok" || delivered.is_err() {
                over.store(true, Ordering::Relaxed);
            }
            assert_eq!((reply.as_str(), delivered), ("ok", Ok(0)));
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_message_goes_to_whichever_component_of_an_id_takes_it() {
    let engine = Engine::new();
    let small = json!({ "limits": { "max-message-bytes": 4 } }).to_string();
    let picky = json!({ "codecs": ["json"] }).to_string();
    for options in [&small, &picky, "{}"] {
        engine.load_with("app/served/0", "echo", options);
    }
    let (sender, inbox) = (engine.load("app/sender/0", "requester"), Inbox::new());
    // A multicodec of CBOR opens it, and it is longer than four bytes.
    let payload = "Q x y z";
    // Whichever the search begins with.
    for n in 1..=9 {
        assert_eq!(engine.text(sender, &format!("send app/served/0 {payload}")), "ok");
        engine.text(sender, &format!("request app/served/0 60000 {payload}"));
        assert_eq!(engine.callbacks(sender, n)[n - 1]["payload"], payload);
        engine.deliver(&letter(payload, false), None).unwrap();
        engine.deliver(&letter(payload, true), Some(inbox)).unwrap();
        assert_eq!(inbox.wait(n)[n - 1].outcome, Ok(Some(payload.into())));
    }
}

#[test]
fn mail_from_another_engine_goes_to_a_component_of_the_id_that_has_room() {
    for policy in ["reject", "block"] {
        let (gate, config, inbox) = (Gate::default(), Config::new(), Inbox::new());
        gate.attach(&config);
        let engine = config.engine();
        let load = |capacity: u32| {
            let mailbox = json!({ "capacity": capacity, "when-full": policy });
            let limits = json!({ "max-execution-time-ms": 600_000 });
            let options = json!({ "mailbox": mailbox, "limits": limits }).to_string();
            engine.load_with("app/served/0", "chatty", &options)
        };
        // The one with the fewest messages is the one that is full.
        let (small, large) = (load(1), load(10));
        for (handle, waiting) in [(small, 1), (large, 3)] {
            engine.send(handle, "log info gate").unwrap();
            engine.until_busy(handle, 1, 0);
            for _ in 0..waiting {
                engine.send(handle, "log info x").unwrap();
            }
        }
        engine.deliver(&letter("log info y", false), None).unwrap();
        engine.deliver(&letter("log info y", true), Some(inbox)).unwrap();
        engine.until_busy(large, 6, 5);
        gate.open();
        inbox.only().outcome.unwrap();
        let gone = letter("x", false);
        for handle in [small, large] {
            engine.unload(handle).unwrap();
        }
        let failure = engine.deliver(&gone, None).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "{policy}: {failure}");
    }
}
