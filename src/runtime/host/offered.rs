//! The interfaces that a host offers to components, by name.

use crate::runtime::contract::{self, is_of};
use crate::runtime::host::{config, keyvalue, logging};
use crate::runtime::wasi::link as wasi;

/// Returns the names of all interfaces, each in the version that is linked.
pub fn all() -> Vec<String> {
    let core = [contract::MESSAGING, contract::SERVICES, contract::STORAGE];
    let standard = standard().chain(core).map(str::to_owned);
    standard.chain(wasi::OPEN.map(|name| format!("wasi:{name}@{}", wasi::VERSION))).collect()
}

/// Returns the names of the interfaces of other packages that are mapped on those of
/// `airssys:core`.
pub fn standard() -> impl Iterator<Item = &'static str> {
    keyvalue::link::OFFERED.into_iter().chain(config::OFFERED).chain(logging::OFFERED)
}

/// Splits a name into that of the interface and the version.
pub fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once('@').map_or((name, None), |(name, version)| (name, Some(version)))
}

/// Returns whether an interface of another package is offered, in any version.
pub fn is_standard(name: &str) -> bool {
    standard().any(|offered| split(offered).0 == split(name).0)
}

/// Returns whether an import can be linked.
pub fn has(name: &str) -> bool {
    let core = [contract::MESSAGING, contract::SERVICES, contract::STORAGE];
    core.into_iter().any(|offered| is_of(offered, name))
        || standard().any(|offered| offered == name)
        || wasi::is_open(name)
        || wasi::is_closed(name)
}
