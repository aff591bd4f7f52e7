//! Keeps the end of what an instance wrote to standard error, for the error of its trap.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::core::account::{Account, Charge};

/// The most bytes that are kept.
const MAX_BYTES: usize = 4096;

/// The last bytes of one instance's standard error. They are charged to its component; without room
/// for the charge nothing is kept.
pub struct LastWords {
    account: Arc<Account>,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    bytes: VecDeque<u8>,
    /// Whether earlier bytes were dropped.
    is_cut: bool,
    _charge: Charge,
}

impl LastWords {
    /// Creates an empty record, charged to `account` once there is something to keep.
    pub fn new(account: &Arc<Account>) -> Self {
        Self { account: Arc::clone(account), kept: Mutex::default() }
    }

    /// Adds written bytes.
    pub fn add(&self, bytes: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match &mut *kept {
            Some(kept) => kept,
            none => {
                let Ok(charge) = self.account.charge(MAX_BYTES as u64) else { return };
                let bytes = VecDeque::with_capacity(MAX_BYTES);
                none.insert(Kept { bytes, is_cut: false, _charge: charge })
            }
        };
        let end = &bytes[bytes.len().saturating_sub(MAX_BYTES)..];
        let excess = (kept.bytes.len() + end.len()).saturating_sub(MAX_BYTES);
        kept.is_cut |= excess > 0 || end.len() < bytes.len();
        kept.bytes.drain(..excess);
        kept.bytes.extend(end);
    }

    /// Returns the last whole lines without blank ones; empty if there are none.
    pub fn text(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = &*kept else { return String::new() };
        let bytes: Vec<u8> = kept.bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let whole = match text.split_once('\n') {
            Some((_, rest)) if kept.is_cut && !rest.trim().is_empty() => rest,
            _ => &text,
        };
        let lines = whole.lines().map(str::trim_end).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn last_words(limit: u64) -> (LastWords, Arc<Account>) {
        let account = Account::new(limit, Arc::new(AtomicU64::new(0)));
        (LastWords::new(&account), account)
    }

    #[test]
    fn the_last_whole_lines_are_kept_in_a_bounded_and_charged_space() {
        let (words, account) = last_words(10_000);
        assert_eq!((words.text(), account.held()), (String::new(), 0));
        words.add(b"first\n\n  sec");
        words.add(b"ond \r\n");
        assert_eq!(words.text(), "first\n  second");
        for n in 0..10_000 {
            words.add(format!("line {n}\n").as_bytes());
        }
        let text = words.text();
        assert!(text.ends_with("line 9998\nline 9999") && text.len() <= MAX_BYTES);
        assert!(text.lines().all(|line| line.starts_with("line ")), "no part of a line: {text}");
        assert_eq!(account.held(), MAX_BYTES as u64);
        words.add("ö".repeat(100_000).as_bytes());
        let text = words.text();
        assert!(text.len() <= MAX_BYTES + 3 && text.ends_with("öö"), "a long line is cut: {text}");
        drop(words);
        assert_eq!(account.held(), 0);
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let (words, account) = last_words(100);
        words.add(b"boom");
        assert_eq!((words.text(), account.held()), (String::new(), 0));
    }
}
