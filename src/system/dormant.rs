//! Components that are registered and hold nothing else.

use std::sync::Arc;

use crate::component::dormant::Past;
use crate::core::ports::Identity;
use crate::system::blueprint::Blueprint;

/// A passive or stopped component without an actor, which it gets with the first use.
pub struct Dormant {
    /// Its identity.
    pub identity: Identity,
    /// What it was loaded from.
    pub blueprint: Arc<Blueprint>,
    /// What it has to remember; `None` if it has never been used.
    pub past: Option<Box<Past>>,
}

impl Dormant {
    /// Returns what the component has to remember.
    pub fn past(&self) -> &Past {
        self.past.as_deref().unwrap_or(&Past::UNTOUCHED)
    }
}
