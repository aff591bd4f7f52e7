//! WASI in a linker.

use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sockets};

use crate::runtime::state::HostState;
use crate::runtime::wasi::ambient::{self, HasClocks, HasEnvironment, HasRandom};
use crate::runtime::wasi::file_rights::{self, HasFiles};
use crate::runtime::wasi::sockets::{self as guarded, HasSockets};

/// Adds WASI 0.2: Wasmtime's own, and in the place of each interface that reaches something what holds
/// it against the component's rights. What is left of sockets asks for each address that it uses.
pub fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    filesystem::preopens::add_to_linker::<_, HasFiles>(linker, file_rights::files)?;
    filesystem::types::add_to_linker::<_, HasFiles>(linker, file_rights::files)?;
    sockets::ip_name_lookup::add_to_linker::<_, HasSockets>(linker, guarded::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<_, HasSockets>(linker, guarded::sockets)?;
    sockets::udp_create_socket::add_to_linker::<_, HasSockets>(linker, guarded::sockets)?;
    clocks::wall_clock::add_to_linker::<_, HasClocks>(linker, ambient::clocks)?;
    clocks::monotonic_clock::add_to_linker::<_, HasClocks>(linker, ambient::clocks)?;
    random::random::add_to_linker::<_, HasRandom>(linker, ambient::random_numbers)?;
    random::insecure::add_to_linker::<_, HasRandom>(linker, ambient::random_numbers)?;
    random::insecure_seed::add_to_linker::<_, HasRandom>(linker, ambient::random_numbers)?;
    cli::environment::add_to_linker::<_, HasEnvironment>(linker, ambient::environment)?;
    linker.allow_shadowing(false);
    Ok(())
}
