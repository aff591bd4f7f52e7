//! When an instance is recycled or saved. Linear memory never shrinks, but a new instance begins anew.

use std::sync::atomic::{AtomicU64, Ordering};

/// After an attempt that did not lower the memory, the next one waits for this many messages.
const PATIENCE: u64 = 1000;

/// When instances are recycled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecycleWhen {
    /// With more bytes of linear memory than this.
    pub above_bytes: Option<u64>,
    /// After this many messages and callbacks.
    pub after_messages: Option<u64>,
}

/// Watches the age of the present instance.
pub struct Recycling {
    when: RecycleWhen,
    /// Of all messages handled so far, the number at which the instance is due by its messages.
    due_at: AtomicU64,
    /// The number before which the instance is not due by its memory.
    not_before: AtomicU64,
}

impl Recycling {
    /// Creates a watch for the first instance.
    pub fn new(when: RecycleWhen) -> Self {
        let due_at = when.after_messages.unwrap_or(u64::MAX);
        Self { when, due_at: AtomicU64::new(due_at), not_before: AtomicU64::new(1) }
    }

    /// Begins with an instance, when `handled` messages were handled so far. If it has as much
    /// memory already as makes it due, it is not due for a while.
    pub fn begin(&self, handled: u64, memory_bytes: u64) {
        let after = self.when.after_messages.unwrap_or(u64::MAX);
        self.due_at.store(handled.saturating_add(after), Ordering::Relaxed);
        let wait = if self.is_large(memory_bytes) { PATIENCE } else { 1 };
        self.not_before.store(handled + wait, Ordering::Relaxed);
    }

    /// Returns whether the instance is due; then it is not due again until [`Recycling::begin`].
    pub fn is_due(&self, handled: u64, memory_bytes: u64) -> bool {
        let is_old = handled >= self.due_at.load(Ordering::Relaxed);
        let is_due = is_old
            || self.is_large(memory_bytes) && handled >= self.not_before.load(Ordering::Relaxed);
        if is_due {
            self.due_at.store(u64::MAX, Ordering::Relaxed);
            self.not_before.store(u64::MAX, Ordering::Relaxed);
        }
        is_due
    }

    fn is_large(&self, memory_bytes: u64) -> bool {
        self.when.above_bytes.is_some_and(|most| memory_bytes > most)
    }
}

/// Watches for the next save of the present instance.
pub struct SaveAfter {
    messages: u64,
    /// Of all messages handled so far, the number at which a save is due.
    due_at: AtomicU64,
}

impl SaveAfter {
    /// Creates a watch for a save after each `messages` messages and callbacks.
    pub fn new(messages: u64) -> Self {
        Self { messages, due_at: AtomicU64::new(messages) }
    }

    /// Begins to count anew, when `handled` messages were handled so far.
    pub fn begin(&self, handled: u64) {
        self.due_at.store(handled.saturating_add(self.messages), Ordering::Relaxed);
    }

    /// Returns whether a save is due; then it is not due again until [`SaveAfter::begin`].
    pub fn is_due(&self, handled: u64) -> bool {
        let is_due = handled >= self.due_at.load(Ordering::Relaxed);
        if is_due {
            self.due_at.store(u64::MAX, Ordering::Relaxed);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_due_once_by_its_messages_or_its_memory() {
        let when = RecycleWhen { above_bytes: Some(100), after_messages: Some(3) };
        let recycling = Recycling::new(when);
        assert!(!recycling.is_due(0, 200), "it has handled nothing");
        assert!(!recycling.is_due(2, 100));
        assert!(recycling.is_due(3, 100) && !recycling.is_due(4, 200));
        recycling.begin(4, 50);
        assert!(!recycling.is_due(4, 101), "it has handled nothing");
        assert!(recycling.is_due(5, 101) && !recycling.is_due(9, 101));
    }

    #[test]
    fn a_save_is_due_once_after_its_messages() {
        let saving = SaveAfter::new(3);
        assert!(!saving.is_due(2));
        assert!(saving.is_due(3) && !saving.is_due(9));
        saving.begin(9);
        assert!(!saving.is_due(11) && saving.is_due(12));
    }

    #[test]
    fn an_instance_that_begins_large_is_left_alone_for_a_while() {
        let recycling =
            Recycling::new(RecycleWhen { above_bytes: Some(100), after_messages: None });
        recycling.begin(0, 101);
        assert!(!recycling.is_due(PATIENCE - 1, 101) && recycling.is_due(PATIENCE, 101));
    }
}
