//! The options of a group.

use serde::Deserialize;

use crate::component::group_tree::Strategy;
use crate::system::documents::values::{Given, Int};

#[cfg(test)]
use crate::component::group_tree::GroupSpec;

/// The options of a group: `options_json` of `airssys_engine_add_group`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "group-options"))]
pub struct GroupDocument {
    /// Which members a restart of one takes along.
    #[cfg_attr(test, schemars(extend("default" = GroupSpec::default().strategy.name())))]
    pub strategy: Option<StrategyDocument>,
    /// Restarts in `window-ms` that the group makes. At the next one it gives up: the group around
    /// it restarts it as a whole, or, if there is none, the members that it would have restarted are
    /// `failed`. `null`: no limit.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = GroupSpec::default().limit.most)))]
    pub max_restarts: Given<Int<0, 10_000>>,
    /// Milliseconds of the window in which restarts are counted; it slides.
    #[cfg_attr(test, schemars(extend("default" = 60_000)))]
    pub window_ms: Option<Int<1>>,
    /// The group around it. If the key is absent, there is none.
    pub group: Option<String>,
}

/// Which members a restart of one takes along.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "strategy"))]
pub enum StrategyDocument {
    /// None. The group restarts a member whose own budget is exhausted.
    OneForOne,
    /// All.
    OneForAll,
    /// Those that came into the group after it.
    RestForOne,
}

impl From<StrategyDocument> for Strategy {
    fn from(document: StrategyDocument) -> Self {
        match document {
            StrategyDocument::OneForOne => Self::OneForOne,
            StrategyDocument::OneForAll => Self::OneForAll,
            StrategyDocument::RestForOne => Self::RestForOne,
        }
    }
}
