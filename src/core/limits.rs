//! What one component may use.

use std::fmt;
use std::time::Duration;

/// Ceilings for one component; a breach ends the message that caused it, and names the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes over all linear memories of the component.
    pub max_memory_bytes: u64,
    /// Bytes of the host's memory that it may make the host hold.
    pub max_host_bytes: u64,
    /// Bytes of the payload of one message that it takes or hands over, a reply included.
    pub max_message_bytes: u64,
    /// Time for one message, host functions and sleeps included.
    pub max_execution_time: Duration,
    /// Fuel for one message (about one unit an instruction); `None` is unlimited.
    pub max_fuel: Option<u64>,
    /// Core instances inside the component.
    pub max_instances: usize,
    /// Elements over all tables of the component.
    pub max_table_elements: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_memory_bytes: 64 << 20,
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
    /// `max_execution_time` in whole milliseconds, as options and guests name it.
    pub fn max_execution_time_ms(&self) -> u64 {
        u64::try_from(self.max_execution_time.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What happens to a message for a mailbox that is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Its sender is told.
    #[default]
    Reject,
    /// Its sender waits for room.
    Block,
    /// The oldest message that waits makes room, and becomes a dead letter.
    DropOldest,
}

impl WhenFull {
    /// All, with the names that options have for them.
    pub const ALL: [(&'static str, Self); 3] =
        [("reject", Self::Reject), ("block", Self::Block), ("drop-oldest", Self::DropOldest)];

    /// The name in options.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, policy)| *policy == self).map_or("reject", |(name, _)| name)
    }
}

/// How much a mailbox holds. A message within `max_message` is accepted if no other waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxBounds {
    /// How many messages may wait.
    pub messages: usize,
    /// How many bytes may wait.
    pub bytes: u64,
    /// How many bytes the payload of one message may have.
    pub max_message: u64,
}

/// The bound of a mailbox that leaves no room for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailboxBound {
    /// How many messages may wait.
    Messages(usize),
    /// How many bytes may wait.
    Bytes(u64),
    /// How many bytes the host may hold for the receiver.
    HostBytes(u64),
}

impl MailboxBound {
    /// The bound as options name it, and its value.
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

/// What a mailbox without room is said to be full by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// How much it holds.
    pub bounds: MailboxBounds,
    /// Which of its bounds leaves no room.
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
