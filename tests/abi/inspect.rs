//! What a component is: its interfaces, functions and types, as a document.

use std::fmt::Write;

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Engine, Failure, Outcome, document};

fn inspect(wasm: &[u8]) -> Outcome<Value> {
    // SAFETY: bytes, and outputs that are valid for writing.
    document(|out, error| unsafe {
        airssys_component_inspect(wasm.as_ptr(), wasm.len(), out, error)
    })
}

fn guest(name: &str) -> Value {
    inspect(&airssys_wasm_guests::bytes(name)).unwrap()
}

fn text(wat: &str) -> Value {
    inspect(&wat::parse_str(wat).unwrap()).unwrap()
}

/// The interface of this name.
fn interface<'a>(side: &'a Value, name: &str) -> &'a Value {
    let mut interfaces = side.as_array().unwrap().iter();
    interfaces.find(|it| it["name"] == name).unwrap_or_else(|| panic!("no {name} in {side}"))
}

/// The function or the type of this name.
fn named<'a>(things: &'a Value, name: &str) -> &'a Value {
    let mut things = things.as_array().unwrap().iter();
    things.find(|it| it["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

/// A type in words; a name where it has one.
fn spelled(document: &Value, ty: &Value) -> String {
    let Some(at) = ty.as_u64() else { return ty.as_str().unwrap_or("_").to_owned() };
    let entry = &document["types"][at as usize];
    if let Some(name) = entry["name"].as_str() {
        return name.to_owned();
    }
    let of = |key: &str| spelled(document, &entry[key]);
    match entry["kind"].as_str().unwrap() {
        "result" => format!("result<{}, {}>", of("ok"), of("err")),
        "tuple" => {
            let types = entry["types"].as_array().unwrap().iter();
            let types: Vec<_> = types.map(|ty| spelled(document, ty)).collect();
            format!("tuple<{}>", types.join(", "))
        }
        kind @ ("own" | "borrow") => {
            assert_eq!(of("type"), entry["resource"].as_str().unwrap());
            format!("{kind}<{}>", of("type"))
        }
        kind => format!("{kind}<{}>", of("type")),
    }
}

/// `name(param: type, ...) -> result`
fn signature(document: &Value, function: &Value) -> String {
    let params = function["params"].as_array().unwrap().iter().map(|param| {
        format!("{}: {}", param["name"].as_str().unwrap(), spelled(document, &param["type"]))
    });
    let params: Vec<_> = params.collect();
    let result = spelled(document, &function["result"]);
    format!("{}({}) -> {result}", function["name"].as_str().unwrap(), params.join(", "))
}

#[test]
fn a_document_has_the_functions_of_a_component_with_their_types() {
    let calc = guest("calculator");
    let exports = &calc["exports"];
    let names: Vec<_> = exports.as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["", "docs:calc/ops@0.1.0", "docs:calc/echo@0.1.0"]);
    let signatures = |interface: &Value| {
        let functions = interface["functions"].as_array().unwrap().iter();
        functions.map(|function| signature(&calc, function)).collect::<Vec<_>>()
    };
    assert_eq!(signatures(interface(exports, "")), ["add(a: s32, b: s32) -> s32"]);
    let ops = interface(exports, "docs:calc/ops@0.1.0");
    for expected in [
        "add(a: s32, b: s32) -> s32",
        "apply(op: op, a: s32, b: s32) -> s32",
        "divide(a: s32, b: s32) -> result<s32, string>",
        "area(shape: shape) -> f64",
        "sum(numbers: list<s64>) -> s64",
        "describe(name: string, at: point, style: style) -> string",
        "open-counters() -> u32",
        "peek(counter: borrow<counter>) -> u32",
        "trap() -> _",
        "[constructor]counter(start: u32) -> own<counter>",
        "[method]counter.next(self: borrow<counter>) -> u32",
        "[static]counter.join(a: own<counter>, b: own<counter>) -> own<counter>",
    ] {
        let all = signatures(ops);
        assert!(all.iter().any(|it| it == expected), "{expected}: {all:#?}");
    }
    let echo = interface(exports, "docs:calc/echo@0.1.0");
    for expected in [
        "nothing() -> _",
        "bools(v: bool) -> bool",
        "chars(v: char) -> char",
        "bytes(v: list<u8>) -> list<u8>",
        "lists-of-tens(v: list<ten>) -> list<ten>",
        "tuples(v: tuple<u8, string, f32>) -> tuple<u8, string, f32>",
        "nested-options(v: option<option<string>>) -> option<option<string>>",
        "empty-results(v: result<_, _>) -> result<_, _>",
        "wide(a: ten, b: ten) -> tuple<ten, ten>",
    ] {
        let all = signatures(echo);
        assert!(all.iter().any(|it| it == expected), "{expected}: {all:#?}");
    }
    let functions = exports.as_array().unwrap().iter();
    let mut functions = functions.flat_map(|it| it["functions"].as_array().unwrap());
    assert!(functions.all(|function| function["async"] == false));
}

#[test]
fn a_type_is_in_the_table_once_whatever_uses_it() {
    let calc = guest("calculator");
    let ops = interface(&calc["exports"], "docs:calc/ops@0.1.0");
    let echo = interface(&calc["exports"], "docs:calc/echo@0.1.0");
    let entry = |interface: &Value, name: &str| {
        let at = named(&interface["types"], name)["type"].as_u64().unwrap();
        calc["types"][at as usize].clone()
    };
    let of = "docs:calc/ops@0.1.0";
    let point = entry(ops, "point");
    assert_eq!(point["kind"], "record");
    assert_eq!(point["name"], "point");
    assert_eq!(point["interface"], of);
    assert_eq!(point["fields"][0], json!({ "name": "x", "type": "s32" }));
    assert_eq!(point["fields"][2]["name"], "label");
    assert_eq!(spelled(&calc, &point["fields"][2]["type"]), "option<string>");
    let shape = entry(ops, "shape");
    assert_eq!(shape["kind"], "variant");
    assert_eq!(shape["cases"][0], json!({ "name": "dot" }));
    assert_eq!(shape["cases"][1], json!({ "name": "circle", "type": "f64" }));
    assert_eq!(spelled(&calc, &shape["cases"][2]["type"]), "list<point>");
    let op = json!({
        "kind": "enum", "name": "op", "interface": of,
        "cases": [{ "name": "plus" }, { "name": "minus" }, { "name": "times" }],
    });
    assert_eq!(entry(ops, "op"), op);
    let style = json!({
        "kind": "flags", "name": "style", "interface": of,
        "flags": [{ "name": "bold" }, { "name": "italic" }, { "name": "underlined" }],
    });
    assert_eq!(entry(ops, "style"), style);
    let counter = json!({ "kind": "resource", "name": "counter", "interface": of });
    assert_eq!(entry(ops, "counter"), counter);
    for used in ["op", "point", "shape", "style"] {
        let type_in = |it: &Value| named(&it["types"], used)["type"].clone();
        assert_eq!(type_in(ops), type_in(echo), "{used}");
    }
    let types = calc["types"].as_array().unwrap();
    for name in ["op", "point", "shape", "style", "ten", "mixed", "many", "counter"] {
        assert_eq!(types.iter().filter(|it| it["name"] == name).count(), 1, "{name}");
    }
}

#[test]
fn an_alias_stands_for_what_it_names() {
    let document = text(
        r#"(component (import "a:b/c" (instance
            (type $number u32)
            (export "number" (type $n (eq $number)))
            (export "count" (type $m (eq $n)))
            (type $list (list $m))
            (export "list" (type $l (eq $list)))
            (export "more" (type $k (eq $l)))
            (export "f" (func (param "a" $m) (param "b" $k) (result $l))))))"#,
    );
    let interface = interface(&document["imports"], "a:b/c");
    assert_eq!(document["types"], json!([{ "kind": "list", "type": "u32" }]));
    let types = json!([
        { "name": "number", "type": "u32" }, { "name": "count", "type": "u32" },
        { "name": "list", "type": 0 }, { "name": "more", "type": 0 },
    ]);
    assert_eq!(interface["types"], types);
    let function = &interface["functions"][0];
    assert_eq!(function["params"][0]["type"], "u32");
    assert_eq!(function["params"][1]["type"], 0);
    assert_eq!(function["call"], "a:b/c#f");
}

#[test]
fn wit_has_the_whole_of_it() {
    let calc = guest("calculator");
    let wit = calc["wit"].as_str().unwrap();
    for part in [
        "world root {",
        "export add: func(a: s32, b: s32) -> s32;",
        "export docs:calc/ops@0.1.0;",
        "package docs:calc@0.1.0 {",
        "variant shape {",
        "circle(f64),",
        "resource counter {",
        "use ops.{op, point, shape, style};",
    ] {
        assert!(wit.contains(part), "{part}: {wit}");
    }
    assert_eq!(calc["world"], "root");
}

#[test]
fn a_document_tells_size_hash_and_producers() {
    let wasm = airssys_wasm_guests::bytes("calculator");
    let calc = inspect(&wasm).unwrap();
    assert_eq!(calc["size"], wasm.len());
    let engine = Engine::new();
    let handle = engine.load("app/calc/0", "calculator");
    assert_eq!(calc["sha256"], engine.describe(handle).unwrap()["binary"]["sha256"]);
    let language = calc["producers"]["language"].as_array().unwrap();
    assert!(language.iter().any(|tool| tool["name"] == "Rust"), "{language:?}");
    let tools = calc["producers"]["processed-by"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["name"] == "wit-component"), "{tools:?}");
    assert!(tools.iter().any(|tool| tool["name"] == "rustc"), "{tools:?}");
    let minimal = guest("minimal");
    let none = json!({ "language": [], "processed-by": [], "sdk": [] });
    assert_eq!(minimal["producers"], none);
}

#[test]
fn a_minimal_component_has_nothing() {
    let minimal = guest("minimal");
    for key in ["needs", "imports", "exports", "types"] {
        assert_eq!(minimal[key], json!([]), "{key}");
    }
    assert_eq!(minimal["size"], 8);
    assert_eq!(minimal["lifecycle"], Value::Null);
    assert_eq!(minimal["state"], false);
}

#[test]
fn needs_follow_from_imports() {
    let needs = |guest_name: &str| guest(guest_name)["needs"].clone();
    assert_eq!(needs("calculator"), json!([]));
    assert_eq!(needs("hermit"), json!([]));
    let storage = needs("storage-user");
    assert!(storage.as_array().unwrap().contains(&json!("storage")), "{storage}");
    let messaging = needs("requester");
    assert!(messaging.as_array().unwrap().contains(&json!("messaging")), "{messaging}");
    let wasi = needs("wasi");
    let all = ["filesystem", "network", "environment", "clock", "random", "log"];
    for need in all {
        assert!(wasi.as_array().unwrap().contains(&json!(need)), "{need}: {wasi}");
    }
    // Types of an interface are no reason to need it.
    let types = text(
        r#"(component (import "wasi:filesystem/types@0.2.0" (instance
            (type $t (enum "a" "b")) (export "error-code" (type (eq $t))))))"#,
    );
    assert_eq!(types["needs"], json!([]));
    let self_id = text(
        r#"(component (import "airssys:core/host-messaging@1.0.0" (instance
            (export "self-id" (func (result u32))))))"#,
    );
    assert_eq!(self_id["needs"], json!([]));
}

#[test]
fn the_contract_is_named_by_its_version() {
    let counter = guest("counter");
    assert_eq!(counter["lifecycle"], "1.0.0");
    let ledger = guest("ledger");
    let exported = ledger["exports"].as_array().unwrap().iter();
    let states = exported
        .filter(|it| it["name"].as_str().unwrap().starts_with("airssys:core/component-state@"));
    assert_eq!(ledger["state"], states.count() == 1);
    assert_eq!(ledger["state"], true);
    assert_eq!(guest("echo")["state"], false);
}

#[test]
fn a_loaded_component_has_the_same_document() {
    let engine = Engine::new();
    for name in ["calculator", "counter", "minimal", "wasi", "ledger"] {
        let handle = engine.load("app/any/0", name);
        assert_eq!(engine.inspect(handle).unwrap(), guest(name), "{name}");
    }
    let failure = engine.inspect(4711).expect_err("no such component");
    assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "{failure}");
    // Also of a component that has no instance, and of the version that gets messages.
    let lazy = engine.load_with("app/lazy/0", "echo", r#"{"activation": "on-demand"}"#);
    assert_eq!(engine.inspect(lazy).unwrap(), guest("echo"));
    assert_eq!(engine.describe(lazy).unwrap()["state"], "passive");
    engine.replace(lazy, &airssys_wasm_guests::bytes("counter"), None).unwrap();
    assert_eq!(engine.inspect(lazy).unwrap(), guest("counter"));
}

#[test]
fn a_component_from_the_cache_has_the_same_document() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache");
    let config = json!({ "cache-dir": path }).to_string();
    for hits in [0, 1] {
        let engine = crate::harness::engine::Config::bare().with(&config).engine();
        let handle = engine.load("app/calc/0", "calculator");
        assert_eq!(engine.stats()["cache"]["hits"], hits);
        assert_eq!(engine.inspect(handle).unwrap(), guest("calculator"));
    }
}

/// Comments as tools put them into a binary.
fn with_docs(mut wasm: Vec<u8>, docs: &Value) -> Vec<u8> {
    let name = b"package-docs";
    let mut section = vec![name.len() as u8];
    section.extend_from_slice(name);
    section.push(1);
    section.extend_from_slice(docs.to_string().as_bytes());
    wasm.push(0);
    let mut length = section.len();
    while length > 127 {
        wasm.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    wasm.push(length as u8);
    wasm.extend(section);
    wasm
}

const DOCUMENTED: &str = r#"(component
    (core module $m (func (export "add") (param i32 i32) (result i32) (i32.const 0)))
    (core instance $i (instantiate $m))
    (func $add (param "a" s32) (param "b" s32) (result s32) (canon lift (core func $i "add")))
    (export "add" (func $add))
    (type $point (record (field "x" s32) (field "y" s32)))
    (instance $shapes (export "point" (type $point)))
    (export "shapes" (instance $shapes)))"#;

#[test]
fn comments_are_there_if_the_binary_has_them() {
    let wasm = wat::parse_str(DOCUMENTED).unwrap();
    let bare = inspect(&wasm).unwrap();
    assert!(!bare.to_string().contains("\"docs\":"), "{bare}");
    let docs = json!({ "worlds": { "root": {
        "docs": "A world.",
        "funcs": { "add": "The sum.\n\nOf both." },
        "interfaces": { "shapes": {
            "docs": "Shapes.",
            "types": { "point": { "docs": "A point.", "items": { "y": "Upwards." } } },
        } },
    } } });
    let wasm = with_docs(wasm, &docs);
    let document = inspect(&wasm).unwrap();
    let exports = &document["exports"];
    let add = &interface(exports, "")["functions"][0];
    assert_eq!(add["docs"], "The sum.\n\nOf both.");
    assert_eq!(add["call"], "add");
    let shapes = interface(exports, "shapes");
    assert_eq!(shapes["docs"], "Shapes.");
    assert_eq!(shapes["types"][0]["docs"], "A point.");
    let point = &document["types"][0];
    assert_eq!(point["docs"], "A point.");
    assert_eq!(point["fields"][0], json!({ "name": "x", "type": "s32" }));
    assert_eq!(point["fields"][1], json!({ "name": "y", "type": "s32", "docs": "Upwards." }));
    assert!(document["wit"].as_str().unwrap().contains("/// The sum."), "{document}");
    let engine = Engine::new();
    let handle = engine.try_load("app/docs/0", &wasm, None).unwrap();
    assert_eq!(engine.inspect(handle).unwrap(), document);
    // Comments of what is not there cost the WIT, and nothing else.
    let wrong = json!({ "worlds": { "elsewhere": { "docs": "A world." } } });
    let wrong = inspect(&with_docs(wat::parse_str(DOCUMENTED).unwrap(), &wrong)).unwrap();
    assert_eq!(wrong["wit"], Value::Null);
    assert_eq!(wrong["exports"], bare["exports"]);
}

/// An imported interface in which each type has the one before it twice.
fn doubled(levels: usize, record: bool) -> String {
    let mut types = String::from("(type $t0 (tuple s32))");
    for level in 1..=levels {
        let inner = level - 1;
        let made = match record {
            true => format!(
                "(type $r{level} (record (field \"a\" $t{inner}) (field \"b\" $t{inner})))
                 (export \"r{level}\" (type $t{level} (eq $r{level})))"
            ),
            false => format!("(type $t{level} (tuple $t{inner} $t{inner}))"),
        };
        types += &made;
    }
    format!(
        "(component (import \"a:b/c\" (instance {types}
            (export \"f\" (func (param \"v\" $t{levels}))))))"
    )
}

#[test]
fn types_that_share_types_do_not_explode() {
    // Nearly as many as the size of a type, written out, allows.
    for (levels, record) in [(16, true), (17, false)] {
        let document = text(&doubled(levels, record));
        let bytes = document.to_string().len();
        assert!(bytes < 10_000, "{bytes}");
        assert_eq!(document["types"].as_array().unwrap().len(), levels + 1);
        // WIT has no names for tuples, so it would have 100,000 of them.
        assert_eq!(document["wit"].is_string(), record, "{}", document["wit"]);
    }
    let document = text(&doubled(8, false));
    assert!(document["wit"].as_str().unwrap().len() > 1000, "{document}");
}

#[test]
fn long_names_are_bounded() {
    let mut functions = String::new();
    for at in 0..2000 {
        write!(functions, "(export \"f{at}\" (func))").unwrap();
    }
    let name = format!("a:{}/c", "b".repeat(60_000));
    let wat = format!("(component (import \"{name}\" (instance {functions})))");
    let failure = inspect(&wat::parse_str(&wat).unwrap()).expect_err("120 MB");
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{failure}");
    assert!(failure.message.contains("67108864 bytes"), "{failure}");
}

#[test]
fn what_wit_has_no_words_for_is_inspected_without_it() {
    let document = text(
        r#"(component
            (core module $m)
            (export "module" (core module $m))
            (import "f" (func (param "a" u8))))"#,
    );
    assert_eq!(document["wit"], Value::Null);
    assert_eq!(document["imports"][0]["functions"][0]["name"], "f");
    assert_eq!(document["exports"], json!([]));
}

#[track_caller]
fn refused(wasm: &[u8]) -> Failure {
    let failure = inspect(wasm).expect_err("it is not a component");
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{failure}");
    failure
}

#[test]
fn what_is_no_component_is_refused_as_by_a_load() {
    let engine = Engine::bare();
    let module = wat::parse_str("(module)").unwrap();
    let echo = airssys_wasm_guests::bytes("echo");
    let deep = format!("(component {} {})", "(component ".repeat(70), ")".repeat(70),);
    let deep = wat::parse_str(&deep).unwrap();
    let mut cases: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\0".to_vec(),
        b"\0asm".to_vec(),
        b"\0asm\x0d\0\x01".to_vec(),
        module,
        b"(component)".to_vec(),
        b"\x7fELF\x02\x01\x01\0 and so on".to_vec(),
        b"\0asm\x0d\0\x02\0".to_vec(),
        vec![0x5a; 5000],
        deep,
    ];
    let ends = (1..16).map(|n| echo.len() * n / 16).chain([9, 20, echo.len() - 1]);
    cases.extend(ends.map(|end| echo[..end].to_vec()));
    for wasm in cases {
        let loaded = engine.try_load("app/bad/0", &wasm, None).expect_err("it does not load");
        let inspected = refused(&wasm);
        assert_eq!(format!("app/bad/0: {}", inspected.message), loaded.message);
        assert_eq!(inspected.detail.get("limit"), loaded.detail.get("limit"), "{inspected}");
        assert!(inspected.detail.get("component").is_none(), "{inspected}");
    }
    // The rest is up to the validator, which words it a little differently.
    let invalid = wat::parse_str(r#"(component (import "a" (func)) (export "b" (func 7)))"#);
    let invalid = invalid.unwrap();
    let loaded = engine.try_load("app/bad/0", &invalid, None).expect_err("it does not load");
    let said = "unknown function 7";
    assert!(loaded.message.contains(said), "{loaded}");
    assert!(refused(&invalid).message.contains(said));
    let large = vec![0; (64 << 20) + 1];
    assert!(refused(&large).message.contains("max-component-bytes 67108864"));
}

#[test]
fn a_corrupt_binary_is_refused_or_inspected() {
    for name in ["calculator", "counter"] {
        let wasm = airssys_wasm_guests::bytes(name);
        let (mut refusals, flips) = (0, 400);
        for n in 0..flips {
            let mut corrupt = wasm.clone();
            let place = 8 + (wasm.len() - 8) * n / flips;
            corrupt[place] ^= 1 << (n % 8);
            if let Err(failure) = inspect(&corrupt) {
                let status = failure.status;
                assert_eq!(status, AIRSSYS_ERROR_INVALID_COMPONENT, "byte {place}: {failure}");
                refusals += 1;
            }
        }
        assert!(refusals > 5, "only {refusals} of {name} were refused");
    }
}
