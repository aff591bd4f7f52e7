//! Compiled code that is kept in memory.

use crate::harness::binaries::*;
use crate::harness::engine::{Config, Engine};
use crate::harness::process::resident_kib;

/// A component with code that is different for each number.
fn numbered(n: usize) -> Vec<u8> {
    let code = [&[0x20, 0, 0x41][..], &leb(n % 64), &[0x6a, 0x1a]].concat();
    functions(function_type(1, 0), &vec![body(&[0], &code.repeat(200 + n)); 100])
}

#[test]
fn unused_code_is_bounded_and_the_oldest_is_dropped_first() {
    let probe = Engine::bare();
    let handle = probe.try_load("app/numbered/0", &numbered(0), None).unwrap();
    let one = probe.describe(handle).unwrap()["binary"]["code-bytes"].as_u64().unwrap();
    assert!(one > 10_000, "{one}");
    assert_eq!(probe.stats()["code-bytes"], one);

    let bound = one * 7 / 2;
    let json = format!(r#"{{"compile": {{"max-unused-code-bytes": {bound}}}}}"#);
    let engine = Config::bare().with(&json).engine();
    let load = |n| engine.try_load("app/numbered/0", &numbered(n), None).unwrap();
    let kept = || {
        let stats = engine.stats();
        (stats["binaries"].as_u64().unwrap(), stats["code-bytes"].as_u64().unwrap())
    };
    // Code in use is always kept. The bound applies to unused code.
    let handles: Vec<u64> = (0..8).map(load).collect();
    assert_eq!(kept().0, 8);
    for handle in &handles {
        engine.unload(*handle).unwrap();
    }
    let (count, bytes) = kept();
    assert!((2..=3).contains(&count) && bytes <= bound, "{count} with {bytes} bytes");
    // The code unloaded last is still there, the first is not.
    let used = load(7);
    assert_eq!(kept().0, count);
    load(0);
    assert_eq!(kept().0, count + 1);
    engine.unload(used).unwrap();
}

#[test]
fn no_code_is_kept_with_a_bound_of_zero() {
    let engine = Config::bare().with(r#"{"compile": {"max-unused-code-bytes": 0}}"#).engine();
    let pool = engine.load_with("app/echo/0", "echo", r#"{"instances": 4}"#);
    assert_eq!(engine.text(pool, "x"), "x");
    assert_eq!(engine.stats()["binaries"], 1);
    engine.unload(pool).unwrap();
    assert_eq!(engine.stats()["binaries"], 0);
    assert_eq!(engine.stats()["code-bytes"], 0);
    let again = engine.load("app/echo/0", "echo");
    assert_eq!(engine.text(again, "y"), "y");
}

#[test]
fn the_memory_of_a_large_compile_is_released() {
    let before = resident_kib();
    let engine = Engine::bare();
    let wasm = functions(function_type(0, 0), &vec![body(&[0], &[]); 50_000]);
    let handle = engine.try_load("app/many/0", &wasm, None).unwrap();
    engine.unload(handle).unwrap();
    drop(engine);
    // The compile needs ten times as much.
    let left = resident_kib().saturating_sub(before);
    assert!(left < 64 * 1024, "{left} KiB are left");
}
