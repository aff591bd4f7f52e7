//! Messages.

use std::string::FromUtf8Error;

use crate::bindings::airssys::core::types::ComponentMessage;
use crate::{ComponentId, Timestamp};

/// A message, or the outcome of a request.
#[derive(Debug, Clone)]
pub struct Message {
    /// Who sent it.
    pub sender: ComponentId,
    /// The content.
    pub payload: Vec<u8>,
    /// The request that it belongs to.
    pub correlation: Option<String>,
    /// When the host accepted it; 1970 for a component that may not read clocks.
    pub timestamp: Timestamp,
    /// The type of the content, if the sender named it.
    pub content_type: Option<String>,
}

impl Message {
    /// Returns the payload as text.
    pub fn text(self) -> Result<String, FromUtf8Error> {
        String::from_utf8(self.payload)
    }
}

impl From<ComponentMessage> for Message {
    fn from(message: ComponentMessage) -> Self {
        let ComponentMessage { sender, payload, metadata } = message;
        Self {
            sender,
            payload,
            correlation: metadata.correlation_id,
            timestamp: metadata.timestamp,
            content_type: metadata.content_type,
        }
    }
}
