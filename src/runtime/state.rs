//! The data of a component's store.

use std::sync::Arc;

use wasmtime::{AsContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtxView, WasiView};

use crate::core::account::Charge;
use crate::core::caller_watch;
use crate::core::interrupts::Seen;
use crate::runtime::driver::source::Driven;
use crate::runtime::guest_call::Deadline;
use crate::runtime::host_context::HostContext;
use crate::runtime::initial_config::InitialConfig;
use crate::runtime::limiter::Limiter;
use crate::runtime::load_error::LoadError;
use crate::runtime::off_fiber::OffFiber;
use crate::runtime::pace::SHORT_WORK_FUEL;
use crate::runtime::slice::Slice;
use crate::runtime::ticker::{SHORT_SLICE_TICKS, Ticks};
use crate::runtime::wasi::context::Wasi;
use crate::runtime::wasi::file_rights::Files;
use crate::runtime::wasi::sockets::Sockets;
use crate::security::directory::DescriptorLimit;

/// Prepares a store for a call, or for the next message of one: fuel, yields, limits.
pub fn make_ready(mut store: impl AsContextMut<Data = HostState>, fuel: u64) {
    let mut store = store.as_context_mut();
    // Fails only in an engine without fuel; a guest would then trap for lack of it.
    let fueled = store.set_fuel(fuel);
    debug_assert!(fueled.is_ok(), "engines are made with fuel");
    store.set_epoch_deadline(SHORT_SLICE_TICKS);
    let state = store.data_mut();
    state.slice = Slice::begin(fuel);
    state.limiter.begin();
    state.answer = None;
}

/// The data of one store.
pub struct HostState {
    /// See [`HostContext`].
    pub context: Arc<HostContext>,
    /// What WASI shows of environment and configuration: what the load named, nothing of the host's.
    pub initial: Arc<InitialConfig>,
    /// Enforces the store's limits.
    pub limiter: Limiter,
    /// Host jobs of the guest call in progress.
    pub off_fiber: OffFiber,
    /// The deadline of a call on its caller's stack, and the interrupts before it; `None` if guests
    /// run on fibers.
    pub on_caller: Option<(Deadline, Seen)>,
    /// The guest's current slice.
    pub slice: Slice,
    /// The charge for a result that Wasmtime is copying into the guest.
    pub answer: Option<Charge>,
    /// The call of the guest's loop in progress.
    pub driven: Option<Driven>,
    /// Created at the first use of WASI; most components import none of it.
    wasi: Option<Box<Wasi>>,
}

impl HostState {
    /// Creates the data of a new store.
    pub fn new(context: Arc<HostContext>, initial: Arc<InitialConfig>, limiter: Limiter) -> Self {
        let off_fiber = OffFiber::new(Arc::clone(&context.node), context.threads.clone());
        Self {
            context,
            initial,
            limiter,
            off_fiber,
            on_caller: None,
            slice: Slice::default(),
            answer: None,
            driven: None,
            wasi: None,
        }
    }

    /// Decides what a guest does at the end of a slice, with `fuel` left: it yields, or continues
    /// if only its own caller waits for it.
    pub fn end_slice(&mut self, fuel: u64, ticks: &Ticks) -> wasmtime::Result<UpdateDeadline> {
        let Some((deadline, seen)) = &mut self.on_caller else {
            if !self.slice.ends(fuel) {
                return Ok(UpdateDeadline::Continue(1));
            }
            self.slice = Slice::begin(fuel);
            let pace = self.context.timers.pace();
            pace.note_work(SHORT_WORK_FUEL);
            return Ok(UpdateDeadline::Yield(pace.next_slice_ticks()));
        };
        // Host code runs on this thread's own stack here, as in a callback.
        caller_watch::check();
        self.context.timers.check(deadline.get(ticks), *seen)?;
        Ok(UpdateDeadline::Continue(1))
    }

    /// Opens the granted directories now, because a failure could not be reported to the guest
    /// later.
    pub fn open_directories(&mut self) -> Result<(), LoadError> {
        if self.context.guard.directories().is_empty() {
            return Ok(());
        }
        match self.wasi().unopened() {
            Some(error) => Err(LoadError::Descriptors(format!("{error}; {DescriptorLimit}"))),
            None => Ok(()),
        }
    }

    /// Returns the instance's WASI state.
    pub fn wasi(&mut self) -> &mut Wasi {
        self.wasi.get_or_insert_with(|| {
            Box::new(Wasi::new(&self.context, &self.initial, &self.off_fiber))
        })
    }

    /// Returns the instance's view of files.
    pub fn files(&mut self) -> Files<'_> {
        self.wasi().files()
    }

    /// Returns the instance's view of sockets and names.
    pub fn sockets(&mut self) -> Sockets<'_> {
        self.wasi().sockets()
    }

    /// Returns the end of what the instance wrote to standard error.
    pub fn last_words(&self) -> String {
        self.wasi.as_ref().map(|wasi| wasi.outputs.last_words()).unwrap_or_default()
    }

    /// Leaves unfinished output lines for the guest call to log.
    pub fn finish_output(&self) {
        if let Some(wasi) = &self.wasi {
            wasi.outputs.finish();
        }
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table }
    }
}
