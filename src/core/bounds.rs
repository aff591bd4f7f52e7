//! How much of a text is passed on, and how many records are made of a component's misfortunes.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};

/// The most bytes of the message of a log record.
pub const MAX_LOG_MESSAGE_BYTES: usize = 64 << 10;

/// The most bytes of the text of an error, wherever it is repeated.
pub const MAX_ERROR_TEXT_BYTES: usize = 4 << 10;

/// The most bytes of a guest's backtrace: the names in it are the guest's.
pub const MAX_BACKTRACE_BYTES: usize = 16 << 10;

/// How many records about one component the engine itself writes in a second.
pub const REPORTS_PER_SECOND: u64 = 5;

/// Room for the mark of a text that was cut.
const MARK_BYTES: usize = 32;

/// A text, or as much of it as fits in `max` bytes, with its length.
pub fn cut(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max { Cow::Borrowed(text) } else { Cow::Owned(bounded(&text, max)) }
}

/// What is shown of a value in `max` bytes, with the length of all if that is more. Never holds more.
pub fn bounded(value: &dyn Display, max: usize) -> String {
    let mut text = Bounded { kept: String::new(), max, length: 0 };
    // A value that can not be shown to its end is shown as far as it came.
    let _ = write!(text, "{value}");
    text.finish()
}

struct Bounded {
    kept: String,
    max: usize,
    length: usize,
}

impl Bounded {
    fn finish(self) -> String {
        let Self { mut kept, max, length } = self;
        if length > max {
            kept.truncate(kept.floor_char_boundary(max.saturating_sub(MARK_BYTES)));
            // Writing to a string does not fail.
            let _ = write!(kept, "… ({length} bytes)");
        }
        kept
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.max - self.kept.len().min(self.max);
        // A hole would be no cut.
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
    fn a_longer_one_is_cut_between_characters_and_says_how_long_it_is() {
        for character in ["x", "ö", "€", "🦀"] {
            let text = character.repeat(1000);
            let cut = cut(&text, 100);
            let mark = format!("… ({} bytes)", text.len());
            let kept = cut.strip_suffix(&mark).unwrap();
            assert!(text.starts_with(kept) && kept.len() > 60 && cut.len() <= 100, "{cut}");
        }
    }

    #[test]
    fn what_is_shown_in_pieces_is_cut_at_the_first_that_does_not_fit() {
        let shown = bounded(&format_args!("{}{}{}", "x".repeat(90), "ö".repeat(50), "end"), 100);
        assert_eq!(shown, format!("{}… (193 bytes)", "x".repeat(68)));
    }
}
