//! Why a binary is not compiled.

use std::fmt;

use thiserror::Error;
use wasmparser::BinaryReaderError;

/// Where in a binary something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the start of the binary.
    pub offset: usize,
    /// The kind of section.
    pub section: &'static str,
    /// Which function of its module, imports included.
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
    /// Which, as the configuration names it.
    pub limit: &'static str,
    /// How much it is.
    pub value: u64,
    /// How much there is, as far as the binary was read.
    pub found: u64,
    /// Where.
    pub place: Place,
}

/// Why a binary is not compiled.
#[derive(Debug, Clone, Error)]
pub enum Refusal {
    /// It exceeds a limit.
    #[error(transparent)]
    Excess(#[from] Excess),
    /// It is not WebAssembly.
    #[error(transparent)]
    Malformed(#[from] BinaryReaderError),
    /// It does something that can not be bounded.
    #[error("{reason}: {place}")]
    Unbounded {
        /// What.
        reason: &'static str,
        /// Where.
        place: Place,
    },
}
