//! The compiled binaries in use, and some more for later loads.

use std::collections::HashMap;
use std::sync::Arc;

use crate::runtime::prepared::Prepared;

/// The most unused binaries kept for later loads.
const MAX_UNUSED: usize = 32;

/// Compiled binaries by hash.
pub struct BinaryCache {
    entries: HashMap<blake3::Hash, CachedBinary>,
    /// How often a binary has gone out of use so far.
    releases: u64,
    max_unused_bytes: u64,
}

struct CachedBinary {
    prepared: Arc<Prepared>,
    uses: usize,
    /// The value of `releases` when this binary went out of use.
    released: u64,
}

impl BinaryCache {
    /// Creates an empty cache that keeps up to `max_unused_bytes` of unused code.
    pub fn new(max_unused_bytes: u64) -> Self {
        Self { entries: HashMap::new(), releases: 0, max_unused_bytes }
    }

    /// Returns the number of binaries.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Returns the size of their code.
    pub fn code_bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.prepared.code_bytes).sum()
    }

    /// Returns a binary and counts one more use of it.
    pub fn take(&mut self, hash: &blake3::Hash) -> Option<Arc<Prepared>> {
        let entry = self.entries.get_mut(hash)?;
        entry.uses += 1;
        Some(Arc::clone(&entry.prepared))
    }

    /// Adds a binary with one use, or counts one more use of the same binary.
    pub fn add(&mut self, prepared: &Arc<Prepared>) -> Arc<Prepared> {
        let entry = self.entries.entry(prepared.hash).or_insert_with(|| CachedBinary {
            prepared: Arc::clone(prepared),
            uses: 0,
            released: 0,
        });
        entry.uses += 1;
        Arc::clone(&entry.prepared)
    }

    /// Counts one use fewer. Returns the binaries that are no longer kept, for the caller to drop
    /// outside the lock.
    #[must_use]
    pub fn release(&mut self, hash: &blake3::Hash) -> Vec<Arc<Prepared>> {
        if let Some(entry) = self.entries.get_mut(hash) {
            entry.uses = entry.uses.saturating_sub(1);
            if entry.uses == 0 {
                self.releases += 1;
                entry.released = self.releases;
            }
        }
        self.evict()
    }

    fn evict(&mut self) -> Vec<Arc<Prepared>> {
        let unused = self.entries.iter().filter(|(_, entry)| entry.uses == 0);
        let mut unused: Vec<_> = unused
            .map(|(hash, entry)| (entry.released, *hash, entry.prepared.code_bytes))
            .collect();
        unused.sort_unstable_by_key(|(released, ..)| std::cmp::Reverse(*released));
        let (mut count, mut bytes, mut evicted) = (0, 0_u64, Vec::new());
        for (_, hash, code_bytes) in unused {
            let more = bytes.saturating_add(code_bytes);
            if count < MAX_UNUSED && more <= self.max_unused_bytes {
                (count, bytes) = (count + 1, more);
            } else {
                evicted.extend(self.entries.remove(&hash).map(|entry| entry.prepared));
            }
        }
        evicted
    }
}
