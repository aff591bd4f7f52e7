//! WASI in a linker.

use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sockets};

use crate::runtime::state::HostState;
use crate::runtime::wasi::ambient::{self, HasClocks, HasEnvironment, HasRandom};
use crate::runtime::wasi::files::{self, HasFiles};
use crate::runtime::wasi::sockets::{self as guarded, HasSockets};

/// Adds WASI 0.2: Wasmtime's own, whose context is closed, and before each interface that reaches
/// something what holds it against the component's rights.
pub fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    filesystem::preopens::add_to_linker::<_, HasFiles>(linker, files::files)?;
    filesystem::types::add_to_linker::<_, HasFiles>(linker, files::files)?;
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
