//! Adds `wasi:keyvalue` to a linker.

use wasmtime::component::Linker;

use crate::runtime::host::interface::{Immediate, Interface};
use crate::runtime::host::keyvalue::store::Functions;
use crate::runtime::host::keyvalue::{atomics, batch, store};
use crate::runtime::state::HostState;
use crate::storage::backend::Placement;

/// The interfaces added by [`link`].
pub const OFFERED: [&str; 6] = [
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
];

/// Adds the interfaces.
pub fn link(
    linker: &mut Linker<HostState>,
    immediate: &mut Immediate,
    placement: Placement,
) -> wasmtime::Result<()> {
    let [store, atomics, batch, store2, atomics2, batch2] = OFFERED;
    let mut add = |name, functions: fn(Functions<'_>) -> wasmtime::Result<()>| {
        functions(Functions::new(Interface::new(name, linker, immediate)?, placement))
    };
    add(store, |mut functions| {
        store::link(&mut functions)?;
        store::link_list_by_number(&mut functions)
    })?;
    add(atomics, atomics::link_unsigned)?;
    add(batch, batch::link)?;
    add(store2, |mut functions| {
        store::link(&mut functions)?;
        store::link_list_by_key(&mut functions)
    })?;
    add(atomics2, atomics::link_signed)?;
    add(batch2, batch::link)
}
