//! The most recently loaded small binaries, recognized by their bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use crate::runtime::prepared::Prepared;

/// The most binaries remembered.
const MAX_BINARIES: usize = 16;

/// The largest binary remembered: comparing costs a tenth of hashing, but remembering costs memory.
const MAX_BYTES: usize = 256 << 10;

/// The most bytes of all remembered binaries.
const MAX_TOTAL_BYTES: usize = 1 << 20;

/// Binaries and their compiled forms, most recent first.
#[derive(Default)]
pub struct RecentBinaries {
    binaries: VecDeque<(Box<[u8]>, Weak<Prepared>)>,
}

impl RecentBinaries {
    /// Returns the compiled form of a binary, if it is remembered and still in use or kept.
    pub fn find(&self, binary: &[u8]) -> Option<Arc<Prepared>> {
        let (_, prepared) = self.binaries.iter().find(|(known, _)| **known == *binary)?;
        prepared.upgrade()
    }

    /// Remembers a binary that was not found.
    pub fn remember(&mut self, binary: &[u8], prepared: &Arc<Prepared>) {
        if binary.len() > MAX_BYTES {
            return;
        }
        self.binaries.retain(|(known, prepared)| prepared.strong_count() > 0 && **known != *binary);
        self.binaries.truncate(MAX_BINARIES - 1);
        self.binaries.push_front((binary.into(), Arc::downgrade(prepared)));
        let mut total = 0;
        self.binaries.retain(|(known, _)| {
            total += known.len();
            total <= MAX_TOTAL_BYTES
        });
    }
}
