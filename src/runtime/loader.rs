//! Checks component binaries and caches what they compile to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::runtime::cache::store::CacheCounts;
use crate::runtime::compiler::{Compiler, Lease};
use crate::runtime::load_error::LoadError;
use crate::runtime::prepared::Prepared;
use crate::runtime::recent_binaries::RecentBinaries;
use crate::runtime::workshop::Workshop;

/// Compiles each distinct binary once.
pub struct Loader {
    workshop: Arc<Workshop>,
    compiler: Compiler,
    max_component_bytes: u64,
    recent: Mutex<RecentBinaries>,
}

impl Loader {
    /// Creates a loader without compiled binaries.
    pub fn new(workshop: Workshop, compiler: Compiler, max_component_bytes: u64) -> Self {
        Self {
            workshop: Arc::new(workshop),
            compiler,
            max_component_bytes,
            recent: Mutex::default(),
        }
    }

    /// Returns the largest accepted binary, in bytes.
    pub fn max_component_bytes(&self) -> u64 {
        self.max_component_bytes
    }

    /// Returns the counts of the disk cache; `None` without one.
    pub fn cache_counts(&self) -> Option<CacheCounts> {
        self.workshop.cache_counts()
    }

    /// Returns the number of compiled binaries and the size of their code.
    pub fn compiled(&self) -> (usize, u64) {
        self.compiler.kept()
    }

    /// Fails current and later loads.
    pub fn stop(&self) {
        self.compiler.stop();
    }

    /// Compiles and links a binary, or returns the result of an earlier load. The result is kept at
    /// least as long as the lease.
    pub fn prepare(&self, binary: &[u8]) -> Result<(Arc<Prepared>, Lease), LoadError> {
        check(binary, self.max_component_bytes)?;
        let known = self.recent().find(binary).map(|prepared| prepared.hash);
        if let Some(found) = known.and_then(|hash| self.compiler.find(&hash)) {
            return Ok(found);
        }
        let hash = known.unwrap_or_else(|| blake3::hash(binary));
        let (prepared, lease) = self.compiler.get(&hash, || self.workshop.way(binary, hash))?;
        self.recent().remember(binary, &prepared);
        Ok((prepared, lease))
    }

    /// Returns the result of an earlier load of a binary, if it is known well enough to need no
    /// hash.
    pub fn find(&self, binary: &[u8]) -> Option<(Arc<Prepared>, Lease)> {
        let known = self.recent().find(binary).map(|prepared| prepared.hash)?;
        self.compiler.find(&known)
    }

    fn recent(&self) -> MutexGuard<'_, RecentBinaries> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rejects what is obviously not a component, with a better message than a validator's.
pub fn check(binary: &[u8], max_component_bytes: u64) -> Result<(), LoadError> {
    let invalid = |reason: String| Err(LoadError::InvalidComponent(reason));
    let size = binary.len() as u64;
    if size > max_component_bytes {
        return invalid(format!("larger than max-component-bytes {}", max_component_bytes));
    }
    match binary {
        [] => invalid("it is empty".into()),
        [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => invalid(
            "it is a core module; turn it into a component (`wasm-tools component new`, or \
             build for wasm32-wasip2)"
                .into(),
        ),
        [b'\0', b'a', b's', b'm', rest @ ..] if rest.len() < 4 => {
            invalid(format!("it ends after {size} bytes"))
        }
        [b'(', ..] => invalid("it is WebAssembly text; the binary format is required".into()),
        _ => invalid("it does not start with the header of a WebAssembly component".into()),
    }
}
