//! Compiled components.

use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use crate::runtime::contract;
use crate::runtime::load_error::LoadError;
use crate::runtime::mappings::{self, Full, Promise, Taken};
use crate::runtime::state::HostState;

/// A compiled and linked component.
pub struct Prepared {
    /// Everything but the store.
    pub pre: InstancePre<HostState>,
    /// Where its life-cycle functions are; `None` if it exports none.
    pub lifecycle: Option<LifecycleExports>,
    /// The loop that asks for mail, if it got one.
    pub run: Option<Loop>,
    /// Whether it imports WASI, whose functions need the timers of the workers.
    pub uses_wasi: bool,
    /// Whether it imports functions in which it may have to wait, and so needs a fiber's stack.
    pub waits: bool,
    /// How many memories an instance has.
    pub memories: usize,
    /// How many mappings of the process those take.
    pub mappings: Taken,
    /// BLAKE3 of the binary.
    pub hash: blake3::Hash,
    /// Size of the binary.
    pub binary_bytes: u64,
    /// Size of the compiled code, with the initial contents of memories and tables.
    pub code_bytes: u64,
}

impl Prepared {
    /// Whether the process may have the mappings of one more instance.
    pub fn admit(&self) -> Result<Promise, Full> {
        match self.mappings {
            // Seldom one, which the next count shows.
            Taken::Shared => mappings::admit(1, 0),
            Taken::Each { memory, stack } => {
                let memories = self.memories * memory;
                // One that waits gets its stack at the first call, which is at its load.
                match self.waits {
                    true => mappings::admit(memories + stack, 0),
                    false => mappings::admit(memories, stack),
                }
            }
        }
    }
}

/// The loop that was added to a component.
pub struct Loop {
    /// Where it is.
    pub run: ComponentExportIndex,
    /// How many core instances it takes.
    pub instances: usize,
}

/// The six functions of `component-lifecycle`.
pub struct LifecycleExports {
    pub initialize: ComponentExportIndex,
    pub handle_message: ComponentExportIndex,
    pub handle_callback: ComponentExportIndex,
    pub metadata: ComponentExportIndex,
    pub health: ComponentExportIndex,
    pub shutdown: ComponentExportIndex,
}

impl LifecycleExports {
    /// Looks the six functions up; a component that exports the interface exports all of it.
    pub fn find(component: &Component) -> Result<Option<Self>, LoadError> {
        let Some(interface) = component.get_export_index(None, contract::LIFECYCLE) else {
            return Ok(None);
        };
        let find = |name: &str| {
            component.get_export_index(Some(&interface), name).ok_or_else(|| {
                LoadError::InvalidComponent(format!("{} has no {name}", contract::LIFECYCLE))
            })
        };
        Ok(Some(Self {
            initialize: find("initialize")?,
            handle_message: find("handle-message")?,
            handle_callback: find("handle-callback")?,
            metadata: find("metadata")?,
            health: find("health")?,
            shutdown: find("shutdown")?,
        }))
    }
}
