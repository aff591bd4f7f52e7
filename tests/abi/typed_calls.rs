//! Typed calls reach any export of any component, with values of every type, as mail.

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Engine, With};
use crate::harness::requests::Inbox;

fn calculator(engine: &Engine) -> u64 {
    engine.load("app/calc/0", "calculator")
}

#[track_caller]
fn refused(engine: &Engine, handle: u64, function: &str, args: &Value) -> String {
    let failure = engine.invoke(handle, function, args).expect_err("it does not fit");
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
    // Nothing of the guest ran, so nothing was lost.
    assert_eq!(engine.describe(handle).unwrap()["restarts"], 0, "{failure}");
    failure.message
}

#[test]
fn functions_are_named_with_and_without_interface_and_version() {
    let engine = Engine::new();
    let calc = calculator(&engine);
    for function in
        ["add", "docs:calc/ops@0.1.0#add", "docs:calc/ops#add", "docs:calc/ops@0.1.7#add"]
    {
        assert_eq!(engine.invoke(calc, function, &json!([1, 2])).unwrap(), 3, "{function}");
    }
    assert_eq!(engine.invoke(calc, "add", &json!({ "b": 2, "a": -5 })).unwrap(), -3);
    assert_eq!(engine.invoke_bare(calc, "docs:calc/echo#nothing").unwrap(), "null");
    assert_eq!(
        engine.invoke_text(calc, "docs:calc/echo#nothing", "", With::default()).unwrap(),
        "null"
    );
}

#[test]
fn an_unknown_function_is_refused_with_the_nearest_ones() {
    let engine = Engine::new();
    let calc = calculator(&engine);
    for (function, near) in [
        ("addd", "it exports add"),
        ("docs:calc/ops#ad", "docs:calc/ops@0.1.0#add"),
        ("docs:calc/ops@2.0.0#add", "docs:calc/ops@0.1.0#add"),
        ("docs:other/ops#add", "docs:calc/ops@0.1.0#add"),
        ("docs:calc/ops", "docs:calc/ops@0.1.0#"),
        ("", "add"),
        ("#", "add"),
    ] {
        let failure = engine.invoke(calc, function, &json!([])).expect_err("no such function");
        assert_eq!(failure.status, AIRSSYS_ERROR_EXPORT_NOT_FOUND, "{failure}");
        assert!(failure.message.contains(near), "{failure}");
        assert!(failure.message.len() < 1000, "{failure}");
    }
    let minimal = engine.load("app/minimal/0", "minimal");
    let failure = engine.invoke(minimal, "f", &json!([])).expect_err("it exports nothing");
    assert!(failure.message.contains("it exports none"), "{failure}");
}

#[test]
fn every_type_returns_as_it_was_passed() {
    let engine = Engine::new();
    let calc = calculator(&engine);
    let ten = json!({
        "a": 255, "b": -32768, "c": 4294967295_u32, "d": i64::MIN, "e": 1.5, "f": 1e-310,
        "g": "ß", "h": true, "i": "line\n\"quoted\" \u{1}", "j": "AAEC/w==",
    });
    let mut other = ten.clone();
    other["e"] = json!("-Infinity");
    other["j"] = json!("");
    let cases = [
        ("bools", vec![json!(true), json!(false)]),
        ("s8s", vec![json!(-128), json!(127)]),
        ("u8s", vec![json!(0), json!(255)]),
        ("s16s", vec![json!(-32768), json!(32767)]),
        ("u16s", vec![json!(65535)]),
        ("s32s", vec![json!(i32::MIN), json!(i32::MAX)]),
        ("u32s", vec![json!(u32::MAX)]),
        ("s64s", vec![json!(i64::MIN), json!(i64::MAX)]),
        ("u64s", vec![json!(u64::MAX), json!(9007199254740993_u64)]),
        ("f32s", vec![json!(0.5), json!(-0.0), json!("NaN"), json!("Infinity")]),
        (
            "f64s",
            vec![json!(0.1), json!(5e-324), json!(f64::MAX), json!("NaN"), json!("-Infinity")],
        ),
        ("chars", vec![json!("a"), json!("\u{10ffff}"), json!("\"")]),
        ("strings", vec![json!(""), json!("grüße \u{0} 💡"), json!("x".repeat(100_000))]),
        ("bytes", vec![json!(""), json!("AA=="), json!("/+8=")]),
        ("numbers", vec![json!([]), json!([1, -2, i32::MAX])]),
        ("doubles", vec![json!([0.5, "NaN", -1.25])]),
        ("truths", vec![json!([true, false, true])]),
        ("texts", vec![json!([]), json!(["", "a", "\\"])]),
        (
            "points",
            vec![json!([{ "x": 1, "y": -1, "label": "p" }, { "x": 0, "y": 0, "label": null }])],
        ),
        ("tens", vec![ten.clone(), other.clone()]),
        ("lists-of-tens", vec![json!([ten, other, ten])]),
        ("tuples", vec![json!([1, "two", 3.0])]),
        ("options", vec![json!(null), json!(0)]),
        ("nested-options", vec![json!(null), json!({ "some": null }), json!({ "some": "x" })]),
        ("results", vec![json!({ "ok": 1 }), json!({ "err": "no" })]),
        ("empty-results", vec![json!({ "ok": null }), json!({ "err": null })]),
        ("shapes", vec![json!("dot"), json!({ "circle": 2.5 }), json!({ "polygon": [] })]),
        (
            "mixeds",
            vec![
                json!("nothing"),
                json!({ "whole": u64::MAX }),
                json!({ "real": -0.5 }),
                json!({ "text": "t" }),
                json!({ "pair": [7, -1e300] }),
            ],
        ),
        ("ops", vec![json!("plus"), json!("times")]),
        ("styles", vec![json!([]), json!(["bold", "underlined"])]),
        ("manys", vec![json!([]), json!(["f0", "f7", "f8", "f16"])]),
    ];
    for (name, values) in cases {
        let function = format!("docs:calc/echo#{name}");
        for value in values {
            let came = engine.invoke(calc, &function, &json!([value]));
            assert_eq!(came.unwrap_or_else(|e| panic!("{name}: {value}: {e}")), value, "{name}");
        }
    }
    let wide = engine.invoke(calc, "docs:calc/echo#wide", &json!({ "a": ten, "b": other }));
    assert_eq!(wide.unwrap(), json!([ten, other]));
}

#[test]
fn other_spellings_of_a_value_are_accepted() {
    let engine = Engine::new();
    let calc = calculator(&engine);
    for (name, value, same) in [
        ("u64s", json!("18446744073709551615"), json!(u64::MAX)),
        ("s8s", json!("-7"), json!(-7)),
        ("s32s", json!(3.0), json!(3)),
        ("f64s", json!(3), json!(3.0)),
        ("f32s", json!(16777217), json!(16777216.0)),
        ("bytes", json!([0, 255]), json!("AP8=")),
        ("numbers", json!("AQAAAP////8="), json!([1, -1])),
        ("truths", json!("AAE="), json!([false, true])),
        ("points", json!([{ "y": 2, "x": 1 }]), json!([{ "x": 1, "y": 2, "label": null }])),
        ("manys", json!(["f16", "f0", "f0"]), json!(["f0", "f16"])),
    ] {
        let function = format!("docs:calc/echo#{name}");
        let came = engine.invoke(calc, &function, &json!([value]));
        assert_eq!(came.unwrap_or_else(|e| panic!("{name}: {value}: {e}")), same, "{name}");
    }
}

#[test]
fn packed_lists_are_base64_both_ways() {
    let engine = Engine::new();
    let calc = calculator(&engine);
    let packed = With { flags: AIRSSYS_MESSAGE_PACKED_LISTS, ..With::default() };
    let args = r#"["AQAAAP////8="]"#;
    let text = engine.invoke_text(calc, "docs:calc/echo#numbers", args, packed).unwrap();
    assert_eq!(text, r#""AQAAAP////8=""#);
    let failure = engine.call_with(calc, "x", packed).expect_err("a message has no typed result");
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
}

#[test]
fn an_argument_that_does_not_fit_is_refused_with_its_place() {
    let engine = Engine::new();
    let calc = calculator(&engine);
    let point = json!({ "x": 1, "y": 2 });
    for (function, args, message) in [
        ("add", json!([1]), "args: expected an array of 2 arguments, got 1"),
        ("add", json!([1, 2, 3]), "args: expected an array of 2 arguments, got 3"),
        ("add", json!(null), "args: expected an array of 2 arguments, got null"),
        ("add", json!("1, 2"), "args: expected an array of 2 arguments, got a string"),
        ("add", json!({ "a": 1 }), "args: the parameter \"b\" is missing"),
        ("add", json!({ "a": 1, "c": 1 }), "args: no parameter \"c\"; there are: a, b"),
        ("add", json!([1, "x"]), "args[1]: expected s32, got \"x\""),
        ("add", json!([1, true]), "args[1]: expected s32, got true"),
        ("add", json!([1, null]), "args[1]: expected s32, got null"),
        ("add", json!([1, 1.5]), "args[1]: expected s32, got 1.5"),
        (
            "add",
            json!([1, 2147483648_u32]),
            "args[1]: expected s32, got 2147483648, which is not in",
        ),
        ("add", json!([[], 1]), "args[0]: expected s32, got an array"),
        ("add", json!([{}, 1]), "args[0]: expected s32, got an object"),
        (
            "docs:calc/ops#apply",
            json!(["minux", 1, 1]),
            "args[0]: expected one of plus, minus, times, got \"minux\"",
        ),
        ("docs:calc/ops#describe", json!([3, point, []]), "args[0]: expected string, got 3"),
        (
            "docs:calc/ops#describe",
            json!(["n", { "x": 1 }, []]),
            "args[1]: the field \"y\" is missing",
        ),
        (
            "docs:calc/ops#describe",
            json!(["n", { "x": 1, "y": 2, "label": 3 }, []]),
            "args[1].label: expected string, got 3",
        ),
        (
            "docs:calc/ops#describe",
            json!(["n", { "x": 1, "y": 2, "z": 3 }, []]),
            "args[1]: no field \"z\"; there are: x, y, label",
        ),
        (
            "docs:calc/ops#describe",
            json!(["n", point, ["bald"]]),
            "args[2]: expected flags (an array) among bold, italic, underlined, got \"bald\"",
        ),
        ("docs:calc/ops#area", json!(["circle"]), "args[0]: the case \"circle\" has a payload"),
        ("docs:calc/ops#area", json!([{ "dot": 1 }]), "args[0].dot: this case has no payload"),
        (
            "docs:calc/ops#area",
            json!([{ "circle": "1" }]),
            "args[0].circle: expected f64, got \"1\"",
        ),
        (
            "docs:calc/ops#area",
            json!([{ "square": 1 }]),
            "args[0]: expected one of the cases dot, circle, polygon, got \"square\"",
        ),
        (
            "docs:calc/ops#area",
            json!([{ "circle": 1, "dot": null }]),
            "args[0]: expected one of the cases",
        ),
        (
            "docs:calc/ops#area",
            json!([{ "polygon": [point, point, { "x": 1, "y": [] }] }]),
            "args[0].polygon[2].y: expected s32, got an array",
        ),
        ("docs:calc/ops#sum", json!([[1, 2, "z"]]), "args[0][2]: expected s64, got \"z\""),
        (
            "docs:calc/ops#sum",
            json!(["AAAA"]),
            "args[0]: expected list (an array), got 3 bytes, not a multiple of 8",
        ),
        (
            "docs:calc/echo#bytes",
            json!(["A!=="]),
            "args[0]: expected list<u8> (base64 or an array), got a string that is not base64",
        ),
        ("docs:calc/echo#bytes", json!([[256]]), "args[0][0]: expected u8, got 256"),
        (
            "docs:calc/echo#truths",
            json!(["Ag=="]),
            "args[0]: expected list (an array), got a byte above 1",
        ),
        (
            "docs:calc/echo#chars",
            json!(["ab"]),
            "args[0]: expected char (a string of one character), got \"ab\"",
        ),
        ("docs:calc/echo#chars", json!([""]), "args[0]: expected char"),
        (
            "docs:calc/echo#f32s",
            json!([1e300]),
            "args[0]: expected f32, got 1e300, which is too large",
        ),
        (
            "docs:calc/echo#tuples",
            json!([[1, "two"]]),
            "args[0]: expected tuple (an array) of 3, got 2 elements",
        ),
        ("docs:calc/echo#results", json!([{ "okay": 1 }]), "args[0]: expected result"),
        ("docs:calc/echo#results", json!([{}]), "args[0]: expected result"),
        ("docs:calc/echo#u64s", json!([-1]), "args[0]: expected u64, got -1"),
        ("docs:calc/ops#peek", json!([17]), "args[0]: no resource 17"),
    ] {
        let came = refused(&engine, calc, function, &args);
        assert!(came.contains(message), "{function} {args}: {came}");
    }
    for broken in ["[1", "[1,2]x", "{\"a\":1,\"a\":2}", "\u{1}", "[1,,2]", "[1,2"] {
        let failure = engine.invoke_text(calc, "add", broken, With::default());
        let failure = failure.expect_err(broken);
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
        assert!(failure.message.contains("args"), "{failure}");
    }
    let long = refused(&engine, calc, "add", &json!(["y".repeat(1 << 20), 1]));
    assert!(long.len() < 1000, "{} bytes", long.len());
    assert_eq!(engine.invoke(calc, "add", &json!([1, 2])).unwrap(), 3);
}

#[test]
fn results_are_values_too() {
    let engine = Engine::new();
    let calc = calculator(&engine);
    let divide = |a: i32, b: i32| engine.invoke(calc, "docs:calc/ops#divide", &json!([a, b]));
    assert_eq!(divide(7, 2).unwrap(), json!({ "ok": 3 }));
    assert_eq!(divide(7, 0).unwrap(), json!({ "err": "7 by 0" }));
    let polygon =
        json!([{ "polygon": [{ "x": 0, "y": 0 }, { "x": 4, "y": 0 }, { "x": 0, "y": 3 }] }]);
    assert_eq!(engine.invoke(calc, "docs:calc/ops#area", &polygon).unwrap(), 6.0);
}

#[test]
fn resources_live_until_they_are_dropped_or_passed_on() {
    let engine = Engine::new();
    let calc = calculator(&engine);
    let ops = |function: &str, args: Value| {
        engine.invoke(calc, &format!("docs:calc/ops#{function}"), &args)
    };
    let open = || ops("open-counters", json!([])).unwrap();
    let first = ops("[constructor]counter", json!([10])).unwrap();
    let second = ops("[constructor]counter", json!([20])).unwrap();
    assert_ne!(first, second);
    assert_eq!(ops("[method]counter.next", json!([first])).unwrap(), 11);
    assert_eq!(ops("[method]counter.next", json!({ "self": first })).unwrap(), 12);
    assert_eq!(ops("peek", json!([second])).unwrap(), 20);
    assert_eq!(open(), 2);

    // The same one twice, or an argument behind it that does not fit: nothing is taken.
    let message =
        refused(&engine, calc, "docs:calc/ops#[static]counter.join", &json!([first, first]));
    assert!(message.contains("args[1]: no resource"), "{message}");
    refused(&engine, calc, "docs:calc/ops#[static]counter.join", &json!([first, "x"]));
    assert_eq!(open(), 2);
    let both = ops("[static]counter.join", json!([first, second])).unwrap();
    assert_eq!(ops("[method]counter.value", json!([both])).unwrap(), 32);
    assert_eq!(open(), 1);
    for gone in [&first, &second] {
        let message = refused(&engine, calc, "docs:calc/ops#[method]counter.next", &json!([gone]));
        assert!(message.contains("it was dropped or passed on"), "{message}");
    }

    assert_eq!(ops("[resource-drop]counter", json!([both])).unwrap(), json!(null));
    assert_eq!(open(), 0);
    refused(&engine, calc, "docs:calc/ops#[resource-drop]counter", &json!([both]));

    // A handle does not outlive its instance, and no other instance knows it.
    let kept = ops("[constructor]counter", json!([1])).unwrap();
    let other = engine.load("app/calc/1", "calculator");
    refused(&engine, other, "docs:calc/ops#peek", &json!([kept]));
    ops("trap", json!([])).expect_err("it traps");
    let failure = ops("peek", json!([kept])).expect_err("its instance is gone");
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
}

#[test]
fn an_instance_has_a_bound_of_resources() {
    let engine = Engine::new();
    let calc = calculator(&engine);
    let open =
        || engine.invoke_text(calc, "docs:calc/ops#[constructor]counter", "[0]", With::default());
    for _ in 0..65_536 {
        open().unwrap();
    }
    let failure = open().expect_err("one too many");
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
    assert!(failure.message.contains("65536 resource handles exceeded"), "{failure}");
    open().expect("a new instance has none");
}

#[test]
fn a_trap_and_a_limit_end_the_instance_and_name_themselves() {
    let engine = Engine::new();
    let limits = r#"{"limits": {"max-execution-time-ms": 200, "max-message-bytes": 65536}}"#;
    let calc = engine.load_with("app/calc/0", "calculator", limits);
    for (function, status, text) in [
        ("trap", AIRSSYS_ERROR_TRAP, "unreachable"),
        ("spin", AIRSSYS_ERROR_TIMEOUT, "max-execution-time-ms 200"),
    ] {
        let failure = engine.invoke(calc, &format!("docs:calc/ops#{function}"), &json!([]));
        let failure = failure.expect_err("it ends badly");
        assert_eq!(failure.status, status, "{failure}");
        assert!(failure.message.contains(text), "{failure}");
    }
    // Too large a result, or too large arguments, leave the instance alone.
    let kept = engine.invoke(calc, "docs:calc/ops#[constructor]counter", &json!([5])).unwrap();
    let failure = engine.invoke(calc, "docs:calc/ops#bytes", &json!([60_000]));
    let failure = failure.expect_err("base64 is a third longer");
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
    let large = json!(["x".repeat(70_000)]);
    let failure = engine.invoke(calc, "docs:calc/echo#strings", &large).expect_err("too large");
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
    assert_eq!(engine.invoke(calc, "docs:calc/ops#peek", &json!([kept])).unwrap(), 5);
}

#[test]
fn a_result_is_held_to_the_data_that_a_component_may_pass() {
    let engine = Engine::new();
    let quota = r#"{"quotas": {"host-call-data-bytes": 1048576}}"#;
    let calc = engine.load_with("app/calc/0", "calculator", quota);
    let failure = engine.invoke(calc, "docs:calc/ops#bytes", &json!([10_000_000]));
    let failure = failure.expect_err("beyond the quota");
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{failure}");
    assert!(failure.message.contains("host-call-data-bytes 1048576"), "{failure}");
}

#[test]
fn a_typed_call_is_mail_like_any_other() {
    let engine = Engine::new();
    let slow = r#"{"limits": {"max-execution-time-ms": 3600000, "max-fuel": null}}"#;
    let calc = engine.load_with("app/calc/0", "calculator", slow);
    let (spinning, behind, late) = (Inbox::new(), Inbox::new(), Inbox::new());
    let none = json!([]);
    let add = json!([20, 22]);
    let with = With::default();
    engine.invoke_request(calc, "docs:calc/ops#spin", &none, with, spinning).unwrap();
    engine.until_busy(calc, 1, 0);
    engine.invoke_request(calc, "add", &add, with, behind).unwrap();
    let short = With { timeout_ms: 50, ..with };
    engine.invoke_request(calc, "add", &add, short, late).unwrap();
    let timed_out = late.only().outcome.expect_err("it waits behind the spinner");
    assert_eq!(timed_out.status, AIRSSYS_ERROR_TIMEOUT, "{timed_out}");
    engine.interrupt(calc).unwrap();
    let interrupted = spinning.only().outcome.expect_err("it was interrupted");
    assert_eq!(interrupted.status, AIRSSYS_ERROR_INTERRUPTED, "{interrupted}");
    assert_eq!(behind.only().outcome.unwrap().unwrap(), b"42");
    // A completion reports what is wrong with the call.
    let wrong = Inbox::new();
    engine.invoke_request(calc, "add", &json!([1, "x"]), with, wrong).unwrap();
    let failure = wrong.only().outcome.expect_err("it does not fit");
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
    assert!(failure.message.contains("args[1]: expected s32"), "{failure}");
    engine.stop(calc, 1000).unwrap();
    let failure = engine.invoke(calc, "add", &add).expect_err("it is stopped");
    assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_STOPPED, "{failure}");
}

#[test]
fn components_with_a_life_cycle_take_typed_calls_and_messages() {
    // With a loop, without one, and one that imports nothing.
    for (guest, message) in [("counter", "get"), ("requester", "self"), ("hermit", "ok")] {
        let engine = Engine::new();
        let component = engine.load("app/any/0", guest);
        let health = "airssys:core/component-lifecycle#health";
        assert_eq!(engine.invoke(component, health, &json!([])).unwrap(), "healthy", "{guest}");
        engine.text(component, message);
        assert_eq!(engine.invoke(component, health, &json!([])).unwrap(), "healthy", "{guest}");
    }
    let engine = Engine::new();
    let counter = engine.load("app/counter/0", "counter");
    let message = json!([{
        "sender": { "namespace": "a", "name": "b", "instance": "c" },
        "payload": "aW5j",
        "metadata": { "timestamp": { "seconds": 0, "nanoseconds": 0 } },
    }]);
    let function = "airssys:core/component-lifecycle@1.0.0#handle-message";
    assert_eq!(engine.invoke(counter, function, &message).unwrap(), json!({ "ok": "MQ==" }));
    assert_eq!(engine.text(counter, "get"), "1");
}

#[test]
fn codecs_do_not_concern_typed_calls() {
    let engine = Engine::new();
    let calc = engine.load_with("app/calc/0", "calculator", r#"{"codecs": ["cbor"]}"#);
    assert_eq!(engine.invoke(calc, "add", &json!([1, 2])).unwrap(), 3);
}

#[test]
fn pools_share_typed_calls() {
    let engine = Engine::new();
    let calc = engine.load_with("app/calc/0", "calculator", r#"{"instances": 2}"#);
    let inboxes: Vec<_> = (0..50).map(|_| Inbox::new()).collect();
    for (index, inbox) in inboxes.iter().enumerate() {
        let args = json!([index, 1]);
        engine.invoke_request(calc, "add", &args, With::default(), *inbox).unwrap();
    }
    for (index, inbox) in inboxes.iter().enumerate() {
        let sum = (index + 1).to_string();
        assert_eq!(inbox.only().outcome.unwrap().unwrap(), sum.as_bytes());
    }
}
