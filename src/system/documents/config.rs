//! The configuration of an engine.

use serde::Deserialize;

use crate::runtime::engine::Reservation;
use crate::runtime::screen::limits::Limit;
use crate::system::documents::grants::Capabilities;
use crate::system::documents::options::{LimitsDocument, QuotasDocument, SupervisionDocument};
use crate::system::documents::policies::PoliciesDocument;
use crate::system::documents::values::{Int, List};

#[cfg(test)]
use crate::runtime::screen::limits::CompileLimits;
#[cfg(test)]
use crate::storage::durable::options::DurableOptions;
#[cfg(test)]
use crate::system::config::EngineConfig;

/// The configuration of an engine: `json` of `airssys_config_set_json`. A document changes what it
/// names, and leaves the rest as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "config"))]
pub struct ConfigDocument {
    /// Names the host as a sender, `host/<name>/0`. It must be valid as a part of an id: 1 to 255
    /// bytes without `/`, `*` and control characters, and neither `.` nor `..`.
    #[cfg_attr(test, schemars(length(min = 1), extend("default" = EngineConfig::default().name)))]
    pub name: Option<String>,
    /// Threads that run components; by default, one for each core. Behind them as many of lower
    /// priority are started on demand, for components that compute for more than 2 ms.
    pub workers: Option<Int<1, 1024>>,
    /// The most threads for callbacks that components wait for, and the most for all other
    /// callbacks.
    #[cfg_attr(test, schemars(extend("default" = EngineConfig::default().callback_threads)))]
    pub callback_threads: Option<Int<1, { 1 << 16 }>>,
    /// The directory in which compiled components are kept between runs. What is in it is loaded as
    /// code. If the key is absent, none is used.
    pub cache_dir: Option<String>,
    /// Bytes kept in `cache-dir`. The entries that have not been used for longest are removed
    /// first.
    #[cfg_attr(test, schemars(extend("default" = EngineConfig::default().cache_max_bytes)))]
    pub cache_max_bytes: Option<Int<1>>,
    /// Bytes of the largest component binary that is accepted.
    #[cfg_attr(test, schemars(extend("default" = EngineConfig::default().max_component_bytes)))]
    pub max_component_bytes: Option<Int<1>>,
    /// What compiling a binary may take.
    pub compile: Option<CompileDocument>,
    /// Whether out-of-bounds accesses of guests are detected through signals. `false` installs no
    /// signal handlers, and makes guests slower.
    #[cfg_attr(test, schemars(extend("default" = EngineConfig::default().signals_based_traps)))]
    pub signals_based_traps: Option<bool>,
    /// Whether each memory has an inaccessible region before it as well. `false` saves one in four
    /// of the mappings that a component takes which may wait (`vm.max_map_count`), and gives up a
    /// defence in depth against faults of the compiler.
    #[cfg_attr(test, schemars(extend("default" = EngineConfig::default().guard_before_memory)))]
    pub guard_before_memory: Option<bool>,
    /// How much address space is reserved for each linear memory.
    #[cfg_attr(test, schemars(extend("default" = "automatic")))]
    pub memory_reservation: Option<ReservationDocument>,
    /// Whether the texts of errors that callbacks of a storage or a router write reach the
    /// component. `false` sends them to the log, and the component learns only that a callback
    /// failed.
    #[cfg_attr(test, schemars(extend("default" = false)))]
    pub host_error_texts: Option<bool>,
    /// Defaults for the limits of every load.
    pub limits: Option<LimitsDocument>,
    /// Defaults for the quotas of every load.
    pub quotas: Option<QuotasDocument>,
    /// Live instances of components with `activation` `on-demand` or an `idle-timeout-ms`. When more
    /// are live, those that have handled nothing for longest are passivated. If the key is absent,
    /// there is no bound.
    pub max_live_instances: Option<Int<1>>,
    /// Defaults for the supervision of every load.
    pub supervision: Option<SupervisionDocument>,
    /// The Ed25519 public keys of those who may sign binaries, each as 64 hexadecimal digits; at most
    /// 256.
    #[cfg_attr(test, schemars(extend("default" = [])))]
    pub trusted_keys: Option<List<String>>,
    /// Whether every binary must have a `signature` by one of the `trusted-keys`. Others are refused
    /// with `AIRSSYS_ERROR_INVALID_COMPONENT`, before they are compiled.
    #[cfg_attr(test, schemars(extend("default" = false)))]
    pub require_signature: Option<bool>,
    /// Capabilities of loads that name none. If the key is never set, such loads have none.
    pub capabilities: Option<Capabilities>,
    /// Keeps the components' storage in a file. If the key is absent, it is in memory, or with the
    /// host. The object replaces that of an earlier document as a whole.
    pub storage: Option<StorageDocument>,
    /// Policies that are in force until `airssys_engine_set_policies` replaces them.
    pub policies: Option<PoliciesDocument>,
}

/// A file that keeps the components' storage.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "storage-file"))]
pub struct StorageDocument {
    /// *Required.* The file. The engine makes it if it is missing; its directory must exist. One
    /// engine at a time has it open.
    pub path: String,
    /// When a change is on disk.
    #[cfg_attr(test, schemars(extend("default" = "sync")))]
    pub durability: Option<DurabilityDocument>,
    /// Milliseconds between two syncs with `durability` `interval`.
    #[cfg_attr(test, schemars(extend("default" = durable().interval.as_millis() as u64)))]
    pub interval_ms: Option<Int<1, 3_600_000>>,
    /// Bytes of the file's pages that are kept in memory.
    #[cfg_attr(test, schemars(extend("default" = durable().cache_bytes)))]
    pub cache_bytes: Option<Int<0, { 1 << 40 }>>,
    /// Whether the whole file is verified each time an engine opens it. `false` opens a large file
    /// sooner, but after a crash it is verified nevertheless.
    #[cfg_attr(test, schemars(extend("default" = durable().check_on_open)))]
    pub check_on_open: Option<bool>,
    /// The file is compacted when it is larger than this many times the keys and values in it, and
    /// larger than 64 MiB. Storage waits meanwhile. 0 is never.
    #[cfg_attr(test, schemars(extend("default" = durable().compact_above_ratio)))]
    pub compact_above_ratio: Option<Int<0>>,
}

/// When a change of the storage is on disk.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "durability"))]
pub enum DurabilityDocument {
    /// Before the component learns that it was made. Concurrent changes share a sync.
    Sync,
    /// Within `interval-ms`, or when the engine ends. A crash of the process or the system loses
    /// the changes since the last sync, and so does an error of the disk.
    Interval,
}

#[cfg(test)]
fn durable() -> DurableOptions {
    DurableOptions::new("".into())
}

/// How much address space is reserved for each linear memory.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "memory-reservation"))]
pub enum ReservationDocument {
    /// `small` where the process has a limit on its address space (`RLIMIT_AS`) or the system
    /// grants no large reservation; `large` otherwise.
    Automatic,
    /// 4 GiB and guard regions.
    Large,
    /// Little more than the memory holds. Its guest is slower, and the memory is copied when it
    /// grows by more than 1 MiB.
    Small,
    /// Nothing: memories lie side by side and share a few of the process's mappings, so that tens of
    /// thousands of components fit. Its guest is as slow as with `small`. A memory has room to grow
    /// by half, at least 1 MiB, before it is copied. Instances of large binaries do not share their
    /// initial memory.
    None,
}

impl From<ReservationDocument> for Reservation {
    fn from(document: ReservationDocument) -> Self {
        match document {
            ReservationDocument::Automatic => Self::Automatic,
            ReservationDocument::Large => Self::Large,
            ReservationDocument::Small => Self::Small,
            ReservationDocument::None => Self::None,
        }
    }
}

/// What compiling one binary may take. Beyond `max-time-ms`, a load fails with
/// `AIRSSYS_ERROR_TIMEOUT`; beyond `max-memory-bytes` and `max-code-bytes`, with
/// `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`; beyond the other limits, with
/// `AIRSSYS_ERROR_INVALID_COMPONENT`, before anything is compiled.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "compile"))]
pub struct CompileDocument {
    /// Milliseconds for one binary.
    #[cfg_attr(test, schemars(extend("default" = millis())))]
    pub max_time_ms: Option<Int<1>>,
    /// Bytes of memory, by an estimate, for all compilations under way together.
    #[cfg_attr(test, schemars(extend("default" = CompileLimits::default().max_memory_bytes)))]
    pub max_memory_bytes: Option<Int<1>>,
    /// Bytes of machine code, initial memories and tables included.
    #[cfg_attr(test, schemars(extend("default" = CompileLimits::default().max_code_bytes)))]
    pub max_code_bytes: Option<Int<1>>,
    /// Bytes of machine code that is kept although no component uses it any more, for at most 32
    /// binaries. The least recently used goes first.
    #[cfg_attr(test, schemars(extend("default" = CompileLimits::default().max_unused_code_bytes)))]
    pub max_unused_code_bytes: Option<Int<0>>,
    /// Functions in all modules.
    #[cfg_attr(test, schemars(extend("default" = bound(Limit::Functions))))]
    pub max_functions: Option<Int<1>>,
    /// Bytes of one function.
    #[cfg_attr(test, schemars(extend("default" = bound(Limit::FunctionBytes))))]
    pub max_function_bytes: Option<Int<1>>,
    /// Blocks, branches, and targets of branch tables of one function.
    #[cfg_attr(test, schemars(extend("default" = bound(Limit::FunctionBlocks))))]
    pub max_function_blocks: Option<Int<1>>,
    /// Depth to which the blocks of one function are nested.
    #[cfg_attr(test, schemars(extend("default" = bound(Limit::BlockDepth))))]
    pub max_block_depth: Option<Int<1>>,
    /// Locals of one function, parameters included.
    #[cfg_attr(test, schemars(extend("default" = bound(Limit::FunctionLocals))))]
    pub max_function_locals: Option<Int<1>>,
    /// Values of blocks and branches of one function, and locals used in its loops.
    #[cfg_attr(test, schemars(extend("default" = bound(Limit::FunctionValues))))]
    pub max_function_values: Option<Int<1>>,
    /// Predicted effort for one function, in bytes of plain code.
    #[cfg_attr(test, schemars(extend("default" = bound(Limit::FunctionCost))))]
    pub max_function_cost: Option<Int<1>>,
    /// Types, fields, imports, exports, segments and other definitions, counted once for each
    /// instance of the component that holds them.
    #[cfg_attr(test, schemars(extend("default" = bound(Limit::Definitions))))]
    pub max_definitions: Option<Int<1>>,
    /// Depth to which types are nested. Beyond 100 Wasmtime itself fails.
    #[cfg_attr(test, schemars(extend("default" = bound(Limit::TypeDepth))))]
    pub max_type_depth: Option<Int<1, 100>>,
    /// Depth to which modules and components are nested in components.
    #[cfg_attr(test, schemars(extend("default" = bound(Limit::ComponentDepth))))]
    pub max_component_depth: Option<Int<1>>,
    /// Modules and components, at any depth.
    #[cfg_attr(test, schemars(extend("default" = bound(Limit::Components))))]
    pub max_components: Option<Int<1>>,
    /// Predicted effort for all functions, in bytes of plain code.
    #[cfg_attr(test, schemars(extend("default" = bound(Limit::Cost))))]
    pub max_cost: Option<Int<1>>,
}

impl CompileDocument {
    /// Returns the value of a limit, if given.
    pub fn get(&self, limit: Limit) -> Option<u64> {
        let any = |value: Option<Int<1>>| value.map(|Int(value)| value);
        match limit {
            Limit::Functions => any(self.max_functions),
            Limit::FunctionBytes => any(self.max_function_bytes),
            Limit::FunctionBlocks => any(self.max_function_blocks),
            Limit::BlockDepth => any(self.max_block_depth),
            Limit::FunctionLocals => any(self.max_function_locals),
            Limit::FunctionValues => any(self.max_function_values),
            Limit::FunctionCost => any(self.max_function_cost),
            Limit::Definitions => any(self.max_definitions),
            Limit::TypeDepth => self.max_type_depth.map(|Int(depth)| depth),
            Limit::ComponentDepth => any(self.max_component_depth),
            Limit::Components => any(self.max_components),
            Limit::Cost => any(self.max_cost),
        }
    }
}

#[cfg(test)]
fn bound(limit: Limit) -> u64 {
    CompileLimits::default().get(limit)
}

#[cfg(test)]
fn millis() -> u64 {
    u64::try_from(CompileLimits::default().max_time.as_millis()).expect("a few minutes")
}
