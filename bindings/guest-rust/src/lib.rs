//! Components for airssys-wasm.
//!
//! A component is a type that implements [`Component`], and [`export!`]:
//!
//! ```
//! use airssys_guest::{Component, Message, Reply, info};
//!
//! #[derive(Default)]
//! struct Greeter {
//!     greeted: u64,
//! }
//!
//! impl Component for Greeter {
//!     fn handle_message(&mut self, message: Message) -> Reply {
//!         self.greeted += 1;
//!         info!("greeted {}", self.greeted);
//!         Ok(Some(format!("Hello, {}!", message.text()?).into_bytes()))
//!     }
//! }
//!
//! airssys_guest::export!(Greeter);
//! ```
//!
//! Build it with `crate-type = ["cdylib"]` for `wasm32-wasip2`, which makes a component at once.
//!
//! The host runs one call of a component at a time. Between calls the value stays in memory, until a
//! trap, a limit or the host ends the instance; what must stay longer belongs into [`storage`].
//! Everything but [`log`](mod@log) and [`time`] needs a capability that the host grants.

#![deny(missing_docs)]

#[doc(hidden)]
#[allow(missing_docs, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "component",
        pub_export_macro: true,
        default_bindings_module: "airssys_guest::bindings",
        additional_derives: [Clone, PartialEq, Eq],
    });
}

mod component;
mod error;
mod id;
#[cfg(feature = "json")]
pub mod json;
pub mod log;
mod message;
pub mod messaging;
#[doc(hidden)]
pub mod runtime;
pub mod storage;
pub mod time;

pub use bindings::airssys::core::errors::{
    ComponentError, MessagingError, StorageError, WasmError,
};
pub use bindings::airssys::core::types::{
    ComponentId, HealthStatus, LogLevel, ResourceLimits, Timestamp,
};
pub use component::{Component, Config, Metadata, Package, Reply};
pub use id::InvalidId;
pub use message::Message;
pub use messaging::{RequestError, request, self_id, send};
