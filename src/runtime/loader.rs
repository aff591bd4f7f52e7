//! From a component binary to something that can be instantiated.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use once_cell::sync::OnceCell;
use thiserror::Error;
use wasmparser::Payload;
use wasmtime::Engine;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use crate::core::error::{CallError, ComponentError, LimitBreach};
use crate::core::metadata::TooMuch;
use crate::runtime::cache::store::{CacheCounts, CompileCache};
use crate::runtime::contract;
use crate::runtime::driver::attach::{self, Attached};
use crate::runtime::host::interface::Immediate;
use crate::runtime::recent::Recent;
use crate::runtime::state::HostState;
use crate::runtime::wasi::link::link_closed;

/// How many compiled components that no loaded component uses are kept for the next load.
const MAX_UNUSED: usize = 32;

/// Why a component was not loaded.
#[derive(Debug, Clone, Error)]
pub enum LoadError {
    /// The binary is no component that this engine can run.
    #[error("invalid component: {0}")]
    InvalidComponent(String),
    /// Wasmtime could not instantiate it, or its start function failed.
    #[error("instantiation failed: {0}")]
    Instantiation(String),
    /// It needs more than its limits allow.
    #[error("instantiation failed: {0}")]
    Limit(LimitBreach),
    /// Its instantiation or a life-cycle function trapped or took too long.
    #[error("{during}: {error}")]
    Call {
        /// What was under way.
        during: &'static str,
        /// What happened.
        error: CallError,
    },
    /// Its metadata says too much.
    #[error("metadata: {0}")]
    Metadata(#[from] TooMuch),
    /// Its `initialize` refused.
    #[error("initialize refused: {0}")]
    Refused(ComponentError),
}

/// A compiled and linked component.
pub struct Prepared {
    /// Everything but the store.
    pub pre: InstancePre<HostState>,
    /// Where its life-cycle functions are; `None` if it exports none.
    pub lifecycle: Option<LifecycleExports>,
    /// The loop that asks for mail, if it got one.
    pub run: Option<Loop>,
    /// Whether it imports WASI, whose functions need the timers of the workers.
    pub uses_wasi: bool,
    /// Whether it imports functions in which it may have to wait, and so needs a fiber's stack.
    pub waits: bool,
    /// BLAKE3 of the binary.
    pub hash: blake3::Hash,
    /// Size of the binary.
    pub binary_bytes: u64,
}

/// The loop that was added to a component.
pub struct Loop {
    /// Where it is.
    pub run: ComponentExportIndex,
    /// How many core instances it takes.
    pub instances: usize,
}

/// The six functions of `component-lifecycle`.
pub struct LifecycleExports {
    pub initialize: ComponentExportIndex,
    pub handle_message: ComponentExportIndex,
    pub handle_callback: ComponentExportIndex,
    pub metadata: ComponentExportIndex,
    pub health: ComponentExportIndex,
    pub shutdown: ComponentExportIndex,
}

/// One slot a binary, filled by the first that loads it while others wait.
type Slot = Arc<OnceCell<Arc<Prepared>>>;

/// The largest binary whose instances get a copy of its memory image. A copy of a small one costs
/// less than mapping it and faulting its pages in, and takes two mappings less of those that the
/// system allows a process. Large ones, such as language runtimes, are mapped and shared.
const MAX_COPIED_BYTES: usize = 1 << 20;

/// How deep modules and components may be nested in a component.
const MAX_DEPTH: usize = 64;

/// How many modules and components may be nested in a component, at any depth.
const MAX_NESTED: usize = 1000;

/// A Wasmtime engine, and what its components are linked with.
pub struct Toolchain {
    /// Compiles.
    pub engine: Engine,
    /// Links.
    pub linker: Linker<HostState>,
    /// Links components with a loop in them.
    pub driven: Linker<HostState>,
    /// Which of the linked functions return without waiting.
    pub immediate: Immediate,
}

/// The engines for binaries of different sizes.
pub struct Toolchains {
    /// Copies memory images.
    pub copying: Toolchain,
    /// Maps memory images.
    pub mapping: Toolchain,
}

impl Toolchains {
    fn for_binary(&self, binary: &[u8]) -> &Toolchain {
        if binary.len() <= MAX_COPIED_BYTES { &self.copying } else { &self.mapping }
    }
}

/// Compiles each distinct binary once.
pub struct Loader {
    toolchains: Toolchains,
    cache: Option<CompileCache>,
    max_component_bytes: u64,
    compile_threads: usize,
    prepared: Mutex<HashMap<blake3::Hash, Slot>>,
    recent: Mutex<Recent>,
}

impl Loader {
    /// Nothing is compiled yet.
    pub fn new(
        toolchains: Toolchains,
        cache: Option<CompileCache>,
        max_component_bytes: u64,
        compile_threads: usize,
    ) -> Self {
        Self {
            toolchains,
            cache,
            max_component_bytes,
            compile_threads,
            prepared: Mutex::default(),
            recent: Mutex::default(),
        }
    }

    /// The largest binary that is accepted.
    pub fn max_component_bytes(&self) -> u64 {
        self.max_component_bytes
    }

    /// What the cache has done; `None` without one.
    pub fn cache_counts(&self) -> Option<CacheCounts> {
        self.cache.as_ref().map(CompileCache::counts)
    }

    /// How many distinct binaries are compiled.
    pub fn compiled(&self) -> usize {
        self.lock().values().filter(|slot| slot.get().is_some()).count()
    }

    /// Compiles and links a binary, or returns what an earlier load made of it.
    pub fn prepare(&self, binary: &[u8]) -> Result<Arc<Prepared>, LoadError> {
        self.check(binary)?;
        if let Some(prepared) = self.recent().find(binary) {
            return Ok(prepared);
        }
        let hash = blake3::hash(binary);
        let slot = Arc::clone(self.lock().entry(hash).or_default());
        let prepared = slot.get_or_try_init(|| self.compile(binary, hash).map(Arc::new)).cloned();
        // Before the eviction, which takes a slot in use for one that is being filled.
        drop(slot);
        self.evict();
        if let Ok(prepared) = &prepared {
            self.recent().remember(binary, prepared);
        }
        prepared
    }

    /// Says what is wrong with a binary that is obviously no component, better than a validator.
    fn check(&self, binary: &[u8]) -> Result<(), LoadError> {
        let invalid = |reason: String| Err(LoadError::InvalidComponent(reason));
        let size = binary.len() as u64;
        if size > self.max_component_bytes {
            return invalid(format!(
                "larger than max-component-bytes {}",
                self.max_component_bytes
            ));
        }
        match binary {
            [] => invalid("it is empty".into()),
            [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
            [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => invalid(
                "it is a core module; turn it into a component (`wasm-tools component new`, or \
                 build for wasm32-wasip2)"
                    .into(),
            ),
            [b'\0', b'a', b's', b'm', rest @ ..] if rest.len() < 4 => {
                invalid(format!("it ends after {size} bytes"))
            }
            [b'(', ..] => invalid("it is WebAssembly text, the binary format is needed".into()),
            _ => invalid("it does not begin as a WebAssembly component does".into()),
        }
    }

    fn compile(&self, binary: &[u8], hash: blake3::Hash) -> Result<Prepared, LoadError> {
        let toolchain = self.toolchains.for_binary(binary);
        let Toolchain { engine, immediate, .. } = toolchain;
        let driven = attach::attached(binary).and_then(|Attached { component, instances }| {
            let hash = blake3::hash(&component);
            Some((self.compiled_or_cached(engine, &component, hash).ok()?, instances))
        });
        let (component, run) = match driven {
            Some((component, instances)) => {
                let run = component.get_export_index(None, attach::RUN);
                (component, run.map(|run| Loop { run, instances }))
            }
            None => (self.compiled_or_cached(engine, binary, hash)?, None),
        };
        let lifecycle = LifecycleExports::find(&component)?;
        let uses_wasi =
            component.component_type().imports(engine).any(|(name, _)| name.starts_with("wasi:"));
        let waits = run.is_some() || !immediate.are_all_of(&component, engine);
        let invalid = |error| LoadError::InvalidComponent(format!("{error:#}"));
        let linker = if run.is_some() { &toolchain.driven } else { &toolchain.linker };
        let extended = link_closed(linker, &component).map_err(invalid)?;
        let linker = extended.as_ref().unwrap_or(linker);
        let pre = linker.instantiate_pre(&component).map_err(invalid)?;
        let binary_bytes = binary.len() as u64;
        Ok(Prepared { pre, lifecycle, run, uses_wasi, waits, hash, binary_bytes })
    }

    fn compiled_or_cached(
        &self,
        engine: &Engine,
        binary: &[u8],
        hash: blake3::Hash,
    ) -> Result<Component, LoadError> {
        if let Some(component) = self.cache.as_ref().and_then(|cache| cache.get(engine, &hash)) {
            return Ok(component);
        }
        Self::check_nesting(binary)?;
        let component = self.compile_afresh(engine, binary)?;
        if let Some(cache) = &self.cache {
            cache.put(engine, &hash, &component);
        }
        Ok(component)
    }

    /// Refuses components within components beyond what toolchains make: the time that Wasmtime takes
    /// for them grows with the square of their number.
    fn check_nesting(binary: &[u8]) -> Result<(), LoadError> {
        let (mut depth, mut count) = (0_usize, 0_usize);
        for payload in wasmparser::Parser::new(0).parse_all(binary) {
            let payload =
                payload.map_err(|error| LoadError::InvalidComponent(error.to_string()))?;
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    (depth, count) = (depth + 1, count + 1);
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                _ => {}
            }
            let invalid = |reason| Err(LoadError::InvalidComponent(reason));
            if depth > MAX_DEPTH {
                return invalid(format!(
                    "modules and components nested more than {MAX_DEPTH} deep"
                ));
            }
            if count > MAX_NESTED {
                return invalid(format!("more than {MAX_NESTED} nested modules and components"));
            }
        }
        Ok(())
    }

    /// Compiles on threads of its own: a process-wide pool would outlive the engine and not
    /// survive a fork, and the caller's stack may be small.
    fn compile_afresh(&self, engine: &Engine, binary: &[u8]) -> Result<Component, LoadError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.compile_threads)
            .thread_name(|index| format!("airssys-compile-{index}"))
            .build()
            .map_err(|error| {
                LoadError::Instantiation(format!("no threads to compile on: {error}"))
            })?;
        pool.install(|| Component::from_binary(engine, binary))
            .map_err(|error| LoadError::InvalidComponent(format!("{error:#}")))
    }

    /// Forgets compiled components that nobody uses, beyond what is kept for the next load.
    fn evict(&self) {
        let mut prepared = self.lock();
        let unused: Vec<blake3::Hash> = prepared
            .iter()
            .filter(|(_, slot)| Arc::strong_count(slot) == 1)
            .filter(|(_, slot)| slot.get().is_none_or(|prepared| Arc::strong_count(prepared) == 1))
            .map(|(hash, _)| *hash)
            .collect();
        let failed = unused.iter().filter(|hash| prepared[*hash].get().is_none());
        let surplus = unused.len().saturating_sub(MAX_UNUSED);
        let doomed: Vec<_> = failed.chain(unused.iter().take(surplus)).copied().collect();
        for hash in doomed {
            prepared.remove(&hash);
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<blake3::Hash, Slot>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LifecycleExports {
    /// Looks the six functions up; a component that exports the interface exports all of it.
    fn find(component: &Component) -> Result<Option<Self>, LoadError> {
        let Some(interface) = component.get_export_index(None, contract::LIFECYCLE) else {
            return Ok(None);
        };
        let find = |name: &str| {
            component.get_export_index(Some(&interface), name).ok_or_else(|| {
                LoadError::InvalidComponent(format!("{} has no {name}", contract::LIFECYCLE))
            })
        };
        Ok(Some(Self {
            initialize: find("initialize")?,
            handle_message: find("handle-message")?,
            handle_callback: find("handle-callback")?,
            metadata: find("metadata")?,
            health: find("health")?,
            shutdown: find("shutdown")?,
        }))
    }
}
