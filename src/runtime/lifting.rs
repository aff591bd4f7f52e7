//! Texts from a guest, read only up to a bound.
//!
//! Wasmtime's own types read a text whole, whatever its length, and from an encoding other than
//! UTF-8 that makes a copy of up to three times its size. The types here know the length first.
//! Like Wasmtime's, they all count a text against the data that a component may pass to the host in
//! one call.

use std::borrow::Cow;

use thiserror::Error;
use wasmtime::component::__internal::wasmtime_environ::component::StringEncoding;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift, WasmStr};
use wasmtime::{StoreContext, ValRaw};

/// The bit of a length that marks UTF-16 in `latin1+utf16`.
const UTF16_TAG: u32 = 1 << 31;

/// A text of at most `MAX` code units, left in the guest's memory until it is read. A code unit
/// takes one to three bytes in UTF-8.
pub struct ShortText<const MAX: usize> {
    text: WasmStr,
    length: Length,
}

/// A text longer than the host reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// The size in the guest's memory, in bytes.
    pub bytes: usize,
}

/// An [`Excerpt`] as one text: a truncated one ends in a mark and the full length. No larger than a
/// `String`, because results are moved often.
pub struct CutText<const MAX: usize>(String);

/// A [`CutText`] that is an argument of a host function: malformed text is an error when it is read, so
/// that the error can name the argument.
pub struct ArgumentText<const MAX: usize>(Result<String, Box<str>>);

/// Malformed text from a guest. As in the Canonical ABI, it is a trap.
#[derive(Debug, Error)]
#[error("`{function}` was called with a `{argument}` that is not text: {reason}")]
pub struct NotText {
    function: &'static str,
    argument: &'static str,
    reason: Box<str>,
}

impl NotText {
    fn new(argument: &'static str, reason: Box<str>) -> Self {
        Self { function: "a host function", argument, reason }
    }

    /// Returns the error with the name of the function, if it is this one.
    pub fn named(error: wasmtime::Error, function: &'static str) -> wasmtime::Error {
        match error.downcast::<Self>() {
            Ok(error) => Self { function, ..error }.into(),
            Err(error) => error,
        }
    }
}

/// The length of a text in the guest's encoding.
#[derive(Debug, Clone, Copy)]
struct Length {
    units: usize,
    unit_bytes: usize,
}

impl Length {
    fn bytes(self) -> usize {
        self.units.saturating_mul(self.unit_bytes)
    }
}

/// The beginning of a text, at most `MAX` bytes of UTF-8, and the full length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt<const MAX: usize> {
    beginning: String,
    /// The full size in the guest's memory, if the text was truncated.
    cut_from: Option<usize>,
}

impl<const MAX: usize> ShortText<MAX> {
    /// Returns the size in the guest's memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.length.bytes()
    }

    /// Reads the text, or returns its length if it is too long. Malformed text is a [`NotText`] of this
    /// argument.
    pub fn read<'a, T: 'static>(
        &self,
        store: impl Into<StoreContext<'a, T>>,
        argument: &'static str,
    ) -> wasmtime::Result<Result<Cow<'a, str>, TooLong>> {
        if self.length.units > MAX {
            return Ok(Err(TooLong { bytes: self.length.bytes() }));
        }
        let text = self.text.to_str(store);
        let not_text = |error: wasmtime::Error| {
            NotText::new(argument, error.root_cause().to_string().into()).into()
        };
        text.map(Ok).map_err(not_text)
    }
}

impl<const MAX: usize> ArgumentText<MAX> {
    /// Returns the text. Malformed text is a [`NotText`] of this argument.
    pub fn read(self, argument: &'static str) -> wasmtime::Result<String> {
        self.0.map_err(|reason| NotText::new(argument, reason).into())
    }
}

impl<const MAX: usize> Excerpt<MAX> {
    /// Returns the text if it was not truncated.
    pub fn whole(self) -> Result<String, TooLong> {
        match self.cut_from {
            None => Ok(self.beginning),
            Some(bytes) => Err(TooLong { bytes }),
        }
    }
}

impl<const MAX: usize> From<Excerpt<MAX>> for CutText<MAX> {
    fn from(excerpt: Excerpt<MAX>) -> Self {
        let Excerpt { beginning, cut_from } = excerpt;
        Self(match cut_from {
            None => beginning,
            Some(bytes) => format!("{beginning}… ({bytes} bytes)"),
        })
    }
}

impl<const MAX: usize> From<CutText<MAX>> for String {
    fn from(text: CutText<MAX>) -> Self {
        text.0
    }
}

/// The range of a text in the guest's memory, already checked by Wasmtime.
#[derive(Clone, Copy)]
struct Range {
    at: usize,
    /// As given by the guest, tag included.
    length: u32,
}

impl Range {
    fn from_flat([at, length]: &[ValRaw; 2]) -> Self {
        Self { at: at.get_u32() as usize, length: length.get_u32() }
    }

    fn from_memory(bytes: &[u8]) -> wasmtime::Result<Self> {
        let (at, length) = bytes.split_at(4);
        Ok(Self {
            at: u32::from_le_bytes(at.try_into()?) as usize,
            length: u32::from_le_bytes(length.try_into()?),
        })
    }

    fn is_tagged(self, encoding: StringEncoding) -> bool {
        encoding == StringEncoding::CompactUtf16 && self.length & UTF16_TAG != 0
    }

    fn length(self, encoding: StringEncoding) -> Length {
        let (units, unit_bytes) = match encoding {
            StringEncoding::Utf8 => (self.length, 1),
            StringEncoding::Utf16 => (self.length, 2),
            StringEncoding::CompactUtf16 if self.is_tagged(encoding) => {
                (self.length & !UTF16_TAG, 2)
            }
            StringEncoding::CompactUtf16 => (self.length, 1),
        };
        Length { units: units as usize, unit_bytes }
    }

    fn excerpt<const MAX: usize>(self, cx: &LiftContext<'_>) -> wasmtime::Result<Excerpt<MAX>> {
        let encoding = cx.options().string_encoding;
        let Length { units, unit_bytes } = self.length(encoding);
        // One character more than fits in `MAX` bytes shows whether the text is longer.
        let read = units.min(MAX + char::MAX.len_utf8());
        let memory = cx.memory();
        let bytes = memory.get(self.at..self.at + read * unit_bytes).unwrap_or_default();
        let text = match encoding {
            StringEncoding::Utf8 => utf8(bytes, read == units)?.to_owned(),
            StringEncoding::CompactUtf16 if !self.is_tagged(encoding) => {
                bytes.iter().map(|byte| char::from(*byte)).collect()
            }
            StringEncoding::Utf16 | StringEncoding::CompactUtf16 => utf16(bytes, read == units)?,
        };
        if read == units && text.len() <= MAX {
            return Ok(Excerpt { beginning: text, cut_from: None });
        }
        let mut beginning = text;
        beginning.truncate(beginning.floor_char_boundary(MAX));
        Ok(Excerpt { beginning, cut_from: Some(units * unit_bytes) })
    }
}

/// Returns a text from its place and its length, as the guest gives them, in the guest's encoding.
pub fn text_in_memory<'a>(
    cx: &LiftContext<'a>,
    at: usize,
    length: u32,
) -> wasmtime::Result<Cow<'a, str>> {
    let encoding = cx.options().string_encoding;
    let range = Range { at, length };
    let Length { units, unit_bytes } = range.length(encoding);
    let end = units.checked_mul(unit_bytes).and_then(|bytes| at.checked_add(bytes));
    let bytes = end.and_then(|end| cx.memory().get(at..end));
    let bytes =
        bytes.ok_or_else(|| wasmtime::format_err!("a string out of the bounds of memory"))?;
    if !at.is_multiple_of(unit_bytes) {
        wasmtime::bail!("a string that is not aligned to {unit_bytes} bytes");
    }
    Ok(match encoding {
        StringEncoding::Utf8 => Cow::Borrowed(utf8(bytes, true)?),
        StringEncoding::CompactUtf16 if !range.is_tagged(encoding) => {
            bytes.iter().map(|byte| char::from(*byte)).collect()
        }
        StringEncoding::Utf16 | StringEncoding::CompactUtf16 => utf16(bytes, true)?.into(),
    })
}

/// Decodes UTF-8. Unless `is_whole`, the last character may be incomplete.
fn utf8(bytes: &[u8], is_whole: bool) -> wasmtime::Result<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) if !is_whole && error.error_len().is_none() => {
            Ok(std::str::from_utf8(&bytes[..error.valid_up_to()])?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Decodes UTF-16, likewise.
fn utf16(bytes: &[u8], is_whole: bool) -> wasmtime::Result<String> {
    let (units, _) = bytes.as_chunks::<2>();
    let mut units = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect::<Vec<_>>();
    if !is_whole {
        units.pop_if(|last| (0xd800..0xdc00).contains(last));
    }
    Ok(String::from_utf16(&units)?)
}

macro_rules! lift_as_text {
    ($type:ident, |$cx:ident, $text:ident, $range:ident| $lift:expr) => {
        // SAFETY: representation, layout and type check are those of `WasmStr`, the component
        // model's string.
        #[expect(unsafe_code, reason = "Wasmtime's traits for types of the component model")]
        unsafe impl<const MAX: usize> ComponentType for $type<MAX> {
            type Lower = <WasmStr as ComponentType>::Lower;

            const ABI: CanonicalAbiInfo = WasmStr::ABI;

            fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
                WasmStr::typecheck(ty, types)
            }
        }

        // SAFETY: `WasmStr` checks that the text is within the guest's memory; the same range is
        // read here, with checked slices.
        #[expect(unsafe_code, reason = "Wasmtime's traits for types of the component model")]
        unsafe impl<const MAX: usize> Lift for $type<MAX> {
            fn linear_lift_from_flat(
                $cx: &mut LiftContext<'_>,
                ty: InterfaceType,
                source: &Self::Lower,
            ) -> wasmtime::Result<Self> {
                let $text = WasmStr::linear_lift_from_flat($cx, ty, source)?;
                let $range = Range::from_flat(source);
                $lift
            }

            fn linear_lift_from_memory(
                $cx: &mut LiftContext<'_>,
                ty: InterfaceType,
                bytes: &[u8],
            ) -> wasmtime::Result<Self> {
                let $text = WasmStr::linear_lift_from_memory($cx, ty, bytes)?;
                let $range = Range::from_memory(bytes)?;
                $lift
            }
        }
    };
}

lift_as_text!(ShortText, |cx, text, range| {
    let length = range.length(cx.options().string_encoding);
    Ok(Self { text, length })
});

lift_as_text!(Excerpt, |cx, _text, range| range.excerpt(cx));

lift_as_text!(CutText, |cx, _text, range| range.excerpt::<MAX>(cx).map(Self::from));

lift_as_text!(ArgumentText, |cx, _text, range| {
    let text = range.excerpt::<MAX>(cx).map(CutText::from).map(String::from);
    Ok(Self(text.map_err(|error| error.root_cause().to_string().into())))
});
