//! Shortage of memory.

use crate::harness::child::{Limited, config, passes};
use crate::harness::engine::Engine;
use crate::harness::handmade::Code;
use crate::harness::process::status_kib;

/// Grows its memory by 100 MiB and replies with the old size in pages, or -1.
const GROWS: &str = "(i32.store (i32.const 1024) (memory.grow (i32.const 1600)))
    (call $reply (i32.const 1024) (i32.const 4))";

const ROOM: &str = r#"{"limits": {"max-memory-bytes": 134217728}}"#;

fn grow(engine: &Engine, handle: u64) -> i32 {
    let reply = engine.call(handle, "x").unwrap().unwrap();
    i32::from_le_bytes(reply.try_into().unwrap())
}

#[test]
fn memory_that_the_system_refuses_does_not_count() {
    passes("shortage::memory::grows");
}

#[test]
#[ignore = "run by memory_that_the_system_refuses_does_not_count"]
fn grows() {
    let engine = config().engine();
    let wasm = Code { message: GROWS, ..Code::default() }.component();
    let grower = engine.try_load("app/grower/0", &wasm, Some(ROOM)).unwrap();
    let used = || engine.describe(grower).unwrap()["memory-bytes"].as_u64().unwrap();
    let before = used();
    {
        let _none = Limited::to(libc::RLIMIT_DATA, (status_kib("VmData:") + (50 << 10)) << 10);
        for _ in 0..3 {
            assert_eq!(grow(&engine, grower), -1);
            assert_eq!(used(), before);
        }
    }
    assert_eq!(grow(&engine, grower), 4);
    assert_eq!(used(), before + (100 << 20));
    // Beyond the component's limit, and beyond the maximum of the memory's type.
    for pages in ["1600", "65535"] {
        let message = GROWS.replace("1600", pages);
        let wasm = Code { message: &message, ..Code::default() }.component();
        let other = engine.try_load("app/other/0", &wasm, Some(ROOM)).unwrap();
        grow(&engine, other);
        let first = engine.describe(other).unwrap()["memory-bytes"].clone();
        assert_eq!(grow(&engine, other), -1);
        assert_eq!(engine.describe(other).unwrap()["memory-bytes"], first);
    }
    assert_eq!(engine.call(grower, "x").map(drop), Ok(()));
}
