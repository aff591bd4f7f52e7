//! Limits of one component.

use std::fmt;
use std::time::Duration;

/// Ceilings for one component. A breach ends the message that caused it, with an error that names
/// the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes over all linear memories.
    pub max_memory_bytes: u64,
    /// Bytes of host memory held on the component's behalf.
    pub max_host_bytes: u64,
    /// Payload bytes of one message in either direction, replies included.
    pub max_message_bytes: u64,
    /// Time for one message, including host functions and sleeps.
    pub max_execution_time: Duration,
    /// Fuel for one message (about one unit per instruction); `None` is unlimited.
    pub max_fuel: Option<u64>,
    /// Core instances inside the component.
    pub max_instances: usize,
    /// Elements over all tables.
    pub max_table_elements: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_memory_bytes: 256 << 20,
            max_host_bytes: 64 << 20,
            max_message_bytes: 16 << 20,
            max_execution_time: Duration::from_secs(5),
            max_fuel: None,
            max_instances: 1000,
            max_table_elements: 100_000,
        }
    }
}

impl Limits {
    /// Returns `max_execution_time` in whole milliseconds, the unit of options and guests.
    pub fn max_execution_time_ms(&self) -> u64 {
        u64::try_from(self.max_execution_time.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The policy of a full mailbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The sender gets an error.
    #[default]
    Reject,
    /// The sender waits for room.
    Block,
    /// The oldest waiting message becomes a dead letter and makes room.
    DropOldest,
}

impl WhenFull {
    /// All policies with their names in the options.
    pub const ALL: [(&'static str, Self); 3] =
        [("reject", Self::Reject), ("block", Self::Block), ("drop-oldest", Self::DropOldest)];

    /// Returns the name in the options.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, policy)| *policy == self).map_or("reject", |(name, _)| name)
    }
}

/// The bounds of a mailbox. An empty mailbox accepts any message within `max_message`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxBounds {
    /// The most messages waiting.
    pub messages: usize,
    /// The most bytes waiting.
    pub bytes: u64,
    /// The most payload bytes of one message.
    pub max_message: u64,
}

/// The bound that a full mailbox reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailboxBound {
    /// The most messages waiting.
    Messages(usize),
    /// The most bytes waiting.
    Bytes(u64),
    /// The most host memory held for the receiver, in bytes.
    HostBytes(u64),
}

impl MailboxBound {
    /// Returns the bound's name in the options, and its value.
    pub fn limit(self) -> (&'static str, u64) {
        match self {
            Self::Messages(messages) => ("mailbox.capacity", messages as u64),
            Self::Bytes(bytes) => ("mailbox.max-bytes", bytes),
            Self::HostBytes(bytes) => ("max-host-bytes", bytes),
        }
    }
}

impl fmt::Display for MailboxBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value) = self.limit();
        write!(f, "{name} {value}")
    }
}

/// Why a mailbox has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// The bounds of the mailbox.
    pub bounds: MailboxBounds,
    /// The bound that it reached.
    pub by: MailboxBound,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            MailboxBound::Messages(_) | MailboxBound::Bytes(_) => self.bounds.fmt(f),
            by @ MailboxBound::HostBytes(_) => by.fmt(f),
        }
    }
}

impl Default for MailboxBounds {
    fn default() -> Self {
        Self { messages: 1024, bytes: 64 << 20, max_message: 16 << 20 }
    }
}

impl fmt::Display for MailboxBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "capacity {} messages, max-bytes {}", self.messages, self.bytes)
    }
}
