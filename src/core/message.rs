//! Messages between components and hosts.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::core::clock::coarse_wall;
use crate::core::error::CallError;
use crate::core::id::{ComponentId, CorrelationId};
use crate::core::payload::Payload;

/// The content type of a callback that reports a failed request.
pub const ERROR_CONTENT_TYPE: &str = "application/vnd.airssys.error+json";

/// Returns the payload of a callback that reports a failed request.
pub fn error_document(code: &str, text: &str) -> Vec<u8> {
    serde_json::json!({ "code": code, "message": text }).to_string().into_bytes()
}

/// Bits for the nanoseconds within a second.
const NANOSECOND_BITS: u32 = 30;

/// Wall-clock time since the Unix epoch in one word: seconds above, nanoseconds below. Overflows in
/// the year 2514.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Replaces a time that its reader must not learn.
    pub const HIDDEN: Self = Self(0);

    /// Returns the whole seconds.
    pub fn seconds(self) -> u64 {
        self.0 >> NANOSECOND_BITS
    }

    /// Returns the nanoseconds within the second, below 10^9.
    pub fn nanoseconds(self) -> u32 {
        (self.0 & ((1 << NANOSECOND_BITS) - 1)) as u32
    }

    /// Returns the word: the seconds above the 30 bits of [`Timestamp::nanoseconds`].
    pub fn word(self) -> u64 {
        self.0
    }

    /// Returns the current time; a clock before 1970 reads as the epoch.
    pub fn now() -> Self {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().into()
    }

    /// Returns a cheap timestamp, at most a few milliseconds old.
    pub fn recent() -> Self {
        coarse_wall().into()
    }

    /// Returns the time elapsed since, to a few milliseconds.
    pub fn age(self) -> Duration {
        coarse_wall().saturating_sub(Duration::new(self.seconds(), self.nanoseconds()))
    }
}

impl From<Duration> for Timestamp {
    fn from(since_epoch: Duration) -> Self {
        let seconds = since_epoch.as_secs().min(u64::MAX >> NANOSECOND_BITS);
        Self(seconds << NANOSECOND_BITS | u64::from(since_epoch.subsec_nanos()))
    }
}

/// A call of an exported function with typed values; the payload of its message has the arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The function, as the caller names it.
    pub function: Box<str>,
    /// Whether lists of numbers in the result are packed.
    pub packed: bool,
}

/// One message as its receiver sees it.
#[derive(Clone, Debug)]
pub struct Message {
    /// The sender; `None` for the host. An `Arc` for the host would have its reference count
    /// written by host threads and workers in turn.
    pub sender: Option<Arc<ComponentId>>,
    /// Opaque bytes.
    pub payload: Payload,
    /// The sender's declaration of the payload's type.
    pub content_type: Option<Arc<str>>,
    /// The function that handles it; `None`: `handle-message`, or `handle-callback`.
    pub invocation: Option<Arc<Invocation>>,
    /// Set on requests and their callbacks.
    pub correlation: Option<CorrelationId>,
    /// Whether the sender expects the reply in a callback.
    pub wants_reply: bool,
    /// When the mailbox accepted it, to a few milliseconds.
    pub accepted: Timestamp,
}

impl Message {
    /// Creates a fire-and-forget message, accepted now.
    pub fn new(sender: Option<Arc<ComponentId>>, payload: Payload) -> Self {
        Self {
            sender,
            payload,
            content_type: None,
            invocation: None,
            correlation: None,
            wants_reply: false,
            accepted: Timestamp::recent(),
        }
    }

    /// Returns the callback that reports the failure of this request, to replace the callback
    /// `self`.
    pub fn failed(&self, error: &CallError) -> Self {
        Self {
            payload: error_document(error.code(), &error.to_string()).into(),
            content_type: Some(ERROR_CONTENT_TYPE.into()),
            ..self.clone()
        }
    }

    /// Returns the sender, with `host` standing for the host.
    pub fn sender<'a>(&'a self, host: &'a ComponentId) -> &'a ComponentId {
        self.sender.as_deref().unwrap_or(host)
    }

    /// Borrows the message for its receiver; `host` stands for the host.
    pub fn view<'a>(&'a self, host: &'a ComponentId) -> MessageView<'a> {
        let sender = self.sender(host);
        MessageView {
            sender,
            payload: &self.payload,
            content_type: self.content_type.as_deref(),
            invocation: self.invocation.as_deref(),
            correlation: self.correlation,
            reply_to: self.wants_reply.then_some(sender),
            accepted: self.accepted,
        }
    }
}

/// A message with borrowed parts, for example those of a caller waiting for the reply.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    /// As in [`Message`].
    pub sender: &'a ComponentId,
    /// As in [`Message`].
    pub payload: &'a [u8],
    /// As in [`Message`].
    pub content_type: Option<&'a str>,
    /// As in [`Message`].
    pub invocation: Option<&'a Invocation>,
    /// As in [`Message`].
    pub correlation: Option<CorrelationId>,
    /// The receiver of the reply to a request.
    pub reply_to: Option<&'a ComponentId>,
    /// As in [`Message`].
    pub accepted: Timestamp,
}

/// The outcome of handling a message: the reply (`None` for no reply) or an error.
pub type Outcome = Result<Option<Vec<u8>>, CallError>;
