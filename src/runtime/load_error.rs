//! Why components are not loaded.

use std::time::Duration;

use thiserror::Error;

use crate::core::error::{CallError, ComponentError, LimitBreach};
use crate::core::metadata::Oversized;
use crate::runtime::mappings::Full;
use crate::runtime::screen::refusal::{Excess, Refusal};

/// Why a component was not loaded.
#[derive(Debug, Clone, Error)]
pub enum LoadError {
    /// The binary is no component that this engine can run.
    #[error("invalid component: {0}")]
    InvalidComponent(String),
    /// The binary exceeds a limit of the compiler.
    #[error("invalid component: {0}")]
    TooMuch(Excess),
    /// Compiling it took too long.
    #[error("compile.max-time-ms {} exceeded", limit.as_millis())]
    CompileTime {
        /// The limit.
        limit: Duration,
    },
    /// Compiling it would take too much memory.
    #[error("compile.max-memory-bytes {limit} exceeded: {wanted} bytes wanted, by an estimate")]
    CompileMemory {
        /// The limit.
        limit: u64,
        /// The estimate.
        wanted: u64,
    },
    /// Its code is too large.
    #[error("compile.max-code-bytes {limit} exceeded: {bytes} bytes of code")]
    CodeBytes {
        /// The limit.
        limit: u64,
        /// How much there is.
        bytes: u64,
    },
    /// Compiles that took too long take what there is to compile with.
    #[error("{count} compiles that took too long are still under way, with their memory")]
    CompilesAbandoned {
        /// How many there are.
        count: usize,
    },
    /// There are no threads to compile on.
    #[error("no threads to compile on: {0}")]
    Threads(String),
    /// There is no descriptor for a directory that it was granted.
    #[error("a granted directory can not be opened: {0}")]
    Descriptors(String),
    /// The process has nearly as many memory mappings as the system allows.
    #[error(transparent)]
    Mappings(#[from] Full),
    /// The system had no memory for it.
    #[error("{during} failed: {reason}")]
    NoMemory {
        /// What was under way.
        during: &'static str,
        /// What was missing, and what to do.
        reason: String,
    },
    /// The engine stopped meanwhile.
    #[error("the engine stopped before it was compiled")]
    Stopped,
    /// Wasmtime could not instantiate it, or its start function failed.
    #[error("instantiation failed: {0}")]
    Instantiation(String),
    /// It needs more than its limits allow.
    #[error("instantiation failed: {0}")]
    Limit(LimitBreach),
    /// Its instantiation or a life-cycle function trapped or took too long.
    #[error("{during}: {error}")]
    Call {
        /// What was under way.
        during: &'static str,
        /// What happened.
        error: CallError,
    },
    /// Its metadata says too much.
    #[error("metadata: {0}")]
    Metadata(#[from] Oversized),
    /// Its `initialize` refused.
    #[error("initialize refused: {0}")]
    Refused(ComponentError),
}

impl From<Refusal> for LoadError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Excess(excess) => Self::TooMuch(excess),
            other => Self::InvalidComponent(other.to_string()),
        }
    }
}
