//! The end of a canary, by the host.

use std::time::Duration;

use crate::component::canary::{Reason, Verdict};
use crate::core::id::ComponentHandle;
use crate::ffi::arguments::arguments;
use crate::ffi::error::airssys_error_t;
use crate::ffi::on_engine::{airssys_engine_t, on_engine};
use crate::ffi::status::airssys_status_t;

/// Promotes a component's canary: the new version takes over.
///
/// It does so between two messages of each instance, as after `airssys_engine_replace`, and the old
/// version is kept for `airssys_engine_rollback`. If both versions export `component-state`, a new
/// instance gets the state of the old version; the canary's own state is dropped. Otherwise the
/// canary itself goes on. Outcomes of the old version's open requests go to the new one.
///
/// - `engine`: borrowed.
/// - `handle`: of a pool, the canaries of all instances are promoted.
/// - `timeout_ms`: milliseconds to wait for messages in progress, which are not interrupted; 0: does
///   not wait, `UINT64_MAX`: no limit.
/// - `error`: may be NULL.
///
/// Any thread; callable from callbacks. Blocks until the new version has taken over.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_INVALID_ARGUMENT`: also if the component has no canary, or that was aborted.
/// - `AIRSSYS_ERROR_TIMEOUT`: a message in progress has not ended. The promotion follows it.
/// - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: the component is not loaded.
/// - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component waits for.
/// - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_promote(
    engine: *mut airssys_engine_t,
    handle: u64,
    timeout_ms: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, error: Out });
    let (verdict, timeout) = (Verdict::Promote(Reason::Call), Duration::from_millis(timeout_ms));
    on_engine(engine, error, |engine| {
        Ok(engine.decide_canary(ComponentHandle(handle), verdict, timeout)?)
    })
}

/// Aborts a component's canary: the old version handles all messages again.
///
/// The old version goes on as it was, with its state. `shutdown` of the canary is called. Its open
/// requests are cancelled, and outcomes that come all the same are dropped.
///
/// - `engine`: borrowed.
/// - `handle`: of a pool, the canaries of all instances are aborted.
/// - `timeout_ms`: as for `airssys_engine_promote`.
/// - `error`: may be NULL.
///
/// Any thread; callable from callbacks. Blocks until the canary has ended.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_INVALID_ARGUMENT`: also if the component has no canary, or that was promoted.
/// - `AIRSSYS_ERROR_TIMEOUT`: a message in progress has not ended. The abort follows it.
/// - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: the component is not loaded.
/// - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component waits for.
/// - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_abort(
    engine: *mut airssys_engine_t,
    handle: u64,
    timeout_ms: u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, error: Out });
    let (verdict, timeout) = (Verdict::Abort(Reason::Call), Duration::from_millis(timeout_ms));
    on_engine(engine, error, |engine| {
        Ok(engine.decide_canary(ComponentHandle(handle), verdict, timeout)?)
    })
}
