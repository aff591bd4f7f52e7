//! Patterns over segments: ids and paths (`/`), host names (`.`).

use std::ops::RangeInclusive;
use std::path::Path;

use thiserror::Error;

use crate::core::id::{IdRange, shorten};

/// The longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 4096;

/// A pattern in which `*` matches any characters within a segment, including none, and a segment
/// `**` matches any number of segments, including none. Everything else matches itself.
///
/// Matching takes at most time proportional to the length of the pattern times the length of the
/// text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    separator: char,
    segments: Box<[Segment]>,
    /// The literal beginning of every match, which rules out most texts.
    start: Box<str>,
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidPattern {
    #[error("a pattern must not be empty")]
    Empty,
    #[error("a pattern has at most {MAX_PATTERN_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    #[error("{0:?}: \"**\" must be a segment of its own")]
    PartOfSegment(String),
    #[error("{0:?}: a pattern must not contain {1:?}")]
    Control(String, char),
    #[error("{0:?} can match no component id; ids are namespace/name/instance")]
    NoId(String),
    #[error(
        "{0:?} can match no storage namespace; namespaces are ids, and namespace/name of those that \
         are shared"
    )]
    NoNamespace(String),
    #[error(
        "{0:?} is neither a host name (ASCII, with wildcards) nor an address, addr/bits or \"*\""
    )]
    NoHost(String),
    #[error("{0:?}: a port is a number from 1 to 65535, or \"*\"")]
    NoPort(String),
    #[error(
        "{0:?} can match no function: write \"ns:package/interface#function\", \"ns:package/interface#*\" \
         or \"ns:package/*\", without a version"
    )]
    NoFunction(String),
    #[error("{0:?} can match no path: paths are absolute, without empty segments, \".\" or \"..\"")]
    NoPath(String),
    #[error("{0:?}: this action has a single resource, written \"**\"")]
    OnlyOne(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    /// `*`.
    Any,
    /// `**`.
    AnyNumber,
    /// At least one `*` among other characters: the parts between them.
    Glob {
        start: Box<str>,
        middle: Box<[Box<str>]>,
        end: Box<str>,
    },
}

impl Pattern {
    /// Compiles a pattern over ids or paths.
    pub fn compile(text: &str) -> Result<Self, InvalidPattern> {
        Self::separated(text, '/')
    }

    /// Compiles a pattern over component ids.
    pub fn for_ids(text: &str) -> Result<Self, InvalidPattern> {
        Self::of_parts(text, 3..=3)?.ok_or_else(|| InvalidPattern::NoId(shorten(text)))
    }

    /// Compiles a pattern over storage namespaces: component ids, and `namespace/name` of those that
    /// components share.
    pub fn for_namespaces(text: &str) -> Result<Self, InvalidPattern> {
        Self::of_parts(text, 2..=3)?.ok_or_else(|| InvalidPattern::NoNamespace(shorten(text)))
    }

    /// Compiles a pattern over functions of interfaces, `namespace:package/interface#function`.
    pub fn for_functions(text: &str) -> Result<Self, InvalidPattern> {
        let names_one = text.rsplit('/').next().is_some_and(|last| last.contains(['#', '*']));
        let has_version = text.contains('@');
        let pattern = Self::of_parts(text, 2..=2)?.filter(|_| names_one && !has_version);
        pattern.ok_or_else(|| InvalidPattern::NoFunction(shorten(text)))
    }

    /// Compiles a pattern, or returns `None` if it matches no text of so many parts.
    fn of_parts(text: &str, parts: RangeInclusive<usize>) -> Result<Option<Self>, InvalidPattern> {
        let pattern = Self::compile(text)?;
        let numbered = pattern.segments.iter().filter(|s| **s != Segment::AnyNumber).count();
        let open = numbered < pattern.segments.len();
        let empty =
            |segment: &Segment| matches!(segment, Segment::Literal(text) if text.is_empty());
        let too_few = numbered < *parts.start() && !open;
        let possible = !too_few && numbered <= *parts.end();
        Ok((possible && !pattern.segments.iter().any(empty)).then_some(pattern))
    }

    /// Compiles a pattern over absolute paths.
    pub fn for_paths(text: &str) -> Result<Self, InvalidPattern> {
        let pattern = Self::compile(text)?;
        let absolute = Path::new(text).is_absolute() || text.starts_with('*');
        let names = text.strip_prefix('/').unwrap_or(text);
        let detour = |name: &str| matches!(name, "" | "." | "..");
        if !absolute || (names.split('/').any(detour) && text != "/") {
            return Err(InvalidPattern::NoPath(shorten(text)));
        }
        Ok(pattern)
    }

    /// Compiles a pattern over segments separated by `separator`.
    pub fn separated(text: &str, separator: char) -> Result<Self, InvalidPattern> {
        if text.is_empty() {
            return Err(InvalidPattern::Empty);
        }
        if text.len() > MAX_PATTERN_BYTES {
            return Err(InvalidPattern::TooLong(text.len()));
        }
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            return Err(InvalidPattern::Control(shorten(text), control));
        }
        let segments: Option<Box<[_]>> = text.split(separator).map(Segment::compile).collect();
        let segments = segments.ok_or_else(|| InvalidPattern::PartOfSegment(shorten(text)))?;
        let literal = text.split('*').next().unwrap_or_default();
        let start = literal.strip_suffix(separator).unwrap_or(literal).into();
        Ok(Self { separator, segments, start })
    }

    /// Returns a range that contains every matching id.
    pub fn id_range(&self) -> IdRange {
        let literal = |segment: &Segment| match segment {
            Segment::Literal(text) => Some(text.clone()),
            _ => None,
        };
        let literals: Vec<_> = self.segments.iter().map_while(literal).collect();
        // An id has three parts; a `**` after them matches nothing.
        if literals.len() >= 3 {
            return IdRange::One(literals[..3].join("/").into());
        }
        let mut prefix: String = literals.iter().flat_map(|literal| [literal, "/"]).collect();
        if let Some(Segment::Glob { start, .. }) = self.segments.get(literals.len()) {
            prefix.push_str(start);
        }
        IdRange::Prefix(prefix.into())
    }

    /// Returns whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        if !text.starts_with(&*self.start) {
            return false;
        }
        let mut segments = &self.segments[..];
        let mut rest = Some(text);
        // The state after the last `**`: the following segments, and the text that they were tried
        // on.
        let mut retry: Option<(&[Segment], Option<&str>)> = None;
        loop {
            match segments.split_first() {
                Some((Segment::AnyNumber, behind)) => {
                    if behind.is_empty() {
                        return true;
                    }
                    retry = Some((behind, rest));
                    segments = behind;
                    continue;
                }
                Some((segment, behind)) => {
                    if let Some((first, others)) = rest.map(|rest| self.first_segment(rest))
                        && segment.matches(first)
                    {
                        (segments, rest) = (behind, others);
                        continue;
                    }
                }
                None if rest.is_none() => return true,
                None => {}
            }
            // Only the last `**` needs to take more: everything before it has matched already.
            let Some((behind, Some(tried))) = retry else { return false };
            let (_, shorter) = self.first_segment(tried);
            (segments, rest) = (behind, shorter);
            retry = Some((behind, shorter));
        }
    }

    fn first_segment<'a>(&self, text: &'a str) -> (&'a str, Option<&'a str>) {
        match text.split_once(self.separator) {
            Some((first, rest)) => (first, Some(rest)),
            None => (text, None),
        }
    }
}

impl Segment {
    fn compile(text: &str) -> Option<Self> {
        match text {
            "*" => return Some(Self::Any),
            "**" => return Some(Self::AnyNumber),
            text if text.contains("**") => return None,
            _ => {}
        }
        let mut parts: Vec<Box<str>> = text.split('*').map(Into::into).collect();
        let (Some(end), false) = (parts.pop(), parts.is_empty()) else {
            return Some(Self::Literal(text.into()));
        };
        let start = parts.remove(0);
        Some(Self::Glob { start, middle: parts.into(), end })
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *text,
            Self::Any | Self::AnyNumber => true,
            Self::Glob { start, middle, end } => {
                let Some(mut rest) =
                    text.strip_prefix(&**start).and_then(|rest| rest.strip_suffix(&**end))
                else {
                    return false;
                };
                // Taking each part at its earliest position leaves the most text for the others.
                middle.iter().all(|part| match rest.find(&**part) {
                    Some(at) => {
                        rest = &rest[at + part.len()..];
                        true
                    }
                    None => false,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::compile(pattern).unwrap().matches(text)
    }

    #[test]
    fn a_star_stays_within_its_segment_and_two_cross_them() {
        for (pattern, text) in [
            ("app/db/0", "app/db/0"),
            ("app/*/0", "app/db/0"),
            ("app/d*b*/0", "app/dbb/0"),
            ("app/*b/*", "app/db/0"),
            ("**", "app/db/0"),
            ("app/**", "app/db/0"),
            ("app/**", "app"),
            ("**/0", "0"),
            ("**/0", "app/db/0"),
            ("a/**/z", "a/z"),
            ("a/**/m/**/z", "a/b/m/c/m/d/z"),
            ("/data/**", "/data"),
            ("*ab*ba*", "abba"),
        ] {
            assert!(matches(pattern, text), "{pattern} on {text}");
        }
        for (pattern, text) in [
            ("app/db/0", "app/db/00"),
            ("app/*", "app/db/0"),
            ("app/**", "apps/db/0"),
            ("app/**", "app2"),
            ("*", "a/b"),
            ("*ab*ba*", "aba"),
            ("a/**/z", "a/z/y"),
            ("app/D*/0", "app/db/0"),
            ("", "x"),
        ]
        .into_iter()
        .filter(|(pattern, _)| !pattern.is_empty())
        {
            assert!(!matches(pattern, text), "{pattern} on {text}");
        }
    }

    #[test]
    fn a_malformed_pattern_says_why() {
        assert_eq!(Pattern::compile(""), Err(InvalidPattern::Empty));
        for text in ["a**", "**a/b", "***", "a/b**c"] {
            let error = Pattern::compile(text).unwrap_err();
            assert!(matches!(error, InvalidPattern::PartOfSegment(_)), "{text}: {error}");
        }
        let long = "a".repeat(MAX_PATTERN_BYTES + 1);
        assert_eq!(Pattern::compile(&long), Err(InvalidPattern::TooLong(long.len())));
        assert!(matches!(Pattern::compile("a\0b"), Err(InvalidPattern::Control(_, '\0'))));
        for text in ["app", "app/db", "app/*", "a/b/c/d", "a//c", "a/b/c/d/**"] {
            let error = Pattern::for_ids(text).unwrap_err();
            assert!(matches!(error, InvalidPattern::NoId(_)), "{text}: {error}");
        }
        for text in ["app/db/0", "*/*/*", "**", "app/**", "**/0", "a/b/c/**"] {
            assert!(Pattern::for_ids(text).is_ok(), "{text}");
            assert!(Pattern::for_namespaces(text).is_ok(), "{text}");
        }
        for text in ["app/db", "app/*", "a/b/**"] {
            assert!(Pattern::for_namespaces(text).is_ok(), "{text}");
        }
        for text in ["app", "*", "a/b/c/d", "a//c", "a/"] {
            let error = Pattern::for_namespaces(text).unwrap_err();
            assert!(matches!(error, InvalidPattern::NoNamespace(_)), "{text}: {error}");
        }
    }

    #[test]
    fn hostile_patterns_match_in_bounded_time() {
        // With backtracking over every `*` this would never finish.
        let (stars, deep) = ("*a".repeat(1500), "**/a*b/".repeat(500));
        let text = "a".repeat(4000);
        assert!(!matches(&format!("{stars}b"), &text));
        assert!(!matches(&format!("{deep}z"), &"ab/".repeat(4000)));
    }

    /// Tries every combination of segments and characters.
    fn naive(pattern: &[&str], text: &[&str]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((&"**", behind)), rest) => {
                naive(behind, text) || rest.is_some_and(|(_, others)| naive(pattern, others))
            }
            (Some(_), None) => false,
            (Some((segment, behind)), Some((first, others))) => {
                naive_segment(segment.as_bytes(), first.as_bytes()) && naive(behind, others)
            }
        }
    }

    fn naive_segment(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((b'*', behind)), rest) => {
                naive_segment(behind, text)
                    || rest.is_some_and(|(_, others)| naive_segment(pattern, others))
            }
            (Some(_), None) => false,
            (Some((byte, behind)), Some((first, others))) => {
                byte == first && naive_segment(behind, others)
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_agrees_with_a_naive_matcher(
            pattern in prop::collection::vec("\\*\\*|[ab*]{0,5}", 1..6),
            text in prop::collection::vec("[ab]{0,4}", 1..6),
        ) {
            let (pattern, text) = (pattern.join("/"), text.join("/"));
            if let Ok(compiled) = Pattern::compile(&pattern) {
                let expected = naive(
                    &pattern.split('/').collect::<Vec<_>>(),
                    &text.split('/').collect::<Vec<_>>(),
                );
                prop_assert_eq!(compiled.matches(&text), expected, "{} on {}", pattern, text);
            }
        }
    }
}
