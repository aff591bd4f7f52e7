//! What a component imports and exports.

use crate::core::id::ComponentHandle;
use crate::ffi::arguments::arguments;
use crate::ffi::boundary::boundary;
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::on_engine::airssys_engine_t;
use crate::ffi::on_engine::document;
use crate::ffi::status::airssys_status_t;
use crate::runtime::inspection::inspect;

/// Tells what a binary is: its interfaces, functions and types. Nothing is compiled or run, and no
/// engine is needed.
///
///     {
///       "world": "root", "size": 12345, "sha256": "64 digits",
///       "producers": { "language": [{ "name": "Rust", "version": "" }],
///                      "processed-by": [], "sdk": [] },   as the binary says
///       "lifecycle": "1.0.0",               version of component-lifecycle; null: not exported
///       "state": false,                     whether it exports component-state
///       "needs": ["storage", "log"],        what it could ask for, see below
///       "imports": [], "exports": [{
///         "name": "docs:calc/ops@0.1.0",    "": what is in no interface, which comes first
///         "docs": "text",                   if the binary has comments; so in all that follows
///         "functions": [{
///           "name": "add",
///           "call": "docs:calc/ops@0.1.0#add",     for airssys_engine_invoke
///           "params": [{ "name": "a", "type": "s32" }], "result": "s32" or null,
///           "async": false, "docs": "text" }],
///         "types": [{ "name": "point", "type": 0, "docs": "text" }] }],
///       "types": [],                        see below
///       "wit": "package root:component; ..."   null: WIT has no words for it, or 4 MiB of them
///     }
///
/// A type is the name of a primitive type ("s32", "string", ...) or a number: its place in `types`,
/// where every type is once. Aliases stand for what they name. `docs` is left out where there is
/// none; so is `type` of a case without payload.
///
///     { "kind": "record", "name": "point", "interface": "docs:calc/ops@0.1.0",
///       "fields": [{ "name": "x", "type": "s32", "docs": "text" }] }
///     { "kind": "variant", "name", "interface", "cases": [{ "name", "type" }] }
///     { "kind": "enum", "name", "interface", "cases": [{ "name" }] }
///     { "kind": "flags", "name", "interface", "flags": [{ "name" }] }
///     { "kind": "resource", "name", "interface" }
///     { "kind": "own", "resource": "counter", "type": 7 }     also "borrow"
///     { "kind": "list", "type" }            also "option", "future", "stream"; "length" if fixed
///     { "kind": "tuple", "types": [] }
///     { "kind": "result", "ok": null, "err": "string" }
///     { "kind": "map", "key", "value" }
///
/// `needs` has the words of CAPABILITIES, `messaging`, `storage`, `filesystem` and `network`, and
/// those that need no grant: `environment`, `clock`, `random` and `log`. They follow from what it
/// imports, which may be more than it uses.
///
/// `wasm`: borrowed, the binary, of at most 64 MiB. `out_json`: receives the document, which the
/// caller owns. `error`: may be NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_COMPONENT` (as a load in an engine with defaults,
/// but code that is not valid goes unnoticed), `AIRSSYS_ERROR_INVALID_ARGUMENT` or
/// `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_component_inspect(
    wasm: *const u8,
    len: usize,
    out_json: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { wasm[len]: Slice, out_json: Out, error: Out });
    boundary(error, || {
        let out_json = out_json.required()?;
        let json = inspect::binary(wasm.get()?).map_err(|error| Failure::of_binary(&error))?;
        out_json.write(airssys_bytes_t::document(json));
        Ok(())
    })
}

/// Tells what a loaded component is, as `airssys_component_inspect` does: the version that gets
/// messages, not a canary.
///
/// `engine`: borrowed. `handle`: the component. `out_json`: receives the document, which the caller
/// owns. `error`: may be NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_COMPONENT` (its
/// document would have more than 64 MiB), `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`
/// or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_inspect(
    engine: *mut airssys_engine_t,
    handle: u64,
    out_json: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, out_json: Out, error: Out });
    document(engine, out_json, error, |engine| Ok(engine.inspect(ComponentHandle(handle))?))
}
