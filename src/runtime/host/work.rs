//! Charges a guest fuel for the host's work on its behalf.

use wasmtime::StoreContextMut;

use crate::runtime::state::HostState;

/// Bytes of host work per unit of fuel; a guest copies about as many with one instruction.
const BYTES_FOR_FUEL: u64 = 8;

/// Below this size the work is part of the call itself.
const FREE_BYTES: u64 = 4096;

/// Takes the fuel for work on `bytes` bytes. A guest with less is left with none and ends at its
/// next instruction.
pub fn work(store: &mut StoreContextMut<'_, HostState>, bytes: u64) -> wasmtime::Result<()> {
    if bytes < FREE_BYTES {
        return Ok(());
    }
    let fuel = store.get_fuel()?;
    store.set_fuel(fuel.saturating_sub(bytes / BYTES_FOR_FUEL))
}
