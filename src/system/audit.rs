//! The record of decisions, on its way to the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::security::audit::{AuditLog, AuditRecord};
use crate::system::callbacks::Callbacks;
use crate::system::teller::{Bounds, Item, Lost, Teller, Told};

/// How many records wait for a host that is slow to take them.
const BOUNDS: Bounds = Bounds { items: 16_384, bytes: 16 << 20 };

/// Takes records. Its functions are code of the host.
pub trait AuditSink: Send + Sync {
    /// Takes one.
    fn decision(&self, record: &AuditRecord);

    /// So many were lost, because the host was too slow.
    fn lost(&self, allowed: u64, denied: u64);
}

/// Where decisions are recorded, and which.
#[derive(Clone)]
pub struct AuditConfig {
    /// Who takes them.
    pub sink: Arc<dyn AuditSink>,
    /// Of the decisions that allow something, each so-manieth is recorded; 0: none.
    pub sample_allowed: u32,
}

/// The record of one engine.
#[derive(Clone)]
pub struct Audit {
    teller: Teller<AuditRecord>,
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
    /// Tells the sink through `callbacks`.
    pub fn new(config: &AuditConfig, callbacks: Callbacks) -> Self {
        let sink = Arc::clone(&config.sink);
        let teller = Teller::new(BOUNDS, callbacks, move |told| match told {
            Told::Item(record) => sink.decision(&record),
            Told::Lost(lost) => sink.lost(lost.minor, lost.major),
        });
        Self { teller, sample_allowed: config.sample_allowed.into(), allowed: Arc::default() }
    }

    /// How many records were lost.
    pub fn lost(&self) -> Lost {
        self.teller.all_lost()
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
        self.teller.leave(record);
    }
}
