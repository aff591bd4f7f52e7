//! The record of decisions.

use std::fmt;
use std::sync::Arc;

use crate::core::id::ComponentId;
use crate::core::message::Timestamp;
use crate::security::action::Action;
use crate::security::policy::Rule;
use crate::security::quota::QuotaBreach;

/// What decided.
#[derive(Clone, Debug)]
pub enum Basis {
    /// A grant, by its pattern.
    Grant(Arc<str>),
    /// A policy's rule, by its position.
    Rule(usize, Arc<Rule>),
    /// Every component may.
    Ambient,
    /// Nothing grants it.
    NotGranted,
    /// A quota is used up.
    Quota(QuotaBreach),
    /// It is granted to nobody, for this reason.
    Never(&'static str),
}

impl Basis {
    /// What kind it is.
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

/// A decision, for the record.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// When it was made, to a few milliseconds.
    pub at: Timestamp,
    /// About whom.
    pub component: Arc<ComponentId>,
    /// What was to be done.
    pub action: Action,
    /// On what.
    pub resource: Box<str>,
    /// Whether it was allowed.
    pub allowed: bool,
    /// What decided.
    pub basis: Basis,
}

/// Where records go.
pub trait AuditLog: Send + Sync {
    /// Whether the record of the next decision that allows something is wanted.
    fn samples_allowed(&self) -> bool;

    /// Takes a record; must not block.
    fn take(&self, record: AuditRecord);
}
