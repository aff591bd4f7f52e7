//! Several components with one id.

use std::sync::atomic::{AtomicBool, Ordering};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::gates::Gate;
use crate::harness::requests::Inbox;
use crate::harness::router::Letter;

#[test]
fn an_id_loaded_twice_is_two_components_with_separate_memories() {
    let engine = Engine::new();
    let [a, b] = [(); 2].map(|()| engine.load("app/counter/0", "counter"));
    assert_ne!(a, b);
    assert_eq!(engine.text(a, "inc"), "1");
    assert_eq!(engine.text(a, "inc"), "2");
    assert_eq!(engine.text(b, "inc"), "1");
    engine.unload(a).unwrap();
    assert_eq!(engine.find("app/counter/0"), Ok(b), "the other one stays reachable");
    assert_eq!(engine.text(b, "get"), "1");
}

#[test]
fn mail_goes_to_the_least_busy_component_of_an_id() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let pool = [(); 2].map(|()| engine.load("app/pool/0", "chatty"));
    let busy = engine.find("app/pool/0").unwrap();
    let idle = if busy == pool[0] { pool[1] } else { pool[0] };
    engine.send(busy, "log info gate").unwrap();
    gate.reached();
    assert_eq!(engine.find("app/pool/0"), Ok(idle));

    let sender = engine.load("app/sender/0", "requester");
    assert_eq!(engine.text(sender, "send app/pool/0 log info picked"), "ok");
    eventually("the idle one got the message", || {
        (engine.describe(idle).unwrap()["messages"]["handled"] == 1).then_some(())
    });
    gate.open();
}

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
fn mail_goes_to_the_component_of_an_id_that_accepts_it() {
    let engine = Engine::new();
    let small = json!({ "limits": { "max-message-bytes": 4 } }).to_string();
    let picky = json!({ "codecs": ["json"] }).to_string();
    for options in [&small, &picky, "{}"] {
        engine.load_with("app/served/0", "echo", options);
    }
    let (sender, inbox) = (engine.load("app/sender/0", "requester"), Inbox::new());
    // It starts with the multicodec of CBOR and is longer than four bytes.
    let payload = "Q x y z";
    // Enough times that the search starts at each component.
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
fn mail_from_another_engine_goes_to_a_component_with_room() {
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
        // The component with fewer messages is full.
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
