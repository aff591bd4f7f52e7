//! What an engine is made with.

use std::path::PathBuf;
use std::sync::Arc;

use crate::core::id::ComponentId;
use crate::core::log::{HostErrorTexts, LogSink};
use crate::core::ports::{EventSink, Router};
use crate::runtime::engine::Reservation;
use crate::runtime::screen::limits::CompileLimits;
use crate::security::policy::Policies;
use crate::storage::backend::Backend;
use crate::system::audit::AuditConfig;
use crate::system::compile_limits;
use crate::system::json::{self, Object, OptionsError};
use crate::system::options::{self, DefaultCapabilities, Defaults};
use crate::system::policies;

/// The keys of an engine's configuration.
const KEYS: &[&str] = &[
    "name",
    "workers",
    "callback-threads",
    "cache-dir",
    "cache-max-bytes",
    "max-component-bytes",
    "compile",
    "signals-based-traps",
    "guard-before-memory",
    "memory-reservation",
    "host-error-texts",
    "limits",
    "quotas",
    "capabilities",
    "policies",
];

/// The most worker threads that an engine may have.
const MAX_WORKERS: u64 = 1024;

/// The most threads for callbacks that an engine may have, of either kind.
const MAX_CALLBACK_THREADS: u64 = 1 << 16;

/// An engine's configuration.
#[derive(Clone)]
pub struct EngineConfig {
    /// Names the host as a sender: `host/<name>/0`.
    pub name: String,
    /// Threads that run components.
    pub workers: usize,
    /// The most threads for callbacks that components wait for, and the most for all others.
    pub callback_threads: usize,
    /// Where compiled components are kept between runs.
    pub cache_dir: Option<PathBuf>,
    /// How much is kept there.
    pub cache_max_bytes: u64,
    /// The largest component binary that is accepted.
    pub max_component_bytes: u64,
    /// What one compile may take.
    pub compile: CompileLimits,
    /// Whether guests' out-of-bounds accesses are found through SIGSEGV.
    pub signals_based_traps: bool,
    /// Whether an inaccessible region lies before each linear memory too.
    pub guard_before_memory: bool,
    /// How much address space is reserved for each linear memory.
    pub memory_reservation: Reservation,
    /// Who learns what the host's callbacks say when they fail.
    pub host_error_texts: HostErrorTexts,
    /// What holds for loads that say nothing of their own.
    pub defaults: Defaults,
    /// What all components are held against at first.
    pub policies: Arc<Policies>,
    /// Where decisions are recorded; `None`: nowhere.
    pub audit: Option<AuditConfig>,
    /// The host's storage; `None`: in memory.
    pub storage: Option<Arc<dyn Backend>>,
    /// The host's log; `None`: warnings and errors on stderr.
    pub log: Option<Arc<dyn LogSink>>,
    /// The host's way to components of other engines; `None`: there is none.
    pub router: Option<Arc<dyn Router>>,
    /// Where events go; `None`: nowhere.
    pub events: Option<Arc<dyn EventSink>>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            name: "engine".into(),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            callback_threads: 1024,
            cache_dir: None,
            cache_max_bytes: 1 << 30,
            max_component_bytes: 64 << 20,
            compile: CompileLimits::default(),
            signals_based_traps: true,
            guard_before_memory: true,
            memory_reservation: Reservation::default(),
            host_error_texts: HostErrorTexts::default(),
            defaults: Defaults::default(),
            policies: Arc::default(),
            audit: None,
            storage: None,
            log: None,
            router: None,
            events: None,
        }
    }
}

impl EngineConfig {
    /// Takes over what a configuration document names; on an error nothing has changed.
    pub fn apply(&mut self, text: &str) -> Result<(), OptionsError> {
        let document = json::parse("config", text)?;
        let object = Object::new("config", &document, KEYS)?;
        let mut changed = self.clone();
        if let Some(name) = object.string("name")? {
            ComponentId::new("host", name, "0").map_err(|error| OptionsError::OutOfRange {
                place: object.place("name"),
                value: format!("{name:?}"),
                expected: format!("a name that can be part of an id ({error})"),
            })?;
            changed.name = name.to_owned();
        }
        if let Some(workers) = object.integer("workers", 1..=MAX_WORKERS)? {
            changed.workers = workers as usize;
        }
        if let Some(threads) = object.integer("callback-threads", 1..=MAX_CALLBACK_THREADS)? {
            changed.callback_threads = threads as usize;
        }
        if let Some(dir) = object.string("cache-dir")? {
            changed.cache_dir = Some(dir.into());
        }
        if let Some(bytes) = object.integer("cache-max-bytes", 1..=u64::MAX)? {
            changed.cache_max_bytes = bytes;
        }
        if let Some(bytes) = object.integer("max-component-bytes", 1..=u64::MAX)? {
            changed.max_component_bytes = bytes;
        }
        compile_limits::read(&object, &mut changed.compile)?;
        if let Some(signals) = object.boolean("signals-based-traps")? {
            changed.signals_based_traps = signals;
        }
        if let Some(guard) = object.boolean("guard-before-memory")? {
            changed.guard_before_memory = guard;
        }
        if let Some(name) = object.string("memory-reservation")? {
            changed.memory_reservation = reservation(&object, name)?;
        }
        if let Some(shown) = object.boolean("host-error-texts")? {
            changed.host_error_texts =
                if shown { HostErrorTexts::Shown } else { HostErrorTexts::Logged };
        }
        changed.defaults.limits = options::limits(&object, &self.defaults.limits)?;
        changed.defaults.quotas = options::quotas(&object, &self.defaults.quotas)?;
        if let Some(value) = object.get("capabilities") {
            let place = object.place("capabilities");
            changed.defaults.capabilities = DefaultCapabilities::read(place, value)?;
        }
        if let Some(value) = object.get("policies") {
            changed.policies = Arc::new(policies::read(object.place("policies"), value)?);
        }
        *self = changed;
        Ok(())
    }
}

fn reservation(object: &Object<'_>, name: &str) -> Result<Reservation, OptionsError> {
    match name {
        "automatic" => Ok(Reservation::Automatic),
        "large" => Ok(Reservation::Large),
        "small" => Ok(Reservation::Small),
        "none" => Ok(Reservation::None),
        _ => Err(OptionsError::OutOfRange {
            place: object.place("memory-reservation"),
            value: format!("{name:?}"),
            expected: "\"automatic\", \"large\", \"small\" or \"none\"".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_add_up_and_errors_change_nothing() {
        let mut config = EngineConfig::default();
        config.apply(r#"{"name": "app", "workers": 3}"#).unwrap();
        config.apply(r#"{"workers": 4, "limits": {"max-fuel": 5}}"#).unwrap();
        let error = config.apply(r#"{"name": "other", "workers": 0}"#).unwrap_err().to_string();
        assert!(error.contains("config.workers: 0 is not allowed"), "{error}");
        assert_eq!(
            (&*config.name, config.workers, config.defaults.limits.max_fuel),
            ("app", 4, Some(5))
        );
    }

    #[test]
    fn a_name_must_do_as_part_of_an_id() {
        let error = EngineConfig::default().apply(r#"{"name": "a/b"}"#).unwrap_err().to_string();
        assert!(error.contains("config.name: \"a/b\" is not allowed"), "{error}");
    }
}
