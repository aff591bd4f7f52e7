//! Values that break the Canonical ABI, and binaries nested too deep.

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::Failure;
use crate::harness::stage::{Guest, Stage};

fn with_all_rights(stage: &Stage) -> Guest {
    let all = json!({"messaging": {"send": ["**"], "request": ["**"], "broadcast": ["**"]},
                     "storage": ["read", "write", "delete"]});
    stage.load("app/thief/0", "hostile", all)
}

/// Expects a trap without a decision, and a working next instance.
fn traps(stage: &Stage, thief: &Guest, command: &str) -> Failure {
    let observed = stage.observe(thief, command);
    let failure = observed.reply.expect_err(command);
    assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{command}: {failure}");
    assert!(!failure.message.contains("/work") && !failure.message.contains(".rs:"), "{failure}");
    stage.works(thief, "raw-get 6b", "nothing", "storage.read");
    failure
}

#[test]
fn invalid_or_out_of_bounds_text_is_a_trap() {
    let stage = Stage::new();
    let thief = with_all_rights(&stage);
    for (function, named) in [
        ("log", "`log` was called with a `message` that is not text: "),
        ("get", "`get` was called with a `key` that is not text: "),
        ("cancel", "`cancel-request` was called with a `request-id` that is not text: "),
        ("send", "`send` was called with a `instance` that is not text: "),
    ] {
        for kind in ["out-of-range", "crossing", "wrapping", "huge"] {
            traps(&stage, &thief, &format!("raw-string {function} {kind}"));
        }
        for kind in ["invalid", "surrogate"] {
            let failure = traps(&stage, &thief, &format!("raw-string {function} {kind}"));
            assert!(failure.message.contains(named), "{failure}");
        }
    }
    let records = stage.journal.of("app/thief/0");
    let expected =
        |record: &String| record.starts_with("crashed: ") || record.contains("record(s) dropped");
    assert!(records.iter().all(expected), "{records:?}");
}

#[test]
fn out_of_bounds_bytes_and_lists_are_a_trap() {
    let stage = Stage::new();
    let thief = with_all_rights(&stage);
    for kind in ["out-of-range", "crossing", "wrapping", "huge"] {
        for function in ["set", "send"] {
            traps(&stage, &thief, &format!("raw-bytes {function} {kind}"));
        }
        traps(&stage, &thief, &format!("raw-list {kind}"));
        traps(&stage, &thief, &format!("raw-reply {kind}"));
    }
    for kind in ["unaligned", "inner"] {
        traps(&stage, &thief, &format!("raw-list {kind}"));
    }
    stage.works(&thief, "raw-keys -", "", "storage.read");
}

#[test]
fn unknown_variant_cases_are_a_trap() {
    let stage = Stage::new();
    let thief = with_all_rights(&stage);
    for command in
        ["raw-enum 5", "raw-enum 255", "raw-enum 4294967295", "raw-option 2", "raw-option 255"]
    {
        traps(&stage, &thief, command);
    }
    assert_eq!(stage.engine.text(thief.handle, "raw-enum 4"), "ok");
}

#[test]
fn an_invalid_result_pointer_is_a_trap() {
    let stage = Stage::new();
    let thief = with_all_rights(&stage);
    for kind in ["out-of-range", "crossing", "wrapping", "unaligned"] {
        traps(&stage, &thief, &format!("raw-return {kind}"));
    }
}

#[test]
fn an_allocator_that_misleads_the_host_traps_its_own_component() {
    let stage = Stage::new();
    let thief = with_all_rights(&stage);
    for kind in ["out-of-range", "unaligned", "trap", "reenter"] {
        traps(&stage, &thief, &format!("realloc {kind}"));
        assert_eq!(stage.engine.text(thief.handle, &format!("realloc-next {kind}")), "ok");
        traps(&stage, &thief, "raw-get 6b");
    }
    // The host writes only into the guest's memory, wherever the pointer leads.
    for kind in ["null", "same"] {
        let _ = stage.observe(&thief, &format!("realloc {kind}"));
        let _ = stage.observe(&thief, &format!("realloc-next {kind}"));
        let _ = stage.observe(&thief, "raw-get 6b");
    }
    let limits = json!({"limits": {"max-execution-time-ms": 100}});
    let looper = stage.load_with("app/loop/0", "hostile", &limits);
    let failure = stage.observe(&looper, "realloc loop").reply.unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
}

#[test]
fn long_errors_are_cut_and_long_descriptions_refused() {
    let stage = Stage::new();
    let thief = with_all_rights(&stage);
    let failure = stage.observe(&thief, "big-error 3000000").reply.unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_RUNTIME);
    assert!(failure.message.len() < 5_000, "{} bytes", failure.message.len());
    assert!(failure.message.ends_with("xxx… (3000000 bytes)"), "{failure}");
    let described = |bytes: &str| {
        let options = json!({"env": {"DESCRIPTION_BYTES": bytes}}).to_string();
        let wasm = airssys_wasm_guests::bytes("hostile");
        stage.engine.try_load("app/wordy/0", &wasm, Some(&options))
    };
    let refused = described("4097").unwrap_err();
    assert_eq!(refused.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{refused}");
    let expected = "metadata: a text of description has 4097 bytes, at most 4096 are allowed";
    assert!(refused.message.contains(expected), "{refused}");
    let wordy = described("4096").unwrap();
    assert_eq!(stage.engine.text(wordy, "callbacks"), "0");
    stage.assert_intact("a long description");
}

const HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(low | if number > 0 { 0x80 } else { 0 });
        if number == 0 {
            return bytes;
        }
    }
}

/// A type index. Its encoding is signed.
fn index(number: usize) -> Vec<u8> {
    let mut bytes = leb(number);
    let last = bytes.last_mut().unwrap();
    if *last & 0x40 != 0 {
        *last |= 0x80;
        bytes.push(0);
    }
    bytes
}

fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(body.len()), body].concat()
}

/// `count` types, each made from the previous one by `shape`. The first is `string`.
fn types(count: usize, shape: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let mut body = leb(count + 1);
    body.push(0x73);
    body.extend((0..count).flat_map(|n| shape(index(n))));
    [&HEADER[..], &section(7, &body)].concat()
}

fn nested(depth: usize) -> Vec<u8> {
    let mut component = HEADER.to_vec();
    for _ in 0..depth {
        component = [&HEADER[..], &section(4, &component)].concat();
    }
    component
}

fn refused(stage: &Stage, name: &str, wasm: &[u8], expected: &str) {
    let failure = stage.engine.try_load("app/deep/0", wasm, None).expect_err(name);
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{name}: {failure}");
    assert!(failure.message.contains(expected), "{name}: {failure}");
    assert!(failure.message.len() < 1000, "{name}: {} bytes", failure.message.len());
    stage.assert_intact(name);
}

#[test]
fn components_within_components_are_bounded() {
    let stage = Stage::new();
    for depth in [65, 200, 5_000, 100_000] {
        refused(
            &stage,
            &format!("nested {depth}"),
            &nested(depth),
            "compile.max-component-depth 64 exceeded",
        );
    }
    for depth in [0, 1, 20] {
        let deep = stage.engine.try_load("app/deep/0", &nested(depth), None).unwrap();
        stage.engine.unload(deep).unwrap();
    }
}

#[test]
fn types_within_types_are_bounded() {
    let stage = Stage::new();
    let list = |of: Vec<u8>| [vec![0x70], of].concat();
    let pair = |of: Vec<u8>| [vec![0x6f, 2], of.clone(), of].concat();
    for (name, wasm) in [
        ("lists 200 deep", types(200, list)),
        ("lists 5,000 deep", types(5_000, list)),
        ("lists 500,000 deep", types(500_000, list)),
        // 2 to the power of 60 values in 300 bytes.
        ("pairs of pairs", types(60, pair)),
        ("many pairs of pairs", types(5_000, pair)),
    ] {
        refused(&stage, name, &wasm, "");
    }
    stage.engine.try_load("app/deep/0", &types(20, list), None).unwrap();
}

#[test]
fn truncated_binaries_and_wrong_sizes_are_refused() {
    let stage = Stage::new();
    let whole = airssys_wasm_guests::bytes("hostile");
    for end in [0, 1, 7, 9, 100, whole.len() / 2, whole.len() - 1] {
        refused(&stage, &format!("cut at {end}"), &whole[..end], "");
    }
    let lies = [&HEADER[..], &[4], &leb(usize::try_from(u32::MAX).unwrap())].concat();
    refused(&stage, "a section of 4 GiB", &lies, "");
    let many = [&HEADER[..], &section(7, &leb(100_000_000))].concat();
    refused(&stage, "a hundred million types", &many, "");
}
