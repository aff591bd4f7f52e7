//! A message that fits in the place of its own record, as `driver.wat` takes it.

use crate::core::id::CorrelationId;
use crate::core::message::MessageView;

/// The size of the record `component-message`, by the Canonical ABI, in words of 8 bytes.
pub const SMALL_WORDS: usize = 13;

/// What most messages fit in. Wasmtime lowers each word by itself, so that fewer take less time.
pub const TINY_WORDS: usize = 6;

/// The words of a small message, in a form that Wasmtime lowers without allocating.
pub type SmallMessage = (u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64);

/// The words of a tiny one.
pub type TinyMessage = (u64, u64, u64, u64, u64, u64);

const WORD: usize = size_of::<u64>();

/// In what a message is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As the record that it is.
    Whole,
    /// As a [`SmallMessage`].
    Small,
    /// As a [`TinyMessage`].
    Tiny,
}

/// What `driver.wat` is told of a message before it takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// In what it is given.
    pub form: Form,
    /// If that is not the record, how long the sender's three parts are, the payload, and the
    /// correlation id.
    pub lengths: [u8; 5],
    /// Whether a reply is wanted.
    pub wants_reply: bool,
}

impl Shape {
    /// The shape of `message`.
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

/// A message that is a small one: the time, and then its texts without a gap.
pub fn small(message: &MessageView<'_>) -> Option<SmallMessage> {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m] = words::<SMALL_WORDS>(message)?;
    Some((a, b, c, d, e, f, g, h, i, j, k, l, m))
}

/// The same of a message that is a tiny one.
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
