//! What the guests share: bindings, life cycle defaults, and text forms of ids and errors.

pub mod bindings {
    //! The output of wit-bindgen. `export!` needs its path.
    wit_bindgen::generate!({
        path: "../../../wit/core",
        world: "component",
        pub_export_macro: true,
        default_bindings_module: "guest_kit::bindings",
        additional_derives: [Clone],
    });
}
pub mod misbehaviour;
mod text;

pub use bindings::airssys::core::{errors, host_messaging, host_services, storage, types};
pub use bindings::export;
pub use bindings::exports::airssys::core::component_lifecycle::{ComponentMetadata, Guest};
pub use errors::{ComponentError, MessagingError, StorageError, WasmError};
pub use types::{ComponentConfig, ComponentId, ComponentMessage, HealthStatus};

pub use text::{Args, Render, format_id, outcome, parse_id, text};

/// The result of handling a message.
pub type Reply = Result<Option<Vec<u8>>, WasmError>;

/// `Guest` with the defaults that most guests use.
pub trait Component {
    /// Usually `guest_kit::metadata!(…)`.
    fn metadata() -> ComponentMetadata;

    fn handle_message(message: ComponentMessage) -> Reply;

    fn initialize(_config: ComponentConfig) -> Result<(), ComponentError> {
        Ok(())
    }

    fn handle_callback(_message: ComponentMessage) -> Result<(), WasmError> {
        Ok(())
    }

    fn health() -> HealthStatus {
        HealthStatus::Healthy
    }

    fn shutdown() -> Result<(), ComponentError> {
        Ok(())
    }
}

impl<T: Component> Guest for T {
    fn initialize(config: ComponentConfig) -> Result<(), ComponentError> {
        T::initialize(config)
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        T::handle_message(message)
    }

    fn handle_callback(message: ComponentMessage) -> Result<(), WasmError> {
        T::handle_callback(message)
    }

    fn metadata() -> ComponentMetadata {
        T::metadata()
    }

    fn health() -> HealthStatus {
        T::health()
    }

    fn shutdown() -> Result<(), ComponentError> {
        T::shutdown()
    }
}

/// The metadata of the calling crate. Arguments: whether it keeps state, and its commands.
#[macro_export]
macro_rules! metadata {
    ($stateful:expr, $operations:expr) => {
        $crate::ComponentMetadata {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            author: env!("CARGO_PKG_AUTHORS").into(),
            license: env!("CARGO_PKG_LICENSE").into(),
            supported_operations: $operations.iter().map(|name| name.to_string()).collect(),
            stateful: $stateful,
        }
    };
}
