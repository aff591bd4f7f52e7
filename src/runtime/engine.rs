//! The Wasmtime engines behind an engine handle, and what its components share.

use std::path::PathBuf;

use thiserror::Error;
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, WasmBacktraceDetails};

use crate::runtime::cache::directory::CacheError;
use crate::runtime::cache::store::CompileCache;
use crate::runtime::compiler::Compiler;
use crate::runtime::driver::mail;
use crate::runtime::host;
use crate::runtime::host::interface::Immediate;
use crate::runtime::loader::Loader;
use crate::runtime::screen::limits::CompileLimits;
use crate::runtime::state::HostState;
use crate::runtime::ticker::Ticker;
use crate::runtime::wasi;
use crate::runtime::workshop::{Toolchain, Toolchains, Workshop};

/// How deep a guest's stack may grow.
pub const MAX_STACK_BYTES: usize = 512 * 1024;

/// What a guest on its caller's own stack needs there: its own, and that of host functions that it
/// calls at its deepest.
pub const CALLER_STACK_BYTES: usize = MAX_STACK_BYTES + 256 * 1024;

/// What an engine is made with.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Where compiled components are kept between runs; `None`: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// How much is kept there.
    pub cache_max_bytes: u64,
    /// The largest component binary that is accepted.
    pub max_component_bytes: u64,
    /// Whether out-of-bounds accesses are found through SIGSEGV (fast) or by checks.
    pub signals_based_traps: bool,
    /// Whether an inaccessible region lies before each linear memory too.
    pub guard_before_memory: bool,
    /// Threads that compile one component, and how many are compiled at a time.
    pub compile_threads: usize,
    /// What one compile may take.
    pub compile: CompileLimits,
    /// Whether log records go to code of the host.
    pub log_runs_host_code: bool,
    /// Whether storage is code of the host.
    pub storage_runs_host_code: bool,
}

/// Why there is no engine.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// The compile cache can not be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Wasmtime refused its configuration.
    #[error("wasmtime: {0:#}")]
    Wasmtime(wasmtime::Error),
    /// The ticker thread could not be started.
    #[error("can not start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// Wasmtime engines with their linkers, their compiled components and their ticker.
pub struct WasmRuntime {
    /// Compiles components, each distinct binary once.
    pub loader: Loader,
    /// Makes guests yield.
    pub ticker: Ticker,
}

impl WasmRuntime {
    /// Sets the engines up; no component is compiled yet.
    pub fn new(options: &RuntimeOptions) -> Result<Self, RuntimeError> {
        let cache = options.cache_dir.as_deref();
        let cache =
            cache.map(|dir| CompileCache::open(dir, options.cache_max_bytes)).transpose()?;
        let toolchain = |copies_images: bool| -> wasmtime::Result<Toolchain> {
            let mut config = config(options);
            let engine = Engine::new(config.memory_init_cow(!copies_images))?;
            let (linker, immediate) = linker(&engine, options)?;
            let mut driven = linker.clone();
            mail::link(&mut driven)?;
            Ok(Toolchain { engine, linker, driven, immediate })
        };
        let copying = toolchain(true).map_err(RuntimeError::Wasmtime)?;
        let mapping = toolchain(false).map_err(RuntimeError::Wasmtime)?;
        let engines = [&copying.engine, &mapping.engine].map(Engine::weak);
        let ticker = Ticker::start(engines).map_err(RuntimeError::Thread)?;
        let (limits, threads) = (&options.compile, options.compile_threads);
        let toolchains = Toolchains { copying, mapping };
        let loader = Loader::new(
            Workshop::new(toolchains, cache, limits.clone(), threads),
            Compiler::new(limits, threads),
            options.max_component_bytes,
        );
        Ok(Self { loader, ticker })
    }
}

fn config(options: &RuntimeOptions) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(MAX_STACK_BYTES)
        // Not from the host's environment, which is Wasmtime's default.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .native_unwind_info(false)
        .guard_before_linear_memory(options.guard_before_memory)
        .signals_based_traps(options.signals_based_traps);
    config
}

fn linker(
    engine: &Engine,
    options: &RuntimeOptions,
) -> wasmtime::Result<(Linker<HostState>, Immediate)> {
    let (mut linker, mut immediate) = (Linker::new(engine), Immediate::default());
    host::messaging::link(&mut linker, &mut immediate)?;
    host::services::link(&mut linker, &mut immediate, options.log_runs_host_code)?;
    host::storage::link(&mut linker, &mut immediate, options.storage_runs_host_code)?;
    wasi::link::link(&mut linker)?;
    Ok((linker, immediate))
}
