//! The storage of an engine.

use std::sync::Arc;

use crate::core::log::{LogLevel, LogRecord, LogSink};
use crate::core::message::Timestamp;
use crate::storage::backend::Backend;
use crate::storage::durable::backend::DurableBackend;
use crate::storage::durable::options::Report;
use crate::storage::memory::MemoryBackend;
use crate::system::callbacks::Callbacks;
use crate::system::config::EngineConfig;
use crate::system::engine::Engine;
use crate::system::error::EngineError;

/// Returns the storage that a configuration names: the host's, a file, or memory.
pub fn of(
    config: &EngineConfig,
    log: &Arc<dyn LogSink>,
    callbacks: &Callbacks,
) -> Result<Arc<dyn Backend>, EngineError> {
    match (&config.storage, &config.durable) {
        (None, None) => Ok(Arc::new(MemoryBackend::default())),
        (Some(host), None) => Ok(Arc::clone(host)),
        (Some(_), Some(durable)) => Err(EngineError::TwoStorages { path: durable.path.clone() }),
        (None, Some(durable)) => {
            let report = report(Arc::clone(log), callbacks.clone());
            Ok(Arc::new(DurableBackend::open(durable.clone(), report)?))
        }
    }
}

/// Returns what writes to the log, on a thread of its own: a log of the host may use the storage.
fn report(log: Arc<dyn LogSink>, callbacks: Callbacks) -> Report {
    Arc::new(move |text| {
        let (log, text) = (Arc::clone(&log), text.to_owned());
        callbacks.submit(move || {
            if log.enabled(LogLevel::Warn) {
                log.write(&LogRecord {
                    level: LogLevel::Warn,
                    component: None,
                    message: &text,
                    context: &[],
                    time: Timestamp::now(),
                });
            }
        });
    })
}

impl Engine {
    /// Makes what components have stored durable.
    pub(super) fn flush_storage(&self) {
        // A file reports its failure itself; the components have ended, and nobody else is told.
        _ = self.storage.flush();
    }

    /// Returns to the system what the storage's file no longer needs.
    pub fn compact_storage(&self) -> Result<(), EngineError> {
        self.check_running()?;
        self.storage.compact().map_err(EngineError::Compaction)
    }
}
