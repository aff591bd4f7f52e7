//! Messages that fit in the space of their own record, as `driver.wat` takes them.

use crate::core::id::CorrelationId;
use crate::core::message::MessageView;

/// The size of the record `component-message` in the Canonical ABI, in words of 8 bytes.
pub const SMALL_WORDS: usize = 13;

/// Enough for most messages. Wasmtime lowers each word separately, so fewer words take less time.
pub const TINY_WORDS: usize = 6;

/// The words of a small message, in a form that Wasmtime lowers without allocating.
pub type SmallMessage = (u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64);

/// The words of a tiny message.
pub type TinyMessage = (u64, u64, u64, u64, u64, u64);

const WORD: usize = size_of::<u64>();

/// The form in which a message is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As its record.
    Whole,
    /// As a [`SmallMessage`].
    Small,
    /// As a [`TinyMessage`].
    Tiny,
}

/// What `driver.wat` learns about a message before taking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The form.
    pub form: Form,
    /// Unless the form is the record: the lengths of the sender's three parts, the payload, and the
    /// correlation id.
    pub lengths: [u8; 5],
    /// Whether the sender expects a reply.
    pub wants_reply: bool,
}

impl Shape {
    /// Returns the shape of `message`.
    pub fn of(message: &MessageView<'_>) -> Self {
        let sender = message.sender;
        let lengths = [
            sender.namespace().len(),
            sender.name().len(),
            sender.instance().len(),
            message.payload.len(),
            message.correlation.map_or(0, |_| size_of::<CorrelationId>() * 2),
        ];
        let words = 1 + lengths.iter().sum::<usize>().div_ceil(WORD);
        let untyped = message.content_type.is_none();
        let form = match words {
            ..=TINY_WORDS if untyped => Form::Tiny,
            ..=SMALL_WORDS if untyped => Form::Small,
            _ => Form::Whole,
        };
        let wants_reply = message.reply_to.is_some();
        Self { form, lengths: lengths.map(|length| length as u8), wants_reply }
    }
}

/// Encodes a small message: the time, followed by its texts without gaps.
pub fn small(message: &MessageView<'_>) -> Option<SmallMessage> {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m] = words::<SMALL_WORDS>(message)?;
    Some((a, b, c, d, e, f, g, h, i, j, k, l, m))
}

/// Encodes a tiny message likewise.
pub fn tiny(message: &MessageView<'_>) -> Option<TinyMessage> {
    let [a, b, c, d, e, f] = words::<TINY_WORDS>(message)?;
    Some((a, b, c, d, e, f))
}

fn words<const N: usize>(message: &MessageView<'_>) -> Option<[u64; N]> {
    let correlation = message.correlation.map(CorrelationId::text);
    let texts = [
        message.sender.namespace().as_bytes(),
        message.sender.name().as_bytes(),
        message.sender.instance().as_bytes(),
        message.payload,
        correlation.as_ref().map_or(&[], |text| text.as_str().as_bytes()),
    ];
    let mut bytes = [[0; WORD]; N];
    bytes[0] = message.accepted.word().to_le_bytes();
    let (mut at, flat) = (WORD, bytes.as_flattened_mut());
    for text in texts {
        flat.get_mut(at..at + text.len())?.copy_from_slice(text);
        at += text.len();
    }
    Some(bytes.map(u64::from_le_bytes))
}
