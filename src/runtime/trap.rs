//! Turning what Wasmtime reports into what a caller is told.

use thiserror::Error;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::core::error::{CallError, LimitBreach};
use crate::core::limits::Limits;
use crate::runtime::engine::{MAX_HOST_CALL_BYTES, MAX_STACK_BYTES};
use crate::runtime::limiter::{MAX_MEMORIES, MAX_TABLES};

/// A guest handed more than [`MAX_HOST_CALL_BYTES`] to a host function that reads it in place.
#[derive(Debug, Error)]
#[error("too much data in one call of a host function")]
pub struct HostCallTooLarge;

/// Why a guest call ended in an error. `breach` is what the limiter refused during the call.
pub fn call_error(
    error: &wasmtime::Error,
    breach: Option<LimitBreach>,
    limits: &Limits,
) -> CallError {
    match limit_breach(error, limits).or(breach) {
        Some(breach) => breach.into(),
        None => CallError::Trap { reason: reason(error), backtrace: backtrace(error) },
    }
}

/// The limit that Wasmtime itself enforced, if the error is one.
pub fn limit_breach(error: &wasmtime::Error, limits: &Limits) -> Option<LimitBreach> {
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
        return Some(LimitBreach::HostCallData { limit: MAX_HOST_CALL_BYTES as u64 });
    }
    // Wasmtime has no types for these.
    let cause = error.root_cause().to_string();
    if cause.contains("resource limit exceeded: instance") {
        Some(LimitBreach::Instances { limit: limits.max_instances as u64 })
    } else if cause.contains("resource limit exceeded: memory") {
        Some(LimitBreach::Memories { limit: MAX_MEMORIES as u64 })
    } else if cause.contains("resource limit exceeded: table") {
        Some(LimitBreach::Tables { limit: MAX_TABLES as u64 })
    } else if cause.contains("fuel allocated for hostcalls") {
        Some(LimitBreach::HostCallData { limit: MAX_HOST_CALL_BYTES as u64 })
    } else {
        None
    }
}

fn reason(error: &wasmtime::Error) -> String {
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        format!("the component exited with code {code}")
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        trap.to_string()
    } else {
        error.root_cause().to_string()
    }
}

fn backtrace(error: &wasmtime::Error) -> String {
    error.downcast_ref::<WasmBacktrace>().map(ToString::to_string).unwrap_or_default()
}
