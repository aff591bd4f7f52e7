//! Compiles and links component binaries.

use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use sha2::{Digest, Sha256};

use crate::core::bounds::{MAX_ERROR_TEXT_BYTES, bounded};
use crate::runtime::cache::store::{CacheCounts, CompileCache, Loading};
use crate::runtime::call_error;
use crate::runtime::compiler::Way;
use crate::runtime::contract;
use crate::runtime::driver::attach::{self, Attached};
use crate::runtime::host::functions::{Offered, link_offered};
use crate::runtime::host::interface::Immediate;
use crate::runtime::host::offered;
use crate::runtime::import_error;
use crate::runtime::inspection::outline::outline;
use crate::runtime::load_error::LoadError;
use crate::runtime::mappings::Taken;
use crate::runtime::prepared::{LifecycleExports, Loop, Prepared, StateExports};
use crate::runtime::proposals;
use crate::runtime::screen::limits::CompileLimits;
use crate::runtime::screen::pass::screen;
use crate::runtime::screen::refusal::Refusal;
use crate::runtime::shortage::MemoryLimits;
use crate::runtime::state::HostState;
use crate::runtime::wasi::link::link_closed;

/// The largest binary whose instances get copies of its memory image. Copying a small image costs
/// less than mapping it and faulting its pages in, and saves two of the mappings that the system
/// allows a process. Large images, such as language runtimes, are mapped and shared.
const MAX_COPIED_BYTES: usize = 1 << 20;

/// A Wasmtime engine and the linkers of its components.
pub struct Toolchain {
    /// The compiler.
    pub engine: Engine,
    /// The linker.
    pub linker: Linker<HostState>,
    /// The linker of components with an added loop.
    pub driven: Linker<HostState>,
    /// The linked functions that return without waiting.
    pub immediate: Immediate,
    /// The mappings of the process that instances take.
    pub mappings: Taken,
}

/// The engines for binaries of different sizes.
pub struct Toolchains {
    /// Copies memory images.
    pub copying: Toolchain,
    /// Maps memory images.
    pub mapping: Toolchain,
}

/// Compiles and links.
pub struct Workshop {
    toolchains: Toolchains,
    offered: Offered,
    cache: Option<CompileCache>,
    limits: CompileLimits,
    threads: usize,
}

impl Workshop {
    /// Creates a workshop that compiles on `threads` threads.
    pub fn new(
        toolchains: Toolchains,
        offered: Offered,
        cache: Option<CompileCache>,
        limits: CompileLimits,
        threads: usize,
    ) -> Self {
        Self { toolchains, offered, cache, limits, threads }
    }

    /// Returns the counts of the disk cache; `None` without one.
    pub fn cache_counts(&self) -> Option<CacheCounts> {
        self.cache.as_ref().map(CompileCache::counts)
    }

    /// Returns how to obtain a compiled binary: from the cache, or by compiling it.
    pub fn way(self: &Arc<Self>, binary: &[u8], hash: blake3::Hash) -> Result<Way, LoadError> {
        let mapped = binary.len() > MAX_COPIED_BYTES;
        let plain = Recipe {
            mapped,
            hash,
            sha256: Sha256::digest(binary).into(),
            binary_bytes: binary.len() as u64,
            instances: 0,
        };
        let driven = attach::attached(binary).map(|Attached { component, instances }| {
            (blake3::hash(&component), component, Recipe { instances, ..plain })
        });
        let (hash, recipe) =
            driven.as_ref().map_or((&hash, &plain), |(hash, _, recipe)| (hash, recipe));
        if let Some(component) = self.cached(recipe, hash) {
            let outline = outlined(binary)?;
            return Ok(Way::Made(Box::new(self.link(recipe, &component, outline)?)));
        }
        let weight = screen(binary, &self.limits, self.threads, mapped)?;
        self.check_code(weight.initial_bytes())?;
        let outline = outlined(binary)?;
        let table_bytes = weight.initial_table_bytes();
        let (workshop, binary) = (Arc::clone(self), Box::<[u8]>::from(binary));
        let plain_may_be_cached = driven.is_some();
        let work = move || {
            // If the component with the added loop does not compile, the plain one is used.
            let driven = driven.map(|(hash, component, recipe)| {
                let compiled = workshop.compile(&recipe, &component, &hash);
                compiled.map(|component| (component, recipe))
            });
            let driven = match driven.transpose() {
                Err(error @ LoadError::NoMemory { .. }) => return Err(error),
                other => other.ok().flatten(),
            };
            let (component, recipe) = match driven {
                Some(driven) => driven,
                None => {
                    let cached = plain_may_be_cached.then(|| workshop.cached(&plain, &plain.hash));
                    match cached.flatten() {
                        Some(component) => (component, plain),
                        None => (workshop.compile(&plain, &binary, &plain.hash)?, plain),
                    }
                }
            };
            let mut prepared = workshop.link(&recipe, &component, outline)?;
            prepared.code_bytes += table_bytes;
            Ok(prepared)
        };
        Ok(Way::Compile(weight.bytes(), Box::new(work)))
    }

    fn check_code(&self, bytes: u64) -> Result<(), LoadError> {
        let limit = self.limits.max_code_bytes;
        if bytes > limit { Err(LoadError::CodeBytes { limit, bytes }) } else { Ok(()) }
    }

    fn toolchain(&self, recipe: &Recipe) -> &Toolchain {
        if recipe.mapped { &self.toolchains.mapping } else { &self.toolchains.copying }
    }

    fn cached(&self, recipe: &Recipe, hash: &blake3::Hash) -> Option<Component> {
        let how = if recipe.mapped { Loading::Mapped } else { Loading::Copied };
        self.cache.as_ref()?.get(&self.toolchain(recipe).engine, hash, how)
    }

    fn compile(
        &self,
        recipe: &Recipe,
        binary: &[u8],
        hash: &blake3::Hash,
    ) -> Result<Component, LoadError> {
        let engine = &self.toolchain(recipe).engine;
        let component = Component::from_binary(engine, binary).map_err(|error| {
            match proposals::needed(binary).filter(|_| !call_error::is_want_of_memory(&error)) {
                Some(needed) => LoadError::InvalidComponent(needed),
                None => invalid(error),
            }
        })?;
        if let Some(cache) = &self.cache {
            cache.put(engine, hash, &component);
        }
        Ok(component)
    }

    fn link(
        &self,
        recipe: &Recipe,
        component: &Component,
        outline: Arc<[u8]>,
    ) -> Result<Prepared, LoadError> {
        let toolchain = self.toolchain(recipe);
        let engine = &toolchain.engine;
        let code = component.image_range();
        let code_bytes = (code.end as usize).saturating_sub(code.start as usize) as u64;
        self.check_code(code_bytes)?;
        let run = component.get_export_index(None, attach::RUN).filter(|_| recipe.instances > 0);
        let run = run.map(|run| Loop { run, instances: recipe.instances });
        let lifecycle = LifecycleExports::find(component)?;
        let state = StateExports::find(component)?;
        contract::check_exports(component)?;
        let uses_wasi = component
            .component_type()
            .imports(engine)
            .any(|(name, _)| name.starts_with("wasi:") && !offered::is_standard(name));
        let waits = run.is_some() || !toolchain.immediate.are_all_of(component, engine);
        let linker = if run.is_some() { &toolchain.driven } else { &toolchain.linker };
        let offered = link_offered(linker, component, &self.offered).map_err(invalid)?;
        let linker = offered.as_ref().unwrap_or(linker);
        let extended = link_closed(linker, component).map_err(invalid)?;
        let linker = extended.as_ref().unwrap_or(linker);
        let pre = linker.instantiate_pre(component);
        let pre = pre.map_err(|error| match call_error::is_want_of_memory(&error) {
            true => invalid(error),
            false => LoadError::InvalidComponent(import_error::explained(
                component,
                &self.offered,
                &error,
            )),
        })?;
        let Recipe { hash, sha256, binary_bytes, .. } = *recipe;
        // The number is unknown only for components that import modules, which fail to load.
        let memories = component.resources_required().map_or(1, |it| it.num_memories as usize);
        Ok(Prepared {
            pre,
            lifecycle,
            state,
            run,
            uses_wasi,
            waits,
            memories,
            mappings: toolchain.mappings,
            hash,
            sha256,
            binary_bytes,
            outline,
            code_bytes,
        })
    }
}

/// How to make one component.
#[derive(Clone, Copy)]
struct Recipe {
    /// Whether instances share memory images.
    mapped: bool,
    /// BLAKE3 of the binary as passed to the load.
    hash: blake3::Hash,
    sha256: [u8; 32],
    /// The size of that binary.
    binary_bytes: u64,
    /// The core instances that the added loop takes; 0 without a loop.
    instances: usize,
}

fn outlined(binary: &[u8]) -> Result<Arc<[u8]>, LoadError> {
    Ok(outline(binary).map_err(Refusal::from)?.into())
}

fn invalid(error: wasmtime::Error) -> LoadError {
    if call_error::is_want_of_memory(&error) {
        let reason = format!("{}; {MemoryLimits}", error.root_cause());
        return LoadError::NoMemory { during: "compiling", reason };
    }
    LoadError::InvalidComponent(bounded(&format_args!("{error:#}"), MAX_ERROR_TEXT_BYTES))
}
