//! Enforces a component's memory, table and instance limits, and notes breaches.

use wasmtime::ResourceLimiter;

use crate::core::error::LimitBreach;
use crate::core::limits::Limits;

/// The depth to which a guest's stack may grow.
pub const MAX_STACK_BYTES: usize = 512 * 1024;

/// The most memories of a component: each occupies address space and mappings of the process,
/// however small it is.
pub const MAX_MEMORIES: usize = 100;

/// The most tables of a component.
pub const MAX_TABLES: usize = 1000;

#[derive(Clone, Copy, Default)]
struct LastGrowth {
    memory_bytes: u64,
    table_elements: u64,
}

/// Wasmtime's errors for growth that it refuses by itself, because the type of the memory or table
/// forbids it.
const NOT_ASKED_FOR: [&str; 2] =
    ["memory growth exceeds memory type's limits", "overflow calculating new table size"];

/// Counts over all memories and tables of one store.
///
/// A guest whose growth is refused sees only -1 and usually traps later; the breach noted here
/// explains that trap.
pub struct Limiter {
    max_memory_bytes: u64,
    max_table_elements: u64,
    max_instances: usize,
    memory_bytes: u64,
    table_elements: u64,
    /// The latest growth, which the system may still refuse.
    last_growth: LastGrowth,
    breach: Option<LimitBreach>,
}

impl Limiter {
    /// Creates a limiter with nothing in use. `added_instances` counts the core instances added to
    /// the component by this library.
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

    /// Returns the bytes of linear memory in use.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Forgets the breaches of earlier calls.
    pub fn begin(&mut self) {
        self.breach = None;
    }

    /// Takes the breach noted since [`Limiter::begin`], if any.
    pub fn breach(&mut self) -> Option<LimitBreach> {
        self.breach.take()
    }
}

/// Adds a growth. `Ok(false)`: the type's own maximum forbids it, which is no breach. `Err`: the
/// total would exceed the limit.
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
