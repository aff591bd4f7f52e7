//! The most that is taken of what a component says.

/// Bytes of the text of an error.
pub const MAX_ERROR_TEXT_BYTES: usize = 4096;

/// Bytes of the text of a log record.
pub const MAX_LOG_TEXT_BYTES: usize = 64 << 10;

/// Pairs of a log record.
pub const MAX_LOG_PAIRS: usize = 64;

/// Bytes of a key, and of a value, of a log record's pair.
pub const MAX_LOG_PAIR_BYTES: usize = 4096;

/// Bytes of each text of a component's metadata.
pub const MAX_METADATA_TEXT_BYTES: usize = 4096;

/// Operations that a component's metadata may list.
pub const MAX_OPERATIONS: usize = 256;

/// Bytes of the name of an operation.
pub const MAX_OPERATION_BYTES: usize = 256;

/// Bytes of a content type.
pub const MAX_CONTENT_TYPE_BYTES: usize = 1024;

/// Targets of a broadcast.
pub const MAX_BROADCAST_TARGETS: usize = 10_000;
