//! The loaded components of an engine.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use crate::component::actor::Actor;
use crate::core::error::ComponentError;
use crate::core::id::{ComponentHandle, ComponentId};
use crate::core::ports::{ComponentInfo, Directory, RawId, Sender};
use crate::messaging::registry::Registry;

/// Components by handle, in the order they were loaded.
#[derive(Default)]
pub struct Components {
    actors: RwLock<BTreeMap<ComponentHandle, Arc<Actor>>>,
}

impl Components {
    /// Adds one.
    pub fn insert(&self, actor: Arc<Actor>) {
        let handle = actor.mailbox().handle();
        self.actors.write().unwrap_or_else(PoisonError::into_inner).insert(handle, actor);
    }

    /// Takes one out.
    pub fn remove(&self, handle: ComponentHandle) -> Option<Arc<Actor>> {
        self.actors.write().unwrap_or_else(PoisonError::into_inner).remove(&handle)
    }

    /// Takes all out, in the order they were loaded.
    pub fn clear(&self) -> Vec<Arc<Actor>> {
        let mut actors = self.actors.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *actors).into_values().collect()
    }

    /// The component of a handle.
    pub fn get(&self, handle: ComponentHandle) -> Option<Arc<Actor>> {
        self.actors.read().unwrap_or_else(PoisonError::into_inner).get(&handle).cloned()
    }

    /// All, in the order they were loaded.
    pub fn all(&self) -> Vec<Arc<Actor>> {
        self.actors.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// What components see of each other.
pub struct Catalogue {
    registry: Arc<Registry>,
    /// Weak, because each component holds the catalogue.
    components: Weak<Components>,
}

impl Catalogue {
    /// Looks at the components of one engine.
    pub fn new(registry: Arc<Registry>, components: &Arc<Components>) -> Self {
        Self { registry, components: Arc::downgrade(components) }
    }
}

impl Directory for Catalogue {
    fn list(&self, _viewer: &Sender) -> Vec<Arc<ComponentId>> {
        self.registry.ids()
    }

    fn info(&self, _viewer: &Sender, id: RawId) -> Result<ComponentInfo, ComponentError> {
        let id = ComponentId::new(&id[0], &id[1], &id[2])
            .map_err(|error| ComponentError::InvalidState(error.to_string()))?;
        let actor = self
            .registry
            .find(&id)
            .and_then(|mailbox| self.components.upgrade()?.get(mailbox.handle()))
            .ok_or_else(|| ComponentError::InvalidState(format!("no component {id} is loaded")))?;
        let metadata = actor.status().metadata();
        Ok(ComponentInfo {
            id: Arc::clone(actor.mailbox().owner()),
            name: metadata.map(|metadata| metadata.name.clone()).unwrap_or_default(),
            version: metadata.map(|metadata| metadata.version.clone()).unwrap_or_default(),
            health: actor.status().health().name(),
        })
    }
}
