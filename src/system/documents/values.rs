//! The building blocks of documents.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

/// An integer from `MIN` to `MAX`, inclusive.
#[derive(Clone, Copy, Debug)]
pub struct Int<const MIN: u64, const MAX: u64 = { u64::MAX }>(pub u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Int<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(Range { min: MIN, max: MAX }).map(Self)
    }
}

struct Range {
    min: u64,
    max: u64,
}

impl Visitor<'_> for Range {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.max {
            u64::MAX => write!(f, "an integer of at least {}", self.min),
            max => write!(f, "an integer from {} to {max}", self.min),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        if (self.min..=self.max).contains(&number) {
            return Ok(number);
        }
        Err(E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<u64, E> {
        Err(E::invalid_value(Unexpected::Float(number), &self))
    }
}

/// A member for which null and absence differ.
#[derive(Clone, Debug, Default)]
pub enum Given<T> {
    /// The member is absent.
    #[default]
    Absent,
    /// The member is null.
    Null,
    /// The member has a value.
    Value(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|value| value.map_or(Self::Null, Self::Value))
    }
}

impl<T> Given<T> {
    /// Returns the converted value, `None` for null, or `default` if the member is absent.
    pub fn or<U>(self, default: Option<U>, value: impl FnOnce(T) -> U) -> Option<U> {
        match self {
            Self::Absent => default,
            Self::Null => None,
            Self::Value(given) => Some(value(given)),
        }
    }
}

/// A type with a plural name, for errors.
pub trait Plural {
    /// The name, for example `strings`.
    const NAME: &'static str;
}

impl Plural for String {
    const NAME: &'static str = "strings";
}

/// An array of values with a plural name.
#[derive(Clone, Debug, Default)]
pub struct List<T>(pub Vec<T>);

/// An object with any keys, sorted.
#[derive(Clone, Debug, Default)]
pub struct Table<T>(pub BTreeMap<String, T>);

struct Items<T>(PhantomData<T>);
struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Plural> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de> + Plural> Visitor<'de> for Items<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of {}", T::NAME)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Vec<T>, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(items))
    }
}

impl<'de, T: Deserialize<'de> + Plural> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de> + Plural> Visitor<'de> for Members<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of {}", T::NAME)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        Deserialize::deserialize(MapAccessDeserializer::new(members))
    }
}

/// Declares a member that may have one of several JSON types (`string`, `array`, `object`), with
/// its name in the schema and the expectation that errors state. An `untagged` enum of `serde` is
/// no substitute: its errors state neither the place within the value nor the expectation.
macro_rules! by_type {
    (
        $(#[$doc:meta])*
        $name:ident, $schema:literal, $expected:literal {
            $($variant:ident($type:ty) = $kind:ident,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[cfg_attr(test, derive(schemars::JsonSchema), schemars(untagged, rename = $schema))]
        pub enum $name {
            $($variant($type),)+
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ByType;

                impl<'de> serde::de::Visitor<'de> for ByType {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expected)
                    }

                    $($crate::system::documents::values::by_type!(@$kind $name $variant);)+
                }

                deserializer.deserialize_any(ByType)
            }
        }
    };
    (@string $name:ident $variant:ident) => {
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
            let text = serde::de::value::StrDeserializer::new(text);
            serde::Deserialize::deserialize(text).map($name::$variant)
        }
    };
    (@array $name:ident $variant:ident) => {
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, items: A) -> Result<$name, A::Error> {
            let items = serde::de::value::SeqAccessDeserializer::new(items);
            serde::Deserialize::deserialize(items).map($name::$variant)
        }
    };
    (@object $name:ident $variant:ident) => {
        fn visit_map<A: serde::de::MapAccess<'de>>(self, members: A) -> Result<$name, A::Error> {
            let members = serde::de::value::MapAccessDeserializer::new(members);
            serde::Deserialize::deserialize(members).map($name::$variant)
        }
    };
}

pub(in crate::system) use by_type;
