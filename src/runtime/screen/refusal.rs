//! Reasons not to compile a binary.

use std::fmt;

use thiserror::Error;
use wasmparser::BinaryReaderError;

/// A place in a binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The offset from the start of the binary.
    pub offset: usize,
    /// The kind of section.
    pub section: &'static str,
    /// The index of the function in its module, imports included.
    pub function: Option<u32>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} section, byte {:#x}", self.section, self.offset)?;
        self.function.map_or(Ok(()), |function| write!(f, ", function {function}"))
    }
}

/// A limit of the compiler that a binary exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{limit} {value} exceeded: {found} in the {place}")]
pub struct Excess {
    /// The name in the configuration.
    pub limit: &'static str,
    /// The value of the limit.
    pub value: u64,
    /// The count up to where the binary was read.
    pub found: u64,
    /// The place.
    pub place: Place,
}

/// Why a binary is not compiled.
#[derive(Debug, Clone, Error)]
pub enum Refusal {
    /// It exceeds a limit.
    #[error(transparent)]
    Excess(#[from] Excess),
    /// It is not valid WebAssembly.
    #[error(transparent)]
    Malformed(#[from] BinaryReaderError),
    /// It does something without a bound.
    #[error("{reason}: {place}")]
    Unbounded {
        /// The reason.
        reason: &'static str,
        /// The place.
        place: Place,
    },
}
