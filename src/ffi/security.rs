//! Rights of running components.

use std::ffi::c_char;

use crate::core::id::ComponentHandle;
use crate::ffi::arguments::arguments;
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::on_engine::airssys_engine_t;
use crate::ffi::on_engine::{document, on_engine};
use crate::ffi::status::airssys_status_t;

/// Replaces the policies of the configuration or of an earlier call. They apply to all components,
/// from the next decision on.
///
/// `engine`: borrowed. `json`: borrowed text, see POLICIES in OPTIONS above. `error`: may be NULL.
/// On an error nothing changes. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_OPTIONS`, `AIRSSYS_ERROR_INVALID_ARGUMENT`,
/// `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_set_policies(
    engine: *mut airssys_engine_t,
    json: *const c_char,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, json: Text, error: Out });
    on_engine(engine, error, |engine| Ok(engine.set_policies(json.required()?)?))
}

/// Adds grants to a component, from the next decision on.
///
/// A new directory appears to the component with its next instance. So does the right to change
/// something in a directory that it could only read.
///
/// `engine`: borrowed. `handle`: the component. `json`: borrowed text, one set of grants, see
/// CAPABILITIES in OPTIONS above; a grant that the component already has gets the expiry of the new
/// one. `error`: may be NULL. On an error nothing changes. Any thread; callable from callbacks.
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
    arguments!(unsafe { engine: Object, json: Text, error: Out });
    on_engine(engine, error, |engine| Ok(engine.grant(ComponentHandle(handle), json.required()?)?))
}

/// Removes grants from a component, from the next decision on.
///
/// Accepted messages are still delivered. Open files and connections can no longer be read or
/// written.
///
/// `engine`: borrowed. `handle`: the component. `json`: borrowed text, the grants as they were
/// made, by action and pattern (their expiry does not matter); NULL: all grants. To remove a part
/// of what a pattern covers, use a policy. `error`: may be NULL. On an error nothing changes. Any
/// thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_OPTIONS` (also
/// if the component does not have a grant), `AIRSSYS_ERROR_INVALID_ARGUMENT`,
/// `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_revoke(
    engine: *mut airssys_engine_t,
    handle: u64,
    json: *const c_char,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, json: Text, error: Out });
    on_engine(engine, error, |engine| Ok(engine.revoke(ComponentHandle(handle), json.optional()?)?))
}

/// Tells whether a component may do something now, and what decides. It ignores quotas and records
/// nothing.
///
///     { "component": "app/web/0", "action": "messaging.send", "resource": "app/db/0",
///       "allowed": true,
///       "by": "grant",                  or "policy", "ambient", "not-granted", "never"
///       "rule": "grant app/db/0",       the grant or rule, with its reason
///       "until-ms": null }              when the grant expires, milliseconds since 1970
///
/// "ambient": the action reaches nothing of the host (clocks, random numbers, the log, the
/// environment) and needs no grant. "never": no grant can allow it, for example the storage
/// namespace of another component.
///
/// - `engine`: borrowed. `handle`: the component.
/// - `action`: borrowed text, see POLICIES in OPTIONS above.
/// - `resource`: borrowed text, spelled as in an audit record or in an equivalent notation
///   (`127.1:80`); a path without links; "" for the component's own resource, for example its
///   storage namespace.
/// - `out_json`: receives the document, which the caller owns.
/// - `error`: may be NULL.
///
/// Any thread; callable from callbacks.
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
    arguments!(unsafe {
        engine: Object,
        action: Text,
        resource: Text,
        out_json: Out,
        error: Out,
    });
    document(engine, out_json, error, |engine| {
        let (action, resource) = (action.required()?, resource.required()?);
        Ok(engine.explain(ComponentHandle(handle), action, resource)?)
    })
}
