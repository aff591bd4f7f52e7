//! Wasmtime's file operations, completed on a thread that may block.

use std::future::Future;
use std::pin::pin;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::{FsError, FsResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use crate::runtime::block_on::block_on;

/// The state that Wasmtime needs for a file operation. Moves to a thread and back.
pub struct Desk {
    context: WasiCtx,
    table: ResourceTable,
}

impl Desk {
    /// Creates an empty desk.
    pub fn new() -> Box<Self> {
        let context = WasiCtxBuilder::new().allow_blocking_current_thread(true).build();
        Box::new(Self { context, table: ResourceTable::new() })
    }

    /// Adds an open descriptor.
    pub fn lay(&mut self, descriptor: Descriptor) -> FsResult<Resource<Descriptor>> {
        self.table.push(descriptor).map_err(FsError::trap)
    }

    /// Removes a descriptor opened here.
    pub fn take(&mut self, opened: Resource<Descriptor>) -> FsResult<Descriptor> {
        self.table.delete(opened).map_err(FsError::trap)
    }

    /// Removes all descriptors.
    pub fn clear(&mut self) {
        self.table = ResourceTable::new();
    }

    /// Returns Wasmtime's view, whose operations complete in one poll.
    pub fn view(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView { ctx: self.context.filesystem(), table: &mut self.table }
    }
}

/// Blocks this thread on an operation.
pub fn now<F: Future>(operation: F) -> F::Output {
    block_on(None, pin!(operation))
}
