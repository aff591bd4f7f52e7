//! Bounds on texts and lists that come from a component.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

/// Bytes of a backtrace's text. Its function names come from the component.
pub const MAX_BACKTRACE_BYTES: usize = 16 << 10;

/// Bytes of an error's text.
pub const MAX_ERROR_TEXT_BYTES: usize = 4096;

/// Bytes of a log record's text.
pub const MAX_LOG_TEXT_BYTES: usize = 64 << 10;

/// Key-value pairs of a log record.
pub const MAX_LOG_PAIRS: usize = 64;

/// Bytes of each key and each value of a log record.
pub const MAX_LOG_PAIR_BYTES: usize = 4096;

/// Bytes of each text in a component's metadata.
pub const MAX_METADATA_TEXT_BYTES: usize = 4096;

/// Operations in a component's metadata.
pub const MAX_OPERATIONS: usize = 256;

/// Bytes of an operation's name.
pub const MAX_OPERATION_BYTES: usize = 256;

/// Bytes of a content type.
pub const MAX_CONTENT_TYPE_BYTES: usize = 1024;

/// Targets of a broadcast.
pub const MAX_BROADCAST_TARGETS: usize = 10_000;

/// Bytes of an error that another text quotes, with the words around it.
pub const MAX_REPEATED_BYTES: usize = MAX_ERROR_TEXT_BYTES + 512;

/// Records per second that the engine itself writes about one component.
pub const REPORTS_PER_SECOND: u64 = 5;

/// Room for the mark of a truncated text.
const MARK_BYTES: usize = 32;

/// Truncates `text` to `max` bytes and appends its full length; returns it unchanged if it fits.
pub fn cut(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max { Cow::Borrowed(text) } else { Cow::Owned(bounded(&text, max)) }
}

/// Formatting stops after this many bytes, even when only the length is still of interest.
const COUNTED_BYTES: usize = 1 << 20;

/// Formats `value` in at most `max` bytes; a longer text is truncated and its full length appended.
/// Never allocates more than `max` bytes of text.
pub fn bounded(value: &dyn Display, max: usize) -> String {
    let mut text = Bounded { kept: String::new(), max, length: 0 };
    // A `Display` that fails half-way yields the text up to there.
    let is_whole = write!(text, "{value}").is_ok();
    text.finish(if is_whole { "" } else { "more than " })
}

struct Bounded {
    kept: String,
    max: usize,
    length: usize,
}

impl Bounded {
    fn finish(self, more: &str) -> String {
        let Self { mut kept, max, length } = self;
        if length > max {
            kept.truncate(kept.floor_char_boundary(max.saturating_sub(MARK_BYTES)));
            // Writing to a string cannot fail.
            let _ = write!(kept, "… ({more}{length} bytes)");
        }
        kept
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.length > COUNTED_BYTES {
            return Err(fmt::Error);
        }
        let room = self.max - self.kept.len().min(self.max);
        // After the first truncated piece nothing more is kept: a gap must not look like a cut.
        if self.kept.len() == self.length {
            self.kept.push_str(&text[..text.floor_char_boundary(room)]);
        }
        self.length = self.length.saturating_add(text.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_fits_is_passed_on_as_it_is() {
        for text in ["", "short", &"x".repeat(100)] {
            assert!(matches!(cut(text, 100), Cow::Borrowed(same) if same == text));
            assert_eq!(bounded(&text, 100), text);
        }
    }

    #[test]
    fn a_longer_text_is_cut_between_characters_and_states_its_length() {
        for character in ["x", "ö", "€", "🦀"] {
            let text = character.repeat(1000);
            let cut = cut(&text, 100);
            let mark = format!("… ({} bytes)", text.len());
            let kept = cut.strip_suffix(&mark).unwrap();
            assert!(text.starts_with(kept) && kept.len() > 60 && cut.len() <= 100, "{cut}");
        }
    }

    #[test]
    fn text_in_pieces_is_cut_at_the_first_that_does_not_fit() {
        let shown = bounded(&format_args!("{}{}{}", "x".repeat(90), "ö".repeat(50), "end"), 100);
        assert_eq!(shown, format!("{}… (193 bytes)", "x".repeat(68)));
    }
}
