//! The loaded components of an engine.

use std::collections::HashMap;
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};

use rustc_hash::FxBuildHasher;

use crate::component::dormant::{Caller, Hibernation};
use crate::component::lifecycle::{Cause, State};
use crate::component::pool::Pool;
use crate::core::error::ComponentError;
use crate::core::id::{ComponentHandle, ComponentId, IdRange};
use crate::core::ports::{ComponentInfo, Directory};
use crate::messaging::registry::{Registry, Rouser};
use crate::system::blueprint::Blueprint;
use crate::system::dormant::Dormant;
use crate::system::factory::Factory;

/// How many components can begin or end their dormancy at a time.
const TRANSITIONS: usize = 16;

/// Components by handle.
pub struct Components {
    loaded: RwLock<Loaded>,
    /// By handle: held while a component begins or ends its dormancy, before any other lock.
    transitions: [Mutex<()>; TRANSITIONS],
    registry: Arc<Registry>,
    /// Set with the first component.
    factory: OnceLock<Arc<Factory>>,
}

#[derive(Default)]
struct Loaded {
    // A fast hash is safe: handles are sequential, so no one can choose colliding ones.
    by_handle: HashMap<ComponentHandle, Component, FxBuildHasher>,
    /// Whether no component begins its dormancy any more, because the engine is about to end.
    stays_awake: bool,
}

/// A loaded component.
#[derive(Clone)]
pub enum Component {
    /// It has actors. With a blueprint, it may become dormant.
    Awake(Arc<Pool>, Option<Arc<Blueprint>>),
    /// It has none.
    Dormant(Arc<Dormant>),
}

// One for each registered component.
const _: () = assert!(size_of::<Component>() == 16);

impl Component {
    /// Returns the handle.
    pub fn handle(&self) -> ComponentHandle {
        match self {
            Self::Awake(pool, _) => pool.handle(),
            Self::Dormant(dormant) => dormant.identity.handle,
        }
    }
}

impl Components {
    /// Creates an empty set. `registry` knows its components by id.
    pub fn new(registry: Arc<Registry>) -> Arc<Self> {
        let components = Arc::new(Self {
            loaded: RwLock::default(),
            transitions: Default::default(),
            registry,
            factory: OnceLock::new(),
        });
        let rouser: Weak<Self> = Arc::downgrade(&components);
        components.registry.connect(rouser);
        components
    }

    /// Returns what makes actors; `make` makes it for the first component.
    pub fn factory(&self, make: impl FnOnce() -> Factory) -> &Arc<Factory> {
        self.factory.get_or_init(|| Arc::new(make()))
    }

    /// Adds a component, which may become dormant if it has a blueprint.
    pub fn insert(&self, pool: Arc<Pool>, blueprint: Option<Arc<Blueprint>>) {
        let (handle, component) = (pool.handle(), Component::Awake(pool, blueprint));
        self.write().by_handle.insert(handle, component);
    }

    /// Adds a dormant component and calls `added` before anyone can use it; returns false if its id
    /// is in use.
    pub fn insert_dormant(&self, dormant: Dormant, added: impl FnOnce(&Dormant)) -> bool {
        let handle = dormant.identity.handle;
        let _transition = self.transition(handle);
        let dormant = Arc::new(dormant);
        let mut loaded = self.write();
        let is_free = self.registry.publish_dormant(&dormant.identity.id, handle);
        if is_free {
            loaded.by_handle.insert(handle, Component::Dormant(Arc::clone(&dormant)));
        }
        drop(loaded);
        if is_free {
            added(&dormant);
        }
        is_free
    }

    /// Removes a component that is awake.
    pub fn remove(&self, handle: ComponentHandle) {
        let _dropped_unlocked = self.write().by_handle.remove(&handle);
    }

    /// Removes all components and returns those that are awake, in load order.
    pub fn clear(&self) -> Vec<Arc<Pool>> {
        let all = std::mem::take(&mut self.write().by_handle);
        let mut awake = Vec::new();
        for component in all.into_values() {
            match component {
                Component::Awake(pool, _) => awake.push(pool),
                Component::Dormant(dormant) => {
                    let identity = &dormant.identity;
                    self.registry.remove_dormant(&identity.id, identity.handle);
                }
            }
        }
        awake.sort_by_key(|pool| pool.handle());
        awake
    }

    /// Returns the component with a handle, and ends its dormancy.
    pub fn get(&self, handle: ComponentHandle) -> Option<Arc<Pool>> {
        if let Component::Awake(pool, _) = self.read().by_handle.get(&handle)? {
            return Some(Arc::clone(pool));
        }
        self.end_dormancy(handle)
    }

    /// Calls `look` on the component with a handle, under a lock: `look` must be short and must not
    /// block. Ends its dormancy.
    pub fn with<R>(&self, handle: ComponentHandle, look: impl FnOnce(&Pool) -> R) -> Option<R> {
        loop {
            if let Component::Awake(pool, _) = self.read().by_handle.get(&handle)? {
                return Some(look(pool));
            }
            self.end_dormancy(handle)?;
        }
    }

    /// Returns the component with a handle, to look at: one that is dormant stays so.
    pub fn look(&self, handle: ComponentHandle) -> Option<Arc<Pool>> {
        let component = self.read().by_handle.get(&handle).cloned();
        component.and_then(|component| self.look_at(&component))
    }

    /// Returns a component to look at: one that is dormant stays so.
    pub fn look_at(&self, component: &Component) -> Option<Arc<Pool>> {
        match component {
            Component::Awake(pool, _) => Some(Arc::clone(pool)),
            Component::Dormant(dormant) => Some(self.factory.get()?.revive(dormant)),
        }
    }

    /// Returns all components in load order.
    pub fn all(&self) -> Vec<Component> {
        let mut all: Vec<_> = self.read().by_handle.values().cloned().collect();
        all.sort_unstable_by_key(Component::handle);
        all
    }

    /// Returns all components that are awake, in load order.
    pub fn awake(&self) -> Vec<Arc<Pool>> {
        let awake = |component: &Component| match component {
            Component::Awake(pool, _) => Some(Arc::clone(pool)),
            Component::Dormant(_) => None,
        };
        let mut awake: Vec<_> = self.read().by_handle.values().filter_map(awake).collect();
        awake.sort_by_key(|pool| pool.handle());
        awake
    }

    /// Ends the dormancy of all components with a state.
    pub fn rouse_all(&self, which: impl Fn(State) -> bool) {
        for dormant in self.dormant() {
            if which(dormant.past().state()) {
                self.end_dormancy(dormant.identity.handle);
            }
        }
    }

    /// Returns all dormant components in load order.
    fn dormant(&self) -> Vec<Arc<Dormant>> {
        let dormant = |component: &Component| match component {
            Component::Dormant(dormant) => Some(Arc::clone(dormant)),
            Component::Awake(..) => None,
        };
        let mut all: Vec<_> = self.read().by_handle.values().filter_map(dormant).collect();
        all.sort_unstable_by_key(|dormant| dormant.identity.handle);
        all
    }

    /// Returns whether a component is dormant, in this state.
    pub fn is_dormant_in(&self, handle: ComponentHandle, state: State) -> bool {
        self.find_dormant(handle).is_some_and(|dormant| dormant.past().state() == state)
    }

    /// Stops a dormant component; returns false if it is not dormant.
    pub fn stop_dormant(&self, handle: ComponentHandle) -> bool {
        let _transition = self.transition(handle);
        let Some(dormant) = self.find_dormant(handle) else { return false };
        if dormant.past().state() == State::Stopped {
            return true;
        }
        let stopped = Dormant {
            identity: dormant.identity.clone(),
            blueprint: Arc::clone(&dormant.blueprint),
            past: Some(Box::new(dormant.past().stopped())),
        };
        {
            let mut loaded = self.write();
            // Unless the engine was stopped meanwhile.
            let Some(component) = loaded.by_handle.get_mut(&handle) else { return true };
            *component = Component::Dormant(Arc::new(stopped));
        }
        self.change(&dormant, [Cause::Stop, Cause::Stopped]);
        true
    }

    /// Stops all dormant components, the last loaded first.
    pub fn stop_all_dormant(&self) {
        for dormant in self.dormant().into_iter().rev() {
            self.stop_dormant(dormant.identity.handle);
        }
    }

    /// Removes a dormant component; returns false if it is not dormant.
    pub fn remove_dormant(&self, handle: ComponentHandle) -> bool {
        let _transition = self.transition(handle);
        let Some(dormant) = self.find_dormant(handle) else { return false };
        // Nobody finds it any more when the host learns of its end.
        self.registry.remove_dormant(&dormant.identity.id, handle);
        self.change(&dormant, [Cause::Close, Cause::End]);
        self.remove(handle);
        true
    }

    /// Removes all dormant components, the last loaded first.
    pub fn remove_all_dormant(&self) {
        for dormant in self.dormant().into_iter().rev() {
            self.remove_dormant(dormant.identity.handle);
        }
    }

    /// Lets no component begin its dormancy any more.
    pub fn stay_awake(&self) {
        self.write().stays_awake = true;
    }

    fn change(&self, dormant: &Dormant, causes: [Cause; 2]) {
        if let Some(factory) = self.factory.get() {
            let status = factory.status_of(dormant);
            causes.into_iter().for_each(|cause| status.change(cause));
        }
    }

    fn find_dormant(&self, handle: ComponentHandle) -> Option<Arc<Dormant>> {
        match self.read().by_handle.get(&handle)? {
            Component::Dormant(dormant) => Some(Arc::clone(dormant)),
            Component::Awake(..) => None,
        }
    }

    /// Gives a dormant component its pool.
    fn end_dormancy(&self, handle: ComponentHandle) -> Option<Arc<Pool>> {
        let _transition = self.transition(handle);
        let dormant = match self.read().by_handle.get(&handle)? {
            Component::Awake(pool, _) => return Some(Arc::clone(pool)),
            Component::Dormant(dormant) => Arc::clone(dormant),
        };
        let pool = self.factory.get()?.revive(&dormant);
        pool.actors().iter().for_each(|actor| actor.rouse());
        let mut loaded = self.write();
        // Unless the engine was stopped meanwhile.
        let component = loaded.by_handle.get_mut(&handle)?;
        self.registry.rouse_with(&dormant.identity.id, pool.mailboxes());
        *component = Component::Awake(Arc::clone(&pool), Some(Arc::clone(&dormant.blueprint)));
        Some(pool)
    }

    fn transition(&self, handle: ComponentHandle) -> MutexGuard<'_, ()> {
        let at = handle.0 as usize % TRANSITIONS;
        self.transitions[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Loaded> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Loaded> {
        self.loaded.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rouser for Components {
    fn rouse(&self, handle: ComponentHandle) -> bool {
        self.end_dormancy(handle).is_some()
    }
}

impl Hibernation for Components {
    fn hibernate(&self, handle: ComponentHandle, caller: Caller) {
        let _transition = self.transition(handle);
        let mut loaded = self.write();
        if loaded.stays_awake {
            return;
        }
        let Some(component) = loaded.by_handle.get_mut(&handle) else { return };
        let Component::Awake(pool, Some(blueprint)) = &*component else { return };
        let holders = 1 + usize::from(caller == Caller::PoolHolder);
        let Some(actor) = pool.sole_actor() else { return };
        if Arc::strong_count(pool) != holders {
            return;
        }
        let (mut past, initial) = (None, &blueprint.options.capabilities);
        let gives_up = || {
            past = actor.give_up(initial, caller);
            past.is_some()
        };
        if !self.registry.make_dormant(pool.id(), actor.mailbox(), gives_up) {
            return;
        }
        let dormant = Dormant {
            identity: actor.spec().context.identity.clone(),
            blueprint: Arc::clone(blueprint),
            past: past.map(Box::new),
        };
        let before = std::mem::replace(component, Component::Dormant(Arc::new(dormant)));
        drop(loaded);
        drop(before);
    }
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
            .and_then(|handle| self.components.upgrade()?.look(handle))
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
