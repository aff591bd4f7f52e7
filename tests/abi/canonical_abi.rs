//! Breaches of the Canonical ABI. The loop in a component must detect every breach that Wasmtime
//! detects when it calls the handler itself.

use airssys_wasm::*;
use serde_json::Value;

use crate::harness::engine::{Engine, Outcome, eventually};
use crate::harness::handmade::Code;
use crate::harness::published::with_code;
use crate::harness::requests::Inbox;

/// The outcomes, and the state of the component after them.
#[derive(Debug, PartialEq)]
struct Observed {
    outcomes: Vec<Result<Option<Vec<u8>>, String>>,
    state: Value,
    counts: Value,
    restarts: Value,
}

impl Observed {
    fn statuses(&self) -> Vec<Result<(), &str>> {
        self.outcomes.iter().map(|one| one.as_ref().map(drop).map_err(String::as_str)).collect()
    }
}

fn observe(
    engine: &Engine,
    wasm: &[u8],
    options: Option<&str>,
    payloads: &[&str],
    hand_over: impl Fn(u64, &str) -> Outcome<Option<Vec<u8>>>,
) -> Observed {
    let handle = engine.try_load("app/guest/0", wasm, options).unwrap_or_else(|e| panic!("{e}"));
    let told = |payload: &&str| {
        hand_over(handle, payload).map_err(|e| crate::harness::engine::status_name(e.status))
    };
    let outcomes = payloads.iter().map(told).collect();
    let described = engine.describe(handle).unwrap();
    let [state, counts, restarts] =
        ["state", "messages", "restarts"].map(|key| described[key].clone());
    engine.unload(handle).unwrap();
    Observed { outcomes, state, counts, restarts }
}

/// Sends the same messages by direct calls and through the loop. Wasmtime's direct calls are the
/// reference.
fn alike(what: &str, wasm: &[u8], payloads: &[&str]) -> Observed {
    alike_with(None, what, wasm, payloads)
}

fn alike_with(options: Option<&str>, what: &str, wasm: &[u8], payloads: &[&str]) -> Observed {
    let engine = Engine::new();
    let called =
        observe(&engine, wasm, options, payloads, |handle, payload| engine.call(handle, payload));
    let mailed = observe(&engine, wasm, options, payloads, |handle, payload| {
        let inbox = Inbox::new();
        engine.request(handle, payload, inbox).unwrap();
        inbox.only().outcome
    });
    assert_eq!(mailed, called, "{what}");
    called
}

/// Every message ends in a trap, and the next one gets a new instance.
fn traps(what: &str, code: &Code<'_>) {
    let observed = alike(
        what,
        &code.component(),
        &[
            "",
            "x",
            "a longer one, past any short form \
        of a message: it has more than the hundred and four bytes which the record itself has",
        ],
    );
    let trap = Err("AIRSSYS_ERROR_TRAP");
    assert_eq!(observed.statuses(), [trap; 3], "{what}");
    assert_eq!(observed.restarts, 2, "{what}");
}

#[test]
fn a_component_that_keeps_the_rules_replies_both_ways() {
    let observed = alike("an empty reply", &Code::default().component(), &["x", "y"]);
    assert_eq!(observed.outcomes, [Ok(Some(Vec::new())), Ok(Some(Vec::new()))]);
    assert_eq!(observed.restarts, 0);
}

#[test]
fn a_component_whose_post_return_could_reach_an_import_gets_no_loop() {
    // Makes sure that the other tests compare two ways: the loop's instructions take fuel.
    let engine = Engine::new();
    let fuel = |code: Code<'_>| {
        let handle = engine.try_load("app/guest/0", &code.component(), None).unwrap();
        let before = engine.stats()["fuel"].as_u64().unwrap();
        let inbox = Inbox::new();
        engine.request(handle, "x", inbox).unwrap();
        assert_eq!(inbox.only().status(), AIRSSYS_OK);
        engine.stats()["fuel"].as_u64().unwrap() - before
    };
    let may_leave = "(if (i32.eqz (global.get $armed)) (then (call $leave)))";
    let (without, with) =
        (fuel(Code { post: may_leave, ..Code::default() }), fuel(Code::default()));
    assert!(with > without + 100, "{with} {without}");
}

#[test]
fn a_result_that_is_out_of_bounds_or_invalid_is_a_trap() {
    for (what, message) in [
        ("unaligned by 1", "(drop (call $reply (i32.const 0) (i32.const 0))) (i32.const 769)"),
        ("unaligned by 2", "(drop (call $reply (i32.const 0) (i32.const 0))) (i32.const 770)"),
        ("unaligned, zeros", "(i32.const 1026)"),
        ("half outside", "(i32.const 262136)"),
        ("outside by one", "(i32.const 262132)"),
        ("just outside", "(i32.const 262144)"),
        ("wrapping", "(i32.const -4)"),
        ("no result's case", "(i32.store8 (i32.const 768) (i32.const 2)) (i32.const 768)"),
        ("case 255", "(i32.store8 (i32.const 768) (i32.const 255)) (i32.const 768)"),
        ("no option's case", "(i32.store8 (i32.const 772) (i32.const 2)) (i32.const 768)"),
        ("option 255", "(i32.store8 (i32.const 772) (i32.const 255)) (i32.const 768)"),
        ("no error's case", "(call $fail (i32.const 7) (i32.const 0) (i32.const 0))"),
        ("error 255", "(call $fail (i32.const 255) (i32.const 0) (i32.const 0))"),
        ("a reply that ends outside", "(call $reply (i32.const 262140) (i32.const 5))"),
        ("a reply outside", "(call $reply (i32.const -1) (i32.const 0))"),
        ("a reply that wraps", "(call $reply (i32.const 16) (i32.const -1))"),
        ("text that ends outside", "(call $fail (i32.const 6) (i32.const 262140) (i32.const 5))"),
        ("text outside", "(call $fail (i32.const 6) (i32.const -1) (i32.const 0))"),
        ("text that is none", "(call $fail (i32.const 6) (i32.const 64) (i32.const 2))"),
    ] {
        traps(what, &Code { message, ..Code::default() });
    }
}

#[test]
fn an_odd_but_valid_result_is_read_the_same() {
    for (what, message) in [
        ("at the very end", "(i32.const 262128)"),
        (
            "rubbish around the cases",
            "(i32.store (i32.const 768) (i32.const 0xabcdef00)) (i32.const 768)",
        ),
        ("a reply up to the end", "(call $reply (i32.const 131072) (i32.const 131072))"),
        ("an empty reply at the end", "(call $reply (i32.const 262144) (i32.const 0))"),
        (
            "a time-out, with text nowhere",
            "(call $fail (i32.const 3) (i32.const -1) (i32.const -1))",
        ),
        ("a failure", "(call $fail (i32.const 0) (i32.const 16) (i32.const 3))"),
    ] {
        let wasm = Code { message, ..Code::default() }.component();
        assert_eq!(alike(what, &wasm, &["x", "y"]).restarts, 0, "{what}");
    }
}

#[test]
fn a_result_past_the_quota_ends_the_same() {
    let options = Some(r#"{"quotas": {"host-call-data-bytes": 1000}}"#);
    let exceeded = Err("AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED");
    for (message, expected) in [
        ("(call $reply (i32.const 131072) (i32.const 1000))", Ok(())),
        ("(call $reply (i32.const 131072) (i32.const 1001))", exceeded),
        (
            "(call $fail (i32.const 6) (i32.const 131072) (i32.const 1000))",
            Err("AIRSSYS_ERROR_RUNTIME"),
        ),
        ("(call $fail (i32.const 6) (i32.const 131072) (i32.const 1001))", exceeded),
    ] {
        let wasm = Code { message, ..Code::default() }.component();
        let observed = alike_with(options, message, &wasm, &["x", "y"]);
        assert_eq!(observed.statuses(), [expected; 2], "{message}");
    }
}

#[test]
fn an_allocator_that_returns_a_bad_pointer_is_a_trap() {
    for (what, realloc) in [
        ("unaligned", "(return (i32.const 1028))"),
        ("outside", "(return (i32.const -64))"),
        ("the record's end outside", "(return (i32.const 262088))"),
        (
            "just outside",
            "(if (i32.eqz (local.get $size)) (then (return (i32.const 262145))))
            (return (i32.const 262144))",
        ),
        ("traps", "unreachable"),
        (
            "texts outside",
            "(if (i32.eq (local.get $align) (i32.const 1)) (then (return (i32.const -64))))",
        ),
    ] {
        traps(what, &Code { realloc, ..Code::default() });
    }
    let realloc = "(if (i32.eqz (local.get $size)) (then (return (i32.const 262145))))";
    let wasm = Code { realloc, ..Code::default() }.component();
    let observed = alike("nothing, outside", &wasm, &["", "x"]);
    assert_eq!(observed.statuses(), [Err("AIRSSYS_ERROR_TRAP"), Ok(())]);
}

#[test]
fn the_allocator_gets_the_same_calls_in_the_same_order() {
    let engine = Engine::new();
    let message = "(call $reply (i32.const 4096) (i32.sub (global.get $traced) (i32.const 4096)))";
    let post = "(global.set $traced (i32.const 4096))";
    let wasm = Code { message, post, ..Code::default() }.component();
    let handle = engine.try_load("app/guest/0", &wasm, None).unwrap();
    let sizes = |reply: Option<Vec<u8>>| -> Vec<[u32; 2]> {
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        reply.unwrap().chunks(8).map(|two| [number(&two[..4]), number(&two[4..])]).collect()
    };
    for length in [0, 1, 10, 30, 60, 90, 1000] {
        let payload = "x".repeat(length);
        let called = sizes(engine.call(handle, &payload).unwrap());
        let inbox = Inbox::new();
        engine.request(handle, &payload, inbox).unwrap();
        let mailed = sizes(inbox.only().outcome.unwrap());
        // The correlation id and the reply-to id come last.
        assert_eq!(mailed[..called.len()], called, "{length}");
        assert_eq!(mailed[called.len()..], [&[[1, 16]], &called[1..4]].concat(), "{length}");
    }
}

#[test]
fn post_return_runs_once_with_the_result() {
    let message = "(call $reply (i32.const 800) (i32.const 8))";
    let post = "(i32.store (i32.const 800) (global.get $posts))
        (i32.store (i32.const 804) (local.get $result))";
    let wasm = Code { message, post, ..Code::default() }.component();
    let observed = alike("counted", &wasm, &["x", "y", "z"]);
    let after =
        |posts: u32, result: u32| Ok(Some([posts.to_le_bytes(), result.to_le_bytes()].concat()));
    assert_eq!(observed.outcomes, [after(0, 0), after(1, 768), after(2, 768)]);

    // Also after a failure.
    let message = "(if (result i32) (i32.load offset=28 (local.get $message))
        (then (call $fail (i32.const 6) (i32.const 16) (i32.const 3)))
        (else (call $reply (i32.const 800) (i32.const 8))))";
    let wasm = Code { message, post, ..Code::default() }.component();
    let observed = alike("after a failure", &wasm, &["", "fails", ""]);
    assert_eq!(observed.outcomes[2], after(2, 768));

    traps("a trap after the return", &Code { post: "unreachable", ..Code::default() });
}

#[test]
fn allocators_and_post_return_may_not_call_imports() {
    let table = "(table funcref (elem $leave))";
    let through_it = "(call_indirect (i32.const 0))";
    for (what, code) in [
        ("allocating", Code { realloc: "(call $leave)", ..Code::default() }),
        ("after a return", Code { post: "(call $leave)", ..Code::default() }),
        ("allocating, by a table", Code { realloc: through_it, more: table, ..Code::default() }),
        ("after, by a table", Code { post: through_it, more: table, ..Code::default() }),
    ] {
        traps(what, &code);
    }
    // A compiled component.
    let engine = Engine::new();
    let hostile = engine.load("app/hostile/0", "hostile");
    assert_eq!(engine.text(hostile, "realloc-next reenter"), "ok");
    let inbox = Inbox::new();
    engine.request(hostile, "kept", inbox).unwrap();
    assert_eq!(inbox.only().status(), AIRSSYS_ERROR_TRAP);
}

#[test]
fn invalid_results_of_callbacks_are_traps() {
    // A callback with a long payload bypasses the loop.
    for size in [8, 5000] {
        let engine = Engine::new();
        engine.load("app/echo/0", "echo");
        for (what, callback) in [
            ("unaligned", "(i32.const 1026)"),
            ("half outside", "(i32.const 262136)"),
            ("no case", "(i32.store8 (i32.const 768) (i32.const 2)) (i32.const 768)"),
            ("no error's case", "(call $fail (i32.const 7) (i32.const 0) (i32.const 0))"),
            ("text that is none", "(call $fail (i32.const 6) (i32.const 64) (i32.const 2))"),
        ] {
            let message = format!(
                "(call $request (i32.const 16) (i32.const 3) (i32.const 32) (i32.const 4)
                    (i32.const 48) (i32.const 1) (i32.const 8192) (i32.const {size})
                    (i64.const 60000) (i32.const 512))
                (if (i32.load8_u (i32.const 512)) (then unreachable))
                (call $reply (i32.const 0) (i32.const 0))"
            );
            let wasm = Code { message: &message, callback, ..Code::default() }.component();
            let handle = engine.try_load("app/guest/0", &wasm, None).unwrap();
            engine.call(handle, "x").unwrap();
            let what = format!("{what}, {size} bytes");
            eventually(&what, || {
                (engine.describe(handle).unwrap()["state"] == "crashed").then_some(())
            });
            engine.unload(handle).unwrap();
        }
    }
}

#[test]
fn the_handler_is_the_export_whatever_the_inner_names_say() {
    // The inner component gets the handler under a new name, and a decoy under the usual one.
    let honest = Code {
        message: "(call $reply (i32.const 16) (i32.const 3))",
        callback: "(call $reply (i32.const 32) (i32.const 4))",
        ..Code::default()
    };
    let text = wasmprinter::print_bytes(honest.component()).unwrap();
    let (name, decoy) =
        ("\"import-func-handle-message\"", "(with \"import-func-handle-callback\" ");
    assert_eq!(text.matches(name).count(), 2, "the name that `wit-component` generates");
    let at = text.find(decoy).expect("the name that `wit-component` generates") + decoy.len();
    let function = text[at..].split("))").next().unwrap();
    let renamed = text.replace(name, "\"the-handler\"");
    let misled = renamed.replacen(decoy, &format!("(with {name} {function})) {decoy}"), 1);
    let wasm = wat::parse_str(misled).unwrap();
    let observed = alike("a name that misleads", &wasm, &["x", "y"]);
    assert_eq!(observed.outcomes, [Ok(Some(b"app".to_vec())), Ok(Some(b"app".to_vec()))]);
}

fn load(engine: &Engine, wasm: &[u8]) -> Outcome<u64> {
    engine.try_load("bad/guest/0", wasm, None)
}

#[test]
fn an_invalid_value_at_load_is_a_trap_of_that_step() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    let health = "#health\") (result i32)\n    (i32.const 1))";
    let health_that = |body: &str| health.replace("(i32.const 1)", body);
    for (from, to, during) in [
        (health, health_that("(i32.const 9)"), "health"),
        (health, health_that("unreachable"), "health"),
        // Strings that are not UTF-8 or outside the memory.
        ("\"handmade", "\"\\ff\\fendmade".into(), "metadata"),
        ("0x800000030", "0x8fffffff0".into(), "metadata"),
        ("0x300000046", "0x7fffffff00000046".into(), "metadata"),
        ("\"ready\"", "\"\\ff\\ffady\"".into(), "initialize"),
        ("(i32.const 16) (i32.const 5)", "(i32.const -1) (i32.const 5)".into(), "initialize"),
    ] {
        let failure = load(&engine, &with_code(from, &to)).expect_err(from);
        assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{from}: {failure}");
        assert_eq!(failure.detail["during"], during, "{from}: {failure}");
        assert_eq!(engine.text(echo, "unmoved"), "unmoved");
    }
    assert_eq!(engine.stats()["components"], 1);
}

#[test]
fn an_invalid_reply_is_a_trap_of_the_guest() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    let result = "(i32.const 780) (i32.const 4))))))\n    (i32.const 768))";
    let returns = |pointer: &str| result.replace("(i32.const 768))", pointer);
    for (from, to) in [
        (result, returns("(i32.const 769))")),
        (result, returns("(i32.const -16))")),
        ("(i64.const 0x100000000))", "(i64.const 0x500000000))".into()),
        ("(i64.const 0x100000000))", "(i64.const 0x700000001))".into()),
        (
            "(i32.store (i32.const 776) (local.get $at))",
            "(i32.store (i32.const 776) (i32.const -1))".into(),
        ),
        (
            "(i32.store (i32.const 780) (local.get $len))",
            "(i32.store (i32.const 780) (i32.const -1))".into(),
        ),
    ] {
        let guest = load(&engine, &with_code(from, &to)).unwrap();
        let failure = engine.failure(guest, "a message");
        assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{to}: {failure}");
        assert_eq!(engine.text(echo, "unmoved"), "unmoved");
        engine.unload(guest).unwrap();
    }
}

#[test]
fn a_bad_pointer_from_the_allocator_at_load_is_a_trap() {
    let engine = Engine::new();
    let body = "(local.get $at))\n\n  ;; env-vars";
    for pointer in ["(i32.const 1))", "(i32.const -64))", "unreachable)"] {
        let to = body.replace("(local.get $at))", pointer);
        let wasm = with_code(body, &to);
        let options = r#"{"env": {"A": "1"}}"#;
        let failure = engine.try_load("bad/guest/0", &wasm, Some(options)).expect_err(pointer);
        assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{pointer}: {failure}");
    }
}
