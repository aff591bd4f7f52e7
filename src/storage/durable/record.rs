//! How keys and values are written.
//!
//! A place is `namespace NUL key`: neither contains NUL. The place `namespace NUL` holds the usage
//! of the namespace, next to its first keys, so that a small change touches few pages.
//!
//! A record is `body [expiry] checksum flags`: the fixed part is at the end, so that a value becomes
//! a record without a copy. redb verifies the pages of a file only when it opens the file; the
//! checksum finds what is damaged later.

use crate::storage::backend::{UnixMillis, Usage};

/// Ends a namespace.
const SEPARATOR: u8 = 0;

/// The record has an expiry.
const HAS_EXPIRY: u8 = 1;

/// The value is in the table of large values.
const IS_LARGE: u8 = 2;

/// Larger values are kept apart, so that the pages of small ones stay small.
pub const MAX_INLINE_BYTES: usize = 16 << 10;

const CHECKSUM_BYTES: usize = size_of::<u32>();
const EXPIRY_BYTES: usize = size_of::<UnixMillis>();

/// Returns the place of a key; of the empty key, that of the usage.
pub fn place(namespace: &str, key: &str) -> Vec<u8> {
    let mut place = Vec::with_capacity(namespace.len() + 1 + key.len());
    place.extend_from_slice(namespace.as_bytes());
    place.push(SEPARATOR);
    place.extend_from_slice(key.as_bytes());
    place
}

/// Returns where the places of later namespaces begin.
pub fn behind(namespace: &str) -> Vec<u8> {
    let mut place = Vec::with_capacity(namespace.len() + 1);
    place.extend_from_slice(namespace.as_bytes());
    place.push(SEPARATOR + 1);
    place
}

/// Returns the namespace and the key at a place.
pub fn parts(place: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(place).ok()?.split_once(char::from(SEPARATOR))
}

/// The contents of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The value.
    pub body: Body<'a>,
    /// From this time on the key is missing.
    pub expires: Option<UnixMillis>,
}

/// The value of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// The value.
    Inline(&'a [u8]),
    /// The length and the checksum of a value in the table of large values.
    Large {
        /// The length in bytes.
        bytes: u64,
        /// The checksum.
        checksum: u32,
    },
}

impl Body<'_> {
    /// Returns the length of the value.
    pub fn value_bytes(&self) -> u64 {
        match self {
            Self::Inline(value) => value.len() as u64,
            Self::Large { bytes, .. } => *bytes,
        }
    }
}

impl Record<'_> {
    /// Returns whether the key is missing at a time.
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Returns the checksum of a large value.
pub fn checksum(value: &[u8]) -> u32 {
    crc32fast::hash(value)
}

/// Returns the record of a value at a place.
pub fn inline(place: &[u8], value: Vec<u8>, expires: Option<UnixMillis>) -> Vec<u8> {
    seal(place, value, expires, 0)
}

/// Returns the record that refers to a large value.
pub fn large(place: &[u8], value: &[u8], expires: Option<UnixMillis>) -> Vec<u8> {
    let mut body = (value.len() as u64).to_le_bytes().to_vec();
    body.extend_from_slice(&checksum(value).to_le_bytes());
    seal(place, body, expires, IS_LARGE)
}

fn seal(place: &[u8], mut record: Vec<u8>, expires: Option<UnixMillis>, mut flags: u8) -> Vec<u8> {
    record.reserve_exact(EXPIRY_BYTES + CHECKSUM_BYTES + 1);
    if let Some(expires) = expires {
        flags |= HAS_EXPIRY;
        record.extend_from_slice(&expires.to_le_bytes());
    }
    let sum = sum(place, &record, flags);
    record.extend_from_slice(&sum.to_le_bytes());
    record.push(flags);
    record
}

fn sum(place: &[u8], record: &[u8], flags: u8) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(place);
    sum.update(&[flags]);
    sum.update(record);
    sum.finalize()
}

/// Reads a record. Returns `None` if it is damaged.
pub fn read<'a>(place: &[u8], record: &'a [u8]) -> Option<Record<'a>> {
    let (&flags, rest) = record.split_last()?;
    let (summed, found) = rest.split_at_checked(rest.len().checked_sub(CHECKSUM_BYTES)?)?;
    if u32::from_le_bytes(found.try_into().ok()?) != sum(place, summed, flags) {
        return None;
    }
    let (body, expires) = match flags & HAS_EXPIRY {
        0 => (summed, None),
        _ => {
            let (body, expires) =
                summed.split_at_checked(summed.len().checked_sub(EXPIRY_BYTES)?)?;
            (body, Some(UnixMillis::from_le_bytes(expires.try_into().ok()?)))
        }
    };
    let body = match flags & !HAS_EXPIRY {
        0 => Body::Inline(body),
        IS_LARGE => {
            let (bytes, checksum) = body.split_at_checked(size_of::<u64>())?;
            Body::Large {
                bytes: u64::from_le_bytes(bytes.try_into().ok()?),
                checksum: u32::from_le_bytes(checksum.try_into().ok()?),
            }
        }
        _ => return None,
    };
    Some(Record { body, expires })
}

/// Returns the record of a usage.
pub fn of_usage(place: &[u8], usage: Usage) -> Vec<u8> {
    let mut body = usage.bytes.to_le_bytes().to_vec();
    body.extend_from_slice(&usage.keys.to_le_bytes());
    inline(place, body, None)
}

/// Reads the record of a usage. Returns `None` if it is damaged.
pub fn read_usage(place: &[u8], record: &[u8]) -> Option<Usage> {
    let Body::Inline(body) = read(place, record)?.body else { return None };
    let (bytes, keys) = body.split_at_checked(size_of::<u64>())?;
    Some(Usage {
        bytes: u64::from_le_bytes(bytes.try_into().ok()?),
        keys: u64::from_le_bytes(keys.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_each_changed_bit_is_found() {
        let at = place("app/a/0", "k");
        for expires in [None, Some(1), Some(UnixMillis::MAX)] {
            for value in [&b""[..], b"v", &[0; 300]] {
                let record = inline(&at, value.to_vec(), expires);
                assert_eq!(read(&at, &record), Some(Record { body: Body::Inline(value), expires }));
                assert_eq!(read(&place("app/a/0", "l"), &record), None, "of another key");
                for bit in 0..record.len() * 8 {
                    let mut damaged = record.clone();
                    damaged[bit / 8] ^= 1 << (bit % 8);
                    assert_eq!(read(&at, &damaged), None, "bit {bit}");
                }
                for len in 0..record.len() {
                    assert_eq!(read(&at, &record[..len]), None, "{len} bytes");
                }
                let bytes = value.len() as u64;
                let body = Body::Large { bytes, checksum: checksum(value) };
                let record = large(&at, value, expires);
                assert_eq!(read(&at, &record), Some(Record { body, expires }));
            }
        }
    }

    #[test]
    fn places_of_a_namespace_are_together_and_its_usage_is_first() {
        let mut sorted = vec![
            place("a/b/c", ""),
            place("a/b/c", "\u{1}"),
            place("a/b/c", "k"),
            behind("a/b/c"),
            place("a/b/c!", ""),
            place("a/b/c/d", "k"),
        ];
        let expected = sorted.clone();
        sorted.sort();
        assert_eq!(sorted, expected);
        assert_eq!(parts(&place("a/b/c", "k")), Some(("a/b/c", "k")));
    }
}
