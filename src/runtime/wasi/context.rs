//! What WASI is for one instance.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use crate::runtime::off_fiber::OffFiber;
use crate::runtime::state::HostContext;
use crate::runtime::wasi::connections::Connections;
use crate::runtime::wasi::desk::Desk;
use crate::runtime::wasi::file_rights::Files;
use crate::runtime::wasi::file_streams::Means;
use crate::runtime::wasi::output::Outputs;
use crate::runtime::wasi::places::Places;
use crate::runtime::wasi::sockets::Held;
use crate::security::directory::Directory;
use crate::security::guard::Guard;

/// WASI for one instance: its own environment, its directories, what it has open.
pub struct Wasi {
    /// What Wasmtime needs.
    pub context: WasiCtx,
    /// What is open.
    pub table: ResourceTable,
    /// What it prints.
    pub outputs: Outputs,
    /// What it may do.
    pub guard: Arc<Guard>,
    /// Where it may connect to.
    pub connections: Arc<Connections>,
    /// What the host holds for its sockets.
    pub sockets: Held,
    /// Runs what waits for the system, and pays for what is held.
    pub means: Means,
    places: Places,
    roots: Vec<(Arc<Directory>, FsPerms)>,
    desk: Option<Box<Desk>>,
}

impl Wasi {
    /// For an instance that begins.
    pub fn new(host: &Arc<HostContext>, off_fiber: &OffFiber) -> Self {
        let guard = Arc::clone(&host.guard);
        let outputs = Outputs::new(host, off_fiber);
        let connections = Arc::new(Connections::new(Arc::clone(&guard), Arc::clone(&host.account)));
        let mut builder = WasiCtxBuilder::new();
        builder.stdout(outputs.stdout.clone()).stderr(outputs.stderr.clone()).envs(&host.env);
        let rights = |changeable| if changeable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        let roots = guard.directories().into_iter().map(|(root, changes)| (root, rights(changes)));
        let roots = roots.collect();
        let checked = Arc::clone(&connections);
        builder.allow_tcp(true).allow_udp(true).allow_ip_name_lookup(true).socket_addr_check(
            move |address, using| {
                let allowed = checked.allows(address, using);
                Box::pin(async move { allowed })
            },
        );
        builder.max_random_size(guard.quotas().host_call_bytes);
        let mut table = ResourceTable::new();
        table
            .set_max_capacity(usize::try_from(guard.quotas().wasi_resources).unwrap_or(usize::MAX));
        Self {
            context: builder.build(),
            table,
            outputs,
            guard,
            connections,
            sockets: Held::new(),
            means: Means { jobs: Arc::clone(&host.jobs), account: Arc::clone(&host.account) },
            places: Places::default(),
            roots,
            desk: None,
        }
    }

    /// What it sees of files.
    pub fn files(&mut self) -> Files<'_> {
        let (ctx, table) = (self.context.filesystem(), &mut self.table);
        Files {
            inner: WasiFilesystemCtxView { ctx, table },
            guard: &self.guard,
            places: &mut self.places,
            roots: &self.roots,
            means: &self.means,
            desk: &mut self.desk,
        }
    }
}
