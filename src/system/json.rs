//! JSON documents, and errors that name the document, the place and the nearest known key.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use thiserror::Error;

use crate::core::id::shorten;

/// How alike (0 to 1) an unknown key must be to a known one to be taken for a misspelling.
const ALIKE: f64 = 0.5;

/// Longer keys are misspellings of none, and comparing takes time and memory in proportion.
const MAX_COMPARED_BYTES: usize = 64;

/// What is wrong with a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// It is no JSON.
    #[error("{document}: {reason}")]
    Syntax {
        /// Which document.
        document: &'static str,
        /// What the parser said, with line and column.
        reason: String,
    },
    /// A key that means nothing there.
    #[error("{place}: unknown key {key:?}{}", suggestion(.nearest, .known))]
    UnknownKey {
        /// The object that holds it.
        place: String,
        /// The key.
        key: String,
        /// The known key that is most like it.
        nearest: Option<&'static str>,
        /// All known keys.
        known: &'static [&'static str],
    },
    /// A value of the wrong type.
    #[error("{place}: {expected} expected, {found} found")]
    WrongType {
        /// Where it is.
        place: String,
        /// What is allowed.
        expected: String,
        /// What is there.
        found: &'static str,
    },
    /// A value of the right type that is not allowed.
    #[error("{place}: {value} is not allowed, {expected} expected")]
    OutOfRange {
        /// Where it is.
        place: String,
        /// The value.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// A value that the system has nothing for.
    #[error("{place}: {reason}")]
    NoDescriptor {
        /// Where it is.
        place: String,
        /// What the system is short of.
        reason: String,
    },
    /// A value that means nothing.
    #[error("{place}: {reason}")]
    Invalid {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl OptionsError {
    /// The same, at another place.
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

/// A value in which no object has a key twice: one of the two would be dropped without a word, and
/// it may be the one that refuses something.
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

/// A key that means nothing in an object; which object that is, is left open.
pub fn unknown_key(key: &str, known: &'static [&'static str]) -> OptionsError {
    let (place, nearest) = (String::new(), nearest(key, known));
    OptionsError::UnknownKey { place, key: shorten(key), nearest, known }
}

/// A name that is none of those that are known.
pub fn not_one_of(place: String, name: &str, known: &[&str]) -> OptionsError {
    OptionsError::OutOfRange {
        place,
        value: format!("{:?}", shorten(name)),
        expected: known.iter().map(|known| format!("{known:?}")).collect::<Vec<_>>().join(" or "),
    }
}

/// A value that is not what was expected.
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
