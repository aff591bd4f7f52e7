//! Work that the host does for a component costs the component's time and fuel.

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::Engine;
use crate::harness::raw::Raw;
use crate::harness::requests::Inbox;

#[test]
fn a_long_instruction_that_ends_after_the_limit_is_a_timeout() {
    let own_id = r#"(import "airssys:core/host-messaging@1.0.0" "self-id" (func (param i32)))"#;
    // The first runs on its caller's stack, the second in its loop.
    for imports in ["", own_id] {
        let engine = Engine::new();
        let raw = Raw {
            pages: 16_000,
            imports,
            handler: "(memory.fill (i32.const 65536) (i32.const 1) (i32.const 1000000000))".into(),
            ..Raw::default()
        };
        let limits =
            json!({"max-memory-bytes": 1_u64 << 31, "max-execution-time-ms": 20}).to_string();
        let options = format!(r#"{{"limits": {limits}}}"#);
        let slow = engine.try_load("app/slow/0", &raw.component(), Some(&options)).unwrap();
        let failure = engine.call(slow, "x").unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
        assert_eq!(failure.detail["limit"], "max-execution-time-ms");
        let inbox = Inbox::new();
        engine.request(slow, "x", inbox).unwrap();
        assert_eq!(inbox.only().status(), AIRSSYS_ERROR_TIMEOUT);
    }
}

#[test]
fn copies_by_the_host_cost_fuel() {
    let engine = Engine::new();
    let options = json!({"limits": {"max-fuel": 1_000_000}}).to_string();
    let send = r#"(import "airssys:core/host-messaging@1.0.0" "send"
        (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;
    let id = "(i32.const 0) (i32.const 0)".repeat(3);
    let raw = Raw {
        pages: 100,
        imports: send,
        handler: format!(
            "(loop $again
               (call $send {id} (i32.const 0) (i32.const 5000000) (i32.const 512))
               (local.set $n (i32.add (local.get $n) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get $n) (i32.const 20))))"
        ),
        ..Raw::default()
    };
    let thief = engine.try_load("app/thief/0", &raw.component(), Some(&options)).unwrap();
    let failure = engine.call(thief, "x").unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
    assert_eq!(failure.detail["limit"], "max-fuel", "{failure}");
}
