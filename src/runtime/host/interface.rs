//! Adds an interface of host functions to a linker.

use std::collections::HashSet;
use std::future::Future;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentNamedList, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};
use wasmtime::{Engine, StoreContextMut};

use crate::runtime::contract::is_of;
use crate::runtime::lifting::NotText;
use crate::runtime::state::HostState;

/// An interface being linked.
pub struct Interface<'a> {
    name: &'static str,
    linker: LinkerInstance<'a, HostState>,
    immediate: &'a mut Immediate,
}

/// The host functions that never suspend the guest, and the resources, whose ends never do.
#[derive(Default)]
pub struct Immediate(HashSet<(&'static str, &'static str)>);

/// The result of a function that may suspend the guest.
pub type Waiting<'a, R> = Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>;

impl<'a> Interface<'a> {
    /// Creates an interface without functions.
    pub fn new(
        name: &'static str,
        linker: &'a mut Linker<HostState>,
        immediate: &'a mut Immediate,
    ) -> wasmtime::Result<Self> {
        Ok(Self { name, linker: linker.instance(name)?, immediate })
    }

    /// Adds a function that never suspends the guest.
    pub fn immediate<P, R>(
        &mut self,
        function: &'static str,
        code: impl Fn(StoreContextMut<'_, HostState>, P) -> wasmtime::Result<R> + Send + Sync + 'static,
    ) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lift + 'static,
        R: ComponentNamedList + Lower + 'static,
    {
        self.immediate.0.insert((self.name, function));
        self.linker.func_wrap(function, move |store, arguments| {
            code(store, arguments).map_err(|error| NotText::named(error, function))
        })
    }

    /// Adds a resource whose values are in the instance's table of resources.
    pub fn resource<T: Send + 'static>(&mut self, resource: &'static str) -> wasmtime::Result<()> {
        self.uses(resource);
        self.linker.resource(resource, ResourceType::host::<T>(), |mut store, number| {
            store.data_mut().wasi().table.delete(Resource::<T>::new_own(number))?;
            Ok(())
        })
    }

    /// Notes that the interface names a resource of another one.
    pub fn uses(&mut self, resource: &'static str) {
        self.immediate.0.insert((self.name, resource));
    }

    /// Adds a function that may suspend the guest.
    pub fn waiting<P, R>(
        &mut self,
        function: &'static str,
        code: impl for<'f> Fn(StoreContextMut<'f, HostState>, P) -> Waiting<'f, R>
        + Send
        + Sync
        + 'static,
    ) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lift + 'static,
        R: ComponentNamedList + Lower + 'static,
    {
        self.linker.func_wrap_async(function, code)
    }
}

impl Immediate {
    fn has(&self, interface: &str, function: &str) -> bool {
        self.0.iter().any(|(of, name)| *name == function && is_of(of, interface))
    }

    /// Returns whether a component imports only these functions.
    pub fn are_all_of(&self, component: &Component, engine: &Engine) -> bool {
        component.component_type().imports(engine).all(|(interface, import)| match import.ty {
            ComponentItem::ComponentInstance(instance) => {
                instance.exports(engine).all(|(function, export)| match export.ty {
                    ComponentItem::ComponentFunc(_) | ComponentItem::Resource(_) => {
                        self.has(interface, function)
                    }
                    ComponentItem::Type(_) => true,
                    _ => false,
                })
            }
            _ => false,
        })
    }
}
