//! Versions of a component: what its instances are made from.

use std::sync::{Arc, OnceLock};

use crate::component::expectation::Expectation;
use crate::core::account::Charge;
use crate::core::metadata::ComponentMetadata;
use crate::runtime::compiler::Lease;
use crate::runtime::engine::CALLER_STACK_BYTES;
use crate::runtime::initial_config::InitialConfig;
use crate::runtime::mappings::Promise;
use crate::runtime::prepared::Prepared;
use crate::security::signature::PublicKey;

/// A binary and its configuration, shared by the instances of a pool.
pub struct Version {
    /// Counts the versions of the component, from 1.
    pub number: u64,
    /// The compiled binary.
    pub prepared: Arc<Prepared>,
    /// Keeps the compiled binary cached for the next load of the same one.
    pub lease: Arc<Lease>,
    /// The configuration passed to `initialize`.
    pub config: Arc<InitialConfig>,
    /// What its metadata must be.
    pub expectation: Expectation,
    /// The key that signed the binary.
    pub signer: Option<Arc<PublicKey>>,
    /// The metadata of the first instance that had any; most instances share it.
    pub metadata: OnceLock<Arc<ComponentMetadata>>,
}

/// The version of one actor.
pub struct Source {
    /// The version.
    pub version: Arc<Version>,
    /// The memory mappings reserved for the instance; `None` if a passive component gives them up.
    #[expect(dead_code, reason = "it is held, not read")]
    mappings: Option<Promise>,
    metadata: OnceLock<(Arc<ComponentMetadata>, Charge)>,
}

/// What the instances of a source need, in a form that is read for every message.
#[derive(Clone, Copy)]
pub struct Needs(u8);

impl Needs {
    const FIBER: u8 = 1;
    const WORKERS: u8 = 2;
    const LOOP: u8 = 4;

    /// Returns the needs of a binary.
    pub fn of(prepared: &Prepared) -> Self {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        Self(
            flag(prepared.waits, Self::FIBER)
                | flag(prepared.uses_wasi, Self::WORKERS)
                | flag(prepared.run.is_some(), Self::LOOP),
        )
    }

    /// Returns the needs of a number.
    pub fn from_number(number: u8) -> Self {
        Self(number)
    }

    /// Returns the number of these needs.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Returns whether the guest can run on a thread with `stack` bytes of stack left.
    pub fn fit(self, stack: usize) -> bool {
        self.0 & Self::FIBER == 0 && stack >= CALLER_STACK_BYTES
    }

    /// Returns whether the guest has ambient clocks, which are timers of the workers; only WASI has
    /// them.
    pub fn workers(self) -> bool {
        self.0 & Self::WORKERS != 0
    }

    /// Returns whether the guest has a loop that asks for mail.
    pub fn has_loop(self) -> bool {
        self.0 & Self::LOOP != 0
    }
}

impl Source {
    /// Creates the source of an actor, with the mappings reserved for its instance.
    pub fn new(version: Arc<Version>, mappings: Option<Promise>) -> Self {
        Self { version, mappings, metadata: OnceLock::new() }
    }

    /// Returns the result of `metadata` of the first instance; `None` without a life cycle.
    pub fn metadata(&self) -> Option<&ComponentMetadata> {
        self.metadata.get().map(|(metadata, _)| &**metadata)
    }

    /// Returns the metadata and the bytes charged for it.
    pub fn charged_metadata(&self) -> Option<(&Arc<ComponentMetadata>, u64)> {
        self.metadata.get().map(|(metadata, charge)| (metadata, charge.bytes()))
    }

    /// Stores the result of `metadata` and its charge. Called once.
    pub fn set_metadata(&self, metadata: ComponentMetadata, charge: Charge) {
        let metadata = Arc::new(metadata);
        let known = self.version.metadata.get_or_init(|| Arc::clone(&metadata));
        let shared = if *known == metadata { Arc::clone(known) } else { metadata };
        self.set_shared_metadata(shared, charge);
    }

    /// As [`Source::set_metadata`], known from an instance before.
    pub fn set_shared_metadata(&self, metadata: Arc<ComponentMetadata>, charge: Charge) {
        let first = self.metadata.set((metadata, charge)).is_ok();
        debug_assert!(first, "metadata is asked once");
    }
}
