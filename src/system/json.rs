//! Reading options from JSON, with errors that name the document, the place and the nearest
//! known key.

use std::fmt;

use serde_core::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
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

/// One object of a document.
pub struct Object<'a> {
    place: String,
    entries: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// Takes a value as an object with no other keys than `known`.
    pub fn new(
        place: impl Into<String>,
        value: &'a Value,
        known: &'static [&'static str],
    ) -> Result<Self, OptionsError> {
        let place = place.into();
        let Value::Object(entries) = value else {
            return Err(wrong_type(place, "an object", value));
        };
        if let Some(key) = entries.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(OptionsError::UnknownKey {
                place,
                key: shorten(key),
                nearest: nearest(key, known),
                known,
            });
        }
        Ok(Self { place, entries })
    }

    /// A member; null counts as absent.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.entries.get(key).filter(|value| !value.is_null())
    }

    /// Whether there is such a member, null or not.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Where a member is, for errors.
    pub fn place(&self, key: &str) -> String {
        format!("{}.{key}", self.place)
    }

    /// A member that is an object.
    pub fn object(
        &self,
        key: &str,
        known: &'static [&'static str],
    ) -> Result<Option<Object<'a>>, OptionsError> {
        self.get(key).map(|value| Object::new(self.place(key), value, known)).transpose()
    }

    /// A member that is an integer within `range`.
    pub fn integer(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, OptionsError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let expected = || match *range.end() {
            u64::MAX => format!("an integer of at least {}", range.start()),
            end => format!("an integer from {} to {end}", range.start()),
        };
        match value {
            Value::Number(number) => match number.as_u64() {
                Some(number) if range.contains(&number) => Ok(Some(number)),
                _ => Err(OptionsError::OutOfRange {
                    place: self.place(key),
                    value: number.to_string(),
                    expected: expected(),
                }),
            },
            other => Err(wrong_type(self.place(key), expected(), other)),
        }
    }

    /// A member that is a boolean.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, OptionsError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// A member that is a string.
    pub fn string(&self, key: &str) -> Result<Option<&'a str>, OptionsError> {
        self.typed(key, "a string", Value::as_str)
    }

    /// A member that is a string and must be there.
    pub fn required(&self, key: &str) -> Result<&'a str, OptionsError> {
        self.string(key)?.ok_or_else(|| OptionsError::WrongType {
            place: self.place(key),
            expected: "a string".into(),
            found: "nothing",
        })
    }

    /// A member that is an object of strings, in the order of its keys.
    pub fn strings(&self, key: &str) -> Result<Vec<(String, String)>, OptionsError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let Value::Object(entries) = value else {
            return Err(wrong_type(self.place(key), "an object of strings", value));
        };
        entries
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => Ok((name.clone(), text.clone())),
                other => {
                    let place = format!("{}.{}", self.place(key), shorten(name));
                    Err(wrong_type(place, "a string", other))
                }
            })
            .collect()
    }

    /// A member that is an array of strings.
    pub fn texts(&self, key: &str) -> Result<Vec<&'a str>, OptionsError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let Value::Array(items) = value else {
            return Err(wrong_type(self.place(key), "an array of strings", value));
        };
        let text = |(at, item): (usize, &'a Value)| {
            let place = || format!("{}[{at}]", self.place(key));
            item.as_str().ok_or_else(|| wrong_type(place(), "a string", item))
        };
        items.iter().enumerate().map(text).collect()
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, OptionsError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| wrong_type(self.place(key), expected, value))
    }
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
