//! Enforces a component's memory, table and instance limits, and remembers what it refused.

use wasmtime::ResourceLimiter;

use crate::core::error::LimitBreach;
use crate::core::limits::Limits;

/// The most memories that a component may have: each takes address space and mappings of the
/// process, however small it is.
pub const MAX_MEMORIES: usize = 100;

/// The most tables that a component may have.
pub const MAX_TABLES: usize = 1000;

#[derive(Clone, Copy, Default)]
struct LastGrowth {
    memory_bytes: u64,
    table_elements: u64,
}

/// How Wasmtime says that it has not asked for a growth, because the type of the memory or of the table
/// does not allow it.
const NOT_ASKED_FOR: [&str; 2] =
    ["memory growth exceeds memory type's limits", "overflow calculating new table size"];

/// Counts over all memories and tables of one store.
///
/// A guest whose growth is refused only sees -1 and usually traps later; the breach noted here
/// says why.
pub struct Limiter {
    max_memory_bytes: u64,
    max_table_elements: u64,
    max_instances: usize,
    memory_bytes: u64,
    table_elements: u64,
    /// What the last growths have added, which the system may still refuse.
    last_growth: LastGrowth,
    breach: Option<LimitBreach>,
}

impl Limiter {
    /// Nothing is used yet. `added_instances`: core instances in the component that are not its own.
    pub fn new(limits: &Limits, added_instances: usize) -> Self {
        Self {
            max_memory_bytes: limits.max_memory_bytes,
            max_table_elements: limits.max_table_elements,
            max_instances: limits.max_instances.saturating_add(added_instances),
            memory_bytes: 0,
            table_elements: 0,
            last_growth: LastGrowth::default(),
            breach: None,
        }
    }

    /// Bytes of linear memory in use.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Forgets breaches of earlier calls.
    pub fn begin(&mut self) {
        self.breach = None;
    }

    /// What was refused since [`Limiter::begin`], if anything.
    pub fn breach(&mut self) -> Option<LimitBreach> {
        self.breach.take()
    }
}

/// Adds a growth to what is used. `Ok(false)` is the type's own maximum, which is no breach;
/// `Err` is the total that the limit does not allow.
fn grow(
    used: &mut u64,
    limit: u64,
    current: usize,
    desired: usize,
    maximum: Option<usize>,
) -> Result<bool, u64> {
    if maximum.is_some_and(|maximum| desired > maximum) {
        return Ok(false);
    }
    let wanted = used.saturating_add((desired - current) as u64);
    if wanted > limit {
        return Err(wanted);
    }
    *used = wanted;
    Ok(true)
}

fn was_asked_for(error: &wasmtime::Error) -> bool {
    let text = error.to_string();
    !NOT_ASKED_FOR.contains(&text.as_str())
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let (limit, before) = (self.max_memory_bytes, self.memory_bytes);
        let grown = grow(&mut self.memory_bytes, limit, current, desired, maximum);
        self.last_growth.memory_bytes = self.memory_bytes - before;
        Ok(grown.unwrap_or_else(|wanted| {
            self.breach = Some(LimitBreach::Memory { limit, wanted });
            false
        }))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if was_asked_for(&error) {
            self.memory_bytes -= std::mem::take(&mut self.last_growth.memory_bytes);
        }
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let (limit, before) = (self.max_table_elements, self.table_elements);
        let grown = grow(&mut self.table_elements, limit, current, desired, maximum);
        self.last_growth.table_elements = self.table_elements - before;
        Ok(grown.unwrap_or_else(|wanted| {
            self.breach = Some(LimitBreach::TableElements { limit, wanted });
            false
        }))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if was_asked_for(&error) {
            self.table_elements -= std::mem::take(&mut self.last_growth.table_elements);
        }
        Ok(())
    }

    fn instances(&self) -> usize {
        self.max_instances
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}
