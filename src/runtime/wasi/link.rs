//! WASI in a linker.

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi_io::bindings::wasi::io;

use crate::runtime::state::HostState;
use crate::runtime::wasi::ambient::{self, HasClocks, HasEnvironment, HasRandom};
use crate::runtime::wasi::file_rights::{self, HasFiles};
use crate::runtime::wasi::sockets::{self as guarded, HasSockets};

/// Names the table of open resources for linkers.
struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

fn table(state: &mut HostState) -> &mut ResourceTable {
    state.ctx().table
}

/// Adds WASI 0.2, interface by interface: what reaches something is held against the rights of the
/// component, the rest is Wasmtime's own.
pub fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    io::error::add_to_linker::<_, HasTable>(linker, table)?;
    io::poll::add_to_linker::<_, HasTable>(linker, table)?;
    io::streams::add_to_linker::<_, HasTable>(linker, table)?;

    filesystem::preopens::add_to_linker::<_, HasFiles>(linker, file_rights::files)?;
    filesystem::types::add_to_linker::<_, HasFiles>(linker, file_rights::files)?;

    sockets::ip_name_lookup::add_to_linker::<_, HasSockets>(linker, guarded::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<_, HasSockets>(linker, guarded::sockets)?;
    sockets::udp_create_socket::add_to_linker::<_, HasSockets>(linker, guarded::sockets)?;
    // These ask `Connections` for each address that they use.
    let view = <HostState as WasiSocketsView>::sockets;
    sockets::tcp::add_to_linker::<_, WasiSockets>(linker, view)?;
    sockets::udp::add_to_linker::<_, WasiSockets>(linker, view)?;
    sockets::instance_network::add_to_linker::<_, WasiSockets>(linker, view)?;
    sockets::network::add_to_linker::<_, WasiSockets>(linker, &Default::default(), view)?;

    clocks::wall_clock::add_to_linker::<_, HasClocks>(linker, ambient::clocks)?;
    clocks::monotonic_clock::add_to_linker::<_, HasClocks>(linker, ambient::clocks)?;
    random::random::add_to_linker::<_, HasRandom>(linker, ambient::random_numbers)?;
    random::insecure::add_to_linker::<_, HasRandom>(linker, ambient::random_numbers)?;
    random::insecure_seed::add_to_linker::<_, HasRandom>(linker, ambient::random_numbers)?;

    cli::environment::add_to_linker::<_, HasEnvironment>(linker, ambient::environment)?;
    // What it prints goes to the log, its input is empty, and it has no terminal.
    let view = <HostState as WasiCliView>::cli;
    cli::exit::add_to_linker::<_, WasiCli>(linker, view)?;
    cli::stdin::add_to_linker::<_, WasiCli>(linker, view)?;
    cli::stdout::add_to_linker::<_, WasiCli>(linker, view)?;
    cli::stderr::add_to_linker::<_, WasiCli>(linker, view)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, view)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, view)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, view)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, view)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, view)?;
    Ok(())
}
