//! JSON documents, and errors that name the document, the place and the nearest known key.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use thiserror::Error;

use crate::core::id::shorten;

/// The least similarity (0 to 1) of an unknown key to a known one that suggests a misspelling.
const ALIKE: f64 = 0.5;

/// The longest key compared. Longer ones are no misspellings, and comparing them would be costly.
const MAX_COMPARED_BYTES: usize = 64;

/// An error in a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// The document is not JSON.
    #[error("{document}: {reason}")]
    Syntax {
        /// The document.
        document: &'static str,
        /// The parser's message, with line and column.
        reason: String,
    },
    /// An unknown key.
    #[error("{place}: unknown key {key:?}{}", suggestion(.nearest, .known))]
    UnknownKey {
        /// The object that contains it.
        place: String,
        /// The key.
        key: String,
        /// The most similar known key, if any.
        nearest: Option<&'static str>,
        /// All known keys.
        known: &'static [&'static str],
    },
    /// A value of the wrong type.
    #[error("{place}: {expected} expected, {found} found")]
    WrongType {
        /// The place of the value.
        place: String,
        /// The allowed values.
        expected: String,
        /// The type found.
        found: &'static str,
    },
    /// A value of the right type that is not allowed.
    #[error("{place}: {value} is not allowed, {expected} expected")]
    OutOfRange {
        /// The place of the value.
        place: String,
        /// The value.
        value: String,
        /// The allowed values.
        expected: String,
    },
    /// A value that needs a file descriptor when none is left.
    #[error("{place}: {reason}")]
    NoDescriptor {
        /// The place of the value.
        place: String,
        /// The shortage and the remedy.
        reason: String,
    },
    /// An invalid value.
    #[error("{place}: {reason}")]
    Invalid {
        /// The place of the value.
        place: String,
        /// The problem.
        reason: String,
    },
}

impl OptionsError {
    /// Returns the same error at another place.
    pub fn at(mut self, new: String) -> Self {
        match &mut self {
            Self::Syntax { .. } => {}
            Self::UnknownKey { place, .. }
            | Self::WrongType { place, .. }
            | Self::OutOfRange { place, .. }
            | Self::NoDescriptor { place, .. }
            | Self::Invalid { place, .. } => *place = new,
        }
        self
    }
}

fn suggestion(nearest: &Option<&'static str>, known: &[&str]) -> String {
    match nearest {
        Some(nearest) => format!(", did you mean {nearest:?}?"),
        None => format!(", known are {}", known.join(", ")),
    }
}

/// Parses a document whose root must be an object.
pub fn parse(document: &'static str, text: &str) -> Result<Value, OptionsError> {
    let Unique(value) = serde_json::from_str(text)
        .map_err(|error| OptionsError::Syntax { document, reason: error.to_string() })?;
    if !value.is_object() {
        return Err(wrong_type(document.to_owned(), "an object", &value));
    }
    Ok(value)
}

/// A value without duplicate keys: one of the two would be silently dropped, possibly the one that
/// refuses something.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("key {:?} twice", shorten(&key))));
            }
            let Unique(value) = members.next_value()?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// Returns the error for an unknown key, with an empty place.
pub fn unknown_key(key: &str, known: &'static [&'static str]) -> OptionsError {
    let (place, nearest) = (String::new(), nearest(key, known));
    OptionsError::UnknownKey { place, key: shorten(key), nearest, known }
}

/// Returns the error for an unknown name.
pub fn not_one_of(place: String, name: &str, known: &[&str]) -> OptionsError {
    OptionsError::OutOfRange {
        place,
        value: format!("{:?}", shorten(name)),
        expected: known.iter().map(|known| format!("{known:?}")).collect::<Vec<_>>().join(" or "),
    }
}

/// Returns the error for a value of the wrong type.
pub fn wrong_type(place: String, expected: impl Into<String>, found: &Value) -> OptionsError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    OptionsError::WrongType { place, expected: expected.into(), found }
}

fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    if key.len() > MAX_COMPARED_BYTES {
        return None;
    }
    known
        .iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(key, known), *known))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}
