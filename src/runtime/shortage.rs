//! Explains shortages of system resources, with the remedy.

use std::fmt;
use std::io;

use thiserror::Error;

use crate::runtime::mappings;

/// The system refused a thread.
#[derive(Debug, Error)]
#[error("cannot start thread {name}: {source}; {}", ThreadLimits)]
pub struct NoThread {
    name: &'static str,
    source: io::Error,
}

impl NoThread {
    /// Creates the error for a failed start.
    pub fn new(name: &'static str, source: io::Error) -> Self {
        Self { name, source }
    }
}

/// Formats the current limits that may have stopped a thread.
pub struct ThreadLimits;

/// Formats the current limits that may have stopped an allocation.
pub struct MemoryLimits;

/// With fewer mappings than this left, a thread or a memory does not fit.
const FEW_MAPPINGS: usize = 8;

fn full() -> Option<mappings::Full> {
    let (count, most) = (mappings::count()?, mappings::most()?);
    (count + FEW_MAPPINGS >= most).then_some(mappings::Full { count, most, kept: 0 })
}

/// Returns the limit on the process's address space, if there is one.
pub fn address_space() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::As).current;
    #[cfg(not(unix))]
    None
}

impl fmt::Display for ThreadLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(full) = full() {
            return full.fmt(f);
        }
        if let Some(bytes) = address_space() {
            write!(f, "RLIMIT_AS (ulimit -v) is {bytes} bytes, ")?;
        }
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{Resource, getrlimit};
            if let Some(count) = getrlimit(Resource::Nproc).current {
                write!(f, "RLIMIT_NPROC (ulimit -u) is {count}, ")?;
            }
            f.write_str("pids.max of the control group may apply: ")?;
        }
        f.write_str("raise the limit, or end other threads")
    }
}

impl fmt::Display for MemoryLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (full(), address_space()) {
            (Some(full), _) => full.fmt(f),
            (None, Some(bytes)) => write!(
                f,
                "RLIMIT_AS (ulimit -v) is {bytes} bytes: raise it, or configure \"memory-reservation\": \
                 \"small\""
            ),
            (None, None) => f.write_str("the system or the process is out of memory"),
        }
    }
}
