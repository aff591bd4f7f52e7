//! Checks the header against its sources and against its own rules.

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

/// The comment and the declaration of each item of the header. Blank lines separate items.
fn items(header: &str) -> impl Iterator<Item = (&str, &str)> {
    let items = header.split("\n\n").filter_map(|item| item.split_once("*/\n"));
    items.map(|(comment, declaration)| (comment.trim_start_matches("/**"), declaration))
}

fn functions() -> Vec<Function> {
    let header = header();
    let functions = items(&header).filter(|(_, declaration)| {
        let other = ["#define", "struct", "typedef"];
        !other.iter().any(|other| declaration.starts_with(other)) && declaration.ends_with(");")
    });
    let parts = functions.map(|(comment, declaration)| {
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

/// The list of statuses in a comment, or in the comment of the function it refers to.
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
fn every_function_with_a_status_lists_its_statuses_and_takes_an_error_last() {
    let all = functions();
    let with_status = all.iter().filter(|function| {
        let returns = function.declaration.starts_with("airssys_status_t ");
        returns && function.name != "airssys_error_status"
    });
    let mut count = 0;
    for function in with_status {
        count += 1;
        let last = function.declaration.rsplit(',').next().unwrap().trim();
        assert_eq!(last, "airssys_error_t **error);", "{}", function.name);
        let list = statuses(function, &all);
        for status in ["AIRSSYS_ERROR_INVALID_ARGUMENT", "AIRSSYS_ERROR_PANIC"] {
            assert!(list.contains(status), "{} does not list {status}", function.name);
        }
        let uses_engine = function.declaration.contains("(airssys_engine_t *engine");
        let listed = list.contains("AIRSSYS_ERROR_FORKED");
        assert_eq!(listed, uses_engine, "{}: AIRSSYS_ERROR_FORKED", function.name);
    }
    assert!(count > 15, "{count} functions with a status");
}

#[test]
fn every_parameter_is_explained() {
    let all = functions();
    // The argument of `_free` needs no explanation.
    for function in all.iter().filter(|function| !function.name.ends_with("_free")) {
        let (_, parameters) = function.declaration.split_once('(').expect("parameters");
        let parameters = parameters.trim_end_matches(");");
        let names = parameters.split(',').filter_map(|parameter| {
            let name = parameter.trim().rsplit([' ', '*']).next()?;
            (name != "void").then_some(name)
        });
        // The head of the header explains the object that comes first.
        let object = parameters.starts_with("airssys_config_t *config");
        let refers = function.comment.contains("as `airssys_");
        // `len` is explained with its bytes; a status and a handle explain themselves.
        for name in names.filter(|name| !["len", "status", "result", "handle"].contains(name)) {
            let explained = function.comment.contains(&format!("`{name}`"));
            let explained = explained || (object && name == "config");
            assert!(explained || refers, "{} says nothing of `{name}`", function.name);
        }
    }
}

/// The constants of the header and their values.
fn constants() -> Vec<(String, String)> {
    let header = header();
    let defines = header.lines().filter_map(|line| line.strip_prefix("#define AIRSSYS_"));
    let pairs = defines.filter_map(|define| define.split_once(' '));
    pairs.map(|(name, value)| (format!("AIRSSYS_{name}"), value.to_owned())).collect()
}

#[test]
fn macros_and_types_have_the_library_s_prefix() {
    // Any other name pollutes the host's namespace.
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
        ("AIRSSYS_ALL_COMPONENTS", "UINT64_MAX"),
        ("AIRSSYS_ANSWERS_LATER", "-1"),
        ("AIRSSYS_MESSAGE_ENDS_WITH_SENDER", "1"),
        ("AIRSSYS_MESSAGE_PACKED_LISTS", "2"),
        ("AIRSSYS_OK", "0"),
        ("AIRSSYS_ERROR_INTERRUPTED", "24"),
        ("AIRSSYS_ERROR_COMPONENT_STOPPED", "25"),
        ("AIRSSYS_ERROR_COMPONENT_FAILED", "26"),
        ("AIRSSYS_ERROR_CANARY_UNDER_WAY", "29"),
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
        ("AIRSSYS_CODEC_PROTOBUF", "0x50"),
        ("AIRSSYS_CODEC_CBOR", "0x51"),
        ("AIRSSYS_CODEC_RAW", "0x55"),
        ("AIRSSYS_CODEC_RLP", "0x60"),
        ("AIRSSYS_AUDIT_ALLOWED", "1"),
        ("AIRSSYS_AUDIT_DENIED", "2"),
        ("AIRSSYS_AUDIT_LOST", "3"),
        ("AIRSSYS_CODEC_BENCODE", "0x63"),
        ("AIRSSYS_CODEC_DAG_PB", "0x70"),
        ("AIRSSYS_CODEC_DAG_CBOR", "0x71"),
        ("AIRSSYS_CODEC_DAG_JOSE", "0x85"),
        ("AIRSSYS_CODEC_DAG_COSE", "0x86"),
        ("AIRSSYS_CODEC_DAG_JSON", "0x0129"),
        ("AIRSSYS_CODEC_JSON", "0x0200"),
        ("AIRSSYS_CODEC_MESSAGEPACK", "0x0201"),
        ("AIRSSYS_CODEC_CAR", "0x0202"),
        ("AIRSSYS_CODEC_X509_CERTIFICATE", "0x0210"),
        ("AIRSSYS_CODEC_IPNS_RECORD", "0x0300"),
        ("AIRSSYS_CODEC_CAR_INDEX_SORTED", "0x0400"),
        ("AIRSSYS_CODEC_CAR_MULTIHASH_INDEX_SORTED", "0x0401"),
        ("AIRSSYS_CODEC_PROVENANCE_LOG", "0x1208"),
        ("AIRSSYS_CODEC_PROVENANCE_LOG_ENTRY", "0x1209"),
        ("AIRSSYS_CODEC_PROVENANCE_LOG_SCRIPT", "0x120a"),
        ("AIRSSYS_CODEC_SSZ", "0xb501"),
        ("AIRSSYS_CODEC_JSON_JCS", "0xb601"),
        ("AIRSSYS_CODEC_BINCODE", "0x306269"),
        ("AIRSSYS_CODEC_BORSH", "0x30626f"),
        ("AIRSSYS_STORAGE_NOT_FOUND", "1"),
        ("AIRSSYS_STORAGE_QUOTA_EXCEEDED", "2"),
        ("AIRSSYS_STORAGE_INVALID_KEY", "3"),
        ("AIRSSYS_STORAGE_IO_ERROR", "4"),
        ("AIRSSYS_STORAGE_SERIALIZE", "1"),
        ("AIRSSYS_IMPORT_REFUSE", "0"),
        ("AIRSSYS_IMPORT_REPLACE", "1"),
        ("AIRSSYS_IMPORT_KEEP", "2"),
        ("AIRSSYS_IMPORT_CHECK", "3"),
        ("AIRSSYS_ERROR_UNSUPPORTED", "27"),
        ("AIRSSYS_ERROR_NOT_CONFORMING", "28"),
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
    assert_eq!(constants, pinned, "add new constants to this table; old ones never change");
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

/// The functions that programs link with. Only additions are allowed unless `AIRSSYS_ABI_VERSION`
/// changes. `tests/c/run.sh symbols` checks that the shared library exports the same.
const ABI: &[&str] = &[
    "uint32_t airssys_abi_version(void);",
    "void airssys_bytes_free(airssys_bytes_t *bytes);",
    "airssys_status_t airssys_codec_code(const char *name, uint64_t *out_code, airssys_error_t **error);",
    "const char *airssys_codec_name(uint64_t code);",
    "airssys_status_t airssys_codec_prefix(uint64_t code, const uint8_t *payload, size_t len, airssys_bytes_t *out, airssys_error_t **error);",
    "airssys_status_t airssys_codec_read(const uint8_t *payload, size_t len, uint64_t *out_code, size_t *out_prefix_len, airssys_error_t **error);",
    "airssys_status_t airssys_component_inspect(const uint8_t *wasm, size_t len, airssys_bytes_t *out_json, airssys_error_t **error);",
    "airssys_status_t airssys_config_add_interface(airssys_config_t *config, const char *name, const airssys_interface_t *interface_, airssys_error_t **error);",
    "void airssys_config_free(airssys_config_t *config);",
    "airssys_status_t airssys_config_new(airssys_config_t **out, airssys_error_t **error);",
    "airssys_status_t airssys_config_set_audit(airssys_config_t *config, const airssys_audit_t *audit, airssys_error_t **error);",
    "airssys_status_t airssys_config_set_events(airssys_config_t *config, const airssys_events_t *events, airssys_error_t **error);",
    "airssys_status_t airssys_config_set_json(airssys_config_t *config, const char *json, airssys_error_t **error);",
    "airssys_status_t airssys_config_set_logger(airssys_config_t *config, const airssys_logger_t *logger, airssys_error_t **error);",
    "airssys_status_t airssys_config_set_router(airssys_config_t *config, const airssys_router_t *router, airssys_error_t **error);",
    "airssys_status_t airssys_config_set_storage(airssys_config_t *config, const airssys_storage_t *storage, airssys_error_t **error);",
    "airssys_status_t airssys_engine_abort(airssys_engine_t *engine, uint64_t handle, uint64_t timeout_ms, airssys_error_t **error);",
    "airssys_status_t airssys_engine_add_group(airssys_engine_t *engine, const char *name, const char *options_json, uint64_t *out_group, airssys_error_t **error);",
    "airssys_status_t airssys_engine_answer(airssys_engine_t *engine, uint64_t token, airssys_status_t status, const uint8_t *data, size_t len, airssys_error_t **error);",
    "airssys_status_t airssys_engine_broadcast(airssys_engine_t *engine, const uint64_t *handles, size_t count, const uint8_t *payload, size_t len, const airssys_message_options_t *options, airssys_error_t **error);",
    "airssys_status_t airssys_engine_call(airssys_engine_t *engine, uint64_t handle, const uint8_t *payload, size_t len, const airssys_message_options_t *options, airssys_bytes_t *out_reply, airssys_error_t **error);",
    "airssys_status_t airssys_engine_cancel(airssys_engine_t *engine, uint64_t id, airssys_error_t **error);",
    "airssys_status_t airssys_engine_complete(airssys_engine_t *engine, uint64_t token, airssys_status_t status, const uint8_t *reply, size_t reply_len, const char *message, airssys_error_t **error);",
    "airssys_status_t airssys_engine_deliver(airssys_engine_t *engine, const airssys_envelope_t *envelope, airssys_reply_fn_t reply_fn, void *user_data, uint64_t *out_id, airssys_error_t **error);",
    "airssys_status_t airssys_engine_describe(airssys_engine_t *engine, uint64_t handle, airssys_bytes_t *out_json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_explain(airssys_engine_t *engine, uint64_t handle, const char *action, const char *resource, airssys_bytes_t *out_json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_find(airssys_engine_t *engine, const char *id, uint64_t *out_handle, airssys_error_t **error);",
    "void airssys_engine_free(airssys_engine_t *engine);",
    "airssys_status_t airssys_engine_grant(airssys_engine_t *engine, uint64_t handle, const char *json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_groups(airssys_engine_t *engine, airssys_bytes_t *out_json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_health(airssys_engine_t *engine, uint64_t handle, airssys_bytes_t *out_json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_inspect(airssys_engine_t *engine, uint64_t handle, airssys_bytes_t *out_json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_interrupt(airssys_engine_t *engine, uint64_t handle, airssys_error_t **error);",
    "airssys_status_t airssys_engine_invoke(airssys_engine_t *engine, uint64_t handle, const char *function, const char *args_json, const airssys_message_options_t *options, airssys_bytes_t *out_json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_invoke_request(airssys_engine_t *engine, uint64_t handle, const char *function, const char *args_json, const airssys_message_options_t *options, airssys_reply_fn_t reply_fn, void *user_data, uint64_t *out_id, airssys_error_t **error);",
    "airssys_status_t airssys_engine_list(airssys_engine_t *engine, airssys_bytes_t *out_json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_load(airssys_engine_t *engine, const char *id, const uint8_t *wasm, size_t len, const char *options_json, uint64_t *out_handle, airssys_error_t **error);",
    "airssys_status_t airssys_engine_load_file(airssys_engine_t *engine, const char *id, const char *path, const char *options_json, uint64_t *out_handle, airssys_error_t **error);",
    "airssys_status_t airssys_engine_new(const airssys_config_t *config, airssys_engine_t **out, airssys_error_t **error);",
    "airssys_status_t airssys_engine_precompile(airssys_engine_t *engine, const uint8_t *wasm, size_t len, airssys_progress_fn_t progress, void *progress_data, airssys_error_t **error);",
    "airssys_status_t airssys_engine_promote(airssys_engine_t *engine, uint64_t handle, uint64_t timeout_ms, airssys_error_t **error);",
    "airssys_status_t airssys_engine_replace(airssys_engine_t *engine, uint64_t handle, const uint8_t *wasm, size_t len, const char *options_json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_replace_file(airssys_engine_t *engine, uint64_t handle, const char *path, const char *options_json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_request(airssys_engine_t *engine, uint64_t handle, const uint8_t *payload, size_t len, const airssys_message_options_t *options, airssys_reply_fn_t reply_fn, void *user_data, uint64_t *out_id, airssys_error_t **error);",
    "airssys_status_t airssys_engine_restart(airssys_engine_t *engine, uint64_t handle, uint64_t timeout_ms, airssys_error_t **error);",
    "airssys_status_t airssys_engine_revoke(airssys_engine_t *engine, uint64_t handle, const char *json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_rollback(airssys_engine_t *engine, uint64_t handle, airssys_error_t **error);",
    "airssys_status_t airssys_engine_send(airssys_engine_t *engine, uint64_t handle, const uint8_t *payload, size_t len, const airssys_message_options_t *options, airssys_error_t **error);",
    "airssys_status_t airssys_engine_set_policies(airssys_engine_t *engine, const char *json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_shutdown(airssys_engine_t *engine, uint64_t timeout_ms, airssys_error_t **error);",
    "airssys_status_t airssys_engine_start(airssys_engine_t *engine, uint64_t handle, airssys_error_t **error);",
    "airssys_status_t airssys_engine_stats(airssys_engine_t *engine, airssys_bytes_t *out_json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_status(airssys_engine_t *engine, uint64_t handle, airssys_bytes_t *out_json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_stop(airssys_engine_t *engine, uint64_t handle, uint64_t timeout_ms, airssys_error_t **error);",
    "airssys_status_t airssys_engine_storage_batch(airssys_engine_t *engine, const char *id, const airssys_storage_change_t *changes, size_t count, airssys_error_t **error);",
    "airssys_status_t airssys_engine_storage_compact(airssys_engine_t *engine, airssys_error_t **error);",
    "airssys_status_t airssys_engine_storage_delete(airssys_engine_t *engine, const char *id, const char *key, airssys_error_t **error);",
    "airssys_status_t airssys_engine_storage_export(airssys_engine_t *engine, const char *const *namespaces, size_t count, airssys_export_fn_t write_fn, void *user_data, airssys_error_t **error);",
    "airssys_status_t airssys_engine_storage_get(airssys_engine_t *engine, const char *id, const char *key, airssys_bytes_t *out_value, airssys_error_t **error);",
    "airssys_status_t airssys_engine_storage_import(airssys_engine_t *engine, airssys_import_mode_t mode, airssys_import_fn_t read_fn, void *user_data, airssys_bytes_t *out_json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_storage_list(airssys_engine_t *engine, const char *id, const char *prefix, const char *after, size_t limit, airssys_bytes_t *out_json, airssys_error_t **error);",
    "airssys_status_t airssys_engine_storage_set(airssys_engine_t *engine, const char *id, const char *key, const uint8_t *value, size_t len, uint64_t ttl_ms, airssys_error_t **error);",
    "airssys_status_t airssys_engine_storage_usage(airssys_engine_t *engine, const char *id, uint64_t *out_bytes, uint64_t *out_keys, airssys_error_t **error);",
    "airssys_status_t airssys_engine_unload(airssys_engine_t *engine, uint64_t handle, airssys_error_t **error);",
    "airssys_status_t airssys_engine_unload_within(airssys_engine_t *engine, uint64_t handle, uint64_t timeout_ms, airssys_error_t **error);",
    "airssys_status_t airssys_engine_wait(airssys_engine_t *engine, uint64_t handle, const char *state, uint64_t timeout_ms, airssys_error_t **error);",
    "const char *airssys_error_detail_json(const airssys_error_t *error);",
    "void airssys_error_free(airssys_error_t *error);",
    "const char *airssys_error_message(const airssys_error_t *error);",
    "airssys_status_t airssys_error_status(const airssys_error_t *error);",
    "bool airssys_keys_push(airssys_keys_t *keys, const char *key);",
    "const char *airssys_status_name(airssys_status_t status);",
    "airssys_status_t airssys_storage_selftest(const airssys_storage_t *storage, uint64_t timeout_ms, airssys_bytes_t *out_report, airssys_error_t **error);",
    "const char *airssys_version(void);",
    "void airssys_writer_finish(airssys_writer_t *writer, int32_t result);",
    "bool airssys_writer_write(airssys_writer_t *writer, const uint8_t *data, size_t len);",
];

#[test]
fn the_declarations_of_functions_are_pinned() {
    let mut functions = functions();
    functions.sort_by(|one, other| one.name.cmp(&other.name));
    let declared: Vec<_> = functions.into_iter().map(|function| function.declaration).collect();
    assert_eq!(declared, ABI, "add new functions to this table; old ones never change");
}

/// The size of a struct and the offsets of its fields.
macro_rules! layout {
    ($struct:ident { $($field:ident),+ }) => {{
        // Compiles only if the test names every field.
        fn _all(whole: airssys_wasm::$struct) {
            let airssys_wasm::$struct { $($field: _),+ } = whole;
        }
        let offsets = vec![$(std::mem::offset_of!(airssys_wasm::$struct, $field)),+];
        (size_of::<airssys_wasm::$struct>(), offsets)
    }};
}

#[test]
#[cfg(target_pointer_width = "64")]
fn the_layouts_of_structs_are_pinned() {
    let layout = layout!(airssys_storage_t {
        size,
        user_data,
        drop,
        get,
        set,
        del,
        list,
        exists,
        usage,
        flags,
        batch,
        flush,
        namespaces
    });
    assert_eq!(layout, (104, vec![0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96]));
    let layout = layout!(airssys_storage_change_t { size, key, value, value_len, expires_ms });
    assert_eq!(layout, (40, vec![0, 8, 16, 24, 32]));
    let layout = layout!(airssys_storage_batch_t { size, changes, count });
    assert_eq!(layout, (24, vec![0, 8, 16]));
    let layout = layout!(airssys_log_record_t {
        size,
        level,
        component,
        message,
        message_len,
        context_keys,
        context_values,
        context_len,
        seconds,
        nanoseconds
    });
    assert_eq!(layout, (80, vec![0, 8, 16, 24, 32, 40, 48, 56, 64, 72]));
    let layout = layout!(airssys_logger_t { size, user_data, drop, log, min_level });
    assert_eq!(layout, (40, vec![0, 8, 16, 24, 32]));
    let layout = layout!(airssys_event_t { size, kind, json, payload, payload_len });
    assert_eq!(layout, (40, vec![0, 8, 16, 24, 32]));
    let layout = layout!(airssys_events_t { size, user_data, drop, event });
    assert_eq!(layout, (32, vec![0, 8, 16, 24]));
    let layout = layout!(airssys_audit_record_t {
        size,
        decision,
        nanoseconds,
        seconds,
        component,
        action,
        resource,
        by,
        rule,
        lost_allowed,
        lost_denied
    });
    assert_eq!(layout, (80, vec![0, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72]));
    let layout = layout!(airssys_audit_t { size, user_data, drop, record, sample_allowed });
    assert_eq!(layout, (40, vec![0, 8, 16, 24, 32]));
    let layout = layout!(airssys_message_options_t {
        size,
        sender,
        content_type,
        timeout_ms,
        flags,
        progress,
        progress_data
    });
    assert_eq!(layout, (56, vec![0, 8, 16, 24, 32, 40, 48]));
    let layout = layout!(airssys_completion_t { size, request, status, reply, reply_len, error });
    assert_eq!(layout, (48, vec![0, 8, 16, 24, 32, 40]));
    let layout = layout!(airssys_envelope_t {
        size,
        source,
        target,
        kind,
        correlation,
        token,
        deadline_ms,
        content_type,
        payload,
        payload_len
    });
    assert_eq!(layout, (80, vec![0, 8, 16, 24, 32, 40, 48, 56, 64, 72]));
    let layout = layout!(airssys_router_t { size, user_data, drop, route, cancel });
    assert_eq!(layout, (40, vec![0, 8, 16, 24, 32]));
    let layout = layout!(airssys_bytes_t { data, len, capacity });
    assert_eq!(layout, (24, vec![0, 8, 16]));
}

#[test]
fn sections_are_in_the_order_of_a_manual() {
    let header = header();
    let headings: Vec<_> = header.lines().filter_map(|line| line.strip_prefix("/* -- ")).collect();
    let headings: Vec<_> = headings.iter().map(|line| line.split(" --").next().unwrap()).collect();
    let order = [
        "TYPES",
        "VERSION",
        "STATUS AND ERRORS",
        "CONFIGURATION",
        "STORAGE",
        "LOG",
        "EVENTS",
        "AUDIT TRAIL",
        "ENGINES AND COMPONENTS",
        "LIFE CYCLE",
        "GROUPS",
        "OPTIONS",
        "MESSAGES",
        "REQUESTS",
        "TYPED CALLS",
        "FUNCTIONS OF THE HOST",
        "RIGHTS",
        "INSPECTION",
        "STORED DATA",
        "ROUTER",
        "BYTES AND WRITERS",
        "CODECS",
    ];
    assert_eq!(headings, order);
}

#[test]
fn lines_have_at_most_100_columns() {
    for (at, line) in header().lines().enumerate() {
        assert!(line.chars().count() <= 100, "line {}: {line}", at + 1);
    }
}

#[test]
fn the_header_says_cannot() {
    assert!(!header().contains("can not"));
}
