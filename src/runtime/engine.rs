//! The Wasmtime engines behind an engine handle, and the state that its components share.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, Memory, MemoryType, Store, WasmBacktraceDetails};

use crate::runtime::cache::directory::CacheError;
use crate::runtime::cache::store::CompileCache;
use crate::runtime::compiler::Compiler;
use crate::runtime::driver;
use crate::runtime::fiber_stack::{FiberStack, FiberStacks};
use crate::runtime::host;
use crate::runtime::host::functions::Offered;
use crate::runtime::host::interface::Immediate;
use crate::runtime::limiter::MAX_STACK_BYTES;
use crate::runtime::loader::Loader;
use crate::runtime::mappings::Taken;
use crate::runtime::packed_memory::PackedMemories;
#[cfg(target_os = "linux")]
use crate::runtime::reserved_memory::{Region, ReservedMemories};
use crate::runtime::screen::limits::CompileLimits;
use crate::runtime::shortage::{self, NoThread};
use crate::runtime::signals;
use crate::runtime::spares::Spares;
use crate::runtime::state::HostState;
use crate::runtime::ticker::Ticker;
use crate::runtime::wasi;
use crate::runtime::workshop::{Toolchain, Toolchains, Workshop};
use crate::storage::backend::Placement;

/// The stack that a guest needs when it runs on its caller's stack: its own maximum, plus that of
/// the host functions called from there.
pub const CALLER_STACK_BYTES: usize = MAX_STACK_BYTES + 256 * 1024;

/// The options of an engine.
#[derive(Clone)]
pub struct RuntimeOptions {
    /// The interfaces that the host offers.
    pub offered: Offered,
    /// The directory that keeps compiled components between runs, if any.
    pub cache_dir: Option<PathBuf>,
    /// The most bytes kept there.
    pub cache_max_bytes: u64,
    /// The largest accepted component binary, in bytes.
    pub max_component_bytes: u64,
    /// Whether SIGSEGV detects out-of-bounds accesses, which is faster than checks.
    pub signals_based_traps: bool,
    /// Whether each linear memory has a guard region before it as well.
    pub guard_before_memory: bool,
    /// The address space reserved for each linear memory.
    pub memory_reservation: Reservation,
    /// The threads per compile, and the most compiles at a time.
    pub compile_threads: usize,
    /// The limits of one compile.
    pub compile: CompileLimits,
    /// Whether logging runs host code.
    pub log_runs_host_code: bool,
    /// Where storage runs.
    pub storage_placement: Placement,
}

/// The address space reserved for a linear memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reservation {
    /// Large, unless the system does not grant that much.
    #[default]
    Automatic,
    /// The maximum of 4 GiB, and guard regions that save the guest bounds checks.
    Large,
    /// Little more than its size: the guest checks its accesses, and the memory moves as it grows.
    Small,
    /// Nothing: like `Small`, but memories lie side by side and share mappings. Memory images are
    /// copied, even large ones.
    None,
}

impl Reservation {
    /// Returns the reservation to try first.
    fn first(self) -> Self {
        match (self, shortage::address_space()) {
            // A limit leaves room for only a few large reservations, which would soon run out.
            (Self::Automatic, Some(_)) => Self::Small,
            (Self::Automatic, None) => Self::Large,
            (configured, _) => configured,
        }
    }
}

/// Returns whether the system grants the reservation that an engine makes for a memory.
fn is_given(engine: &Engine) -> bool {
    Memory::new(Store::new(engine, ()), MemoryType::new(1, None)).is_ok()
}

/// The guard region after a memory with a small reservation, within reach of unchecked accesses.
const SMALL_GUARD_BYTES: u64 = 64 << 10;

/// The inaccessible bytes before a memory with a large reservation, if the configuration wants them.
const GUARD_BYTES_BEFORE: usize = 32 << 20;

/// How far a memory with a small reservation can grow before it moves.
const SMALL_ROOM_BYTES: u64 = 1 << 20;

/// Why an engine could not be created.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// The compile cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Wasmtime refused its configuration.
    #[error("wasmtime: {0:#}")]
    Wasmtime(wasmtime::Error),
    /// The ticker thread could not be started.
    #[error(transparent)]
    Thread(#[from] NoThread),
}

/// Wasmtime engines with their compiled components and their ticker.
pub struct WasmRuntime {
    /// Compiles components, each distinct binary once.
    pub loader: Loader,
    /// Makes guests yield.
    pub ticker: Ticker,
    stacks: Arc<Spares<FiberStack>>,
    #[cfg(target_os = "linux")]
    memories: Arc<Spares<Region>>,
}

impl WasmRuntime {
    /// Creates the engines, without compiled components.
    pub fn new(options: &RuntimeOptions) -> Result<Self, RuntimeError> {
        let cache = options.cache_dir.as_deref();
        let cache =
            cache.map(|dir| CompileCache::open(dir, options.cache_max_bytes)).transpose()?;
        let stacks = Arc::new(FiberStacks::new());
        #[cfg(target_os = "linux")]
        let memories = Arc::new(ReservedMemories::new(match options.guard_before_memory {
            true => GUARD_BYTES_BEFORE,
            false => 0,
        }));
        let toolchain = |copies_images: bool, reservation| -> wasmtime::Result<Toolchain> {
            let mut config = config(options, reservation);
            config.with_host_stack(stacks.clone());
            #[cfg(target_os = "linux")]
            if copies_images && matches!(reservation, Reservation::Automatic | Reservation::Large) {
                config.with_host_memory(memories.clone());
            }
            let copies_images = copies_images || reservation == Reservation::None;
            let engine = Engine::new(config.memory_init_cow(!copies_images))?;
            let (linker, immediate) = linker(&engine, options)?;
            let mut driven = linker.clone();
            driver::link::link(&mut driven)?;
            let mappings = Taken::with(reservation == Reservation::None);
            Ok(Toolchain { engine, linker, driven, immediate, mappings })
        };
        if options.signals_based_traps {
            signals::before_first_engine();
        }
        let mut reservation = options.memory_reservation.first();
        let mut copying = toolchain(true, reservation).map_err(RuntimeError::Wasmtime)?;
        if options.memory_reservation == Reservation::Automatic && !is_given(&copying.engine) {
            reservation = Reservation::Small;
            copying = toolchain(true, reservation).map_err(RuntimeError::Wasmtime)?;
        }
        let mapping = toolchain(false, reservation).map_err(RuntimeError::Wasmtime)?;
        if options.signals_based_traps {
            signals::after_first_engine();
            signals::put_back();
        }
        let engines = [&copying.engine, &mapping.engine].map(Engine::weak);
        let ticker =
            Ticker::start(engines).map_err(|source| NoThread::new("airssys-ticker", source))?;
        let (limits, threads) = (&options.compile, options.compile_threads);
        let toolchains = Toolchains { copying, mapping };
        let loader = Loader::new(
            Workshop::new(toolchains, options.offered.clone(), cache, limits.clone(), threads),
            Compiler::new(limits, threads),
            options.max_component_bytes,
        );
        let stacks = stacks.spares();
        #[cfg(target_os = "linux")]
        let memories = memories.spares();
        Ok(Self {
            loader,
            ticker,
            stacks,
            #[cfg(target_os = "linux")]
            memories,
        })
    }

    /// Gives memory back that ended instances have left and no other uses, for as long as it is
    /// polled.
    pub fn give_back(&self) -> impl Future<Output = ()> + Send + 'static {
        let stacks = Arc::clone(&self.stacks).give_back();
        #[cfg(target_os = "linux")]
        let memories = Arc::clone(&self.memories).give_back();
        async move {
            #[cfg(target_os = "linux")]
            tokio::join!(stacks, memories);
            #[cfg(not(target_os = "linux"))]
            stacks.await;
        }
    }
}

fn config(options: &RuntimeOptions, reservation: Reservation) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(MAX_STACK_BYTES)
        // The default would depend on the host's environment.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .native_unwind_info(false)
        .guard_before_linear_memory(options.guard_before_memory)
        .signals_based_traps(options.signals_based_traps);
    match reservation {
        Reservation::Automatic | Reservation::Large => &config,
        Reservation::Small => config
            .memory_reservation(0)
            .memory_reservation_for_growth(SMALL_ROOM_BYTES)
            .memory_guard_size(SMALL_GUARD_BYTES)
            .memory_may_move(true),
        Reservation::None => config
            .memory_reservation(0)
            .memory_reservation_for_growth(0)
            .memory_guard_size(0)
            .guard_before_linear_memory(false)
            .memory_may_move(true)
            .with_host_memory(Arc::new(PackedMemories)),
    };
    config
}

fn linker(
    engine: &Engine,
    options: &RuntimeOptions,
) -> wasmtime::Result<(Linker<HostState>, Immediate)> {
    let (mut linker, mut immediate) = (Linker::new(engine), Immediate::default());
    host::messaging::link(&mut linker, &mut immediate)?;
    host::services::link(&mut linker, &mut immediate, options.log_runs_host_code)?;
    host::storage::link(&mut linker, &mut immediate, options.storage_placement)?;
    host::keyvalue::link::link(&mut linker, &mut immediate, options.storage_placement)?;
    host::config::link(&mut linker, &mut immediate)?;
    host::logging::link(&mut linker, &mut immediate, options.log_runs_host_code)?;
    wasi::link::link(&mut linker)?;
    Ok((linker, immediate))
}
