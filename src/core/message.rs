//! What travels between components and hosts.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::core::clock::coarse_wall;
use crate::core::error::CallError;
use crate::core::id::{ComponentId, CorrelationId};
use crate::core::payload::Payload;

/// Content type of the callback that reports a failed request.
pub const ERROR_CONTENT_TYPE: &str = "application/vnd.airssys.error+json";

/// The payload of such a callback.
pub fn error_document(code: &str, text: &str) -> Vec<u8> {
    serde_json::json!({ "code": code, "message": text }).to_string().into_bytes()
}

/// Bits of the nanoseconds of a second.
const NANOSECOND_BITS: u32 = 30;

/// Wall-clock time since the Unix epoch, in one word: the seconds, and below them the nanoseconds. It ends
/// in the year 2514.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp(u64);

impl Timestamp {
    /// In the place of a time that its reader must not know.
    pub const HIDDEN: Self = Self(0);

    /// Whole seconds.
    pub fn seconds(self) -> u64 {
        self.0 >> NANOSECOND_BITS
    }

    /// The rest, below 10^9.
    pub fn nanoseconds(self) -> u32 {
        (self.0 & ((1 << NANOSECOND_BITS) - 1)) as u32
    }

    /// The word: the seconds above [`Timestamp::nanoseconds`], which take the lower 30 bits.
    pub fn word(self) -> u64 {
        self.0
    }

    /// The time now; a clock before 1970 reads as the epoch.
    pub fn now() -> Self {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().into()
    }

    /// The time a few milliseconds ago at most, for what is stamped often.
    pub fn recent() -> Self {
        coarse_wall().into()
    }

    /// How long ago it was, to a few milliseconds.
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

/// One message as its receiver sees it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Who sent it; `None`: the host. One count of references for all messages of a host would be
    /// written by its threads and the workers in turns.
    pub sender: Option<Arc<ComponentId>>,
    /// Opaque bytes.
    pub payload: Payload,
    /// The sender's word on what the payload is.
    pub content_type: Option<Arc<str>>,
    /// Set on requests and on their callbacks.
    pub correlation: Option<CorrelationId>,
    /// Whether the sender gets the answer in a callback.
    pub wants_reply: bool,
    /// When it was accepted into the mailbox, to a few milliseconds.
    pub accepted: Timestamp,
}

impl Message {
    /// A fire-and-forget message, accepted now.
    pub fn new(sender: Option<Arc<ComponentId>>, payload: Payload) -> Self {
        Self {
            sender,
            payload,
            content_type: None,
            correlation: None,
            wants_reply: false,
            accepted: Timestamp::recent(),
        }
    }

    /// The callback of a request that failed in this way, in the place of this one.
    pub fn failed(&self, error: &CallError) -> Self {
        Self {
            payload: error_document(error.code(), &error.to_string()).into(),
            content_type: Some(ERROR_CONTENT_TYPE.into()),
            ..self.clone()
        }
    }

    /// Who sent it, where `host` stands for the host.
    pub fn sender<'a>(&'a self, host: &'a ComponentId) -> &'a ComponentId {
        self.sender.as_deref().unwrap_or(host)
    }

    /// The message, lent to its receiver; `host` stands for the host.
    pub fn view<'a>(&'a self, host: &'a ComponentId) -> MessageView<'a> {
        let sender = self.sender(host);
        MessageView {
            sender,
            payload: &self.payload,
            content_type: self.content_type.as_deref(),
            correlation: self.correlation,
            reply_to: self.wants_reply.then_some(sender),
            accepted: self.accepted,
        }
    }
}

/// A message whose parts belong to somebody else, such as a caller that waits for the reply.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    /// As in [`Message`].
    pub sender: &'a ComponentId,
    /// As in [`Message`].
    pub payload: &'a [u8],
    /// As in [`Message`].
    pub content_type: Option<&'a str>,
    /// As in [`Message`].
    pub correlation: Option<CorrelationId>,
    /// Who gets the answer of a request.
    pub reply_to: Option<&'a ComponentId>,
    /// As in [`Message`].
    pub accepted: Timestamp,
}

/// How the handling of a message ended: the reply (`None`: no reply), or why there is none.
pub type Outcome = Result<Option<Vec<u8>>, CallError>;
