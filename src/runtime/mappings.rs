//! The memory mappings of the process, and the limit on them.
//!
//! Threads, guests' stacks and the host's own memory take mappings, and running out of them ends the
//! process in many places. So loads are refused while some are left.

use std::fs;
use std::io::Read as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::runtime::fiber_stack;

/// One part in this many of the limit is kept for what already runs.
const RESERVE: usize = 16;

/// The mappings that instances take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Memories and stacks share a few mappings.
    Shared,
    /// As many for each instance.
    Each {
        /// For a linear memory.
        memory: usize,
        /// For a guest's stack.
        stack: usize,
    },
}

impl Taken {
    /// Returns what instances take, with packed memories or without.
    pub fn with(packed_memories: bool) -> Self {
        match (packed_memories, fiber_stack::guards_take_mappings()) {
            (true, false) => Self::Shared,
            (packed, guards) => {
                Self::Each { memory: if packed { 0 } else { 2 }, stack: if guards { 3 } else { 2 } }
            }
        }
    }
}

/// The process has nearly as many mappings as the system allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the process has {count} of vm.max_map_count {most} memory mappings, and {kept} are kept for what runs: \
     raise it (sysctl -w vm.max_map_count=1048576), or load less"
)]
pub struct Full {
    /// The mappings that it has.
    pub count: usize,
    /// The mappings that it may have.
    pub most: usize,
    /// The mappings that loads must leave.
    pub kept: usize,
}

/// The mappings that loads use up.
#[derive(Debug)]
struct Budget {
    /// The mappings that may be taken before all are counted again.
    left: usize,
    /// The mappings that loaded components will take once they run.
    promised: usize,
}

static BUDGET: Mutex<Budget> = Mutex::new(Budget { left: 0, promised: 0 });

/// A reservation of mappings for the life of its owner.
#[derive(Debug)]
pub struct Promise(usize);

impl Drop for Promise {
    fn drop(&mut self) {
        budget().promised -= self.0;
    }
}

/// Reserves `now` mappings at once and `later` ones for later, if they are left.
pub fn admit(now: usize, later: usize) -> Result<Promise, Full> {
    let mut budget = budget();
    let wanted = now.saturating_add(later);
    if budget.left < wanted
        && let (Some(count), Some(most)) = (count(), most())
    {
        let kept = most / RESERVE + budget.promised;
        let free = most.saturating_sub(kept).saturating_sub(count);
        if free < wanted {
            return Err(Full { count, most, kept });
        }
        // What others take meanwhile is seen at the next count.
        budget.left = (free / 2).max(wanted);
    }
    budget.left = budget.left.saturating_sub(wanted);
    budget.promised += later;
    Ok(Promise(later))
}

fn budget() -> MutexGuard<'static, Budget> {
    BUDGET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the limit on mappings; `None` if the system does not tell.
pub fn most() -> Option<usize> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// Returns the number of mappings. Takes about 0.1 µs for each.
pub fn count() -> Option<usize> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let mut maps = fs::File::open("/proc/self/maps").ok()?;
    let (mut lines, mut part) = (0, [0; 16 << 10]);
    loop {
        match maps.read(&mut part) {
            Ok(0) => return Some(lines),
            Ok(bytes) => lines += part[..bytes].iter().filter(|byte| **byte == b'\n').count(),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
