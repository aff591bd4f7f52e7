//! What a component implements.

use crate::bindings::airssys::core::types::ComponentConfig;
pub use crate::bindings::exports::airssys::core::component_lifecycle::ComponentMetadata as Metadata;
use crate::{ComponentError, HealthStatus, Message, ResourceLimits, WasmError};

/// The answer to a message: a payload, none, or an error for the sender.
pub type Reply = Result<Option<Vec<u8>>, WasmError>;

/// A component. Only [`Component::handle_message`] has no default.
///
/// The default value is what an instance begins with; [`Component::initialize`] follows at once.
pub trait Component: Default + 'static {
    /// Handles a message. The sender of a request or a call gets the reply.
    fn handle_message(&mut self, message: Message) -> Reply;

    /// Prepares the instance. An error refuses the load.
    fn initialize(&mut self, config: Config) -> Result<(), ComponentError> {
        let _ = config;
        Ok(())
    }

    /// Handles the outcome of a request that was not made with [`request`](crate::request).
    fn handle_callback(&mut self, message: Message) -> Result<(), WasmError> {
        let _ = message;
        Ok(())
    }

    /// Says what the component is. The default is what `Cargo.toml` says.
    fn metadata(package: Package) -> Metadata {
        package.into()
    }

    /// Says how the component is. The host may ask at any time between two messages.
    fn health(&self) -> HealthStatus {
        HealthStatus::Healthy
    }

    /// Ends the instance in order: before an unload, a stop or a replacement, not after a trap.
    fn shutdown(&mut self) -> Result<(), ComponentError> {
        Ok(())
    }
}

/// What the host gives to an instance at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// The host's `"config"` for this component, most often JSON.
    pub data: Option<Vec<u8>>,
    /// The limits that hold for the component.
    pub limits: ResourceLimits,
}

impl Config {
    /// Returns an environment variable.
    pub fn env(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl From<ComponentConfig> for Config {
    fn from(config: ComponentConfig) -> Self {
        let ComponentConfig { env_vars, config_data, resource_limits } = config;
        Self { env: env_vars, data: config_data, limits: resource_limits }
    }
}

/// What `Cargo.toml` says of a component.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// The name.
    pub name: &'static str,
    /// The version.
    pub version: &'static str,
    /// The description.
    pub description: &'static str,
    /// The authors, separated by colons.
    pub authors: &'static str,
    /// The license.
    pub license: &'static str,
}

impl From<Package> for Metadata {
    fn from(package: Package) -> Self {
        Self {
            name: package.name.into(),
            version: package.version.into(),
            description: package.description.into(),
            author: package.authors.into(),
            license: package.license.into(),
            supported_operations: Vec::new(),
            stateful: false,
        }
    }
}
