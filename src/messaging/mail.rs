//! Mail, and why it is refused.

use crate::core::codec::UnsupportedCodec;
use crate::core::limits::MailboxBound;
use crate::core::message::Message;
use crate::messaging::reply::Reply;

/// One piece of mail.
pub enum Mail {
    /// For `handle-message`.
    Message(Message, Reply),
    /// For `handle-callback`: the outcome of a request of the receiver's own.
    Callback(Message),
    /// Asks for `health`; the reply is the status name.
    Health(Reply),
    /// Asks for `shutdown`; the last mail of a mailbox.
    Shutdown(Reply),
}

/// What a piece of mail takes besides its payload, roughly.
const MAIL_BYTES: u64 = 256;

/// The size of the callback that an accepted request gets in every case, if only to say that its outcome
/// does not fit; charged from the request on.
pub const CALLBACK_BYTES: u64 = 1024;

impl Mail {
    /// What a handler is given.
    pub fn message(&self) -> Option<&Message> {
        match self {
            Self::Message(message, _) | Self::Callback(message) => Some(message),
            Self::Health(_) | Self::Shutdown(_) => None,
        }
    }

    /// The length of its payload.
    pub fn payload_bytes(&self) -> usize {
        self.message().map_or(0, |message| message.payload.len())
    }

    /// Drops refused mail without an answer: its sender is told otherwise.
    pub fn withdraw(self) {
        match self {
            Self::Message(_, reply) | Self::Health(reply) | Self::Shutdown(reply) => {
                reply.withdraw();
            }
            Self::Callback(_) => {}
        }
    }

    /// What it takes.
    pub fn size(&self) -> u64 {
        let content_type = self.message().and_then(|message| message.content_type.as_ref());
        let content_type = content_type.map_or(0, |content_type| content_type.len());
        (self.payload_bytes() + content_type) as u64 + MAIL_BYTES
    }
}

/// Why mail was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// As much waits as may.
    Full(MailboxBound),
    /// The host holds too much for the receiver already, and none of it is mail.
    NoRoom(MailboxBound),
    /// The message is larger than any that the receiver takes.
    TooLarge {
        /// How many bytes its payload may have.
        limit: u64,
        /// How many it has.
        bytes: u64,
    },
    /// The receiver is going, or gone.
    Closed,
    /// The receiver does not take what the payload says it is.
    Codec(UnsupportedCodec),
    /// The receiver handles no messages, for want of this export.
    NoHandler(&'static str),
}
