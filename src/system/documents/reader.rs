//! Deserializes a JSON value into the type of its document.

use std::vec;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Number, Value, map};
use thiserror::Error;

use crate::core::id::shorten;
use crate::system::json::{self, OptionsError};

/// Reads a document, or the part of one, at `place`.
pub fn read<T: DeserializeOwned>(place: &str, value: Value) -> Result<T, OptionsError> {
    T::deserialize(Node(value)).map_err(|error| error.at(place))
}

/// An error whose place is not yet complete.
#[derive(Debug, Error)]
#[error("{error}")]
struct Unplaced {
    error: OptionsError,
    /// The steps from the document to the error, last step first.
    path: Vec<String>,
}

impl Unplaced {
    fn within(mut self, step: String) -> Self {
        self.path.push(step);
        self
    }

    fn at(self, document: &str) -> OptionsError {
        let steps = self.path.iter().rev().map(String::as_str);
        self.error.at([document].into_iter().chain(steps).collect())
    }
}

impl From<OptionsError> for Unplaced {
    fn from(error: OptionsError) -> Self {
        Self { error, path: Vec::new() }
    }
}

/// The place stays empty until all of it is known.
impl de::Error for Unplaced {
    fn custom<T: std::fmt::Display>(reason: T) -> Self {
        OptionsError::Invalid { place: String::new(), reason: reason.to_string() }.into()
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "a boolean",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
            Unexpected::Str(_) => "a string",
            Unexpected::Seq => "an array",
            Unexpected::Map => "an object",
            _ => "null",
        };
        let expected = expected.to_string();
        OptionsError::WrongType { place: String::new(), expected, found }.into()
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let value = match found {
            Unexpected::Unsigned(number) => number.to_string(),
            Unexpected::Signed(number) => number.to_string(),
            Unexpected::Float(number) => {
                Number::from_f64(number).map_or_else(|| "null".into(), |number| number.to_string())
            }
            Unexpected::Str(text) => format!("{:?}", shorten(text)),
            other => other.to_string(),
        };
        let expected = expected.to_string();
        OptionsError::OutOfRange { place: String::new(), value, expected }.into()
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        json::not_one_of(String::new(), name, known).into()
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        json::unknown_key(key, known).into()
    }

    /// All required members are strings.
    fn missing_field(key: &'static str) -> Self {
        let (place, expected) = (String::new(), "a string".into());
        let error = OptionsError::WrongType { place, expected, found: "nothing" };
        Self::from(error).within(format!(".{key}"))
    }
}

/// A value to deserialize from. Unlike that of `serde_json`, it accepts no array for a struct and
/// no object for an enum, and its errors keep their parts.
struct Node(Value);

impl Node {
    fn is_not<T>(&self, expected: &str) -> Result<T, Unplaced> {
        Err(json::wrong_type(String::new(), expected, &self.0).into())
    }
}

impl<'de> Deserializer<'de> for Node {
    type Error = Unplaced;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unplaced> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items { left: items.into_iter(), at: 0 }),
            Value::Object(members) => {
                visitor.visit_map(Members { left: members.into_iter(), current: None })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unplaced> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unplaced> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unplaced> {
        match self.0 {
            Value::Object(_) => self.deserialize_any(visitor),
            _ => self.is_not("an object"),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unplaced> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(name.into_deserializer()),
            _ => self.is_not("a string"),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unplaced> {
        match self.0 {
            Value::Bool(value) => visitor.visit_bool(value),
            _ => self.is_not("true or false"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unplaced> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            _ => self.is_not("a string"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unplaced> {
        self.deserialize_string(visitor)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier ignored_any
    }
}

/// The items of an array. Adds the index to their errors.
struct Items {
    left: vec::IntoIter<Value>,
    at: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Unplaced;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Unplaced> {
        let Some(item) = self.left.next() else { return Ok(None) };
        let at = self.at;
        self.at += 1;
        seed.deserialize(Node(item)).map(Some).map_err(|error| error.within(format!("[{at}]")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

/// The members of an object. Adds the key to errors in their values; an invalid key is an error of
/// the object itself.
struct Members {
    left: map::IntoIter,
    current: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Members {
    type Error = Unplaced;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Unplaced> {
        self.current = self.left.next();
        let Some((key, _)) = &self.current else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Unplaced> {
        let Some((key, value)) = self.current.take() else {
            return Err(de::Error::custom("a value without its key"));
        };
        seed.deserialize(Node(value)).map_err(|error| error.within(format!(".{}", shorten(&key))))
    }
}
