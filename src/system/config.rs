//! The configuration of an engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::core::id::{ComponentId, shorten};
use crate::core::log::{HostErrorTexts, LogSink};
use crate::core::ports::{EventSink, Router};
use crate::runtime::engine::Reservation;
use crate::runtime::host::functions::{InvalidInterface, OfferedInterface, checked_name};
use crate::runtime::screen::limits::{CompileLimits, Limit};
use crate::security::policy::Policies;
use crate::security::signature::{PublicKey, Trust};
use crate::storage::backend::Backend;
use crate::storage::durable::options::{Durability, DurableOptions};
use crate::system::audit::AuditConfig;
use crate::system::documents::config::{
    CompileDocument, ConfigDocument, DurabilityDocument, StorageDocument,
};
use crate::system::documents::reader::read;
use crate::system::documents::values::Int;
use crate::system::json::{self, OptionsError};
use crate::system::options::{self, DefaultCapabilities, Defaults};
use crate::system::policies;

/// The most keys, each of which is tried.
const MAX_TRUSTED_KEYS: usize = 256;

/// The most interfaces of a host, each of which is compared with each import.
const MAX_INTERFACES: usize = 1024;

/// The configuration of an engine.
#[derive(Clone)]
pub struct EngineConfig {
    /// The name of the host as a sender, `host/<name>/0`.
    pub name: String,
    /// The number of threads that run components.
    pub workers: usize,
    /// The most threads for callbacks that components wait for, and the most for all others.
    pub callback_threads: usize,
    /// The directory that keeps compiled components between runs, if any.
    pub cache_dir: Option<PathBuf>,
    /// The most bytes kept there.
    pub cache_max_bytes: u64,
    /// The largest accepted component binary, in bytes.
    pub max_component_bytes: u64,
    /// The limits of one compile.
    pub compile: CompileLimits,
    /// Whether SIGSEGV detects out-of-bounds accesses of guests.
    pub signals_based_traps: bool,
    /// Whether each linear memory has a guard region before it as well.
    pub guard_before_memory: bool,
    /// The address space reserved for each linear memory.
    pub memory_reservation: Reservation,
    /// Whether components or only the log receive the error texts of the host's callbacks.
    pub host_error_texts: HostErrorTexts,
    /// The most live instances of components that may be passivated; `None` is unlimited.
    pub max_live_instances: Option<usize>,
    /// The defaults for loads.
    pub defaults: Defaults,
    /// Whose binaries are accepted.
    pub trust: Trust,
    /// The initial policies for all components.
    pub policies: Arc<Policies>,
    /// The audit, if any.
    pub audit: Option<AuditConfig>,
    /// The host's storage.
    pub storage: Option<Arc<dyn Backend>>,
    /// The file for values. Without it and the host's storage they are kept in memory.
    pub durable: Option<DurableOptions>,
    /// The most bytes of values of the host's storage that are kept for reading, if any.
    pub read_cache_bytes: Option<u64>,
    /// The host's log; `None` writes warnings and errors to stderr.
    pub log: Option<Arc<dyn LogSink>>,
    /// The host's route to components of other engines, if any.
    pub router: Option<Arc<dyn Router>>,
    /// The receiver of events, if any.
    pub events: Option<Arc<dyn EventSink>>,
    /// The interfaces that components may import from the host.
    pub interfaces: Vec<OfferedInterface>,
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
            max_live_instances: None,
            defaults: Defaults::default(),
            trust: Trust::default(),
            policies: Arc::default(),
            audit: None,
            storage: None,
            durable: None,
            read_cache_bytes: None,
            log: None,
            router: None,
            events: None,
            interfaces: Vec::new(),
        }
    }
}

impl EngineConfig {
    /// Checks that an interface with this name can be added, and returns its name.
    pub fn offered_name(&self, name: &str) -> Result<Arc<str>, InvalidInterface> {
        let checked = checked_name(name)?;
        if self.interfaces.iter().any(|known| known.name == checked) {
            return Err(InvalidInterface::Twice(shorten(name)));
        }
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(InvalidInterface::TooMany(MAX_INTERFACES));
        }
        Ok(checked)
    }

    /// Applies a configuration document. Changes nothing on an error.
    pub fn apply(&mut self, text: &str) -> Result<(), OptionsError> {
        let document: ConfigDocument = read("config", json::parse("config", text)?)?;
        let mut changed = self.clone();
        if let Some(name) = document.name {
            ComponentId::new("host", &name, "0").map_err(|error| OptionsError::OutOfRange {
                place: "config.name".into(),
                value: format!("{:?}", shorten(&name)),
                expected: format!("a name that can be part of an id ({error})"),
            })?;
            changed.name = name;
        }
        if let Some(Int(workers)) = document.workers {
            changed.workers = workers as usize;
        }
        if let Some(Int(threads)) = document.callback_threads {
            changed.callback_threads = threads as usize;
        }
        if let Some(dir) = document.cache_dir {
            changed.cache_dir = Some(dir.into());
        }
        if let Some(Int(bytes)) = document.cache_max_bytes {
            changed.cache_max_bytes = bytes;
        }
        if let Some(Int(bytes)) = document.max_component_bytes {
            changed.max_component_bytes = bytes;
        }
        if let Some(compile) = document.compile {
            apply_compile(&compile, &mut changed.compile);
        }
        if let Some(signals) = document.signals_based_traps {
            changed.signals_based_traps = signals;
        }
        if let Some(guard) = document.guard_before_memory {
            changed.guard_before_memory = guard;
        }
        if let Some(reservation) = document.memory_reservation {
            changed.memory_reservation = reservation.into();
        }
        if let Some(shown) = document.host_error_texts {
            changed.host_error_texts =
                if shown { HostErrorTexts::Shown } else { HostErrorTexts::Logged };
        }
        changed.defaults.limits = options::limits(document.limits, &self.defaults.limits);
        changed.defaults.quotas = options::quotas(document.quotas, &self.defaults.quotas);
        if let Some(Int(most)) = document.max_live_instances {
            changed.max_live_instances = Some(most as usize);
        }
        if let Some(keys) = document.trusted_keys {
            changed.trust.keys = trusted_keys(&keys.0)?;
        }
        if let Some(required) = document.require_signature {
            changed.trust.required = required;
        }
        if let Some(given) = document.supervision {
            let before = self.defaults.supervision.clone().unwrap_or_default();
            changed.defaults.supervision = Some(options::supervision(given, before));
        }
        if let Some(capabilities) = document.capabilities {
            changed.defaults.capabilities = DefaultCapabilities::of_config(capabilities)?;
        }
        if let Some(storage) = document.storage {
            changed.read_cache_bytes = storage.read_cache_bytes.map(|Int(bytes)| bytes);
            changed.durable = durable(storage);
        }
        if let Some(policies) = document.policies {
            changed.policies = Arc::new(policies::compiled("config.policies", policies)?);
        }
        *self = changed;
        Ok(())
    }
}

fn trusted_keys(texts: &[String]) -> Result<Vec<Arc<PublicKey>>, OptionsError> {
    let key = |(at, text): (usize, &String)| {
        let place = format!("config.trusted-keys[{at}]");
        let bytes = options::from_hexadecimal(&place, text)?;
        match PublicKey::from_bytes(&bytes) {
            Ok(key) => Ok(Arc::new(key)),
            Err(invalid) => {
                let reason = format!("{text:?} is no public key of Ed25519: {invalid}");
                Err(OptionsError::Invalid { place, reason })
            }
        }
    };
    if texts.len() > MAX_TRUSTED_KEYS {
        return Err(OptionsError::OutOfRange {
            place: "config.trusted-keys".into(),
            value: format!("an array of {} keys", texts.len()),
            expected: format!("at most {MAX_TRUSTED_KEYS}"),
        });
    }
    texts.iter().enumerate().map(key).collect()
}

/// Returns the options of the storage's file, if the document has any.
fn durable(document: StorageDocument) -> Option<DurableOptions> {
    let StorageDocument { path, durability, interval_ms, cache_bytes, .. } = &document;
    let is_of_file = path.is_some()
        || durability.is_some()
        || interval_ms.is_some()
        || cache_bytes.is_some()
        || document.check_on_open.is_some()
        || document.compact_above_ratio.is_some();
    if !is_of_file {
        return None;
    }
    // An engine is not made without a path.
    let mut options = DurableOptions::new(document.path.unwrap_or_default().into());
    if let Some(durability) = document.durability {
        options.durability = match durability {
            DurabilityDocument::Sync => Durability::Sync,
            DurabilityDocument::Interval => Durability::Interval,
        };
    }
    if let Some(Int(millis)) = document.interval_ms {
        options.interval = Duration::from_millis(millis);
    }
    if let Some(Int(bytes)) = document.cache_bytes {
        options.cache_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    if let Some(check) = document.check_on_open {
        options.check_on_open = check;
    }
    if let Some(Int(ratio)) = document.compact_above_ratio {
        options.compact_above_ratio = ratio;
    }
    Some(options)
}

fn apply_compile(document: &CompileDocument, limits: &mut CompileLimits) {
    if let Some(Int(millis)) = document.max_time_ms {
        limits.max_time = Duration::from_millis(millis);
    }
    if let Some(Int(bytes)) = document.max_memory_bytes {
        limits.max_memory_bytes = bytes;
    }
    if let Some(Int(bytes)) = document.max_code_bytes {
        limits.max_code_bytes = bytes;
    }
    if let Some(Int(bytes)) = document.max_unused_code_bytes {
        limits.max_unused_code_bytes = bytes;
    }
    for limit in Limit::all() {
        if let Some(value) = document.get(limit) {
            limits.set(limit, value);
        }
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

    #[test]
    fn each_limit_on_compiling_is_read_from_its_key() {
        for limit in Limit::all() {
            let mut config = EngineConfig::default();
            config.apply(&format!(r#"{{"compile": {{"{}": 7}}}}"#, limit.key())).unwrap();
            assert_eq!(config.compile.get(limit), 7, "{}", limit.name());
        }
    }
}
