//! The header against the sources it is made from, and against its own rules.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn header() -> String {
    read("include/airssys_wasm.h")
}

/// A function of the header: its comment and its declaration, each on one line.
struct Function {
    name: String,
    comment: String,
    declaration: String,
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("* ").trim_matches('*'));
    lines.collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn functions() -> Vec<Function> {
    let header = header();
    let declarations = header.split("extern \"C\" {").nth(1).expect("declarations");
    let declarations = declarations.split("#ifdef __cplusplus").next().expect("before the end");
    let parts = declarations.split("/**").skip(1).map(|part| {
        let (comment, declaration) = part.split_once("*/").expect("a comment ends");
        let declaration = one_line(declaration);
        let before = declaration.split('(').next().expect("a name");
        let name = before.rsplit([' ', '*']).next().expect("a name").to_owned();
        Function { name, comment: one_line(comment), declaration }
    });
    parts.collect()
}

#[test]
fn every_exported_function_is_in_the_header_and_nothing_else_is() {
    let mut exported = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ffi")).unwrap() {
        let source = fs::read_to_string(entry.unwrap().path()).unwrap();
        for (at, marker) in source.match_indices("#[unsafe(no_mangle)]") {
            let after = source[at + marker.len()..].split_once("fn ").expect("a function").1;
            let end = after.find('(').expect("parameters");
            exported.push(after[..end].to_owned());
        }
    }
    exported.sort();
    let mut declared: Vec<String> = functions().into_iter().map(|f| f.name).collect();
    declared.sort();
    assert!(exported.len() > 20, "{exported:?}");
    assert_eq!(declared, exported);
    assert!(declared.iter().all(|name| name.starts_with("airssys_")));
}

#[test]
fn every_function_says_which_threads_may_call_it() {
    for function in functions() {
        let says = ["Any thread", "On the callback's thread", "as `airssys_"];
        let found = says.iter().any(|text| function.comment.contains(text));
        assert!(found, "{}: {}", function.name, function.comment);
    }
}

/// The part of a comment that lists statuses, or that of the function it refers to.
fn statuses<'a>(function: &'a Function, all: &'a [Function]) -> &'a str {
    if let Some((_, list)) = function.comment.split_once("Returns `AIRSSYS_OK`") {
        return list;
    }
    let (_, other) = function.comment.split_once("as `").unwrap_or_default();
    let other = other.split('`').next().unwrap_or_default();
    let other = all.iter().find(|function| function.name == other);
    let other = other.unwrap_or_else(|| panic!("{} lists no statuses", function.name));
    other.comment.split_once("Returns `AIRSSYS_OK`").expect("a list").1
}

#[test]
fn every_function_with_a_status_lists_what_it_returns_and_takes_an_error_last() {
    let all = functions();
    let with_status = all.iter().filter(|function| {
        let returns = function.declaration.starts_with("airssys_status_t ");
        returns && function.name != "airssys_error_status"
    });
    let mut count = 0;
    for function in with_status {
        count += 1;
        let last = function.declaration.rsplit(',').next().unwrap().trim();
        assert_eq!(last, "struct airssys_error_t **error);", "{}", function.name);
        let list = statuses(function, &all);
        for status in ["AIRSSYS_ERROR_INVALID_ARGUMENT", "AIRSSYS_ERROR_PANIC"] {
            assert!(list.contains(status), "{} does not list {status}", function.name);
        }
        let uses_engine = function.declaration.contains("(struct airssys_engine_t *engine");
        let listed = list.contains("AIRSSYS_ERROR_FORKED");
        assert_eq!(listed, uses_engine, "{}: AIRSSYS_ERROR_FORKED", function.name);
    }
    assert!(count > 15, "{count} functions with a status");
}

#[test]
fn every_parameter_is_explained() {
    let all = functions();
    // What `_free` takes is its name.
    for function in all.iter().filter(|function| !function.name.ends_with("_free")) {
        let (_, parameters) = function.declaration.split_once('(').expect("parameters");
        let parameters = parameters.trim_end_matches(");");
        let names = parameters.split(',').filter_map(|parameter| {
            let name = parameter.trim().rsplit([' ', '*']).next()?;
            (name != "void").then_some(name)
        });
        // An object that comes first is explained at the head of the header.
        let object = parameters.starts_with("struct airssys_config_t *config");
        let refers = function.comment.contains("as `airssys_");
        // What `len` counts is said with the bytes; a status and a handle explain themselves.
        for name in names.filter(|name| !["len", "status", "result", "handle"].contains(name)) {
            let explained = function.comment.contains(&format!("`{name}`"));
            let explained = explained || (object && name == "config");
            assert!(explained || refers, "{} says nothing of `{name}`", function.name);
        }
    }
}

/// The constants of the header with their values.
fn constants() -> Vec<(String, String)> {
    let header = header();
    let defines = header.lines().filter_map(|line| line.strip_prefix("#define AIRSSYS_"));
    let pairs = defines.filter_map(|define| define.split_once(' '));
    pairs.map(|(name, value)| (format!("AIRSSYS_{name}"), value.to_owned())).collect()
}

#[test]
fn macros_and_types_have_the_library_s_prefix() {
    // Anything else lands in the host's own names.
    let header = header();
    let defined = header.lines().filter_map(|line| line.strip_prefix("#define "));
    for name in defined.filter_map(|rest| rest.split_whitespace().next()) {
        assert!(name.starts_with("AIRSSYS_"), "{name}");
    }
    let types = header.lines().filter_map(|line| line.strip_prefix("typedef struct "));
    for name in types.filter_map(|rest| rest.split_whitespace().next()) {
        assert!(name.starts_with("airssys_"), "{name}");
    }
}

#[test]
fn the_values_of_constants_are_pinned() {
    let pinned = [
        ("AIRSSYS_ABI_VERSION", "0"),
        ("AIRSSYS_MESSAGE_ENDS_WITH_SENDER", "1"),
        ("AIRSSYS_OK", "0"),
        ("AIRSSYS_ERROR_INTERRUPTED", "24"),
        ("AIRSSYS_ERROR_INVALID_ARGUMENT", "1"),
        ("AIRSSYS_ERROR_INVALID_ID", "2"),
        ("AIRSSYS_ERROR_INVALID_OPTIONS", "3"),
        ("AIRSSYS_ERROR_INVALID_COMPONENT", "4"),
        ("AIRSSYS_ERROR_INSTANTIATION_FAILED", "5"),
        ("AIRSSYS_ERROR_INITIALIZATION_FAILED", "6"),
        ("AIRSSYS_ERROR_COMPONENT_NOT_FOUND", "7"),
        ("AIRSSYS_ERROR_EXPORT_NOT_FOUND", "8"),
        ("AIRSSYS_ERROR_TIMEOUT", "9"),
        ("AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED", "10"),
        ("AIRSSYS_ERROR_RUNTIME", "11"),
        ("AIRSSYS_ERROR_TRAP", "12"),
        ("AIRSSYS_ERROR_QUEUE_FULL", "13"),
        ("AIRSSYS_ERROR_WOULD_DEADLOCK", "14"),
        ("AIRSSYS_ERROR_SHUTDOWN_FAILED", "15"),
        ("AIRSSYS_ERROR_ENGINE_STOPPED", "16"),
        ("AIRSSYS_ERROR_FORKED", "17"),
        ("AIRSSYS_ERROR_PANIC", "18"),
        ("AIRSSYS_ERROR_IO", "19"),
        ("AIRSSYS_ERROR_INVALID_MESSAGE", "20"),
        ("AIRSSYS_ERROR_REQUEST_NOT_FOUND", "21"),
        ("AIRSSYS_ERROR_CANCELLED", "22"),
        ("AIRSSYS_ERROR_DELIVERY_FAILED", "23"),
        ("AIRSSYS_KIND_MESSAGE", "0"),
        ("AIRSSYS_KIND_REQUEST", "1"),
        ("AIRSSYS_STORAGE_OK", "0"),
        ("AIRSSYS_CODEC_PROTOBUF", "80"),
        ("AIRSSYS_CODEC_CBOR", "81"),
        ("AIRSSYS_CODEC_RAW", "85"),
        ("AIRSSYS_CODEC_RLP", "96"),
        ("AIRSSYS_AUDIT_ALLOWED", "1"),
        ("AIRSSYS_AUDIT_DENIED", "2"),
        ("AIRSSYS_AUDIT_LOST", "3"),
        ("AIRSSYS_CODEC_BENCODE", "99"),
        ("AIRSSYS_CODEC_DAG_PB", "112"),
        ("AIRSSYS_CODEC_DAG_CBOR", "113"),
        ("AIRSSYS_CODEC_DAG_JOSE", "133"),
        ("AIRSSYS_CODEC_DAG_COSE", "134"),
        ("AIRSSYS_CODEC_DAG_JSON", "297"),
        ("AIRSSYS_CODEC_JSON", "512"),
        ("AIRSSYS_CODEC_MESSAGEPACK", "513"),
        ("AIRSSYS_CODEC_CAR", "514"),
        ("AIRSSYS_CODEC_X509_CERTIFICATE", "528"),
        ("AIRSSYS_CODEC_IPNS_RECORD", "768"),
        ("AIRSSYS_CODEC_CAR_INDEX_SORTED", "1024"),
        ("AIRSSYS_CODEC_CAR_MULTIHASH_INDEX_SORTED", "1025"),
        ("AIRSSYS_CODEC_PROVENANCE_LOG", "4616"),
        ("AIRSSYS_CODEC_PROVENANCE_LOG_ENTRY", "4617"),
        ("AIRSSYS_CODEC_PROVENANCE_LOG_SCRIPT", "4618"),
        ("AIRSSYS_CODEC_SSZ", "46337"),
        ("AIRSSYS_CODEC_JSON_JCS", "46593"),
        ("AIRSSYS_CODEC_BINCODE", "3170921"),
        ("AIRSSYS_CODEC_BORSH", "3170927"),
        ("AIRSSYS_STORAGE_NOT_FOUND", "1"),
        ("AIRSSYS_STORAGE_QUOTA_EXCEEDED", "2"),
        ("AIRSSYS_STORAGE_INVALID_KEY", "3"),
        ("AIRSSYS_STORAGE_IO_ERROR", "4"),
        ("AIRSSYS_LOG_TRACE", "0"),
        ("AIRSSYS_LOG_DEBUG", "1"),
        ("AIRSSYS_LOG_INFO", "2"),
        ("AIRSSYS_LOG_WARN", "3"),
        ("AIRSSYS_LOG_ERROR", "4"),
        ("AIRSSYS_LOG_OFF", "5"),
    ];
    let mut constants = constants();
    constants.retain(|(name, _)| !name.starts_with("AIRSSYS_VERSION_"));
    constants.sort();
    let mut pinned = pinned.map(|(name, value)| (name.to_owned(), value.to_owned()));
    pinned.sort();
    assert_eq!(constants, pinned, "new constants belong into this table, old ones never change");
}

#[test]
fn the_version_is_that_of_the_crate() {
    let constants = constants();
    let part = |name: &str| {
        let name = format!("AIRSSYS_VERSION_{name}");
        constants.iter().find(|(known, _)| *known == name).expect("a part").1.clone()
    };
    let version = ["MAJOR", "MINOR", "PATCH"].map(part).join(".");
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    // SAFETY: the text is static.
    let library = unsafe { std::ffi::CStr::from_ptr(airssys_wasm::airssys_version()) };
    assert_eq!(library.to_str(), Ok(&*version));
    assert_eq!(airssys_wasm::airssys_abi_version(), airssys_wasm::AIRSSYS_ABI_VERSION);
}
