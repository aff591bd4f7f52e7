//! Errors of loading components.

use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::core::error::{CallError, ComponentError, LimitBreach};
use crate::core::metadata::Oversized;
use crate::runtime::mappings::Full;
use crate::runtime::screen::refusal::{Excess, Refusal};
use crate::runtime::shortage::MemoryLimits;
use crate::security::signature::Untrusted;

/// Why a component was not loaded.
#[derive(Debug, Clone, Error)]
pub enum LoadError {
    /// The binary is not a component that this engine can run.
    #[error("invalid component: {0}")]
    InvalidComponent(String),
    /// The binary exceeds a limit of the compiler.
    #[error("invalid component: {0}")]
    TooMuch(Excess),
    /// Compilation took too long.
    #[error("compile.max-time-ms {} exceeded", limit.as_millis())]
    CompileTime {
        /// The limit.
        limit: Duration,
    },
    /// Compilation would take too much memory.
    #[error("compile.max-memory-bytes {limit} exceeded: {wanted} bytes wanted (estimated)")]
    CompileMemory {
        /// The limit.
        limit: u64,
        /// The estimate.
        wanted: u64,
    },
    /// The code is too large.
    #[error("compile.max-code-bytes {limit} exceeded: {bytes} bytes of code")]
    CodeBytes {
        /// The limit.
        limit: u64,
        /// The size of the code.
        bytes: u64,
    },
    /// The host's `progress` callback ended the wait.
    #[error("the host stopped waiting; the compile goes on in the background, behind all else")]
    GivenUp,
    /// Timed-out compiles still occupy the compiler's resources.
    #[error("{count} timed-out compiles still run and hold their memory; try again later")]
    CompilesAbandoned {
        /// The number of such compiles.
        count: usize,
    },
    /// No thread is available for compilation.
    #[error("no threads to compile on: {0}")]
    Threads(String),
    /// No descriptor is left for a granted directory.
    #[error("a granted directory cannot be opened: {0}")]
    Descriptors(String),
    /// The process is close to the system's limit on memory mappings.
    #[error(transparent)]
    Mappings(#[from] Full),
    /// The system had no memory.
    #[error("{during} failed: {reason}")]
    NoMemory {
        /// The operation in progress.
        during: &'static str,
        /// The missing resource, and the remedy.
        reason: String,
    },
    /// The engine stopped in the meantime.
    #[error("the engine stopped before the component was compiled")]
    Stopped,
    /// Instantiation or the start function failed.
    #[error("instantiation failed: {0}")]
    Instantiation(String),
    /// The component needs more than its limits allow.
    #[error("instantiation failed: {0}")]
    Limit(LimitBreach),
    /// Instantiation or a life-cycle function trapped or took too long.
    #[error("{during}: {error}")]
    Call {
        /// The operation in progress.
        during: &'static str,
        /// The error.
        error: CallError,
    },
    /// The metadata exceeds a bound.
    #[error("metadata: {0}")]
    Metadata(#[from] Oversized),
    /// It is not what the host expects.
    #[error("{0}")]
    Unexpected(String),
    /// It is not signed by anyone whom the host trusts.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// It did not become healthy in time.
    #[error("it was {last} and not healthy within health-gate-ms {}", gate.as_millis())]
    Unhealthy {
        /// Its last health.
        last: &'static str,
        /// The time.
        gate: Duration,
    },
    /// The new version has, or has not, a life cycle, and the old one has it not.
    #[error("{0} exports component-lifecycle, and the other does not; unload and load it instead")]
    OtherLifecycle(&'static str),
    /// `initialize` returned an error.
    #[error("initialize refused: {0}")]
    Refused(ComponentError),
}

impl LoadError {
    /// Returns the failure of the guest call behind it, if there is one.
    pub fn cause(&self) -> Option<&CallError> {
        match self {
            Self::Call { error, .. } => Some(error),
            _ => None,
        }
    }

    /// This thread has no signal stack, and so can run no guest.
    pub fn no_stack(error: io::Error) -> Self {
        let reason = format!("{error}; {MemoryLimits}");
        Self::NoMemory { during: "instantiation", reason }
    }
}

impl From<Refusal> for LoadError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Excess(excess) => Self::TooMuch(excess),
            other => Self::InvalidComponent(other.to_string()),
        }
    }
}
