//! What loads of the same binary with the same options have in common.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::component::version::Version;
use crate::core::limits::Limits;
use crate::messaging::mailbox::MailboxOptions;
use crate::runtime::compiler::Lease;
use crate::runtime::initial_config::InitialConfig;
use crate::runtime::instance::{HandleMessage, HandlerExport};
use crate::runtime::prepared::Prepared;
use crate::security::capability::{Capabilities, Scope};
use crate::security::signature::PublicKey;
use crate::system::options::LoadOptions;

/// The least number of blueprints from which those that are gone are removed.
const FEW: usize = 64;

/// The binary and the options of a load.
pub struct Blueprint {
    /// The first version of the component.
    pub version: Arc<Version>,
    /// The options. What the version has is taken out.
    pub options: LoadOptions,
    /// The limits of the options.
    pub limits: Arc<Limits>,
}

/// Blueprints in use, by content.
#[derive(Default)]
pub struct Blueprints {
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    by_content: HashMap<Content, Weak<Blueprint>>,
    /// With more blueprints than this, those that are gone are removed.
    most: usize,
}

/// The hashes of a binary and of the text of its options.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content {
    binary: blake3::Hash,
    options: Option<blake3::Hash>,
}

impl Blueprint {
    /// Creates the blueprint of a load.
    pub fn new(
        mut options: LoadOptions,
        prepared: Arc<Prepared>,
        lease: Lease,
        signer: Option<Arc<PublicKey>>,
    ) -> Self {
        if options.group.is_some() {
            options.supervision.get_or_insert_default();
        }
        let expectation = std::mem::take(&mut options.expectation);
        let env = std::mem::take(&mut options.env).into();
        let config = Arc::new(InitialConfig::new(env, options.config.take()));
        let (lease, metadata) = (Arc::new(lease), OnceLock::new());
        let number = 1;
        let version = Version { number, prepared, lease, config, expectation, signer, metadata };
        let version = Arc::new(version);
        let limits = Arc::new(options.limits.clone());
        Self { version, options, limits }
    }

    /// Returns the options of its mailboxes.
    pub fn mailbox(&self) -> MailboxOptions {
        let deaf = self.version.prepared.lifecycle.is_none();
        let missing_handler = deaf.then_some(HandleMessage::EXPORT);
        MailboxOptions { missing_handler, ..self.options.mailbox.clone() }
    }

    /// Returns whether a component may be dormant while it is passive. The instances of a pool
    /// become passive one by one, a group holds its members, and a durable state has one owner.
    pub fn may_be_dormant(&self) -> bool {
        let LoadOptions { activation, instances, group, durability, .. } = &self.options;
        let is_alone = *instances == 1 && group.is_none() && durability.is_none();
        activation.is_passivable() && is_alone
    }

    /// Returns whether a load leaves the component dormant.
    pub fn begins_dormant(&self) -> bool {
        self.may_be_dormant() && self.options.activation.on_demand
    }
}

impl Content {
    /// Returns the content of a load.
    pub fn of(prepared: &Prepared, options: Option<&str>) -> Self {
        let options = options.map(|text| blake3::hash(text.as_bytes()));
        Self { binary: prepared.hash, options }
    }
}

impl Blueprints {
    /// Returns the blueprint in use with this content.
    pub fn find(&self, content: &Content) -> Option<Arc<Blueprint>> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.by_content.get(content).and_then(Weak::upgrade)
    }

    /// Shares a blueprint with later loads of the same content, unless it depends on the time of
    /// its load.
    pub fn share(&self, content: Content, blueprint: Blueprint) -> Arc<Blueprint> {
        let blueprint = Arc::new(blueprint);
        if !is_timeless(&blueprint.options.capabilities) {
            return blueprint;
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.by_content.len() >= shared.most.max(FEW) {
            shared.by_content.retain(|_, blueprint| blueprint.strong_count() > 0);
            shared.most = 2 * shared.by_content.len();
        }
        shared.by_content.insert(content, Arc::downgrade(&blueprint));
        blueprint
    }
}

/// Returns whether grants mean the same at any time: none expires, and none is of directories, which
/// are opened by the load.
fn is_timeless(capabilities: &Capabilities) -> bool {
    capabilities
        .all()
        .iter()
        .all(|grant| grant.expires.is_none() && !matches!(grant.scope, Scope::Files { .. }))
}
