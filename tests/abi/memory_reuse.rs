//! Memory that ended components leave to others: zeroed, bounded, and given back when nobody wants it.

use crate::harness::engine::{Config, eventually};
use crate::harness::handmade::Code;
use crate::harness::process::mappings;

/// Says whether any byte of the memory beyond its first half is set, then sets all of them. The
/// memory grows first.
const LOOKS_AND_WRITES: &str = r#"
    (func $any_set (result i32) (local $at i32) (local $end i32) (local $any i64)
        (drop (memory.grow (i32.const 20)))
        (local.set $at (i32.const 131072))
        (local.set $end (i32.mul (memory.size) (i32.const 65536)))
        (loop $next
            (local.set $any (i64.or (local.get $any) (i64.load (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
        (memory.fill (i32.const 131072) (i32.const 90)
            (i32.sub (local.get $end) (i32.const 131072)))
        (i64.ne (local.get $any) (i64.const 0)))"#;

#[test]
fn no_component_finds_what_another_one_wrote() {
    let code = Code {
        more: LOOKS_AND_WRITES,
        message: r#"(i32.store8 (i32.const 900) (i32.add (i32.const 48) (call $any_set)))
                    (call $reply (i32.const 900) (i32.const 1))"#,
        ..Code::default()
    };
    let wasm = code.component();
    for reservation in ["auto", "large", "small", "none"] {
        let config = Config::new();
        if reservation != "auto" {
            config.set(&format!(r#"{{"memory-reservation": "{reservation}"}}"#)).unwrap();
        }
        let engine = config.engine();
        for round in 0..8 {
            let load = |n| engine.try_load(&format!("app/looks/{n}"), &wasm, None).unwrap();
            let all: Vec<_> = (0..3).map(load).collect();
            for it in &all {
                assert_eq!(engine.text(*it, "look"), "0", "{reservation}, round {round}");
                assert_eq!(engine.text(*it, "look"), "1", "it finds what it wrote itself");
            }
            // Another instance of the same component finds nothing either.
            engine.restart(all[0], u64::MAX).unwrap();
            assert_eq!(engine.text(all[0], "look"), "0", "{reservation}, round {round}");
            all.into_iter().for_each(|it| engine.unload(it).unwrap());
        }
    }
}

#[test]
fn memory_that_nobody_wants_is_given_back() {
    const COMPONENTS: usize = 300;
    let engine = Config::new().with(r#"{"memory-reservation": "large"}"#).engine();
    engine.text(engine.load("app/first/0", "counter"), "inc");
    let before = mappings();
    let load = |n| engine.load(&format!("app/many/{n}"), ["counter", "chatty"][n % 2]);
    let all: Vec<_> = (0..COMPONENTS).map(load).collect();
    assert!(mappings() >= before + COMPONENTS);
    all.into_iter().for_each(|it| engine.unload(it).unwrap());
    eventually("the mappings are gone", || (mappings() < before + 50).then_some(()));
}
