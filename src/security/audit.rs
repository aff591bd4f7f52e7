//! The audit: a record of decisions.

use std::fmt;
use std::sync::Arc;

use crate::core::id::ComponentId;
use crate::core::message::Timestamp;
use crate::security::action::Action;
use crate::security::policy::Rule;
use crate::security::quota::QuotaBreach;

/// The basis of a decision.
#[derive(Clone, Debug)]
pub enum Basis {
    /// A grant, by its pattern.
    Grant(Arc<str>),
    /// A rule of the policies, by its index.
    Rule(usize, Arc<Rule>),
    /// Open to every component.
    Ambient,
    /// No grant covers it.
    NotGranted,
    /// A quota is used up.
    Quota(QuotaBreach),
    /// It can never be granted, for this reason.
    Never(&'static str),
}

impl Basis {
    /// Returns the kind of basis.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Grant(_) => "grant",
            Self::Rule(..) => "policy",
            Self::Ambient => "ambient",
            Self::NotGranted => "not-granted",
            Self::Quota(_) => "quota",
            Self::Never(_) => "never",
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(pattern) => write!(f, "grant {pattern}"),
            Self::Rule(at, rule) => {
                write!(f, "policy rules[{at}] {}", rule.effect.name())?;
                rule.reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
            }
            Self::Ambient => f.write_str("open to every component"),
            Self::NotGranted => f.write_str("no grant"),
            Self::Quota(breach) => write!(f, "quota {} {}", breach.name, breach.value),
            Self::Never(reason) => f.write_str(reason),
        }
    }
}

/// A decision, for the audit.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// When it was made, to a few milliseconds.
    pub at: Timestamp,
    /// The component.
    pub component: Arc<ComponentId>,
    /// The action.
    pub action: Action,
    /// The resource.
    pub resource: Box<str>,
    /// Whether it was allowed.
    pub allowed: bool,
    /// The basis of the decision.
    pub basis: Basis,
}

/// A destination of audit records.
pub trait AuditLog: Send + Sync {
    /// Returns whether to record the next decision to allow.
    fn samples_allowed(&self) -> bool;

    /// Takes a record. Must not block.
    fn take(&self, record: AuditRecord);
}
