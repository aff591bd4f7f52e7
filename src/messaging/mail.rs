//! Mail, and the reasons to refuse it.

use std::time::Instant;

use crate::core::codec::UnsupportedCodec;
use crate::core::limits::MailboxBound;
use crate::core::message::Message;
use crate::messaging::group_restart::Part;
use crate::messaging::reply::Reply;

/// One piece of mail.
pub enum Mail {
    /// A message for `handle-message`.
    Message(Message, Reply),
    /// The outcome of the receiver's own request, for `handle-callback`.
    Callback(Message),
    /// A call of `health`; the reply carries the status name.
    Health(Reply),
    /// A restart by the host: a new instance handles all mail that waits.
    Restart(Reply),
    /// A restart after a crash, at this time at the earliest.
    Recovery(Instant),
    /// A restart of the owner together with others of its group.
    Regroup(Box<Option<Part>>),
    /// A check of the health of an idle owner, for its supervision.
    Probe,
    /// The end of the instance of an idle owner, until it has mail.
    Passivate,
    /// A new instance in place of one that has grown old.
    Recycle,
    /// The state of the instance is saved, and the instance goes on.
    Save,
    /// An instance of another version takes over, or goes on trial.
    Replace(Reply),
    /// A look at what a version on trial has come to.
    Judge,
    /// A call of `shutdown`, after which the owner has no instance.
    Stop(Reply),
    /// A new instance for an owner that is stopped or has failed.
    Start(Reply),
    /// A call of `shutdown`; the last mail of a mailbox.
    Shutdown(Reply),
}

/// The approximate size of a piece of mail without its payload.
const MAIL_BYTES: u64 = 256;

/// The size of the smallest callback that every accepted request gets, if only to report that its
/// outcome does not fit. Charged with the request.
pub const CALLBACK_BYTES: u64 = 1024;

impl Mail {
    /// Returns the message for the guest's handler, if this mail has one.
    pub fn message(&self) -> Option<&Message> {
        match self {
            Self::Message(message, _) | Self::Callback(message) => Some(message),
            _ => None,
        }
    }

    /// Returns the length of the payload.
    pub fn payload_bytes(&self) -> usize {
        self.message().map_or(0, |message| message.payload.len())
    }

    /// Returns the reply to mail whose sender may wait for an outcome.
    pub fn into_reply(self) -> Option<Reply> {
        match self {
            Self::Message(_, reply)
            | Self::Health(reply)
            | Self::Restart(reply)
            | Self::Replace(reply)
            | Self::Stop(reply)
            | Self::Start(reply)
            | Self::Shutdown(reply) => Some(reply),
            Self::Callback(_)
            | Self::Recovery(_)
            | Self::Regroup(_)
            | Self::Probe
            | Self::Passivate
            | Self::Recycle
            | Self::Save
            | Self::Judge => None,
        }
    }

    /// Drops refused mail without an outcome: the sender learns of the refusal otherwise.
    pub fn withdraw(self) {
        if let Some(reply) = self.into_reply() {
            reply.withdraw();
        }
    }

    /// Returns the bytes that this mail counts for.
    pub fn size(&self) -> u64 {
        let content_type = self.message().and_then(|message| message.content_type.as_ref());
        let content_type = content_type.map_or(0, |content_type| content_type.len());
        let invocation = self.message().and_then(|message| message.invocation.as_ref());
        let function = invocation.map_or(0, |invocation| invocation.function.len());
        (self.payload_bytes() + content_type + function) as u64 + MAIL_BYTES
    }
}

/// Why a mailbox refused mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The mailbox is full.
    Full(MailboxBound),
    /// The host already holds too much for the receiver, and none of it is mail.
    NoRoom(MailboxBound),
    /// The message exceeds the receiver's limit.
    TooLarge {
        /// The largest payload allowed, in bytes.
        limit: u64,
        /// The size of this payload, in bytes.
        bytes: u64,
    },
    /// The receiver is stopped, or about to be; a start opens its mailbox again.
    Stopped,
    /// The receiver has failed; a start opens its mailbox again.
    Failed,
    /// The mailbox is closed for good.
    Closed,
    /// The sender waits for the outcome, and the receiver already waits for the sender.
    Cycle,
    /// The receiver does not accept the codec of the payload.
    Codec(UnsupportedCodec),
    /// The receiver lacks this export and so handles no messages.
    NoHandler(&'static str),
}
