//! Policies.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Unexpected, Visitor};

use crate::security::action::ActionSet;
use crate::security::policy::Effect;
use crate::system::documents::grants::IdPattern;
use crate::system::documents::values::{List, Plural};

/// The policies of an engine: `json` of `airssys_engine_set_policies`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "policies"))]
pub struct PoliciesDocument {
    /// Rules, tried in their order; the first that applies decides. If none does, capabilities
    /// alone decide.
    #[cfg_attr(test, schemars(extend("default" = [])))]
    pub rules: Option<List<RuleDocument>>,
}

/// One rule of the policies.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "rule"))]
pub struct RuleDocument {
    /// Which components the rule is about.
    #[cfg_attr(test, schemars(extend("default" = "**")))]
    pub component: Option<IdPattern>,
    /// Which actions the rule is about.
    #[cfg_attr(test, schemars(extend("default" = "*")))]
    pub action: Option<ActionPattern>,
    /// A pattern over what the action is on: the id of a receiver, a storage namespace, a path of
    /// the host, or a host with `:port` or without.
    #[cfg_attr(test, schemars(length(min = 1), extend("default" = "**")))]
    pub resource: Option<String>,
    /// What the rule does with the actions to which it applies.
    pub effect: EffectDocument,
    /// Why; errors and audit records repeat it.
    pub reason: Option<String>,
}

impl Plural for RuleDocument {
    const NAME: &'static str = "rules";
}

/// What a rule does with the actions to which it applies.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "effect"))]
pub enum EffectDocument {
    /// No later rule refuses the action. A capability is needed all the same.
    Allow,
    /// The action is refused, whatever is granted.
    Deny,
}

impl From<EffectDocument> for Effect {
    fn from(document: EffectDocument) -> Self {
        match document {
            EffectDocument::Allow => Self::Allow,
            EffectDocument::Deny => Self::Deny,
        }
    }
}

/// An action, all actions of a group, as in `storage.*`, or `*`, all actions.
#[derive(Clone, Copy, Debug)]
pub struct ActionPattern(pub ActionSet);

impl<'de> Deserialize<'de> for ActionPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = ActionPattern;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an action such as \"messaging.send\", \"storage.*\", or \"*\"")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<ActionPattern, E> {
                let actions = ActionSet::parse(name).map(ActionPattern);
                actions.ok_or_else(|| E::invalid_value(Unexpected::Str(name), &self))
            }
        }

        deserializer.deserialize_str(Name)
    }
}
