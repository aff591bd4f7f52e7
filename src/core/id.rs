//! Ids of components and requests.

use std::fmt;
use std::num::NonZeroU64;

use thiserror::Error;

/// The most bytes in one part of a component id.
pub const MAX_PART_BYTES: usize = 255;

/// The most characters of an invalid text that an error quotes.
const SHOWN_CHARS: usize = 64;

/// A component's id: `namespace/name/instance`.
///
/// Each part is 1 to [`MAX_PART_BYTES`] bytes of UTF-8 without control characters and without `/`
/// and `*` (which separate ids and form patterns). No part is `.` or `..`, so a storage backend may
/// use an id as a path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId {
    text: Box<str>,
    name_at: u32,
    instance_at: u32,
}

/// Why a text is not a component id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("component id {shown:?}: {reason}")]
pub struct InvalidId {
    shown: String,
    reason: String,
}

impl InvalidId {
    fn new(text: &str, reason: impl Into<String>) -> Self {
        Self { shown: shorten(text), reason: reason.into() }
    }
}

impl InvalidId {
    /// Creates the error for a part whose length alone rules it out, without looking at its bytes.
    pub fn too_long(which: &str, bytes: usize) -> Self {
        let reason = format!("the {which} has {bytes} bytes, at most {MAX_PART_BYTES} are allowed");
        Self { shown: "…".into(), reason }
    }
}

/// Returns the first characters of `text`, with a mark and the length if it was cut.
pub fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

impl ComponentId {
    /// Builds an id from its parts.
    pub fn new(namespace: &str, name: &str, instance: &str) -> Result<Self, InvalidId> {
        for (which, part) in [("namespace", namespace), ("name", name), ("instance", instance)] {
            check_part(part).map_err(|reason| {
                InvalidId::new(
                    &format!("{namespace}/{name}/{instance}"),
                    format!("the {which} {reason}"),
                )
            })?;
        }
        Ok(Self {
            text: format!("{namespace}/{name}/{instance}").into(),
            name_at: namespace.len() as u32 + 1,
            instance_at: (namespace.len() + name.len()) as u32 + 2,
        })
    }

    /// Parses `namespace/name/instance`.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let mut parts = text.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(name), Some(instance), None) => {
                Self::new(namespace, name, instance)
            }
            _ => Err(InvalidId::new(
                text,
                format!(
                    "namespace/name/instance expected, {} part(s) found",
                    text.split('/').count()
                ),
            )),
        }
    }

    /// Returns a key for ordered maps that sorts before every id with the prefix `text` and after
    /// every lesser id. The key is not a valid id.
    pub fn place_of(text: &str) -> Self {
        Self { text: text.into(), name_at: 0, instance_at: 0 }
    }

    /// Returns the namespace.
    pub fn namespace(&self) -> &str {
        &self.text[..self.name_at as usize - 1]
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.text[self.name_at as usize..self.instance_at as usize - 1]
    }

    /// Returns the instance.
    pub fn instance(&self) -> &str {
        &self.text[self.instance_at as usize..]
    }

    /// Returns the whole id, `namespace/name/instance`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A set of ids, known by a prefix or exactly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdRange {
    /// Every id with this prefix.
    Prefix(Box<str>),
    /// This id only.
    One(Box<str>),
}

impl IdRange {
    /// Returns whether the range contains `id`.
    pub fn contains(&self, id: &str) -> bool {
        match self {
            Self::Prefix(prefix) => id.starts_with(&**prefix),
            Self::One(one) => **one == *id,
        }
    }

    /// Returns the lower bound of the range in the order of ids.
    pub fn start(&self) -> &str {
        let (Self::Prefix(start) | Self::One(start)) = self;
        start
    }

    /// Sorts ranges and drops those that another one contains.
    pub fn distinct(mut ranges: Vec<Self>) -> Vec<Self> {
        ranges.sort_unstable_by(|a, b| a.start().cmp(b.start()).then_with(|| a.cmp(b)));
        ranges.dedup_by(|range, kept| kept.contains(range.start()));
        ranges
    }
}

/// An id from a guest or a host, not yet validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawId<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
    /// The instance.
    pub instance: &'a str,
}

impl RawId<'_> {
    /// Validates the id.
    pub fn checked(&self) -> Result<ComponentId, InvalidId> {
        ComponentId::new(self.namespace, self.name, self.instance)
    }
}

impl PartialEq<RawId<'_>> for ComponentId {
    fn eq(&self, raw: &RawId<'_>) -> bool {
        // Ids differ most in the last part.
        self.instance() == raw.instance
            && self.name() == raw.name
            && self.namespace() == raw.namespace
    }
}

impl fmt::Display for RawId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.name, self.instance)
    }
}

/// Checks a part of an id; returns what is wrong with it.
pub fn check_part(part: &str) -> Result<(), String> {
    if part.is_empty() {
        return Err("is empty".into());
    }
    if part.len() > MAX_PART_BYTES {
        return Err(format!("has {} bytes, at most {MAX_PART_BYTES} are allowed", part.len()));
    }
    if part == "." || part == ".." {
        return Err(format!("must not be {part:?}"));
    }
    match part.chars().find(|c| c.is_control() || matches!(c, '/' | '*')) {
        Some(c) => Err(format!("must not contain {c:?}")),
        None => Ok(()),
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Identifies one loaded component. Never reused within an engine; 0 is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentHandle(pub u64);

impl fmt::Display for ComponentHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies one accepted request. Guests see its text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CorrelationId(pub NonZeroU64);

impl CorrelationId {
    /// Parses the output of [`fmt::Display`] and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = text.len() == 16
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !well_formed {
            return None;
        }
        u64::from_str_radix(text, 16).ok().and_then(Self::from_u64)
    }

    /// Returns `None` for 0, which is invalid.
    pub fn from_u64(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }

    /// Returns the text form, without an allocation.
    pub fn text(self) -> CorrelationText {
        let digit = |at: u32| b"0123456789abcdef"[(self.0.get() >> (60 - 4 * at)) as usize & 15];
        CorrelationText(std::array::from_fn(|at| digit(at as u32)))
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

/// The text of a [`CorrelationId`], 16 hexadecimal digits.
#[derive(Clone, Copy)]
pub struct CorrelationText([u8; 16]);

impl CorrelationText {
    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_survive_the_round_trip() {
        let id = ComponentId::parse("app/höher/0").unwrap();
        assert_eq!((id.namespace(), id.name(), id.instance()), ("app", "höher", "0"));
        assert_eq!(id.to_string(), "app/höher/0");
    }

    #[test]
    fn malformed_ids_say_what_is_wrong() {
        let long = "x".repeat(10_000);
        for (text, expected) in [
            ("", "1 part(s) found"),
            ("a/b", "2 part(s) found"),
            ("a/b/c/d", "4 part(s) found"),
            ("a//c", "the name is empty"),
            ("/b/c", "the namespace is empty"),
            ("a/b/", "the instance is empty"),
            ("a/b\0/c", "the name must not contain '\\0'"),
            ("a/*/c", "the name must not contain '*'"),
            ("../b/c", "the namespace must not be \"..\""),
            (&format!("a/{long}/c"), "has 10000 bytes"),
        ] {
            let error = ComponentId::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
            assert!(error.len() < 300, "{text:?}: an error repeats too much of its input");
        }
    }

    #[test]
    fn ranges_are_distinct() {
        let prefix = |text: &str| IdRange::Prefix(text.into());
        let one = |text: &str| IdRange::One(text.into());
        let ranges = vec![
            one("b/x/0"),
            prefix("app/w"),
            one("app/w/0"),
            prefix("app/"),
            one("b/x/0"),
            one("b/x/00"),
            one("app/x/1"),
            prefix("b/x/01"),
            one("a/b/c"),
        ];
        let distinct =
            [one("a/b/c"), prefix("app/"), one("b/x/0"), one("b/x/00"), prefix("b/x/01")];
        assert_eq!(IdRange::distinct(ranges), distinct);
        assert_eq!(IdRange::distinct(vec![one("a/b/c"), prefix("")]), [prefix("")]);
        assert_eq!(IdRange::distinct(vec![one("a/b/c"), prefix("a/b/c")]), [prefix("a/b/c")]);
    }

    #[test]
    fn correlation_ids_are_read_only_as_written() {
        let id = CorrelationId::from_u64(0xab).unwrap();
        assert_eq!(id.to_string(), "00000000000000ab");
        assert_eq!(CorrelationId::parse(&id.to_string()), Some(id));
        for text in [
            "",
            "ab",
            "00000000000000AB",
            "+0000000000000ab",
            "00000000000000ab0",
            "0000000000000000",
        ] {
            assert_eq!(CorrelationId::parse(text), None, "{text:?}");
        }
    }
}
