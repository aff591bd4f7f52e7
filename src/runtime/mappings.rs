//! How many memory mappings the process has, and may have.
//!
//! A thread, a guest's stack and the host's own memory take some of them, and where there is none left much
//! ends the process. So loads are refused while there are some.

use std::fs;
use std::io::Read as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::runtime::fiber_stack;

/// This part of what the system allows is kept for what runs.
const RESERVE: usize = 16;

/// What instances take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Their memories and stacks are parts of a few mappings.
    Shared,
    /// So many for each.
    Each {
        /// A linear memory.
        memory: usize,
        /// The stack of a guest.
        stack: usize,
    },
}

impl Taken {
    /// What instances take whose memories are packed, or not.
    pub fn with(packed_memories: bool) -> Self {
        match (packed_memories, fiber_stack::guards_take_mappings()) {
            (true, false) => Self::Shared,
            (packed, guards) => {
                Self::Each { memory: if packed { 0 } else { 2 }, stack: if guards { 3 } else { 2 } }
            }
        }
    }
}

/// The process has nearly as many as the system allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the process has {count} of vm.max_map_count {most} memory mappings, and {kept} are kept for what runs: \
     raise it (sysctl -w vm.max_map_count=1048576), or load less"
)]
pub struct Full {
    /// How many it has.
    pub count: usize,
    /// How many it may have.
    pub most: usize,
    /// How many of them loads leave.
    pub kept: usize,
}

/// Mappings of the process that are used up by loads.
#[derive(Debug)]
struct Budget {
    /// So many may be taken before all are counted again.
    left: usize,
    /// So many will be taken by what is loaded, once it runs.
    promised: usize,
}

static BUDGET: Mutex<Budget> = Mutex::new(Budget { left: 0, promised: 0 });

/// Mappings that something will take while it lives.
#[derive(Debug)]
pub struct Promise(usize);

impl Drop for Promise {
    fn drop(&mut self) {
        budget().promised -= self.0;
    }
}

/// Whether so many may be taken now, and so many later.
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
        // Others take some too, and are not seen until the next time.
        budget.left = (free / 2).max(wanted);
    }
    budget.left = budget.left.saturating_sub(wanted);
    budget.promised += later;
    Ok(Promise(later))
}

fn budget() -> MutexGuard<'static, Budget> {
    BUDGET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many mappings a process may have; `None` where the system does not say.
pub fn most() -> Option<usize> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// How many mappings the process has. Takes time with their number: about 0.1 µs for each.
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
