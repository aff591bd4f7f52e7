//! Self-describing payloads: a code of the multicodec table
//! (<https://github.com/multiformats/multicodec>) as a prefix.
//!
//! The prefix is a convention between sender and receiver. Nothing here changes a payload, and mail
//! is checked only for receivers that declare codecs.

use std::fmt;

use thiserror::Error;
use unsigned_varint::{decode, encode};

use crate::core::id::shorten;

/// The longest unsigned varint that multiformats allow, in bytes; it holds 63 bits.
pub const MAX_PREFIX_BYTES: usize = 9;

/// The largest code that fits a prefix.
pub const MAX_CODE: u64 = (1 << 63) - 1;

/// Codes and names, by ascending code.
///
/// The entries of the multicodec table tagged `serialization`, and the general-purpose formats
/// among its `ipld` entries. Objects of a single system (blocks, transactions, keys, `git-raw`,
/// `torrent-info`, ...) are left out: no receiver asks for them, and `torrent-info` is 0x7b, the
/// `{` of a JSON text without a prefix.
const TABLE: [(u64, &str); 24] = [
    (0x50, "protobuf"),
    (0x51, "cbor"),
    (0x55, "raw"),
    (0x60, "rlp"),
    (0x63, "bencode"),
    (0x70, "dag-pb"),
    (0x71, "dag-cbor"),
    (0x85, "dag-jose"),
    (0x86, "dag-cose"),
    (0x0129, "dag-json"),
    (0x0200, "json"),
    (0x0201, "messagepack"),
    (0x0202, "car"),
    (0x0210, "x509-certificate"),
    (0x0300, "ipns-record"),
    (0x0400, "car-index-sorted"),
    (0x0401, "car-multihash-index-sorted"),
    (0x1208, "provenance-log"),
    (0x1209, "provenance-log-entry"),
    (0x120a, "provenance-log-script"),
    (0xb501, "ssz"),
    (0xb601, "json-jcs"),
    // Not in the multicodec table: "bi" and "bo" in ASCII, in its private use area (0x300000 to
    // 0x3fffff) and away from the low codes, which others are likely to use.
    (0x30_6269, "bincode"),
    (0x30_626f, "borsh"),
];

// `by_code` searches by bisection, and a set is a 32-bit mask.
const _: () = {
    assert!(TABLE.len() <= u32::BITS as usize);
    let mut index = 1;
    while index < TABLE.len() {
        assert!(TABLE[index - 1].0 < TABLE[index].0);
        index += 1;
    }
};

/// A serialization format with a code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Codec {
    /// Index into [`TABLE`].
    index: u8,
}

impl Codec {
    /// All codecs, by ascending code.
    pub const ALL: [Self; TABLE.len()] = {
        let mut all = [Self { index: 0 }; TABLE.len()];
        let mut index = 0;
        while index < all.len() {
            all[index].index = index as u8;
            index += 1;
        }
        all
    };

    /// Returns the codec with this name, spelt as in the multicodec table.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Returns the codec with this code.
    pub fn by_code(code: u64) -> Option<Self> {
        let index = TABLE.binary_search_by_key(&code, |(code, _)| *code).ok()?;
        Some(Self::ALL[index])
    }

    /// Returns the code.
    pub const fn code(self) -> u64 {
        TABLE[self.index as usize].0
    }

    /// Returns the name.
    pub const fn name(self) -> &'static str {
        TABLE[self.index as usize].1
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A code too large for a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("code {code:#x} is too large for a prefix; the largest is {MAX_CODE:#x}")]
pub struct CodeTooLarge {
    /// The code.
    pub code: u64,
}

/// Returns the prefix for a code, which need not be one of [`Codec::ALL`].
pub fn prefix(code: u64) -> Result<Vec<u8>, CodeTooLarge> {
    if code > MAX_CODE {
        return Err(CodeTooLarge { code });
    }
    Ok(encode::u64(code, &mut encode::u64_buffer()).to_vec())
}

/// Reads the code at the start of a payload, from any table, and returns it with the length of its
/// varint. Returns `None` unless the varint is complete, minimal, and at most [`MAX_PREFIX_BYTES`]
/// long.
pub fn read(payload: &[u8]) -> Option<(u64, usize)> {
    // The decoder would read a tenth byte and lose bits of it.
    let start = &payload[..payload.len().min(MAX_PREFIX_BYTES)];
    let (code, rest) = decode::u64(start).ok()?;
    Some((code, start.len() - rest.len()))
}

/// Returns the codec that a payload declares, or `None` if its prefix is not in [`Codec::ALL`].
pub fn codec_of(payload: &[u8]) -> Option<Codec> {
    read(payload).and_then(|(code, _)| Codec::by_code(code))
}

/// The codecs that a receiver accepts. An empty set accepts every payload, unchecked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodecSet {
    /// Bit n is `Codec::ALL[n]`.
    members: u32,
}

/// An unknown codec name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown codec {:?}; known codecs: {}", shorten(.name), listed(Codec::ALL))]
pub struct UnknownCodec {
    /// The name.
    pub name: String,
}

/// A payload that declares a codec its receiver does not accept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the payload is {found}; the receiver accepts {}", listed(.accepted.iter().copied()))]
pub struct UnsupportedCodec {
    /// The declared codec.
    pub found: Codec,
    /// The codecs of the receiver.
    pub accepted: Box<[Codec]>,
}

/// Joins names for an error's text.
fn listed(codecs: impl IntoIterator<Item = Codec>) -> String {
    codecs.into_iter().map(Codec::name).collect::<Vec<_>>().join(", ")
}

impl CodecSet {
    /// Builds a set from names as in [`Codec::by_name`]; duplicates are fine.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownCodec> {
        let mut members = 0;
        for name in names {
            let codec = Codec::by_name(name);
            let codec = codec.ok_or_else(|| UnknownCodec { name: name.to_owned() })?;
            members |= 1 << codec.index;
        }
        Ok(Self { members })
    }

    /// Returns whether the set is empty and so accepts everything.
    pub fn is_empty(self) -> bool {
        self.members == 0
    }

    /// Returns the names, by ascending code.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.codecs().map(Codec::name)
    }

    fn codecs(self) -> impl Iterator<Item = Codec> {
        Codec::ALL.into_iter().filter(move |codec| self.holds(*codec))
    }

    fn holds(self, codec: Codec) -> bool {
        self.members >> codec.index & 1 == 1
    }

    /// Refuses a payload that declares a codec outside this set. A payload without a code of
    /// [`Codec::ALL`] passes: it may have no prefix at all.
    ///
    /// A prefix is indistinguishable from data that begins with the same bytes (a text with `p`
    /// looks like `dag-pb`). Senders to a receiver with codecs should therefore prefix such data,
    /// with `raw` if nothing else fits. No JSON text begins like a prefix.
    #[inline]
    pub fn check(self, payload: &[u8]) -> Result<(), UnsupportedCodec> {
        if self.is_empty() {
            return Ok(());
        }
        match codec_of(payload) {
            Some(found) if !self.holds(found) => {
                Err(UnsupportedCodec { found, accepted: self.codecs().collect() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> CodecSet {
        CodecSet::from_names(names.iter().copied()).unwrap()
    }

    fn with_prefix(name: &str, payload: &[u8]) -> Vec<u8> {
        let codec = Codec::by_name(name).unwrap();
        [&prefix(codec.code()).unwrap(), payload].concat()
    }

    #[test]
    fn codecs_are_found_by_name_and_by_code() {
        for codec in Codec::ALL {
            assert_eq!(Codec::by_name(codec.name()), Some(codec));
            assert_eq!(Codec::by_code(codec.code()), Some(codec));
        }
        for name in ["", "JSON", "json ", "identity", "torrent-info"] {
            assert_eq!(Codec::by_name(name), None, "{name:?}");
        }
        for code in [0, 0x7b, 0x0203, 0x30_0000, MAX_CODE, u64::MAX] {
            assert_eq!(Codec::by_code(code), None, "{code:#x}");
        }
    }

    #[test]
    fn the_private_codes_are_in_the_area_for_them() {
        for name in ["bincode", "borsh"] {
            let code = Codec::by_name(name).unwrap().code();
            assert!((0x30_0000..=0x3f_ffff).contains(&code), "{name}");
        }
    }

    #[test]
    fn prefixes_are_read_as_written() {
        let examples: [(u64, &[u8]); 8] = [
            (0, &[0]),
            (0x55, &[0x55]),
            (0x7f, &[0x7f]),
            (0x80, &[0x80, 1]),
            (0x0129, &[0xa9, 2]),
            (0x0200, &[0x80, 4]),
            (0xb501, &[0x81, 0xea, 2]),
            (MAX_CODE, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ];
        for (code, bytes) in examples {
            assert_eq!(prefix(code).as_deref(), Ok(bytes), "{code:#x}");
            assert_eq!(read(bytes), Some((code, bytes.len())), "{code:#x}");
            let payload = [bytes, b"\x80\x04 and more"].concat();
            assert_eq!(read(&payload), Some((code, bytes.len())), "{code:#x}");
        }
        for shift in 0..63 {
            for code in [(1 << shift) - 1, 1 << shift] {
                let bytes = prefix(code).unwrap();
                assert!(bytes.len() <= MAX_PREFIX_BYTES);
                assert_eq!(read(&bytes), Some((code, bytes.len())), "{code:#x}");
            }
        }
    }

    #[test]
    fn codes_of_64_bits_have_no_prefix() {
        for code in [MAX_CODE + 1, u64::MAX] {
            assert_eq!(prefix(code), Err(CodeTooLarge { code }));
        }
        let error = prefix(u64::MAX).unwrap_err().to_string();
        assert!(error.contains("0xffffffffffffffff"), "{error}");
        assert!(error.contains("0x7fffffffffffffff"), "{error}");
    }

    #[test]
    fn only_minimal_varints_are_prefixes() {
        let not_minimal: [&[u8]; 4] =
            [&[0x80, 0], &[0xd5, 0], &[0x80, 0x84, 0], &[0xff, 0xff, 0xff, 0xff, 0xff, 0]];
        let truncated: [&[u8]; 4] = [&[], &[0x80], &[0x80, 0x84], &[0xff; 8]];
        let mut ten_bytes = [0xff; 10];
        ten_bytes[9] = 1;
        let too_long: [&[u8]; 4] = [&[0xff; 9], &ten_bytes, &[0xff; 10], &[0x80; 100]];
        for payload in [not_minimal, truncated, too_long].concat() {
            assert_eq!(read(payload), None, "{payload:x?}");
            assert_eq!(codec_of(payload), None, "{payload:x?}");
            assert_eq!(set(&["json"]).check(payload), Ok(()), "{payload:x?}");
        }
    }

    #[test]
    fn only_codes_of_the_table_name_a_codec() {
        assert_eq!(codec_of(&with_prefix("json", b"{}")), Codec::by_name("json"));
        assert_eq!(codec_of(&with_prefix("raw", b"")), Codec::by_name("raw"));
        assert_eq!(codec_of(&[0x80]), None);
        assert_eq!(codec_of(&[0x12, 0x20, 7]), None);
        assert_eq!(codec_of(&[0x80, 0x80, 0xc0, 1]), None, "an unknown code for private use");
    }

    #[test]
    fn an_empty_set_accepts_everything() {
        let empty = CodecSet::from_names([]).unwrap();
        assert!(empty.is_empty());
        assert_eq!(empty, CodecSet::default());
        assert_eq!(empty.names().count(), 0);
        for payload in [&b""[..], b"text", &with_prefix("messagepack", b"\x80")] {
            assert_eq!(empty.check(payload), Ok(()));
        }
    }

    #[test]
    fn a_set_accepts_what_it_holds() {
        let some = set(&["json", "cbor", "json"]);
        assert!(!some.is_empty());
        assert_eq!(some.names().collect::<Vec<_>>(), ["cbor", "json"]);
        assert_eq!(some.check(&with_prefix("json", b"{}")), Ok(()));
        assert_eq!(some.check(&with_prefix("cbor", b"")), Ok(()));
        let error = some.check(&with_prefix("messagepack", b"\x80")).unwrap_err();
        assert_eq!(error.found.name(), "messagepack");
        assert_eq!(
            error.to_string(),
            "the payload is messagepack; the receiver accepts cbor, json"
        );

        let all = CodecSet::from_names(Codec::ALL.map(Codec::name)).unwrap();
        for codec in Codec::ALL {
            let payload = with_prefix(codec.name(), b"payload");
            assert_eq!(all.check(&payload), Ok(()), "{codec}");
            assert_eq!(set(&[codec.name()]).check(&payload), Ok(()), "{codec}");
            assert_eq!(some.check(&payload).is_ok(), ["cbor", "json"].contains(&codec.name()));
        }
    }

    #[test]
    fn payloads_without_a_prefix_pass_a_set() {
        let some = set(&["cbor"]);
        let texts =
            ["", "{\"a\": 1}", "[1]", "\"text\"", "-1", "0.5", "42", "true", "false", "null"];
        for text in texts {
            for space in ["", " ", "\n", "\r\n", "\t"] {
                let payload = format!("{space}{text}");
                assert_eq!(some.check(payload.as_bytes()), Ok(()), "{payload:?}");
            }
        }
        // Digits included: no code of the table may ever be one of these bytes.
        for byte in *b"\t\n\r \"-0123456789[fnt{" {
            assert_eq!(codec_of(&[byte]), None, "{:?}", char::from(byte));
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = CodecSet::from_names(["json", "jsn"]).unwrap_err();
        assert_eq!(error, UnknownCodec { name: "jsn".into() });
        let text = error.to_string();
        assert!(
            text.starts_with("unknown codec \"jsn\"; known codecs: protobuf, cbor, raw, "),
            "{text}"
        );
        for codec in Codec::ALL {
            assert!(text.contains(codec.name()), "{codec} is missing in {text}");
        }
        let long = CodecSet::from_names([&*"x".repeat(10_000)]).unwrap_err().to_string();
        assert!(long.len() < 600, "{long}");
    }
}
