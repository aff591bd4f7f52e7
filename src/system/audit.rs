//! Delivers audit records to the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::security::audit::{AuditLog, AuditRecord};
use crate::system::callbacks::Callbacks;
use crate::system::notifier::{Bounds, Item, Lost, Notice, Notifier};

/// The most records, and bytes of them, that queue for a slow host.
const BOUNDS: Bounds = Bounds { items: 16_384, bytes: 16 << 20 };

/// A receiver of audit records. Its functions run host code.
pub trait AuditSink: Send + Sync {
    /// Takes one record.
    fn decision(&self, record: &AuditRecord);

    /// Reports dropped records, after the host was too slow.
    fn lost(&self, allowed: u64, denied: u64);
}

/// The configuration of the audit.
#[derive(Clone)]
pub struct AuditConfig {
    /// The receiver of the records.
    pub sink: Arc<dyn AuditSink>,
    /// Record every `sample_allowed`-th decision to allow; 0 records none.
    pub sample_allowed: u32,
}

/// The audit of one engine.
#[derive(Clone)]
pub struct Audit {
    notifier: Notifier<AuditRecord>,
    sample_allowed: u64,
    allowed: Arc<AtomicU64>,
}

impl Item for AuditRecord {
    fn bytes(&self) -> usize {
        self.resource.len()
    }

    fn is_minor(&self) -> bool {
        self.allowed
    }

    fn owner(&self) -> usize {
        Arc::as_ptr(&self.component).addr()
    }
}

impl Audit {
    /// Delivers records to the sink through `callbacks`.
    pub fn new(config: &AuditConfig, callbacks: Callbacks) -> Self {
        let sink = Arc::clone(&config.sink);
        let notifier = Notifier::new(BOUNDS, callbacks, move |told| match told {
            Notice::Item(record) => sink.decision(&record),
            Notice::Lost(lost) => sink.lost(lost.minor, lost.major),
        });
        Self { notifier, sample_allowed: config.sample_allowed.into(), allowed: Arc::default() }
    }

    /// Returns the number of dropped records.
    pub fn lost(&self) -> Lost {
        self.notifier.all_lost()
    }
}

impl AuditLog for Audit {
    fn samples_allowed(&self) -> bool {
        match self.sample_allowed {
            0 => false,
            1 => true,
            each => self.allowed.fetch_add(1, Ordering::Relaxed).is_multiple_of(each),
        }
    }

    fn take(&self, record: AuditRecord) {
        self.notifier.push(record);
    }
}
