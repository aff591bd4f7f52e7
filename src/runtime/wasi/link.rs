//! Adds WASI to a linker.

use wasmtime::StoreContextMut;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, HasData, Linker, LinkerInstance, ResourceTable, ResourceType,
};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sockets};
use wasmtime_wasi_io::bindings::wasi::io;

use crate::runtime::host::offered;
use crate::runtime::state::HostState;
use crate::runtime::wasi::ambient::{self, HasClocks, HasEnvironment, HasRandom};
use crate::runtime::wasi::bounded;
use crate::runtime::wasi::file_rights::HasFiles;
use crate::runtime::wasi::paths;
use crate::runtime::wasi::sockets::HasSockets;
use crate::security::action::Action;
use crate::security::audit::Basis;
use crate::security::resource::Resource;

/// The interfaces added by [`link`], without the package's name and version.
pub const OPEN: [&str; 27] = [
    "io/error",
    "io/poll",
    "io/streams",
    "filesystem/preopens",
    "filesystem/types",
    "sockets/ip-name-lookup",
    "sockets/tcp-create-socket",
    "sockets/udp-create-socket",
    "sockets/tcp",
    "sockets/udp",
    "sockets/instance-network",
    "sockets/network",
    "clocks/wall-clock",
    "clocks/monotonic-clock",
    "random/random",
    "random/insecure",
    "random/insecure-seed",
    "cli/environment",
    "cli/exit",
    "cli/stdin",
    "cli/stdout",
    "cli/stderr",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "cli/terminal-stderr",
];

/// The version of the interfaces that [`link`] adds. Others of 0.2 are linked to it.
pub const VERSION: &str = "0.2.12";

/// The most resource types that a component may import from closed interfaces: each is compared
/// with all others.
const MAX_RESOURCES: usize = 1000;

/// Stands for resources that never exist.
struct Nothing;

/// The linker's key for the resource table.
struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

fn table(state: &mut HostState) -> &mut ResourceTable {
    state.ctx().table
}

/// Adds WASI 0.2, interface by interface. Functions that reach outside are checked against the
/// component's rights; the rest are Wasmtime's own.
pub fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    io::error::add_to_linker::<_, HasTable>(linker, table)?;
    io::poll::add_to_linker::<_, HasTable>(linker, table)?;
    io::streams::add_to_linker::<_, HasTable>(linker, table)?;

    filesystem::preopens::add_to_linker::<_, HasFiles>(linker, HostState::files)?;
    filesystem::types::add_to_linker::<_, HasFiles>(linker, HostState::files)?;

    sockets::ip_name_lookup::add_to_linker::<_, HasSockets>(linker, HostState::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<_, HasSockets>(linker, HostState::sockets)?;
    sockets::udp_create_socket::add_to_linker::<_, HasSockets>(linker, HostState::sockets)?;
    sockets::tcp::add_to_linker::<_, HasSockets>(linker, HostState::sockets)?;
    sockets::udp::add_to_linker::<_, HasSockets>(linker, HostState::sockets)?;
    sockets::instance_network::add_to_linker::<_, HasSockets>(linker, HostState::sockets)?;
    let options = Default::default();
    sockets::network::add_to_linker::<_, HasSockets>(linker, &options, HostState::sockets)?;

    clocks::wall_clock::add_to_linker::<_, HasClocks>(linker, ambient::clocks)?;
    clocks::monotonic_clock::add_to_linker::<_, HasClocks>(linker, ambient::clocks)?;
    random::random::add_to_linker::<_, HasRandom>(linker, ambient::random_numbers)?;
    random::insecure::add_to_linker::<_, HasRandom>(linker, ambient::random_numbers)?;
    random::insecure_seed::add_to_linker::<_, HasRandom>(linker, ambient::random_numbers)?;

    cli::environment::add_to_linker::<_, HasEnvironment>(linker, ambient::environment)?;
    // Output goes to the log, input is empty, and there is no terminal.
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
    bounded::link(linker)?;
    paths::link(linker)
}

/// Returns a linker that also has the component's other WASI 0.2 imports, such as `wasi:http`,
/// which toolchains import for programs that never use it. Every call of these is refused. Returns
/// `None` if there are no such imports.
pub fn link_closed(
    linker: &Linker<HostState>,
    component: &Component,
) -> wasmtime::Result<Option<Linker<HostState>>> {
    let (engine, types) = (component.engine(), component.component_type());
    if !types.imports(engine).any(|(name, _)| is_closed(name)) {
        return Ok(None);
    }
    let (mut extended, mut known) = (None, Vec::new());
    for (name, import) in types.imports(engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        let mut closed = None;
        if is_closed(name) {
            let linker: &mut Linker<_> = extended.get_or_insert_with(|| linker.clone());
            closed = Some(linker.instance(name)?);
        }
        for (item, exported) in instance.exports(engine) {
            match exported.ty {
                // Defined only once, by the first interface that exports it.
                ComponentItem::Resource(resource) if !known.contains(&resource) => {
                    if known.len() >= MAX_RESOURCES {
                        let text = format!("more than {MAX_RESOURCES} imported resource types");
                        return Err(wasmtime::Error::msg(text));
                    }
                    known.push(resource);
                    if let Some(closed) = &mut closed {
                        closed.resource(item, ResourceType::host::<Nothing>(), |_, _| Ok(()))?;
                    }
                }
                ComponentItem::ComponentFunc(_) => {
                    if let Some(closed) = &mut closed {
                        refuse_calls(closed, name, item)?;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(extended)
}

/// Returns whether an import is an interface that [`link`] adds.
pub fn is_open(import: &str) -> bool {
    wasi_0_2(import).is_some_and(|interface| OPEN.contains(&interface))
}

/// Returns whether an import is an interface whose calls are refused.
pub fn is_closed(import: &str) -> bool {
    wasi_0_2(import).is_some_and(|interface| !OPEN.contains(&interface))
        && !offered::is_standard(import)
}

fn wasi_0_2(import: &str) -> Option<&str> {
    let (interface, version) = import.strip_prefix("wasi:")?.split_once('@')?;
    version.starts_with("0.2.").then_some(interface)
}

fn refuse_calls(
    interface: &mut LinkerInstance<'_, HostState>,
    name: &str,
    item: &str,
) -> wasmtime::Result<()> {
    let function = format!("{name}#{item}");
    interface.func_new(item, move |store: StoreContextMut<'_, HostState>, _, _, _| {
        let never = Basis::Never("this interface cannot be granted");
        let guard = &store.data().context.guard;
        Err(guard.refuse(Action::HostCall, Resource::Text(&function), never).into())
    })
}
