//! Wasmtime's own dynamic values, which host functions take and return, and their JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wasmtime::component::{Type, Val};

use crate::runtime::values::value::Value;

/// A value that has no JSON form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a value of a type that host functions cannot have")]
pub struct Unsupported;

/// Appends the JSON of a value of type `ty`.
pub fn write_json(json: &mut Vec<u8>, value: &Val, ty: &Type) -> Result<(), Unsupported> {
    match (value, ty) {
        (Val::Bool(it), _) => write(json, it),
        (Val::S8(it), _) => write(json, it),
        (Val::U8(it), _) => write(json, it),
        (Val::S16(it), _) => write(json, it),
        (Val::U16(it), _) => write(json, it),
        (Val::S32(it), _) => write(json, it),
        (Val::U32(it), _) => write(json, it),
        (Val::S64(it), _) => write(json, it),
        (Val::U64(it), _) => write(json, it),
        (Val::Float32(it), _) if it.is_finite() => write(json, it),
        (Val::Float64(it), _) if it.is_finite() => write(json, it),
        (Val::Float32(it), _) => write_special(json, (*it).into()),
        (Val::Float64(it), _) => write_special(json, *it),
        (Val::Char(it), _) => write(json, it),
        (Val::String(it), _) | (Val::Enum(it), _) => write(json, it),
        (Val::List(values), Type::List(list)) if matches!(list.ty(), Type::U8) => {
            let bytes = values.iter().map(|value| match value {
                Val::U8(byte) => Ok(*byte),
                _ => Err(Unsupported),
            });
            let bytes = bytes.collect::<Result<Vec<u8>, _>>()?;
            json.push(b'"');
            json.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            json.push(b'"');
        }
        (Val::List(values), Type::List(list)) => {
            let ty = list.ty();
            write_all(json, values.iter().map(|value| (value, ty.clone())))?;
        }
        (Val::Tuple(values), Type::Tuple(tuple)) => {
            write_all(json, values.iter().zip(tuple.types()))?;
        }
        (Val::Record(values), Type::Record(record)) => {
            json.push(b'{');
            for (index, ((name, value), field)) in values.iter().zip(record.fields()).enumerate() {
                if index > 0 {
                    json.push(b',');
                }
                write(json, name);
                json.push(b':');
                write_json(json, value, &field.ty)?;
            }
            json.push(b'}');
        }
        (Val::Flags(names), _) => write(json, names),
        (Val::Variant(name, None), _) => write(json, name),
        (Val::Variant(name, Some(payload)), Type::Variant(variant)) => {
            let case = variant.cases().find(|case| case.name == name);
            let ty = case.and_then(|case| case.ty).ok_or(Unsupported)?;
            write_case(json, name, Some((payload, ty)))?;
        }
        (Val::Option(None), _) => json.extend_from_slice(b"null"),
        (Val::Option(Some(payload)), Type::Option(option)) => match option.ty() {
            ty @ Type::Option(_) => write_case(json, "some", Some((payload, ty)))?,
            ty => write_json(json, payload, &ty)?,
        },
        (Val::Result(result), Type::Result(ty)) => {
            let (name, payload, ty) = match result {
                Ok(payload) => ("ok", payload, ty.ok()),
                Err(payload) => ("err", payload, ty.err()),
            };
            write_case(json, name, payload.as_deref().zip(ty))?;
        }
        _ => return Err(Unsupported),
    }
    Ok(())
}

fn write(json: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    // Writing plain values to a vector does not fail.
    let written = serde_json::to_writer(json, value);
    debug_assert!(written.is_ok());
}

fn write_special(json: &mut Vec<u8>, number: f64) {
    let name = match number {
        _ if number.is_nan() => "NaN",
        _ if number > 0.0 => "Infinity",
        _ => "-Infinity",
    };
    write(json, name);
}

fn write_all<'v>(
    json: &mut Vec<u8>,
    values: impl Iterator<Item = (&'v Val, Type)>,
) -> Result<(), Unsupported> {
    json.push(b'[');
    for (index, (value, ty)) in values.enumerate() {
        if index > 0 {
            json.push(b',');
        }
        write_json(json, value, &ty)?;
    }
    json.push(b']');
    Ok(())
}

fn write_case(
    json: &mut Vec<u8>,
    name: &str,
    payload: Option<(&Val, Type)>,
) -> Result<(), Unsupported> {
    json.push(b'{');
    write(json, name);
    json.push(b':');
    match payload {
        Some((value, ty)) => write_json(json, value, &ty)?,
        None => json.extend_from_slice(b"null"),
    }
    json.push(b'}');
    Ok(())
}

/// Returns a checked value as one of Wasmtime's.
pub fn to_val(value: Value, ty: &Type) -> Result<Val, Unsupported> {
    Ok(match (value, ty) {
        (Value::Scalar(bits), _) => scalar(bits, ty)?,
        (Value::Text(text), Type::String) => Val::String(text),
        (Value::Packed(bytes), Type::List(list)) => Val::List(unpacked(&bytes, &list.ty())?),
        (Value::List(values), Type::List(list)) => {
            let ty = list.ty();
            let values = values.into_iter().map(|value| to_val(value, &ty));
            Val::List(values.collect::<Result<_, _>>()?)
        }
        (Value::Fields(values), Type::Tuple(tuple)) => {
            let values = values.into_iter().zip(tuple.types());
            Val::Tuple(values.map(|(value, ty)| to_val(value, &ty)).collect::<Result<_, _>>()?)
        }
        (Value::Fields(values), Type::Record(record)) => {
            let fields = values.into_iter().zip(record.fields());
            let fields =
                fields.map(|(value, field)| Ok((field.name.to_owned(), to_val(value, &field.ty)?)));
            Val::Record(fields.collect::<Result<_, _>>()?)
        }
        (Value::Flags(words), Type::Flags(flags)) => {
            let is_set =
                |bit: usize| words.get(bit / 32).is_some_and(|it| it >> (bit % 32) & 1 == 1);
            let names = flags.names().enumerate().filter(|(bit, _)| is_set(*bit));
            Val::Flags(names.map(|(_, name)| name.to_owned()).collect())
        }
        (Value::Case(case, payload), Type::Variant(variant)) => {
            let case = variant.cases().nth(case as usize).ok_or(Unsupported)?;
            Val::Variant(case.name.to_owned(), boxed(payload, case.ty)?)
        }
        (Value::Case(0, _), Type::Option(_)) => Val::Option(None),
        (Value::Case(_, payload), Type::Option(option)) => {
            Val::Option(boxed(payload, Some(option.ty()))?)
        }
        (Value::Case(0, payload), Type::Result(result)) => {
            Val::Result(Ok(boxed(payload, result.ok())?))
        }
        (Value::Case(_, payload), Type::Result(result)) => {
            Val::Result(Err(boxed(payload, result.err())?))
        }
        _ => return Err(Unsupported),
    })
}

fn boxed(payload: Option<Box<Value>>, ty: Option<Type>) -> Result<Option<Box<Val>>, Unsupported> {
    match (payload, ty) {
        (Some(payload), Some(ty)) => Ok(Some(Box::new(to_val(*payload, &ty)?))),
        _ => Ok(None),
    }
}

fn scalar(bits: u64, ty: &Type) -> Result<Val, Unsupported> {
    Ok(match ty {
        Type::Bool => Val::Bool(bits != 0),
        Type::S8 => Val::S8(bits as i8),
        Type::U8 => Val::U8(bits as u8),
        Type::S16 => Val::S16(bits as i16),
        Type::U16 => Val::U16(bits as u16),
        Type::S32 => Val::S32(bits as i32),
        Type::U32 => Val::U32(bits as u32),
        Type::S64 => Val::S64(bits as i64),
        Type::U64 => Val::U64(bits),
        Type::Float32 => Val::Float32(f32::from_bits(bits as u32)),
        Type::Float64 => Val::Float64(f64::from_bits(bits)),
        Type::Char => Val::Char(char::from_u32(bits as u32).ok_or(Unsupported)?),
        Type::Enum(cases) => {
            Val::Enum(cases.names().nth(bits as usize).ok_or(Unsupported)?.to_owned())
        }
        _ => return Err(Unsupported),
    })
}

fn unpacked(bytes: &[u8], element: &Type) -> Result<Vec<Val>, Unsupported> {
    let size = crate::runtime::values::from_json::packed_bytes(element).ok_or(Unsupported)?;
    let word = |element: &[u8]| {
        let mut word = [0; 8];
        word[..size].copy_from_slice(element);
        u64::from_le_bytes(word)
    };
    bytes.chunks_exact(size).map(|bytes| scalar(word(bytes), element)).collect()
}
