//! The WASI state of one instance.

use std::io;
use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::sockets::WasiSocketsCtxView;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use crate::runtime::host_context::HostContext;
use crate::runtime::initial_config::InitialConfig;
use crate::runtime::off_fiber::OffFiber;
use crate::runtime::wasi::connections::Connections;
use crate::runtime::wasi::descriptor_table::DescriptorTable;
use crate::runtime::wasi::desk::Desk;
use crate::runtime::wasi::file_rights::Files;
use crate::runtime::wasi::file_streams::Means;
use crate::runtime::wasi::output::Outputs;
use crate::runtime::wasi::preopens::Preopen;
use crate::runtime::wasi::sockets::{Held, Sockets};
use crate::security::guard::Guard;

/// The WASI state of one instance: environment, directories, and open resources.
pub struct Wasi {
    /// Wasmtime's context.
    pub context: WasiCtx,
    /// The open resources.
    pub table: ResourceTable,
    /// The standard output streams.
    pub outputs: Outputs,
    /// The rights of the component.
    pub guard: Arc<Guard>,
    /// The addresses it may use.
    pub connections: Arc<Connections>,
    /// The charges for its sockets.
    pub held_sockets: Held,
    /// Runs blocking system calls and charges for what the host holds.
    pub means: Means,
    descriptors: DescriptorTable,
    roots: io::Result<Vec<Preopen>>,
    desk: Option<Box<Desk>>,
}

impl Wasi {
    /// Creates the state of a new instance.
    pub fn new(host: &Arc<HostContext>, initial: &InitialConfig, off_fiber: &OffFiber) -> Self {
        let guard = Arc::clone(&host.guard);
        let outputs = Outputs::new(host, off_fiber, initial.program.as_ref());
        let connections = Arc::new(Connections::new(Arc::clone(&guard), Arc::clone(&host.account)));
        let mut builder = WasiCtxBuilder::new();
        builder.stdout(outputs.stdout.clone()).stderr(outputs.stderr.clone()).envs(&initial.env);
        if let Some(program) = &initial.program {
            builder.args(&program.arguments).stdin(MemoryInputPipe::new(program.stdin.clone()));
        }
        let roots = guard.directories().into_iter();
        let roots = roots.map(|(root, changes)| Preopen::new(root, changes)).collect();
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
            held_sockets: Held::new(),
            means: Means { jobs: Arc::clone(&host.jobs), account: Arc::clone(&host.account) },
            descriptors: DescriptorTable::default(),
            roots,
            desk: None,
        }
    }

    /// Returns why its directories could not be opened, if so.
    pub fn unopened(&self) -> Option<&io::Error> {
        self.roots.as_ref().err()
    }

    /// Returns the instance's view of files.
    pub fn files(&mut self) -> Files<'_> {
        let (ctx, table) = (self.context.filesystem(), &mut self.table);
        Files {
            inner: WasiFilesystemCtxView { ctx, table },
            guard: &self.guard,
            descriptors: &mut self.descriptors,
            roots: &self.roots,
            means: &self.means,
            desk: &mut self.desk,
        }
    }

    /// Returns the instance's view of sockets and names.
    pub fn sockets(&mut self) -> Sockets<'_> {
        Sockets {
            inner: WasiSocketsCtxView { ctx: self.context.sockets(), table: &mut self.table },
            connections: &self.connections,
            held: &mut self.held_sockets,
            means: &self.means,
        }
    }
}
