//! Binaries that are refused before Wasmtime sees them.
//!
//! The damage that the comments name was measured with Wasmtime 48.0.8 without the screen.

use airssys_wasm::*;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::harness::binaries::*;
use crate::harness::engine::{Config, Engine, Failure};
use crate::harness::properties::for_all;

/// Expects a refusal that names the limit, its value and the offset.
fn refused(engine: &Engine, name: &str, wasm: &[u8], limit: &str) -> Failure {
    let failure = engine.try_load("app/bad/0", wasm, None).expect_err(name);
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{name}: {failure}");
    assert_eq!(failure.detail["limit"], format!("compile.{limit}"), "{name}: {failure}");
    let number = |key: &str| failure.detail[key].as_u64().unwrap_or_else(|| panic!("{failure}"));
    assert!(number("found") > number("value"), "{name}: {failure}");
    assert!(number("offset") <= wasm.len() as u64, "{name}: {failure}");
    assert!(failure.detail["section"].is_string(), "{name}: {failure}");
    for text in [limit.to_owned(), number("value").to_string()] {
        assert!(failure.message.contains(&text), "{name}: {failure}");
    }
    failure
}

#[test]
fn types_nested_too_deep_are_refused() {
    let engine = Engine::bare();
    // Wasmtime's parser recurses into these and overflows its stack at a depth of 962. Versions
    // after 48 refuse them.
    for depth in [101, 962, 5_000, 1_000_000] {
        for (name, opens) in
            [("component types", b"\x41\x01\x01"), ("instance types", b"\x42\x01\x01")]
        {
            let name = format!("{depth} {name}");
            refused(&engine, &name, &nested_types(opens, depth), "max-type-depth");
        }
        let alternating = b"\x41\x01\x01\x42\x01\x01";
        refused(&engine, "both", &nested_types(alternating, depth), "max-type-depth");
    }
    // These are flat in the binary. Wasmtime panics at a depth of 101.
    for count in [101, 130, 5_000] {
        let chain = chained_instance_types(count);
        refused(&engine, "chained instance types", &chain, "max-type-depth");
    }
    for depth in [1, 50, 98] {
        engine.try_load("app/deep/0", &nested_types(b"\x41\x01\x01", depth), None).unwrap();
        engine.try_load("app/deep/0", &nested_types(b"\x42\x01\x01", depth), None).unwrap();
        engine.try_load("app/deep/0", &chained_instance_types(depth), None).unwrap();
    }
}

#[test]
fn nested_instances_count_as_nested_types() {
    let engine = Engine::bare();
    let bags = |count: usize| {
        let bags: Vec<Vec<u8>> = (0..count)
            .map(|n| match n.checked_sub(1) {
                None => vec![1, 0],
                Some(before) => [&b"\x01\x01\0\x01a\x05"[..], &leb(before)].concat(),
            })
            .collect();
        component(&[items(5, count, &bags.concat())])
    };
    refused(&engine, "instances", &bags(200), "max-type-depth");
    engine.try_load("app/bags/0", &bags(90), None).unwrap();
}

#[test]
fn functions_that_take_long_to_compile_are_refused_by_name() {
    let engine = Engine::bare();
    let numbers =
        |count: usize| (0..count).flat_map(|n| [vec![0x20], leb(n)].concat()).collect::<Vec<_>>();
    let values = |code: &[u8], count| {
        let code = [numbers(1_000), code.repeat(count)].concat();
        functions(function_type(1_000, 1_000), &[body(&[0], &code)])
    };
    let one_table = |targets: usize| {
        let table = [&b"\x02\x40\x20\0\x0e"[..], &leb(targets), &vec![0; targets + 1]].concat();
        function(&[table, vec![END]].concat())
    };
    let tables = |targets: usize, count: usize| {
        let mut table = [&b"\x02\x40\x20\0\x0e"[..], &leb(targets)].concat();
        (1..=targets).for_each(|target| table.extend(leb(target)));
        table.extend([0, END]);
        let opened = b"\x02\x40".repeat(targets);
        function(&[opened, table.repeat(count), vec![END; targets]].concat())
    };
    for (name, wasm, limit) in [
        // 14 KB that take 14 seconds to compile.
        ("2,000 nested loops", nested_loops(2_000), "max-function-cost"),
        ("5,000 nested loops", nested_loops(5_000), "max-function-cost"),
        // This one takes 23 seconds and 1.3 GiB.
        ("200 KB of loops", function(&b"\x03\x40\x0b".repeat(66_000)), "max-function-blocks"),
        ("100 KB of loops", function(&b"\x03\x40\x0b".repeat(33_000)), "max-function-cost"),
        ("40,000 ifs", function(&b"\x20\0\x04\x40\x0b".repeat(40_000)), "max-function-cost"),
        (
            "20,000 loops with a branch",
            function(&b"\x03\x40\x20\0\x0d\0\x0b".repeat(20_000)),
            "max-function-cost",
        ),
        ("1,000 tables of 1,000 targets", tables(1_000, 1_000), "max-function-blocks"),
        ("50 tables of 1,000 targets", tables(1_000, 50), "max-function-cost"),
        ("a table of 100,000", one_table(100_000), "max-function-blocks"),
        ("blocks of a thousand values", values(b"\x02\0\x0b", 1_000), "max-function-values"),
        ("loops of a thousand values", values(b"\x03\0\x0b", 1_000), "max-function-values"),
        ("calls of a thousand values", values(b"\x10\0", 1_000), "max-function-cost"),
        (
            "6,000 nested blocks",
            function(&[b"\x02\x40".repeat(6_000), vec![END; 6_000]].concat()),
            "max-block-depth",
        ),
        (
            "copies of tables",
            around(&[
                function_type(1, 0),
                items(3, 1, &[0]),
                items(4, 1, b"\x70\0\0"),
                items(10, 1, &body(&[0], &b"\x20\0\x20\0\x20\0\xfc\x0e\0\0".repeat(20_000))),
            ]),
            "max-function-cost",
        ),
        ("a function of 5 MB", function(&vec![1; 5_000_000]), "max-function-bytes"),
    ] {
        let failure = refused(&engine, name, &wasm, limit);
        let function = failure.detail["function"].as_u64();
        assert_eq!(function, Some(0), "{name}: {failure}");
    }
    engine.try_load("app/loops/0", &nested_loops(100), None).unwrap();
}

#[test]
fn locals_are_counted_before_they_are_made() {
    let engine = Engine::bare();
    let locals = |count: usize| [leb(1), leb(count), vec![0x7f]].concat();
    let mut many = leb(10_001);
    (0..10_001).for_each(|_| many.extend([1, 0x7f]));
    for locals in [locals(10_001), locals(usize::try_from(u32::MAX).unwrap()), many] {
        let wasm = functions(function_type(0, 0), &[body(&locals, &[])]);
        refused(&engine, "locals", &wasm, "max-function-locals");
    }
    // Every loop carries every local.
    let mut code = b"\x03\x40".repeat(1_000);
    (1..=1_000).for_each(|n| {
        code.extend([&[0x20][..], &leb(n), &[0x41, 1, 0x6a, 0x21], &leb(n)].concat())
    });
    code.extend(b"\x20\0\x0d\0\x0b".repeat(1_000));
    let wasm = functions(function_type(1, 0), &[body(&locals(1_000), &code)]);
    refused(&engine, "locals of loops", &wasm, "max-function-values");
}

#[test]
fn binaries_with_too_many_items_are_refused() {
    let engine = Engine::bare();
    let nothing = || functions(function_type(0, 0), &vec![body(&[0], &[]); 200_000]);
    // 0.8 MB that take 1.1 GB.
    refused(&engine, "200,000 functions", &nothing(), "max-functions");
    let many = 300_000;
    let names: Vec<u8> = (0..many)
        .flat_map(|n| {
            let n = n.to_string();
            [leb(n.len()), n.into_bytes(), vec![0, 0]].concat()
        })
        .collect();
    let imports: Vec<u8> = (0..many)
        .flat_map(|n| {
            let n = n.to_string();
            [vec![1, b'a'], leb(n.len()), n.into_bytes(), vec![0, 0]].concat()
        })
        .collect();
    let one = [function_type(0, 0), items(3, 1, &[0])].concat();
    for (name, wasm) in [
        ("types", around(&[items(1, many, &b"\x60\0\0".repeat(many))])),
        ("imports", around(&[function_type(0, 0), items(2, many, &imports)])),
        ("exports", around(&[one.clone(), items(7, many, &names), items(10, 1, &body(&[0], &[]))])),
        ("globals", around(&[items(6, many, &b"\x7f\0\x41\0\x0b".repeat(many))])),
        (
            "segments",
            around(&[items(5, 1, &[0, 1]), items(11, many, &b"\0\x41\0\x0b\0".repeat(many))]),
        ),
        (
            "elements",
            around(&[items(4, 1, &[0x70, 0, 0]), items(9, many, &b"\0\x41\0\x0b\0".repeat(many))]),
        ),
        ("core types", component(&[items(3, many, &b"\x60\0\0".repeat(many))])),
        (
            "module types",
            component(&[items(
                3,
                3,
                &[&[0x50][..], &leb(90_000), &b"\x01\x60\0\0".repeat(90_000)].concat().repeat(3),
            )]),
        ),
        ("component types", component(&[items(7, many, &vec![0x73; many])])),
        (
            "fields",
            component(&[items(
                7,
                30,
                &[b"\x72\x90\x4e".to_vec(), b"\x01a\x73".repeat(10_000)].concat().repeat(30),
            )]),
        ),
        ("instances", multiplied(6)),
        // A few hundred bytes that make Wasmtime create 10 to the power of 12 instances.
        ("instances of instances", multiplied(12)),
    ] {
        refused(&engine, name, &wasm, "max-definitions");
    }
    engine.try_load("app/multiplied/0", &multiplied(2), None).unwrap();
}

#[test]
fn the_cost_of_compiling_initializers_counts() {
    let engine = Engine::bare();
    let of_global = b"\x7f\0\x23\0\x0b".repeat(30_000);
    let globals = items(6, 30_001, &[b"\x7f\0\x41\x01\x0b".to_vec(), of_global].concat());
    let functions = [function_type(0, 0), items(3, 1, &[0])].concat();
    let code = items(10, 1, &body(&[0], &[]));
    let start = b"\0\x23\0\x0b".to_vec();
    let elements = [start, leb(500_000), vec![0; 500_000]].concat();
    for (name, wasm) in [
        ("globals of globals", around(&[globals])),
        // 0.5 MB that take 36 seconds and 2.7 GiB to compile.
        (
            "data segments",
            around(&[items(5, 1, &[0, 1]), items(11, 100_000, &b"\0\x41\0\x0b\0".repeat(100_000))]),
        ),
        (
            "elements",
            around(&[
                functions,
                items(4, 1, &[vec![0x70, 0], leb(500_000)].concat()),
                items(6, 1, b"\x7f\0\x41\0\x0b"),
                items(9, 1, &elements),
                code,
            ]),
        ),
    ] {
        refused(&engine, name, &wasm, "max-function-cost");
    }
}

#[test]
fn the_cost_of_compiling_adapters_counts() {
    let engine = Engine::bare();
    let lowered = |count| {
        component(&[
            items(7, 1, b"\x40\0\x01\0"),
            items(10, 1, b"\0\x01f\x01\0"),
            items(8, count, &b"\x01\0\0\0".repeat(count)),
        ])
    };
    refused(&engine, "20,000 functions", &lowered(20_000), "max-cost");
    let failure = engine.try_load("app/lowered/0", &lowered(100), None).unwrap_err();
    assert!(failure.message.contains("no function outside"), "it is compiled: {failure}");
}

#[test]
fn memory_is_estimated_before_it_is_allocated() {
    let engine = Engine::bare();
    let exceeds = |name: &str, engine: &Engine, wasm: &[u8], limit: &str| {
        let failure = engine.try_load("app/large/0", wasm, None).expect_err(name);
        assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{name}: {failure}");
        assert_eq!(failure.detail["limit"], limit, "{name}: {failure}");
        let value = failure.detail["value"].as_u64().unwrap();
        assert!(failure.detail["wanted"].as_u64().unwrap() > value, "{name}: {failure}");
        assert!(failure.message.contains(&value.to_string()), "{name}: {failure}");
    };
    // A hundred tables of a million entries each, in 1.5 KB.
    let table = [vec![0x70, 0], leb(1 << 20)].concat();
    let last: Vec<u8> = (0..100_usize)
        .flat_map(|n| [b"\x02".to_vec(), leb(n), b"\x41\xff\xff\x3f\x0b\0\x01\0".to_vec()].concat())
        .collect();
    let tables = [
        function_type(0, 0),
        items(3, 1, &[0]),
        items(4, 100, &table.repeat(100)),
        items(9, 100, &last),
        items(10, 1, &body(&[0], &[])),
    ];
    let module = section(1, &[&MODULE[..], &tables.concat()].concat());
    exceeds("tables", &engine, &component(&[module]), "compile.max-code-bytes");
    // A hundred memories with a byte at either end, in a binary that is large enough for images.
    let memory = [vec![0], leb(256)].concat();
    let ends: Vec<u8> = (0..100_usize)
        .flat_map(|n| {
            let at = |place: &[u8]| {
                [b"\x02".to_vec(), leb(n), vec![0x41], place.to_vec(), b"\x0b\x01x".to_vec()]
                    .concat()
            };
            [at(b"\0"), at(b"\xfb\xff\xff\x07")].concat()
        })
        .collect();
    let memories = [items(5, 100, &memory.repeat(100)), items(11, 200, &ends)];
    let module = section(1, &[&MODULE[..], &memories.concat()].concat());
    let padding = section(0, &[&b"\x01p"[..], &vec![0; 1_100_000]].concat());
    exceeds("memories", &engine, &component(&[module, padding]), "compile.max-code-bytes");

    let tight = Config::bare().with(r#"{"compile": {"max-memory-bytes": 5000000}}"#).engine();
    exceeds("echo", &tight, &airssys_wasm_guests::bytes("echo"), "compile.max-memory-bytes");
}

#[test]
fn limits_are_configurable() {
    let echo = airssys_wasm_guests::bytes("echo");
    for key in [
        "max-functions",
        "max-function-bytes",
        "max-function-blocks",
        "max-block-depth",
        "max-function-locals",
        "max-function-values",
        "max-function-cost",
        "max-definitions",
        "max-type-depth",
        "max-component-depth",
        "max-components",
        "max-cost",
    ] {
        let config = Config::bare().with(&format!(r#"{{"compile": {{"{key}": 1}}}}"#));
        let failure = config.engine().try_load("app/echo/0", &echo, None);
        // The inner component counts, too.
        if !matches!(key, "max-component-depth") {
            let failure = failure.expect_err(key);
            assert_eq!(failure.detail["limit"], format!("compile.{key}"), "{failure}");
        }
    }
    let config = Config::bare().with(r#"{"compile": {"max-code-bytes": 100}}"#);
    let failure = config.engine().try_load("app/echo/0", &echo, None).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
    assert_eq!(failure.detail["limit"], "compile.max-code-bytes", "{failure}");
    let deep = r#"{"compile": {"max-block-depth": 6000}}"#;
    let engine = Config::bare().with(deep).engine();
    let blocks = function(&[b"\x02\x40".repeat(6_000), vec![END; 6_000]].concat());
    engine.try_load("app/blocks/0", &blocks, None).unwrap();
}

/// Bytes that are valid in many places, mixed with random ones.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let known = prop_oneof![
        Just(b"\x41\x01\x01".to_vec()),
        Just(b"\x42\x01\x01".to_vec()),
        Just(b"\x50\x01\x01\x60\0\0".to_vec()),
        Just(b"\x4e\x02\x60\0\0\x60\0\0".to_vec()),
        Just(b"\x02\x03\x02\x01\0".to_vec()),
        Just(b"\x04\0\x01a\x05\0".to_vec()),
        Just(b"\x70\0\x6b\0\x6f\x02\0\0".to_vec()),
        Just(b"\x03\x40\x02\x40\x20\0\x0d\0\x0b".to_vec()),
        Just(b"\x0e\xff\xff\x03\0\0".to_vec()),
        Just(MODULE.to_vec()),
        Just(COMPONENT.to_vec()),
        Just(vec![0xff, 0xff, 0xff, 0xff, 0x0f]),
        vec(any::<u8>(), 0..8),
    ];
    (known, 1_usize..200).prop_map(|(bytes, times)| bytes.repeat(times))
}

#[test]
fn no_garbage_ends_the_process_or_the_engine() {
    let engine = Engine::bare();
    let echo = engine.load("app/echo/0", "echo");
    let sections = vec((0_u8..13, 0_usize..300, vec(fragments(), 0..4)), 0..5);
    let loads = |wasm: &[u8]| match engine.try_load("app/garbage/0", wasm, None) {
        Ok(handle) => engine.unload(handle).unwrap(),
        Err(failure) => assert_ne!(failure.status, AIRSSYS_ERROR_PANIC, "{failure}"),
    };
    for_all(150, (any::<bool>(), sections), |(core, sections)| {
        let sections: Vec<Vec<u8>> =
            sections.iter().map(|(id, count, parts)| items(*id, *count, &parts.concat())).collect();
        loads(&if core { around(&sections) } else { component(&sections) });
    });
    let guest = airssys_wasm_guests::bytes("counter");
    let edits = vec((any::<prop::sample::Index>(), fragments()), 1..4);
    for_all(60, edits, |edits| {
        let mut wasm = guest.clone();
        for (place, bytes) in edits {
            let at = 8 + place.index(wasm.len() - 8);
            let end = (at + bytes.len()).min(wasm.len());
            wasm[at..end].copy_from_slice(&bytes[..end - at]);
        }
        loads(&wasm);
    });
    assert_eq!(engine.text(echo, "still here"), "still here");
}
