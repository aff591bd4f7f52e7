//! Compiled components.

use std::fmt::Write;
use std::sync::Arc;

use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use crate::runtime::contract;
use crate::runtime::load_error::LoadError;
use crate::runtime::mappings::{self, Full, Promise, Taken};
use crate::runtime::state::HostState;

/// A compiled and linked component.
pub struct Prepared {
    /// The linked component, to be instantiated in a store.
    pub pre: InstancePre<HostState>,
    /// The life-cycle functions, if exported.
    pub lifecycle: Option<LifecycleExports>,
    /// The functions that hand its state over, if exported.
    pub state: Option<StateExports>,
    /// The added loop that asks for mail, if any.
    pub run: Option<Loop>,
    /// Whether it imports WASI, whose functions need the workers' timers.
    pub uses_wasi: bool,
    /// Whether it imports functions that may wait, and so needs a fiber stack.
    pub waits: bool,
    /// The number of memories per instance.
    pub memories: usize,
    /// The mappings of the process that instances take.
    pub mappings: Taken,
    /// BLAKE3 of the binary.
    pub hash: blake3::Hash,
    /// SHA-256 of the binary.
    pub sha256: [u8; 32],
    /// Size of the binary.
    pub binary_bytes: u64,
    /// The binary without code and data, to be inspected.
    pub outline: Arc<[u8]>,
    /// Size of the compiled code, with the initial contents of memories and tables.
    pub code_bytes: u64,
}

impl Prepared {
    /// Checks that the binary has this SHA-256.
    pub fn check_sha256(&self, expected: &[u8; 32]) -> Result<(), LoadError> {
        if self.sha256 == *expected {
            return Ok(());
        }
        let (found, expected) = (hexadecimal(&self.sha256), hexadecimal(expected));
        Err(LoadError::Unexpected(format!("its SHA-256 is {found}, and {expected} was expected")))
    }

    /// Reserves the mappings of one more instance.
    pub fn admit(&self) -> Result<Promise, Full> {
        match self.mappings {
            // An instance rarely takes a mapping, and the next count includes it.
            Taken::Shared => mappings::admit(1, 0),
            Taken::Each { memory, stack } => {
                let memories = self.memories * memory;
                // A component that may wait gets its stack at its first call, during the load.
                match self.waits {
                    true => mappings::admit(memories + stack, 0),
                    false => mappings::admit(memories, stack),
                }
            }
        }
    }
}

/// Returns bytes in hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The loop added to a component.
pub struct Loop {
    /// The export that runs it.
    pub run: ComponentExportIndex,
    /// The core instances that it takes.
    pub instances: usize,
}

/// The two functions of `component-state`.
pub struct StateExports {
    pub save: ComponentExportIndex,
    pub restore: ComponentExportIndex,
}

impl StateExports {
    /// Returns the two functions. A component that exports the interface must export both.
    pub fn find(component: &Component) -> Result<Option<Self>, LoadError> {
        exported(component, contract::STATE, |find| {
            Ok(Self { save: find("save")?, restore: find("restore")? })
        })
    }
}

/// Returns functions of an exported interface; `None` if the component does not export it.
fn exported<T>(
    component: &Component,
    name: &'static str,
    functions: impl Fn(&dyn Fn(&str) -> Result<ComponentExportIndex, LoadError>) -> Result<T, LoadError>,
) -> Result<Option<T>, LoadError> {
    let Some(interface) = component.get_export_index(None, name) else { return Ok(None) };
    let find = |function: &str| {
        let index = component.get_export_index(Some(&interface), function);
        index.ok_or_else(|| LoadError::InvalidComponent(format!("{name} has no {function}")))
    };
    functions(&find).map(Some)
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
    /// Returns the six functions. A component that exports the interface must export all of them.
    pub fn find(component: &Component) -> Result<Option<Self>, LoadError> {
        exported(component, contract::LIFECYCLE, |find| {
            Ok(Self {
                initialize: find("initialize")?,
                handle_message: find("handle-message")?,
                handle_callback: find("handle-callback")?,
                metadata: find("metadata")?,
                health: find("health")?,
                shutdown: find("shutdown")?,
            })
        })
    }
}
