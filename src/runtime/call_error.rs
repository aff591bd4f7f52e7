//! Converts Wasmtime's errors to those of callers.

use thiserror::Error;
use wasmtime::component::ResourceTableError;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::core::account::HostBytesExceeded;
use crate::core::bounds::{MAX_BACKTRACE_BYTES, MAX_ERROR_TEXT_BYTES, bounded};
use crate::core::error::{CallError, LimitBreach};
use crate::core::limits::Limits;
use crate::runtime::limiter::{MAX_MEMORIES, MAX_STACK_BYTES, MAX_TABLES};
use crate::runtime::shortage::MemoryLimits;
use crate::security::guard::Refused;
use crate::security::quota::Quotas;

/// A guest passed more data than its quota allows to a host function that reads it in place.
#[derive(Debug, Error)]
#[error("too much data in one call to a host function")]
pub struct HostCallTooLarge;

/// Returns why a guest call failed. `breach` is what the limiter refused during the call, `stderr`
/// what the guest wrote last.
pub fn call_error(
    error: &wasmtime::Error,
    breach: Option<LimitBreach>,
    stderr: impl FnOnce() -> String,
    limits: &Limits,
    quotas: &Quotas,
) -> CallError {
    match limit_breach(error, limits, quotas).or(breach) {
        Some(breach) => breach.into(),
        None => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => CallError::Exited { code: *code, stderr: stderr() },
            None => CallError::Trap {
                reason: bounded(&reason(error), MAX_ERROR_TEXT_BYTES),
                backtrace: backtrace(error),
                stderr: stderr(),
            },
        },
    }
}

/// Returns the limit that Wasmtime itself enforced, if the error is such a breach.
pub fn limit_breach(
    error: &wasmtime::Error,
    limits: &Limits,
    quotas: &Quotas,
) -> Option<LimitBreach> {
    let host_call_bytes = unrecorded("host-call-data-bytes", quotas.host_call_bytes);
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            return Some(LimitBreach::Fuel { limit: limits.max_fuel.unwrap_or(u64::MAX) });
        }
        Some(Trap::StackOverflow) => {
            return Some(LimitBreach::Stack { limit: MAX_STACK_BYTES as u64 });
        }
        _ => {}
    }
    if error.downcast_ref::<HostCallTooLarge>().is_some() {
        return Some(host_call_bytes);
    }
    if let Some(exceeded) = error.downcast_ref::<HostBytesExceeded>() {
        return Some(LimitBreach::HostBytes(*exceeded));
    }
    if let Some(Refused::Quota(breach)) = error.downcast_ref() {
        let (name, limit) = (breach.name, breach.value);
        return Some(LimitBreach::Quota { name, limit, recorded: true });
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return Some(unrecorded("wasi-resources", quotas.wasi_resources));
    }
    // Wasmtime has no error types for these.
    let cause = bounded(&error.root_cause(), MAX_ERROR_TEXT_BYTES);
    if cause.contains("resource limit exceeded: instance") {
        Some(LimitBreach::Instances { limit: limits.max_instances as u64 })
    } else if cause.contains("resource limit exceeded: memory") {
        Some(LimitBreach::Memories { limit: MAX_MEMORIES as u64 })
    } else if cause.contains("resource limit exceeded: table") {
        Some(LimitBreach::Tables { limit: MAX_TABLES as u64 })
    } else if cause.contains("fuel allocated for hostcalls") {
        Some(host_call_bytes)
    } else {
        None
    }
}

fn unrecorded(name: &'static str, limit: u64) -> LimitBreach {
    LimitBreach::Quota { name, limit, recorded: false }
}

fn reason(error: &wasmtime::Error) -> String {
    if let Some(trap) = error.downcast_ref::<Trap>() {
        let text = trap.to_string();
        // The error's kind says it already.
        text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned()
    } else if is_want_of_memory(error) {
        bounded(&format_args!("{error:#}; {MemoryLimits}"), MAX_ERROR_TEXT_BYTES)
    } else {
        bounded(&error.root_cause(), MAX_ERROR_TEXT_BYTES)
    }
}

/// Returns whether the system had no memory or address space for a stack or a memory.
pub fn is_want_of_memory(error: &wasmtime::Error) -> bool {
    // Wasmtime has no error type for this either.
    error.root_cause().to_string().ends_with("(os error 12)")
}

fn backtrace(error: &wasmtime::Error) -> String {
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    backtrace.map(|backtrace| bounded(backtrace, MAX_BACKTRACE_BYTES)).unwrap_or_default()
}
