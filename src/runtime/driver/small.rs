//! A message that fits in the place of its own record, as `driver.wat` takes it.

use crate::core::id::CorrelationId;
use crate::core::message::MessageView;

/// The size of the record `component-message`, by the Canonical ABI, in words of 8 bytes.
pub const SMALL_WORDS: usize = 13;

const BYTES: usize = 8 * SMALL_WORDS;

/// Where the texts begin.
const TEXTS: usize = 20;

/// The words of a small message, in a form that Wasmtime lowers without allocating.
pub type SmallMessage = (u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64);

/// Whether a message is a small one.
pub fn fits(message: &MessageView<'_>) -> bool {
    let correlation = message.correlation.map_or(0, |_| size_of::<CorrelationId>() * 2);
    let texts = message.sender.as_str().len() - 2 + message.payload.len() + correlation;
    texts <= BYTES - TEXTS && message.content_type.is_none()
}

/// A message that [`fits`].
pub fn small(message: &MessageView<'_>) -> Option<SmallMessage> {
    let correlation = message.correlation.map(CorrelationId::text);
    let texts = [
        message.sender.namespace().as_bytes(),
        message.sender.name().as_bytes(),
        message.sender.instance().as_bytes(),
        message.payload,
        correlation.as_ref().map_or(&[], |text| text.as_str().as_bytes()),
    ];
    let mut bytes = [0; BYTES];
    let mut at = TEXTS;
    for (text, length) in texts.into_iter().zip(0..) {
        bytes.get_mut(at..at + text.len())?.copy_from_slice(text);
        bytes[length] = text.len() as u8;
        at += text.len();
    }
    bytes[5] = u8::from(message.reply_to.is_some());
    bytes[8..16].copy_from_slice(&message.accepted.seconds.to_le_bytes());
    bytes[16..20].copy_from_slice(&message.accepted.nanoseconds.to_le_bytes());
    let (words, _) = bytes.as_chunks();
    let word = |at: usize| words.get(at).map_or(0, |word| u64::from_le_bytes(*word));
    Some((
        word(0),
        word(1),
        word(2),
        word(3),
        word(4),
        word(5),
        word(6),
        word(7),
        word(8),
        word(9),
        word(10),
        word(11),
        word(12),
    ))
}
