//! What travels between components and hosts.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::core::error::CallError;
use crate::core::id::{ComponentId, CorrelationId};

/// Content type of the callback that reports a failed request.
pub const ERROR_CONTENT_TYPE: &str = "application/vnd.airssys.error+json";

/// Wall-clock time since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// Whole seconds.
    pub seconds: u64,
    /// The rest, below 10^9.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// The time now; a clock before 1970 reads as the epoch.
    pub fn now() -> Self {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: elapsed.as_secs(), nanoseconds: elapsed.subsec_nanos() }
    }
}

/// One message as its receiver sees it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Who sent it.
    pub sender: Arc<ComponentId>,
    /// Opaque bytes.
    pub payload: Vec<u8>,
    /// The sender's word on what the payload is.
    pub content_type: Option<Arc<str>>,
    /// Set on requests and on their callbacks.
    pub correlation: Option<CorrelationId>,
    /// Who gets the answer of a request.
    pub reply_to: Option<Arc<ComponentId>>,
    /// When it was accepted into the mailbox.
    pub accepted: Timestamp,
}

/// How the handling of a message ended: the reply (`None`: no reply), or why there is none.
pub type Outcome = Result<Option<Vec<u8>>, CallError>;
