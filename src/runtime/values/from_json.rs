//! Arguments from JSON, checked against their types before the guest is entered.

use std::cell::RefCell;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use wasmtime::component::Type;

use crate::core::bounds::{MAX_ERROR_TEXT_BYTES, bounded};
use crate::runtime::values::place::Place;
use crate::runtime::values::resources::Resources;
use crate::runtime::values::value::Value;

/// Checked arguments.
#[derive(Debug)]
pub struct Checked {
    /// The values, one for each parameter.
    pub values: Vec<Value>,
    /// The handles whose resources they pass on to the guest.
    pub passed_on: Vec<u64>,
}

/// Reads the arguments of a function with these parameters. The error says what is wrong, and where.
pub fn arguments<'t>(
    json: &[u8],
    parameters: impl ExactSizeIterator<Item = (&'t str, Type)>,
    resources: &Resources,
) -> Result<Checked, String> {
    let reading = Reading { resources, passed_on: RefCell::default(), error: RefCell::default() };
    let parameters: Vec<_> = parameters.collect();
    // No arguments at all is short for an empty array.
    let json = if json.is_empty() { b"[]" } else { json };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let read =
        deserializer.deserialize_any(Arguments { parameters: &parameters, reading: &reading });
    match read.and_then(|values| deserializer.end().map(|()| values)) {
        Ok(values) => Ok(Checked { values, passed_on: reading.passed_on.into_inner() }),
        Err(error) => Err(reading.error.into_inner().unwrap_or_else(|| {
            bounded(&format_args!("args: not JSON: {error}"), MAX_ERROR_TEXT_BYTES)
        })),
    }
}

/// Reads the result of a host function.
pub fn answer(json: &[u8], ty: &Type) -> Result<Value, String> {
    let resources = Resources::default();
    let reading =
        Reading { resources: &resources, passed_on: RefCell::default(), error: RefCell::default() };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let expected = Expected { ty, at: &Place::Answer, reading: &reading };
    let read = expected.deserialize(&mut deserializer);
    read.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| {
        let not_json = format_args!("result: not JSON: {error}");
        reading.error.into_inner().unwrap_or_else(|| bounded(&not_json, MAX_ERROR_TEXT_BYTES))
    })
}

/// What one reading shares.
struct Reading<'a> {
    resources: &'a Resources,
    passed_on: RefCell<Vec<u64>>,
    /// Why it failed. Serde's own errors lack the place.
    error: RefCell<Option<String>>,
}

impl Reading<'_> {
    fn fail<T, E: de::Error>(&self, text: fmt::Arguments<'_>) -> Result<T, E> {
        *self.error.borrow_mut() = Some(bounded(&text, MAX_ERROR_TEXT_BYTES));
        Err(E::custom("see the error of the reading"))
    }
}

/// The arguments of a call: an array in the order of the parameters, or an object by their names.
struct Arguments<'a> {
    parameters: &'a [(&'a str, Type)],
    reading: &'a Reading<'a>,
}

impl Arguments<'_> {
    fn wrong<T, E: de::Error>(&self, got: impl fmt::Display) -> Result<T, E> {
        let count = self.parameters.len();
        let plural = if count == 1 { "" } else { "s" };
        self.reading
            .fail(format_args!("args: expected an array of {count} argument{plural}, got {got}"))
    }
}

impl<'de> Visitor<'de> for Arguments<'_> {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of arguments")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        self.wrong("null")
    }

    fn visit_bool<E: de::Error>(self, it: bool) -> Result<Self::Value, E> {
        self.wrong(it)
    }

    fn visit_u64<E: de::Error>(self, it: u64) -> Result<Self::Value, E> {
        self.wrong(it)
    }

    fn visit_i64<E: de::Error>(self, it: i64) -> Result<Self::Value, E> {
        self.wrong(it)
    }

    fn visit_f64<E: de::Error>(self, it: f64) -> Result<Self::Value, E> {
        self.wrong(it)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        self.wrong("a string")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let root = Place::Arguments;
        let mut values = Vec::with_capacity(self.parameters.len());
        for (index, (_, ty)) in self.parameters.iter().enumerate() {
            let seed = Expected { ty, at: &Place::Index(&root, index), reading: self.reading };
            match all.next_element_seed(seed)? {
                Some(value) => values.push(value),
                None => return self.wrong(index),
            }
        }
        match remaining(&mut all)? {
            0 => Ok(values),
            more => self.wrong(values.len() + more),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let fields = self.parameters.iter().map(|(name, ty)| (*name, ty.clone()));
        fields_by_name(map, fields, &Place::Arguments, "parameter", self.reading)
    }
}

/// Skips the rest of an array; returns how many elements that were.
fn remaining<'de, A: SeqAccess<'de>>(all: &mut A) -> Result<usize, A::Error> {
    let mut more = 0;
    while all.next_element::<de::IgnoredAny>()?.is_some() {
        more += 1;
    }
    Ok(more)
}

/// Reads an object whose keys are names of fields.
fn fields_by_name<'de, 't, A: MapAccess<'de>>(
    mut map: A,
    fields: impl ExactSizeIterator<Item = (&'t str, Type)>,
    at: &Place<'_>,
    what: &str,
    reading: &Reading<'_>,
) -> Result<Vec<Value>, A::Error> {
    let fields: Vec<_> = fields.collect();
    let mut values: Vec<Option<Value>> = fields.iter().map(|_| None).collect();
    let mut next = 0;
    while let Some(key) = map.next_key_seed(Name)? {
        // Most objects have their keys in the order of the fields.
        let is_next = fields.get(next).is_some_and(|(name, _)| **name == *key);
        let found = match is_next {
            true => Some(next),
            false => fields.iter().position(|(name, _)| **name == *key),
        };
        let Some((index, (name, ty))) = found.and_then(|it| Some((it, fields.get(it)?))) else {
            let names = fields.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            return reading.fail(format_args!("{at}: no {what} {key:?}; there are: {names}"));
        };
        let place = Place::Name(at, name);
        if values.get(index).is_some_and(Option::is_some) {
            return reading.fail(format_args!("{place}: given twice"));
        }
        let value = map.next_value_seed(Expected { ty, at: &place, reading })?;
        if let Some(slot) = values.get_mut(index) {
            *slot = Some(value);
        }
        next = index + 1;
    }
    values
        .into_iter()
        .zip(&fields)
        .map(|(value, (name, ty))| match (value, ty) {
            (Some(value), _) => Ok(value),
            (None, Type::Option(_)) => Ok(Value::Case(0, None)),
            (None, _) => reading.fail(format_args!("{at}: the {what} {name:?} is missing")),
        })
        .collect()
}

/// A key or a name, whatever its type wants.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        de::Deserialize::deserialize(from)
    }
}

/// A value of a known type.
#[derive(Clone, Copy)]
struct Expected<'a> {
    ty: &'a Type,
    at: &'a Place<'a>,
    reading: &'a Reading<'a>,
}

impl<'de> DeserializeSeed<'de> for Expected<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self.ty {
            // `null` is none; a payload that may itself be null stands in an object.
            Type::Option(option) if !takes_null(&option.ty()) => {
                let payload = Expected { ty: &option.ty(), ..self };
                from.deserialize_option(OptionVisitor(payload))
            }
            _ => from.deserialize_any(self),
        }
    }
}

/// Returns whether the JSON form of a type has `null` among its values.
pub fn takes_null(ty: &Type) -> bool {
    matches!(ty, Type::Option(_))
}

/// An option whose payload is never `null`.
struct OptionVisitor<'a>(Expected<'a>);

impl<'de> Visitor<'de> for OptionVisitor<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an option")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Case(0, None))
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Case(0, None))
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        Ok(Value::Case(1, Some(Box::new(self.0.deserialize(from)?))))
    }
}

/// How an integer type takes numbers.
struct Integer {
    least: i128,
    most: i128,
    bytes: usize,
}

impl Integer {
    fn of(ty: &Type) -> Option<Self> {
        let (least, most, bytes) = match ty {
            Type::S8 => (i8::MIN.into(), i8::MAX.into(), 1),
            Type::U8 => (0, u8::MAX.into(), 1),
            Type::S16 => (i16::MIN.into(), i16::MAX.into(), 2),
            Type::U16 => (0, u16::MAX.into(), 2),
            Type::S32 => (i32::MIN.into(), i32::MAX.into(), 4),
            Type::U32 => (0, u32::MAX.into(), 4),
            Type::S64 => (i64::MIN.into(), i64::MAX.into(), 8),
            Type::U64 => (0, u64::MAX.into(), 8),
            _ => return None,
        };
        Some(Self { least, most, bytes })
    }
}

/// Returns the size of an element of a packed list.
pub fn packed_bytes(element: &Type) -> Option<usize> {
    match element {
        Type::Bool => Some(1),
        Type::Float32 => Some(4),
        Type::Float64 => Some(8),
        other => Integer::of(other).map(|integer| integer.bytes),
    }
}

impl Expected<'_> {
    fn mismatch<T, E: de::Error>(self, got: impl fmt::Display) -> Result<T, E> {
        let (at, ty) = (self.at, TypeName(self.ty));
        self.reading.fail(format_args!("{at}: expected {ty}, got {got}"))
    }

    fn integer<E: de::Error>(self, it: i128) -> Result<Value, E> {
        match self.ty {
            Type::Own(_) | Type::Borrow(_) => return self.resource(it),
            // A double has every integer below 2^53; others round as any decimal does.
            Type::Float64 => return Ok(Value::Scalar((it as f64).to_bits())),
            Type::Float32 => return Ok(Value::Scalar((it as f32).to_bits().into())),
            _ => {}
        }
        match Integer::of(self.ty) {
            Some(Integer { least, most, .. }) if (least..=most).contains(&it) => {
                // Two's complement, cut to 64 bits.
                Ok(Value::Scalar(it as u64))
            }
            Some(Integer { least, most, .. }) => {
                self.mismatch(format_args!("{it}, which is not in {least} to {most}"))
            }
            None => self.mismatch(it),
        }
    }

    fn float<E: de::Error>(self, it: f64) -> Result<Value, E> {
        match self.ty {
            Type::Float64 => Ok(Value::Scalar(it.to_bits())),
            Type::Float32 => {
                let narrow = it as f32;
                if it.is_finite() && !narrow.is_finite() {
                    return self.mismatch(format_args!("{it:e}, which is too large"));
                }
                Ok(Value::Scalar(narrow.to_bits().into()))
            }
            // Python and JavaScript may print an integral number so.
            _ if it.fract() == 0.0 && it.abs() < 9.0e15 && Integer::of(self.ty).is_some() => {
                self.integer(it as i128)
            }
            _ => self.mismatch(it),
        }
    }

    fn text<E: de::Error>(self, it: &str) -> Result<Value, E> {
        let mut characters = it.chars();
        match (self.ty, characters.next(), characters.next()) {
            (Type::String, ..) => return Ok(Value::Text(it.to_owned())),
            (Type::Char, Some(only), None) => return Ok(Value::Scalar(u32::from(only).into())),
            (Type::Float32 | Type::Float64, ..) => {
                let special = match it {
                    "NaN" => Some(f64::NAN),
                    "Infinity" => Some(f64::INFINITY),
                    "-Infinity" => Some(f64::NEG_INFINITY),
                    _ => None,
                };
                if let Some(special) = special {
                    return self.float(special);
                }
            }
            (Type::Enum(cases), ..) => {
                if let Some(case) = cases.names().position(|name| name == it) {
                    return Ok(Value::Scalar(case as u64));
                }
            }
            (Type::Variant(variant), ..) => return self.case(it, variant),
            (Type::List(list), ..) => {
                if let Some(bytes) = packed_bytes(&list.ty()) {
                    return self.base64(it, &list.ty(), bytes);
                }
            }
            (ty, ..) if Integer::of(ty).is_some() => {
                if let Ok(number) = it.parse::<i128>() {
                    return self.integer(number);
                }
            }
            _ => {}
        }
        self.mismatch(Excerpt(it))
    }

    /// A case without a payload, by its name.
    fn case<E: de::Error>(
        self,
        it: &str,
        variant: &wasmtime::component::types::Variant,
    ) -> Result<Value, E> {
        let cases = variant.cases().enumerate();
        for (index, case) in cases {
            match (case.name == it, case.ty) {
                (true, None) => return Ok(Value::Case(index as u32, None)),
                (true, Some(_)) => {
                    let at = self.at;
                    return self.reading.fail(format_args!(
                        "{at}: the case {it:?} has a payload: write {{{it:?}: …}}"
                    ));
                }
                (false, _) => {}
            }
        }
        self.mismatch(Excerpt(it))
    }

    /// Packed elements: little-endian, as in linear memory.
    fn base64<E: de::Error>(self, it: &str, element: &Type, bytes: usize) -> Result<Value, E> {
        let (at, ty) = (self.at, TypeName(self.ty));
        let packed = match STANDARD.decode(it) {
            Ok(packed) => packed,
            Err(error) => {
                return self.reading.fail(format_args!(
                    "{at}: expected {ty}, got a string that is not base64: {error}"
                ));
            }
        };
        if packed.len() % bytes != 0 {
            let length = packed.len();
            return self.reading.fail(format_args!(
                "{at}: expected {ty}, got {length} bytes, not a multiple of {bytes}"
            ));
        }
        if matches!(element, Type::Bool) && packed.iter().any(|byte| *byte > 1) {
            return self.reading.fail(format_args!("{at}: expected {ty}, got a byte above 1"));
        }
        Ok(Value::Packed(packed))
    }

    fn resource<E: de::Error>(self, it: i128) -> Result<Value, E> {
        let (wanted, owned) = match self.ty {
            Type::Own(wanted) => (wanted, true),
            Type::Borrow(wanted) => (wanted, false),
            _ => return self.mismatch(it),
        };
        let at = self.at;
        let handle = u64::try_from(it).ok();
        let found = handle.and_then(|handle| Some((handle, self.reading.resources.get(handle)?)));
        let mut passed_on = self.reading.passed_on.borrow_mut();
        let Some((handle, resource)) = found.filter(|(handle, _)| !passed_on.contains(handle))
        else {
            return self.reading.fail(format_args!(
                "{at}: no resource {it}: it was dropped or passed on, or its instance has ended"
            ));
        };
        if resource.ty() != *wanted {
            return self.reading.fail(format_args!("{at}: the resource {it} is of another type"));
        }
        if owned {
            passed_on.push(handle);
        }
        Ok(Value::Resource(resource))
    }
}

impl<'de> Visitor<'de> for Expected<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", TypeName(self.ty))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        match self.ty {
            Type::Option(_) => Ok(Value::Case(0, None)),
            _ => self.mismatch("null"),
        }
    }

    fn visit_bool<E: de::Error>(self, it: bool) -> Result<Value, E> {
        match self.ty {
            Type::Bool => Ok(Value::Scalar(it.into())),
            _ => self.mismatch(it),
        }
    }

    fn visit_u64<E: de::Error>(self, it: u64) -> Result<Value, E> {
        self.integer(it.into())
    }

    fn visit_i64<E: de::Error>(self, it: i64) -> Result<Value, E> {
        self.integer(it.into())
    }

    fn visit_f64<E: de::Error>(self, it: f64) -> Result<Value, E> {
        self.float(it)
    }

    fn visit_str<E: de::Error>(self, it: &str) -> Result<Value, E> {
        self.text(it)
    }

    fn visit_string<E: de::Error>(self, it: String) -> Result<Value, E> {
        match self.ty {
            Type::String => Ok(Value::Text(it)),
            _ => self.text(&it),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Value, A::Error> {
        let Self { at, reading, .. } = self;
        match self.ty {
            Type::List(list) => {
                let ty = &list.ty();
                let mut next = |index| {
                    let at = &Place::Index(at, index);
                    all.next_element_seed(Expected { ty, at, reading })
                };
                if let Some(bytes) = packed_bytes(ty) {
                    let mut packed = Vec::new();
                    let mut index = 0;
                    while let Some(value) = next(index)? {
                        if let Value::Scalar(bits) = value {
                            packed.extend_from_slice(&bits.to_le_bytes()[..bytes]);
                        }
                        index += 1;
                    }
                    return Ok(Value::Packed(packed));
                }
                let mut values = Vec::new();
                while let Some(value) = next(values.len())? {
                    values.push(value);
                }
                Ok(Value::List(values))
            }
            Type::Tuple(tuple) => {
                let count = tuple.types().len();
                let mut values = Vec::with_capacity(count);
                for (index, ty) in tuple.types().enumerate() {
                    let seed = Expected { ty: &ty, at: &Place::Index(at, index), reading };
                    match all.next_element_seed(seed)? {
                        Some(value) => values.push(value),
                        None => return self.mismatch(format_args!("{index} elements")),
                    }
                }
                match remaining(&mut all)? {
                    0 => Ok(Value::Fields(values)),
                    more => self.mismatch(format_args!("{} elements", count + more)),
                }
            }
            Type::Flags(flags) => {
                let mut words = vec![0_u32; flags.names().len().div_ceil(32)];
                while let Some(name) = all.next_element_seed(Name)? {
                    let Some(bit) = flags.names().position(|it| it == name) else {
                        return self.mismatch(Excerpt(&name));
                    };
                    if let Some(word) = words.get_mut(bit / 32) {
                        *word |= 1 << (bit % 32);
                    }
                }
                Ok(Value::Flags(words))
            }
            _ => self.mismatch("an array"),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Self { at, reading, .. } = self;
        if let Type::Record(record) = self.ty {
            let fields = record.fields().map(|field| (field.name, field.ty));
            return fields_by_name(map, fields, at, "field", reading).map(Value::Fields);
        }
        let case_of = |name: &str| -> Option<(u32, Option<Type>)> {
            match (self.ty, name) {
                (Type::Variant(variant), _) => variant
                    .cases()
                    .enumerate()
                    .find(|(_, case)| case.name == name)
                    .map(|(index, case)| (index as u32, case.ty)),
                (Type::Result(result), "ok") => Some((0, result.ok())),
                (Type::Result(result), "err") => Some((1, result.err())),
                (Type::Option(option), "some") => Some((1, Some(option.ty()))),
                _ => None,
            }
        };
        if !matches!(self.ty, Type::Variant(_) | Type::Result(_) | Type::Option(_)) {
            return self.mismatch("an object");
        }
        let Some(name) = map.next_key_seed(Name)? else { return self.mismatch("{}") };
        let Some((case, payload)) = case_of(&name) else { return self.mismatch(Excerpt(&name)) };
        let place = Place::Name(at, &name);
        let payload = match payload {
            Some(ty) => {
                let payload = map.next_value_seed(Expected { ty: &ty, at: &place, reading })?;
                Some(Box::new(payload))
            }
            None => {
                map.next_value_seed(Nothing { at: &place, reading })?;
                None
            }
        };
        match map.next_key_seed(Name)? {
            None => Ok(Value::Case(case, payload)),
            Some(other) => self.mismatch(format_args!("both {name:?} and {other:?}")),
        }
    }
}

/// The payload of a case without one.
#[derive(Clone, Copy)]
struct Nothing<'a> {
    at: &'a Place<'a>,
    reading: &'a Reading<'a>,
}

impl<'de> DeserializeSeed<'de> for Nothing<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        let Self { at, reading } = self;
        match <Option<de::IgnoredAny> as de::Deserialize>::deserialize(from)? {
            None => Ok(()),
            Some(_) => reading.fail(format_args!("{at}: this case has no payload: write null")),
        }
    }
}

/// A text of the caller in an error.
struct Excerpt<'a>(&'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX: usize = 60;
        let end = self.0.floor_char_boundary(MAX);
        let cut = if end < self.0.len() { "…" } else { "" };
        write!(f, "{:?}{cut}", &self.0[..end])
    }
}

/// A type in an error, in a few words.
pub struct TypeName<'a>(pub &'a Type);

impl fmt::Display for TypeName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |f: &mut fmt::Formatter<'_>, what: &str, names: &[&str]| {
            const MOST: usize = 12;
            let shown = names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
            let more = if names.len() > MOST { ", …" } else { "" };
            write!(f, "{what} {shown}{more}")
        };
        match self.0 {
            Type::Bool => f.write_str("bool"),
            Type::S8 => f.write_str("s8"),
            Type::U8 => f.write_str("u8"),
            Type::S16 => f.write_str("s16"),
            Type::U16 => f.write_str("u16"),
            Type::S32 => f.write_str("s32"),
            Type::U32 => f.write_str("u32"),
            Type::S64 => f.write_str("s64"),
            Type::U64 => f.write_str("u64"),
            Type::Float32 => f.write_str("f32"),
            Type::Float64 => f.write_str("f64"),
            Type::Char => f.write_str("char (a string of one character)"),
            Type::String => f.write_str("string"),
            Type::List(list) if matches!(list.ty(), Type::U8) => {
                f.write_str("list<u8> (base64 or an array)")
            }
            Type::List(_) => f.write_str("list (an array)"),
            Type::Record(record) => {
                let names: Vec<_> = record.fields().map(|field| field.name).collect();
                listed(f, "record (an object) with the fields", &names)
            }
            Type::Tuple(tuple) => write!(f, "tuple (an array) of {}", tuple.types().len()),
            Type::Variant(variant) => {
                let names: Vec<_> = variant.cases().map(|case| case.name).collect();
                listed(f, "one of the cases", &names)
            }
            Type::Enum(cases) => listed(f, "one of", &cases.names().collect::<Vec<_>>()),
            Type::Option(_) => f.write_str("option (null, or {\"some\": …})"),
            Type::Result(_) => f.write_str("result ({\"ok\": …} or {\"err\": …})"),
            Type::Flags(flags) => {
                listed(f, "flags (an array) among", &flags.names().collect::<Vec<_>>())
            }
            Type::Own(_) | Type::Borrow(_) => f.write_str("resource (the number of its handle)"),
            Type::Map(_) => f.write_str("map"),
            Type::FixedLengthList(_) => f.write_str("list of fixed length"),
            Type::Future(_) => f.write_str("future"),
            Type::Stream(_) => f.write_str("stream"),
            Type::ErrorContext => f.write_str("error-context"),
        }
    }
}
