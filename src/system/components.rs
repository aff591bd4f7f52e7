//! The loaded components of an engine.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use rustc_hash::FxBuildHasher;

use crate::component::pool::Pool;
use crate::core::error::ComponentError;
use crate::core::id::{ComponentHandle, ComponentId, IdRange};
use crate::core::ports::{ComponentInfo, Directory};
use crate::messaging::registry::Registry;

/// Components by handle.
#[derive(Default)]
pub struct Components {
    // A fast hash is safe: handles are sequential, so no one can choose colliding ones.
    pools: RwLock<HashMap<ComponentHandle, Arc<Pool>, FxBuildHasher>>,
}

impl Components {
    /// Adds a component.
    pub fn insert(&self, pool: Arc<Pool>) {
        self.write().insert(pool.handle(), pool);
    }

    /// Removes a component.
    pub fn remove(&self, handle: ComponentHandle) {
        self.write().remove(&handle);
    }

    /// Removes all components and returns them in load order.
    pub fn clear(&self) -> Vec<Arc<Pool>> {
        in_order(std::mem::take(&mut *self.write()).into_values().collect())
    }

    /// Returns the component with a handle.
    pub fn get(&self, handle: ComponentHandle) -> Option<Arc<Pool>> {
        self.read().get(&handle).cloned()
    }

    /// Calls `look` on the component with a handle, under a lock: `look` must be short and must not
    /// block.
    pub fn with<R>(&self, handle: ComponentHandle, look: impl FnOnce(&Pool) -> R) -> Option<R> {
        self.read().get(&handle).map(|pool| look(pool))
    }

    /// Returns all components in load order.
    pub fn all(&self) -> Vec<Arc<Pool>> {
        in_order(self.read().values().cloned().collect())
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<ComponentHandle, Arc<Pool>, FxBuildHasher>> {
        self.pools.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<ComponentHandle, Arc<Pool>, FxBuildHasher>> {
        self.pools.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_order(mut pools: Vec<Arc<Pool>>) -> Vec<Arc<Pool>> {
    pools.sort_by_key(|pool| pool.handle());
    pools
}
/// The directory service: what components learn about each other.
pub struct Catalogue {
    registry: Arc<Registry>,
    /// Weak, because each component holds the catalogue.
    components: Weak<Components>,
}

impl Catalogue {
    /// Creates the directory service of one engine.
    pub fn new(registry: Arc<Registry>, components: &Arc<Components>) -> Self {
        Self { registry, components: Arc::downgrade(components) }
    }
}

impl Directory for Catalogue {
    fn page(
        &self,
        range: &IdRange,
        after: Option<&ComponentId>,
        most: usize,
    ) -> Vec<Arc<ComponentId>> {
        self.registry.page(range, after, most)
    }

    fn info(&self, id: &ComponentId) -> Result<ComponentInfo, ComponentError> {
        let pool = self
            .registry
            .least_busy(id)
            .and_then(|handle| self.components.upgrade()?.get(handle))
            .ok_or_else(|| ComponentError::InvalidState(format!("no component {id} is loaded")))?;
        let source = pool.actors().first().source();
        let metadata = source.metadata();
        Ok(ComponentInfo {
            id: Arc::new(id.clone()),
            name: metadata.map(|metadata| metadata.name.clone()).unwrap_or_default(),
            version: metadata.map(|metadata| metadata.version.clone()).unwrap_or_default(),
            health: pool.health().name(),
        })
    }
}
