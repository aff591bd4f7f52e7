//! Guests that wait hold no thread, however many there are.

use airssys_wasm::*;
use serde_json::json;

use crate::harness::{Config, eventually};
use crate::leaks::threads;

/// As many as the design names; each pool has as many as a pool may have, and a rest.
const GUESTS: usize = 10_000;
const POOLS: [usize; 3] = [4096, 4096, GUESTS - 2 * 4096];

/// All of them wait at the same time, on one worker, on which others are run meanwhile.
fn ten_thousand_hold_no_thread(guest: &str, command: &str) {
    let config = Config::new();
    crate::hosts::set_logger(&config, AIRSSYS_LOG_OFF, |_| {});
    // Without guards, for which the system would have to allow more mappings than it does.
    let engine = config.with(r#"{"workers": 1, "guard-before-memory": false}"#).engine();
    let asker = engine.load("app/asker/0", "requester");
    engine.load("app/echo/0", "echo");
    let before = threads();
    let mut pools = Vec::new();
    for (number, instances) in POOLS.into_iter().enumerate() {
        let limits = json!({ "max-execution-time-ms": 3_600_000 });
        let options = json!({ "instances": instances, "limits": limits }).to_string();
        let pool = engine.load_with(&format!("app/pool/{number}"), guest, &options);
        for _ in 0..instances {
            engine.send(pool, command).unwrap();
        }
        pools.push(pool);
    }
    let count = |of: &str| -> u64 {
        let described = pools.iter().map(|pool| engine.describe(*pool).unwrap());
        described.map(|pool| pool.pointer(of).unwrap().as_u64().unwrap()).sum()
    };
    eventually("all have begun", || (count("/mailbox/depth") == 0).then_some(()));
    // The one worker is free, and has no help.
    engine.text(asker, "request app/echo/0 600000 here");
    assert_eq!(engine.callbacks(asker, 1)[0]["payload"], "here");
    let ended = count("/messages/handled") + count("/messages/failed");
    assert_eq!((count("/messages/accepted"), ended), (GUESTS as u64, 0));
    // One more if the system held the worker up in a turn, which makes it a long one.
    let allowed = before + 1;
    assert!(threads() <= allowed, "{before} threads, then {}", threads());
}

#[test]
fn ten_thousand_guests_in_sleep_millis_hold_no_thread() {
    ten_thousand_hold_no_thread("chatty", "sleep 3600000");
}

#[test]
fn ten_thousand_guests_in_a_poll_of_wasi_hold_no_thread() {
    ten_thousand_hold_no_thread("wasi", "sleep 3600000");
}
