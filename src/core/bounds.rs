//! The most that is taken of what a component says.

use std::fmt::{self, Display, Write};

/// Bytes of the text of a trap's backtrace, whose function names are the component's.
pub const MAX_BACKTRACE_BYTES: usize = 16 << 10;

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

/// The beginning of what something displays, with a mark where something is missing. No more of it than
/// that is ever put into words.
pub fn excerpt(what: impl Display, max_bytes: usize) -> String {
    let mut beginning = Beginning { text: String::new(), max_bytes };
    if write!(beginning, "{what}").is_err() {
        beginning.text.push('…');
    }
    beginning.text
}

/// Takes text until it is full.
struct Beginning {
    text: String,
    max_bytes: usize,
}

impl Write for Beginning {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = self.max_bytes - self.text.len();
        if more.len() <= room {
            self.text.push_str(more);
            return Ok(());
        }
        self.text.push_str(&more[..more.floor_char_boundary(room)]);
        // What is left of a character that did not fit is no room for the next one.
        self.max_bytes = self.text.len();
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_cut_between_characters() {
        assert_eq!(excerpt("four", 4), "four");
        assert_eq!(excerpt("fourä", 5), "four…");
        assert_eq!(excerpt(format_args!("{}{}", "a".repeat(10), "b"), 4), "aaaa…");
        assert_eq!(excerpt("", 0), "");
        assert_eq!(excerpt("x", 0), "…");
    }
}
