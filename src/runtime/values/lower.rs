//! Arguments on their way into a guest: lowering by the Canonical ABI, for types known at run time.
//!
//! Wasmtime's own dynamic values take 32 bytes for each element of a list and one call for each
//! byte; these copy a list of numbers as a whole.

use std::mem::MaybeUninit;
use std::slice::IterMut;

use wasmtime::ValRaw;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext, bad_type_info,
};
use wasmtime::component::{ComponentNamedList, ComponentType, Lower, ResourceAny};

use crate::runtime::values::value::Value;

/// The most words that arguments take on the stack; more of them go through memory.
const MAX_FLAT: usize = 16;

/// The arguments of a call, one value for each parameter.
pub struct Arguments(pub Vec<Value>);

/// The words for the arguments that are still to be written.
type Slots<'a> = IterMut<'a, MaybeUninit<ValRaw>>;

// SAFETY: `Lower` is a sequence of `ValRaw`, as many as the arguments of any function take.
// `linear_lower_to_flat` writes all of them, by the type that Wasmtime passes in.
#[expect(unsafe_code, reason = "Wasmtime's traits for types of the component model")]
unsafe impl ComponentType for Arguments {
    type Lower = [ValRaw; MAX_FLAT];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> wasmtime::Result<()> {
        // Every type passes: values are compared with it when they are lowered.
        Ok(())
    }
}

// SAFETY: as for `ComponentType`.
#[expect(unsafe_code, reason = "Wasmtime's traits for types of the component model")]
unsafe impl ComponentNamedList for Arguments {}

// SAFETY: as for `ComponentType`.
#[expect(unsafe_code, reason = "Wasmtime's traits for types of the component model")]
unsafe impl Lower for Arguments {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        words: &mut MaybeUninit<Self::Lower>,
    ) -> wasmtime::Result<()> {
        let words = words.write([ValRaw::u64(0); MAX_FLAT]);
        let InterfaceType::Tuple(index) = ty else { bad_type_info() };
        let types = cx.types;
        let tuple = &types[index];
        if tuple.abi.flat_count(MAX_FLAT).is_some() {
            let mut flat = [MaybeUninit::new(ValRaw::u64(0)); MAX_FLAT];
            let mut slots = flat.iter_mut();
            for (value, ty) in self.0.iter().zip(&tuple.types) {
                flatten(value, cx, *ty, &mut slots)?;
            }
            // SAFETY: every word was initialized above.
            #[expect(unsafe_code, reason = "an array of words that Wasmtime wrote to")]
            for (word, lowered) in words.iter_mut().zip(&flat) {
                *word = unsafe { lowered.assume_init() };
            }
            return Ok(());
        }
        let at = cx.realloc(0, 0, tuple.abi.align32, tuple.abi.size32 as usize)?;
        let mut offset = at;
        for (value, ty) in self.0.iter().zip(&tuple.types) {
            let place = types.canonical_abi(ty).next_field32_size(&mut offset);
            store(value, cx, *ty, place)?;
        }
        words[0] = ValRaw::u64(at as u64);
        Ok(())
    }

    fn linear_lower_to_memory<T>(
        &self,
        _: &mut LowerContext<'_, T>,
        _: InterfaceType,
        _: usize,
    ) -> wasmtime::Result<()> {
        // Wasmtime calls this for more than `MAX_FLAT` words only.
        bad_type_info()
    }
}

fn unexpected<T>(value: &Value) -> wasmtime::Result<T> {
    Err(wasmtime::format_err!("a value that is not of its type: {value:?}"))
}

fn next<'a>(slots: &mut Slots<'a>) -> wasmtime::Result<&'a mut MaybeUninit<ValRaw>> {
    slots.next().ok_or_else(|| wasmtime::format_err!("more words than the type has"))
}

/// Writes a value as words.
fn flatten<T>(
    value: &Value,
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
    slots: &mut Slots<'_>,
) -> wasmtime::Result<()> {
    let types = cx.types;
    match (ty, value) {
        (InterfaceType::U64 | InterfaceType::S64, Value::Scalar(bits)) => {
            next(slots)?.write(ValRaw::u64(*bits));
        }
        (InterfaceType::Float64, Value::Scalar(bits)) => {
            next(slots)?.write(ValRaw::f64(*bits));
        }
        (InterfaceType::Float32, Value::Scalar(bits)) => {
            next(slots)?.write(ValRaw::f32(*bits as u32));
        }
        (
            InterfaceType::Bool
            | InterfaceType::S8
            | InterfaceType::U8
            | InterfaceType::S16
            | InterfaceType::U16
            | InterfaceType::S32
            | InterfaceType::U32
            | InterfaceType::Char
            | InterfaceType::Enum(_),
            Value::Scalar(bits),
        ) => {
            next(slots)?.write(ValRaw::u32(*bits as u32));
        }
        (InterfaceType::String, Value::Text(text)) => {
            let (at, length) = text_in_memory(text, cx, ty)?;
            next(slots)?.write(at);
            next(slots)?.write(length);
        }
        (InterfaceType::List(_), _) => {
            let (at, length) = list_in_memory(value, cx, ty)?;
            next(slots)?.write(ValRaw::u64(at as u64));
            next(slots)?.write(ValRaw::u64(length as u64));
        }
        (InterfaceType::Record(index), Value::Fields(values)) => {
            for (value, field) in values.iter().zip(&types[index].fields) {
                flatten(value, cx, field.ty, slots)?;
            }
        }
        (InterfaceType::Tuple(index), Value::Fields(values)) => {
            for (value, ty) in values.iter().zip(&types[index].types) {
                flatten(value, cx, *ty, slots)?;
            }
        }
        (InterfaceType::Flags(_), Value::Flags(words)) => {
            for word in words {
                next(slots)?.write(ValRaw::u32(*word));
            }
        }
        (InterfaceType::Own(_) | InterfaceType::Borrow(_), Value::Resource(resource)) => {
            resource.linear_lower_to_flat(cx, ty, next(slots).map(as_word)?)?;
        }
        (_, Value::Case(case, payload)) => {
            let Some(cases) = Cases::of(ty, cx) else { return unexpected(value) };
            next(slots)?.write(ValRaw::u32(*case));
            let written = match (payload, cases.payload(*case, cx)) {
                (Some(payload), Some(ty)) => {
                    flatten(payload, cx, ty, slots)?;
                    types.canonical_abi(&ty).flat_count(usize::MAX).unwrap_or(0)
                }
                _ => 0,
            };
            let all = types.canonical_abi(&ty).flat_count(usize::MAX).unwrap_or(0);
            // The words that the payloads of other cases would take.
            for _ in 1 + written..all {
                next(slots)?.write(ValRaw::u64(0));
            }
        }
        _ => return unexpected(value),
    }
    Ok(())
}

/// Writes a value to memory, at a place with room for its type.
fn store<T>(
    value: &Value,
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
    at: usize,
) -> wasmtime::Result<()> {
    let types = cx.types;
    match (ty, value) {
        (InterfaceType::Bool | InterfaceType::S8 | InterfaceType::U8, Value::Scalar(bits)) => {
            *cx.get(at) = [*bits as u8];
        }
        (InterfaceType::S16 | InterfaceType::U16, Value::Scalar(bits)) => {
            *cx.get(at) = (*bits as u16).to_le_bytes();
        }
        (
            InterfaceType::S32 | InterfaceType::U32 | InterfaceType::Char | InterfaceType::Float32,
            Value::Scalar(bits),
        ) => *cx.get(at) = (*bits as u32).to_le_bytes(),
        (InterfaceType::S64 | InterfaceType::U64 | InterfaceType::Float64, Value::Scalar(bits)) => {
            *cx.get(at) = bits.to_le_bytes()
        }
        (InterfaceType::Enum(index), Value::Scalar(case)) => {
            store_number(cx, at, types[index].abi.size32, *case as u32);
        }
        (InterfaceType::String, Value::Text(text)) => {
            text.as_str().linear_lower_to_memory(cx, ty, at)?;
        }
        (InterfaceType::List(_), _) => {
            let (elements, length) = list_in_memory(value, cx, ty)?;
            *cx.get(at) = u32::try_from(elements)?.to_le_bytes();
            *cx.get(at + 4) = u32::try_from(length)?.to_le_bytes();
        }
        (InterfaceType::Record(index), Value::Fields(values)) => {
            let mut offset = at;
            for (value, field) in values.iter().zip(&types[index].fields) {
                let place = types.canonical_abi(&field.ty).next_field32_size(&mut offset);
                store(value, cx, field.ty, place)?;
            }
        }
        (InterfaceType::Tuple(index), Value::Fields(values)) => {
            let mut offset = at;
            for (value, ty) in values.iter().zip(&types[index].types) {
                let place = types.canonical_abi(ty).next_field32_size(&mut offset);
                store(value, cx, *ty, place)?;
            }
        }
        (InterfaceType::Flags(index), Value::Flags(words)) => {
            let size = types[index].abi.size32;
            for (index, word) in words.iter().enumerate() {
                store_number(cx, at + 4 * index, size.min(4), *word);
            }
        }
        (InterfaceType::Own(_) | InterfaceType::Borrow(_), Value::Resource(resource)) => {
            resource.linear_lower_to_memory(cx, ty, at)?;
        }
        (_, Value::Case(case, payload)) => {
            let Some(cases) = Cases::of(ty, cx) else { return unexpected(value) };
            store_number(cx, at, cases.discriminant_bytes, *case);
            if let (Some(payload), Some(ty)) = (payload, cases.payload(*case, cx)) {
                store(payload, cx, ty, at + cases.payload_at)?;
            }
        }
        _ => return unexpected(value),
    }
    Ok(())
}

/// Writes a discriminant, or the bits of flags.
fn store_number<T>(cx: &mut LowerContext<'_, T>, at: usize, bytes: u32, number: u32) {
    match bytes {
        0 => {}
        1 => *cx.get(at) = [number as u8],
        2 => *cx.get(at) = (number as u16).to_le_bytes(),
        _ => *cx.get(at) = number.to_le_bytes(),
    }
}

/// Copies a text into memory; returns where it is, and its length.
fn text_in_memory<T>(
    text: &str,
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
) -> wasmtime::Result<(ValRaw, ValRaw)> {
    let mut pair = MaybeUninit::new([ValRaw::u64(0); 2]);
    text.linear_lower_to_flat(cx, ty, &mut pair)?;
    // SAFETY: it was initialized when it was made.
    #[expect(unsafe_code, reason = "words that Wasmtime wrote to")]
    let [at, length] = unsafe { pair.assume_init() };
    Ok((at, length))
}

/// Copies the elements of a list into memory; returns where they are, and their number.
fn list_in_memory<T>(
    value: &Value,
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
) -> wasmtime::Result<(usize, usize)> {
    let InterfaceType::List(index) = ty else { return unexpected(value) };
    let types = cx.types;
    let element = types[index].element;
    let abi = types.canonical_abi(&element);
    let size = abi.size32 as usize;
    match value {
        Value::Packed(bytes) => {
            let at = cx.realloc(0, 0, abi.align32, bytes.len())?;
            // `realloc` has checked that the room is there.
            cx.as_slice_mut()[at..at + bytes.len()].copy_from_slice(bytes);
            Ok((at, bytes.len() / size))
        }
        Value::List(values) => {
            let bytes = values.len().checked_mul(size);
            let bytes = bytes.ok_or_else(|| wasmtime::format_err!("a list that is too long"))?;
            let at = cx.realloc(0, 0, abi.align32, bytes)?;
            for (index, value) in values.iter().enumerate() {
                store(value, cx, element, at + index * size)?;
            }
            Ok((at, values.len()))
        }
        _ => unexpected(value),
    }
}

fn as_word(
    slot: &mut MaybeUninit<ValRaw>,
) -> &mut MaybeUninit<<ResourceAny as ComponentType>::Lower> {
    slot
}

/// The layout of a type with cases.
struct Cases {
    ty: InterfaceType,
    discriminant_bytes: u32,
    payload_at: usize,
}

impl Cases {
    fn of<T>(ty: InterfaceType, cx: &LowerContext<'_, T>) -> Option<Self> {
        let info = match ty {
            InterfaceType::Variant(index) => &cx.types[index].info,
            InterfaceType::Option(index) => &cx.types[index].info,
            InterfaceType::Result(index) => &cx.types[index].info,
            _ => return None,
        };
        let payload_at = info.payload_offset32 as usize;
        Some(Self { ty, discriminant_bytes: info.size.into(), payload_at })
    }

    /// Returns the type of a case's payload.
    fn payload<T>(&self, case: u32, cx: &LowerContext<'_, T>) -> Option<InterfaceType> {
        match (self.ty, case) {
            (InterfaceType::Variant(index), _) => {
                let (_, payload) = cx.types[index].cases.get_index(case as usize)?;
                *payload
            }
            (InterfaceType::Option(index), 1) => Some(cx.types[index].ty),
            (InterfaceType::Result(index), 0) => cx.types[index].ok,
            (InterfaceType::Result(index), _) => cx.types[index].err,
            _ => None,
        }
    }
}
