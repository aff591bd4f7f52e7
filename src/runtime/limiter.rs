//! Enforces a component's memory, table and instance limits, and remembers what it refused.

use wasmtime::ResourceLimiter;

use crate::core::error::LimitBreach;
use crate::core::limits::Limits;

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
    breach: Option<LimitBreach>,
}

impl Limiter {
    /// Nothing is used yet.
    pub fn new(limits: &Limits) -> Self {
        Self {
            max_memory_bytes: limits.max_memory_bytes,
            max_table_elements: limits.max_table_elements,
            max_instances: limits.max_instances,
            memory_bytes: 0,
            table_elements: 0,
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

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let wanted = self.memory_bytes.saturating_add((desired - current) as u64);
        if wanted > self.max_memory_bytes {
            self.breach = Some(LimitBreach::Memory { limit: self.max_memory_bytes, wanted });
            return Ok(false);
        }
        self.memory_bytes = wanted;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let wanted = self.table_elements.saturating_add((desired - current) as u64);
        if wanted > self.max_table_elements {
            self.breach =
                Some(LimitBreach::TableElements { limit: self.max_table_elements, wanted });
            return Ok(false);
        }
        self.table_elements = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.max_instances
    }

    fn tables(&self) -> usize {
        self.max_instances.saturating_mul(4)
    }

    fn memories(&self) -> usize {
        self.max_instances
    }
}
