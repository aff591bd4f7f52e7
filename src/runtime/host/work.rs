//! What the host does for a guest, paid for as if the guest had done it itself.

use wasmtime::StoreContextMut;

use crate::runtime::state::HostState;

/// How many bytes the host handles for one unit of fuel: a guest copies about as many with an instruction.
const BYTES_FOR_FUEL: u64 = 8;

/// Below this the work is that of the call itself.
const FREE_BYTES: u64 = 4096;

/// Takes the fuel for work on so many bytes. A guest that has less is left with none, and ends at its
/// next instruction.
pub fn work(store: &mut StoreContextMut<'_, HostState>, bytes: u64) -> wasmtime::Result<()> {
    if bytes < FREE_BYTES {
        return Ok(());
    }
    let fuel = store.get_fuel()?;
    store.set_fuel(fuel.saturating_sub(bytes / BYTES_FOR_FUEL))
}
