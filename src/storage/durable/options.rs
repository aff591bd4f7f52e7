//! The options of a durable store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The options of a durable store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableOptions {
    /// The file. Its directory exists.
    pub path: PathBuf,
    /// When an acknowledged change is on disk.
    pub durability: Durability,
    /// The time between two syncs, if `durability` is [`Durability::Interval`].
    pub interval: Duration,
    /// The most bytes of pages kept in memory.
    pub cache_bytes: usize,
    /// Whether the whole file is verified when it is opened, and not only after a crash.
    pub check_on_open: bool,
    /// The file is compacted when it is larger than this many times the bytes of its keys and
    /// values; 0 is never.
    pub compact_above_ratio: u64,
}

/// When an acknowledged change is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before it is acknowledged.
    Sync,
    /// At the next sync, of one in each interval.
    Interval,
}

impl DurableOptions {
    /// Returns the defaults for a file.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            durability: Durability::Sync,
            interval: Duration::from_millis(1000),
            cache_bytes: 16 << 20,
            check_on_open: true,
            compact_above_ratio: 4,
        }
    }
}

/// Tells the host what no caller learns: a repair, a failed sync in the background.
pub type Report = Arc<dyn Fn(&str) + Send + Sync>;
