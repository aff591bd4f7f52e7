//! Wasmtime's operations on files, run to their end on a thread that may wait.

use std::future::Future;
use std::pin::pin;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::{FsError, FsResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use crate::runtime::block_on::block_on;

/// What Wasmtime needs for one operation after the other. Goes to a thread and comes back.
pub struct Desk {
    context: WasiCtx,
    table: ResourceTable,
}

impl Desk {
    /// An empty one.
    pub fn new() -> Box<Self> {
        let context = WasiCtxBuilder::new().allow_blocking_current_thread(true).build();
        Box::new(Self { context, table: ResourceTable::new() })
    }

    /// Makes what is open known here.
    pub fn lay(&mut self, descriptor: Descriptor) -> FsResult<Resource<Descriptor>> {
        self.table.push(descriptor).map_err(FsError::trap)
    }

    /// Takes what was opened here.
    pub fn take(&mut self, opened: Resource<Descriptor>) -> FsResult<Descriptor> {
        self.table.delete(opened).map_err(FsError::trap)
    }

    /// Forgets all that it knew.
    pub fn clear(&mut self) {
        self.table = ResourceTable::new();
    }

    /// Wasmtime's view, whose operations end in their first turn.
    pub fn view(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView { ctx: self.context.filesystem(), table: &mut self.table }
    }
}

/// Waits for an operation on this thread.
pub fn now<F: Future>(operation: F) -> F::Output {
    block_on(None, pin!(operation))
}
