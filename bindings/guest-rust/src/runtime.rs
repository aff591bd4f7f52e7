//! What [`export!`](crate::export) connects a component with.

use std::any::Any;
use std::cell::RefCell;

use crate::bindings::airssys::core::types::{ComponentConfig, ComponentMessage};
use crate::{Component, ComponentError, HealthStatus, Reply, WasmError, messaging};

thread_local! {
    /// The component. A host runs one call at a time.
    static COMPONENT: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

fn with<C: Component, R>(work: impl FnOnce(&mut C) -> R) -> R {
    // Taken out meanwhile, as host calls inside of `work` lead back here for none of its functions.
    let taken = COMPONENT.take().and_then(|component| component.downcast::<C>().ok());
    let mut component = taken.unwrap_or_default();
    let result = work(&mut component);
    COMPONENT.set(Some(component));
    result
}

/// `initialize` of the contract.
pub fn initialize<C: Component>(config: ComponentConfig) -> Result<(), ComponentError> {
    with::<C, _>(|component| component.initialize(config.into()))
}

/// `handle-message` of the contract.
pub fn handle_message<C: Component>(message: ComponentMessage) -> Reply {
    with::<C, _>(|component| component.handle_message(message.into()))
}

/// `handle-callback` of the contract.
pub fn handle_callback<C: Component>(message: ComponentMessage) -> Result<(), WasmError> {
    with::<C, _>(|component| messaging::complete(component, message.into()))
}

/// `health` of the contract.
pub fn health<C: Component>() -> HealthStatus {
    with::<C, _>(|component| component.health())
}

/// `shutdown` of the contract.
pub fn shutdown<C: Component>() -> Result<(), ComponentError> {
    with::<C, _>(Component::shutdown)
}

/// Exports a [`Component`](crate::Component) of this crate. A crate exports one.
#[macro_export]
macro_rules! export {
    ($component:ty) => {
        const _: () = {
            use $crate::bindings::exports::airssys::core::component_lifecycle as lifecycle;

            struct Exported;
    $crate::bindings::export!(Exported with_types_in $crate::bindings);

            impl lifecycle::Guest for Exported {
                fn initialize(
                    config: lifecycle::ComponentConfig,
                ) -> ::std::result::Result<(), $crate::ComponentError> {
                    $crate::runtime::initialize::<$component>(config)
                }

                fn handle_message(message: lifecycle::ComponentMessage) -> $crate::Reply {
                    $crate::runtime::handle_message::<$component>(message)
                }

                fn handle_callback(
                    message: lifecycle::ComponentMessage,
                ) -> ::std::result::Result<(), $crate::WasmError> {
                    $crate::runtime::handle_callback::<$component>(message)
                }

                fn metadata() -> $crate::Metadata {
                    <$component as $crate::Component>::metadata($crate::Package {
                        name: env!("CARGO_PKG_NAME"),
                        version: env!("CARGO_PKG_VERSION"),
                        description: env!("CARGO_PKG_DESCRIPTION"),
                        authors: env!("CARGO_PKG_AUTHORS"),
                        license: env!("CARGO_PKG_LICENSE"),
                    })
                }

                fn health() -> $crate::HealthStatus {
                    $crate::runtime::health::<$component>()
                }

                fn shutdown() -> ::std::result::Result<(), $crate::ComponentError> {
                    $crate::runtime::shutdown::<$component>()
                }
            }
        };
    };
}
