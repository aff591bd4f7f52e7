//! Compiled binaries: those in use, and some for later loads.

use std::collections::HashMap;
use std::sync::Arc;

use crate::runtime::prepared::Prepared;

/// How many that no loaded component uses are kept for later loads.
const MAX_UNUSED: usize = 32;

/// Compiled binaries by their hash.
pub struct Kept {
    entries: HashMap<blake3::Hash, Entry>,
    /// How many times one has gone out of use.
    releases: u64,
    max_unused_bytes: u64,
}

struct Entry {
    prepared: Arc<Prepared>,
    uses: usize,
    /// The value of `releases` when it went out of use.
    released: u64,
}

impl Kept {
    /// Nothing; later so many bytes of code that nobody uses.
    pub fn new(max_unused_bytes: u64) -> Self {
        Self { entries: HashMap::new(), releases: 0, max_unused_bytes }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// How much code that is.
    pub fn code_bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.prepared.code_bytes).sum()
    }

    /// One that is here; it is in use once more.
    pub fn take(&mut self, hash: &blake3::Hash) -> Option<Arc<Prepared>> {
        let entry = self.entries.get_mut(hash)?;
        entry.uses += 1;
        Some(Arc::clone(&entry.prepared))
    }

    /// Adds one that is in use; if it is here already, it is in use once more.
    pub fn add(&mut self, prepared: &Arc<Prepared>) -> Arc<Prepared> {
        let entry = self.entries.entry(prepared.hash).or_insert_with(|| Entry {
            prepared: Arc::clone(prepared),
            uses: 0,
            released: 0,
        });
        entry.uses += 1;
        Arc::clone(&entry.prepared)
    }

    /// One use less. The result is what is not kept any more, to be dropped without a lock.
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
