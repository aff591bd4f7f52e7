//! What components may do, while they run.

use std::ffi::c_char;

use crate::core::id::ComponentHandle;
use crate::ffi::arguments::{object, optional_text, text};
use crate::ffi::boundary::boundary;
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::document::document;
use crate::ffi::engine::airssys_engine_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::status::airssys_status_t;
use crate::system::engine::Engine;

/// Runs a function that changes an engine.
///
/// # Safety
///
/// `engine` is NULL or live; `error` is NULL or valid for writing.
unsafe fn change(
    engine: *const airssys_engine_t,
    error: *mut *mut airssys_error_t,
    change: impl FnOnce(&Engine) -> Result<(), Failure>,
) -> airssys_status_t {
    let body = || {
        // SAFETY: this function's contract.
        let engine = unsafe { object(engine, "engine") }?.enter()?;
        change(&engine)
    };
    // SAFETY: this function's contract.
    unsafe { boundary(error, body) }
}

/// Puts policies in the place of those of the configuration, or of an earlier call. They hold for
/// all components, from the next decision on:
///
///     { "rules": [
///       { "effect": "deny",                 or "allow"
///         "component": "plugins/seo/v*",    pattern over ids; default: "**", all
///         "action": "messaging.send",       or a group, "storage.*"; default: "*", all
///         "resource": "app/billing/0",      pattern over what the action is on; default: "**", all
///         "reason": "plugins must not write to billing" } ] }
///
/// Rules are tried in their order, and the first that applies decides: "deny" refuses, whatever is
/// granted; "allow" lets no later rule refuse. Neither grants anything: that is what capabilities
/// are for. Actions and what they are on:
///
///     messaging.send, .request, .broadcast      id of the receiver
///     messaging.cancel                          id of the request
///     directory.list                            the id of the component that is seen
///     storage.read, .write, .delete             the namespace
///     filesystem.read, .write, .delete, .list-dir   a path of the host, without symbolic links
///     network.outbound, .inbound                a host or an address, with ":port" or without
///     environment.read, random.read, clock.read, log.write   nothing ("**" applies)
///     host.call                                 nothing; only in records, of quotas on such calls
///
/// The last four and messaging.cancel are open to every component unless a rule refuses them: a
/// clock or random numbers that are refused end the call as a trap, the environment is empty then,
/// and records are dropped. A directory that is refused is refused with all that is in it; one that is
/// allowed is not. A rule that could apply to nothing, because no id, path or host is like its
/// pattern, is an error. Who may write to a component sees it, unless a rule refuses directory.list;
/// a list that was asked for is recorded as "**". A rule with a port does not refuse to look names up,
/// one about a name not to connect to an address that was found otherwise.
///
/// `engine`: borrowed. `json`: borrowed text. `error`: may be NULL. On an error nothing has changed.
/// Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_OPTIONS`, `AIRSSYS_ERROR_INVALID_ARGUMENT`,
/// `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_set_policies(
    engine: *mut airssys_engine_t,
    json: *const c_char,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let set = |engine: &Engine| {
        // SAFETY: by this function's contract NULL or a NUL-terminated text.
        Ok(engine.set_policies(unsafe { text(json, "json") }?)?)
    };
    // SAFETY: by this function's contract as `change` needs it.
    unsafe { change(engine, error, set) }
}

/// Grants a component more than it was loaded with, from the next decision on. A directory that it
/// did not have before appears to it with its next instance, as does the right to change something
/// in one that it could only read.
///
/// `engine`: borrowed. `json`: borrowed text, one set of grants as `capabilities` in the options of
/// `airssys_engine_load` has it; a grant that is held already is held as long as the new one says.
/// `error`: may be NULL. On an error nothing has changed. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_OPTIONS`,
/// `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_FORKED` or
/// `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_grant(
    engine: *mut airssys_engine_t,
    handle: u64,
    json: *const c_char,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let grant = |engine: &Engine| {
        // SAFETY: by this function's contract NULL or a NUL-terminated text.
        Ok(engine.grant(ComponentHandle(handle), unsafe { text(json, "json") }?)?)
    };
    // SAFETY: by this function's contract as `change` needs it.
    unsafe { change(engine, error, grant) }
}

/// Takes grants away from a component, from the next decision on: messages that were accepted are
/// delivered, and files and connections that are open can not be read or written any more.
///
/// `engine`: borrowed. `json`: borrowed text, the grants as they were made, by action and pattern;
/// NULL takes all away. A part of what a pattern covers is taken away by a policy. `error`: may be
/// NULL. On an error nothing has changed. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_OPTIONS` (also
/// for a grant that the component does not hold), `AIRSSYS_ERROR_INVALID_ARGUMENT`,
/// `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_revoke(
    engine: *mut airssys_engine_t,
    handle: u64,
    json: *const c_char,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let revoke = |engine: &Engine| {
        // SAFETY: by this function's contract NULL or a NUL-terminated text.
        Ok(engine.revoke(ComponentHandle(handle), unsafe { optional_text(json, "json") }?)?)
    };
    // SAFETY: by this function's contract as `change` needs it.
    unsafe { change(engine, error, revoke) }
}

/// Says whether a component would be allowed to do something now, and by what. Quotas are not
/// looked at, and nothing is recorded:
///
///     { "component": "app/web/0", "action": "messaging.send", "resource": "app/db/0",
///       "allowed": true,
///       "by": "grant",                  or "policy", "ambient", "not-granted", "never"
///       "rule": "grant app/db/0",       which grant or rule, with its reason
///       "until-ms": null }              when the grant expires, milliseconds since 1970
///
/// `engine`: borrowed. `action`: borrowed text, one of those that `airssys_engine_set_policies`
/// lists. `resource`: borrowed text, what the action would be on, as a record has it or in another
/// notation for the same (`127.1:80`); a path without links; "" for what is the component's own, its
/// storage namespace included. "never" is what no component can do, such as to reach a storage
/// namespace that is not its own. `out_json`: receives the document, which the caller owns. `error`:
/// may be NULL. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_OPTIONS` (an
/// unknown action), `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
/// `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_explain(
    engine: *mut airssys_engine_t,
    handle: u64,
    action: *const c_char,
    resource: *const c_char,
    out_json: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let explain = |engine: &Engine| {
        // SAFETY: by this function's contract NULL or NUL-terminated texts.
        let (action, resource) = unsafe { (text(action, "action")?, text(resource, "resource")?) };
        Ok(engine.explain(ComponentHandle(handle), action, resource)?)
    };
    // SAFETY: by this function's contract as `document` needs it.
    unsafe { document(engine, out_json, error, explain) }
}
