//! Resources of the process, which must not grow from round to round.

use std::fs;

use crate::watch::lost_starts;

/// What the library keeps without an engine.
#[derive(Debug, Clone, Copy)]
pub struct Level {
    threads: usize,
    descriptors: usize,
    mappings: usize,
    resident_kib: usize,
}

/// Tolerances for the allocator and the kernel.
const ROOM: Level = Level { threads: 0, descriptors: 0, mappings: 100, resident_kib: 32 * 1024 };

/// The descriptors of a Tokio runtime.
const LOST: usize = 3;

impl Level {
    pub fn now() -> Self {
        let entries = |directory| fs::read_dir(directory).expect("of this process").count();
        let text = |file| fs::read_to_string(file).expect("of this process");
        let status = text("/proc/self/status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|size| size.split_whitespace().next());
        Self {
            threads: entries("/proc/self/task"),
            descriptors: entries("/proc/self/fd"),
            mappings: text("/proc/self/maps").lines().count(),
            resident_kib: resident.and_then(|size| size.parse().ok()).expect("a size"),
        }
    }

    /// Combines two measurements, during which resources may still be released: the minimum of
    /// exact counts, the maximum of the rest.
    pub fn with(self, other: Self) -> Self {
        Self {
            threads: self.threads.min(other.threads),
            descriptors: self.descriptors.min(other.descriptors),
            mappings: self.mappings.max(other.mappings),
            resident_kib: self.resident_kib.max(other.resident_kib),
        }
    }

    /// Whether nothing has grown.
    pub fn is_within(self, before: Self) -> bool {
        self.threads <= before.threads + ROOM.threads
            && self.descriptors <= before.descriptors + LOST * lost_starts()
            && self.mappings <= before.mappings + ROOM.mappings
            && self.resident_kib <= before.resident_kib + ROOM.resident_kib
    }
}
