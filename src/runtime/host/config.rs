//! `wasi:config`, on the configuration and the environment of the load.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower};

use crate::runtime::host::interface::{Immediate, Interface};
use crate::runtime::initial_config::Values;
use crate::runtime::lifting::ShortText;
use crate::runtime::state::HostState;
use crate::security::action::Action;

/// The interfaces added by [`link`], which differ in their names.
pub const OFFERED: [&str; 3] = [
    "wasi:config/store@0.2.0-rc.1",
    "wasi:config/store@0.2.0-draft",
    "wasi:config/runtime@0.2.0-draft",
];

/// The longest key that is looked up, in bytes.
const MAX_KEY_BYTES: usize = 4096;

/// The variant `error`.
#[derive(ComponentType, Lower)]
#[component(variant)]
#[expect(dead_code, reason = "the variant is complete as the WIT package has it")]
enum ConfigError {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

/// Adds the interfaces.
pub fn link(linker: &mut Linker<HostState>, immediate: &mut Immediate) -> wasmtime::Result<()> {
    for name in OFFERED {
        let mut interface = Interface::new(name, linker, immediate)?;
        interface.immediate("get", get)?;
        interface.immediate("get-all", get_all)?;
    }
    Ok(())
}

fn get(
    store: StoreContextMut<'_, HostState>,
    (key,): (ShortText<MAX_KEY_BYTES>,),
) -> wasmtime::Result<(Result<Option<Arc<str>>, ConfigError>,)> {
    let Ok(key) = key.read(&store, "key")? else { return Ok((Ok(None),)) };
    Ok((permitted(store.data()).map(|()| store.data().initial.value(&key)),))
}

fn get_all(
    store: StoreContextMut<'_, HostState>,
    (): (),
) -> wasmtime::Result<(Result<Values, ConfigError>,)> {
    Ok((permitted(store.data()).map(|()| Arc::clone(store.data().initial.values())),))
}

fn permitted(state: &HostState) -> Result<(), ConfigError> {
    let permitted = state.context.guard.check_own(Action::EnvironmentRead, None);
    permitted.map_err(|refused| ConfigError::Upstream(refused.to_string()))
}
