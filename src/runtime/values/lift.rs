//! A result on its way out of a guest: lifting by the Canonical ABI, straight into JSON.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wasmtime::ValRaw;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, bad_type_info,
};
use wasmtime::component::{ComponentNamedList, ComponentType, Lift, ResourceAny};

use crate::runtime::lifting::text_in_memory;

/// The most words that a result takes; a larger one is in memory.
const MAX_FLAT: usize = 1;

/// The most bytes of a text that are written between two checks of the quota.
const PIECE: usize = 4096;

/// The next handle. Handles of all engines come from here, so that none is mistaken for another's.
static NEXT_HANDLE: AtomicU64 = AtomicU64::new(1);

/// The result of a call as JSON; `null` if the function has none. With `PACKED`, a list of numbers
/// is the base64 of its elements.
pub struct Answer<const PACKED: bool> {
    /// The JSON text.
    pub json: Vec<u8>,
    /// The resources in it, by the handles that stand for them.
    pub resources: Vec<(u64, ResourceAny)>,
}

// SAFETY: `Lower` is the one word that a function returns: its result, or where that is.
#[expect(unsafe_code, reason = "Wasmtime's traits for types of the component model")]
unsafe impl<const PACKED: bool> ComponentType for Answer<PACKED> {
    type Lower = [ValRaw; MAX_FLAT];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::SCALAR4;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> wasmtime::Result<()> {
        // Every type passes: the result is read by the type that Wasmtime passes in.
        Ok(())
    }
}

// SAFETY: as for `ComponentType`.
#[expect(unsafe_code, reason = "Wasmtime's traits for types of the component model")]
unsafe impl<const PACKED: bool> ComponentNamedList for Answer<PACKED> {}

// SAFETY: the word is read only if the type has a result; memory is read through checked slices.
#[expect(unsafe_code, reason = "Wasmtime's traits for types of the component model")]
unsafe impl<const PACKED: bool> Lift for Answer<PACKED> {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        words: &Self::Lower,
    ) -> wasmtime::Result<Self> {
        let InterfaceType::Tuple(index) = ty else { bad_type_info() };
        let types = cx.types;
        let tuple = &types[index];
        let mut output = Output { cx, json: Vec::new(), resources: Vec::new(), packed: PACKED };
        match &*tuple.types {
            [] => output.json.extend_from_slice(b"null"),
            [result] if tuple.abi.flat_count(MAX_FLAT).is_some() => {
                output.word(*result, &words[0])?;
            }
            [result] => {
                let at = words[0].get_u32() as usize;
                let bytes = output.slice(at, 1, tuple.abi.size32 as usize, tuple.abi.align32)?;
                output.value(*result, bytes)?;
            }
            _ => bad_type_info(),
        }
        Ok(Self { json: output.json, resources: output.resources })
    }

    fn linear_lift_from_memory(
        _: &mut LiftContext<'_>,
        _: InterfaceType,
        _: &[u8],
    ) -> wasmtime::Result<Self> {
        // Wasmtime calls this for more than `MAX_FLAT` words only.
        bad_type_info()
    }
}

struct Output<'c, 'a> {
    cx: &'c mut LiftContext<'a>,
    json: Vec<u8>,
    resources: Vec<(u64, ResourceAny)>,
    packed: bool,
}

impl<'a> Output<'_, 'a> {
    /// Writes JSON, at the expense of the data that the component may pass to the host.
    fn push(&mut self, text: &[u8]) -> wasmtime::Result<()> {
        self.cx.consume_fuel(text.len())?;
        self.json.extend_from_slice(text);
        Ok(())
    }

    fn number(&mut self, number: impl serde::Serialize) -> wasmtime::Result<()> {
        let before = self.json.len();
        serde_json::to_writer(&mut self.json, &number)?;
        self.cx.consume_fuel(self.json.len() - before)
    }

    fn float(&mut self, number: f64, shortest: impl serde::Serialize) -> wasmtime::Result<()> {
        match number {
            _ if number.is_nan() => self.push(b"\"NaN\""),
            f64::INFINITY => self.push(b"\"Infinity\""),
            f64::NEG_INFINITY => self.push(b"\"-Infinity\""),
            _ => self.number(shortest),
        }
    }

    fn text(&mut self, text: &str) -> wasmtime::Result<()> {
        self.push(b"\"")?;
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.floor_char_boundary(PIECE));
            let before = self.json.len();
            serde_json::to_writer(&mut self.json, piece)?;
            // The quotation marks of the piece.
            self.json.pop();
            self.json.remove(before);
            self.cx.consume_fuel(self.json.len() - before)?;
            rest = more;
        }
        self.push(b"\"")
    }

    fn resource(&mut self, resource: ResourceAny) -> wasmtime::Result<()> {
        let handle = NEXT_HANDLE.fetch_add(1, Ordering::Relaxed);
        self.cx.consume_fuel(size_of::<(u64, ResourceAny)>())?;
        self.resources.push((handle, resource));
        self.number(handle)
    }

    /// Writes a scalar from its bits, zero- or sign-extended.
    fn scalar(&mut self, ty: InterfaceType, bits: u64) -> wasmtime::Result<()> {
        match ty {
            InterfaceType::Bool if bits as u32 == 0 => self.push(b"false"),
            InterfaceType::Bool => self.push(b"true"),
            InterfaceType::S8 => self.number(bits as i8),
            InterfaceType::U8 => self.number(bits as u8),
            InterfaceType::S16 => self.number(bits as i16),
            InterfaceType::U16 => self.number(bits as u16),
            InterfaceType::S32 => self.number(bits as i32),
            InterfaceType::U32 => self.number(bits as u32),
            InterfaceType::S64 => self.number(bits as i64),
            InterfaceType::U64 => self.number(bits),
            InterfaceType::Float32 => {
                let number = f32::from_bits(bits as u32);
                self.float(number.into(), number)
            }
            InterfaceType::Float64 => {
                let number = f64::from_bits(bits);
                self.float(number, number)
            }
            InterfaceType::Char => {
                let character = char::try_from(bits as u32)?;
                self.text(character.encode_utf8(&mut [0; 4]))
            }
            _ => bad_type_info(),
        }
    }

    /// Writes a value that takes at most one word.
    fn word(&mut self, ty: InterfaceType, word: &ValRaw) -> wasmtime::Result<()> {
        let types = self.cx.types;
        match ty {
            InterfaceType::Own(_) | InterfaceType::Borrow(_) => {
                let resource = ResourceAny::linear_lift_from_flat(self.cx, ty, word)?;
                self.resource(resource)
            }
            InterfaceType::Record(index) => {
                let record = &types[index];
                self.push(b"{")?;
                for field in &record.fields {
                    self.text(&field.name)?;
                    self.push(b":")?;
                    self.word(field.ty, word)?;
                }
                self.push(b"}")
            }
            InterfaceType::Tuple(index) => {
                self.push(b"[")?;
                for ty in &types[index].types {
                    self.word(*ty, word)?;
                }
                self.push(b"]")
            }
            InterfaceType::Flags(index) => {
                let words = types[index].abi.size32.div_ceil(4);
                self.flags(ty, [word.get_u32()].into_iter().take(words as usize))
            }
            InterfaceType::Enum(_)
            | InterfaceType::Variant(_)
            | InterfaceType::Option(_)
            | InterfaceType::Result(_) => {
                // No case has a payload, or the value would take a second word.
                self.case(ty, word.get_u32(), None)
            }
            scalar => self.scalar(scalar, word.get_u64()),
        }
    }

    /// Returns the bytes of `count` values of a type.
    fn slice(
        &self,
        at: usize,
        count: usize,
        size: usize,
        align: u32,
    ) -> wasmtime::Result<&'a [u8]> {
        if !at.is_multiple_of(align as usize) {
            wasmtime::bail!("a pointer that is not aligned to {align} bytes");
        }
        let end = count.checked_mul(size).and_then(|bytes| at.checked_add(bytes));
        end.and_then(|end| self.cx.memory().get(at..end))
            .ok_or_else(|| wasmtime::format_err!("a pointer out of the bounds of memory"))
    }

    /// Writes a value from memory; `bytes` begins with it.
    fn value(&mut self, ty: InterfaceType, bytes: &'a [u8]) -> wasmtime::Result<()> {
        let types = self.cx.types;
        match ty {
            InterfaceType::Own(_) | InterfaceType::Borrow(_) => {
                let resource =
                    ResourceAny::linear_lift_from_memory(self.cx, ty, part(bytes, 0, 4)?)?;
                self.resource(resource)
            }
            InterfaceType::String => {
                let (at, length) = (number(bytes, 0, 4)?, number(bytes, 4, 4)?);
                let text = text_in_memory(self.cx, at as usize, length as u32)?;
                self.text(&text)
            }
            InterfaceType::List(index) => {
                let (at, count) = (number(bytes, 0, 4)?, number(bytes, 4, 4)?);
                self.list(types[index].element, at as usize, count as usize)
            }
            InterfaceType::Record(index) => {
                let mut offset = 0;
                self.push(b"{")?;
                for (index, field) in types[index].fields.iter().enumerate() {
                    let at = types.canonical_abi(&field.ty).next_field32_size(&mut offset);
                    self.push(if index == 0 { b"" } else { b"," })?;
                    self.text(&field.name)?;
                    self.push(b":")?;
                    self.value(field.ty, after(bytes, at)?)?;
                }
                self.push(b"}")
            }
            InterfaceType::Tuple(index) => {
                let mut offset = 0;
                self.push(b"[")?;
                for (index, ty) in types[index].types.iter().enumerate() {
                    let at = types.canonical_abi(ty).next_field32_size(&mut offset);
                    self.push(if index == 0 { b"" } else { b"," })?;
                    self.value(*ty, after(bytes, at)?)?;
                }
                self.push(b"]")
            }
            InterfaceType::Flags(index) => {
                let size = types[index].abi.size32 as usize;
                let words = (0..size.div_ceil(4))
                    .map(|index| Ok(number(bytes, 4 * index, size.min(4))? as u32))
                    .collect::<wasmtime::Result<Vec<_>>>()?;
                self.flags(ty, words.into_iter())
            }
            InterfaceType::Enum(index) => {
                let size = types[index].abi.size32 as usize;
                self.case(ty, number(bytes, 0, size)? as u32, None)
            }
            InterfaceType::Variant(_) | InterfaceType::Option(_) | InterfaceType::Result(_) => {
                let info = match ty {
                    InterfaceType::Variant(index) => &types[index].info,
                    InterfaceType::Option(index) => &types[index].info,
                    InterfaceType::Result(index) => &types[index].info,
                    _ => bad_type_info(),
                };
                let case = number(bytes, 0, info.size.into())? as u32;
                self.case(ty, case, Some(after(bytes, info.payload_offset32 as usize)?))
            }
            scalar => {
                let size = types.canonical_abi(&scalar).size32 as usize;
                self.scalar(scalar, number(bytes, 0, size)?)
            }
        }
    }

    fn list(&mut self, element: InterfaceType, at: usize, count: usize) -> wasmtime::Result<()> {
        let abi = self.cx.types.canonical_abi(&element);
        let size = abi.size32 as usize;
        let bytes = self.slice(at, count, size, abi.align32)?;
        let is_packed = match element {
            InterfaceType::U8 => true,
            InterfaceType::Bool
            | InterfaceType::S8
            | InterfaceType::S16
            | InterfaceType::U16
            | InterfaceType::S32
            | InterfaceType::U32
            | InterfaceType::S64
            | InterfaceType::U64
            | InterfaceType::Float32
            | InterfaceType::Float64 => self.packed,
            _ => false,
        };
        if is_packed {
            self.cx.consume_fuel(bytes.len().div_ceil(3).saturating_mul(4) + 2)?;
            return self.base64(bytes);
        }
        self.push(b"[")?;
        for index in 0..count {
            self.push(if index == 0 { b"" } else { b"," })?;
            self.value(element, after(bytes, index * size)?)?;
        }
        self.push(b"]")
    }

    fn base64(&mut self, bytes: &[u8]) -> wasmtime::Result<()> {
        let start = self.json.len() + 1;
        let length = bytes.len().div_ceil(3) * 4;
        self.json.reserve(length + 2);
        self.json.push(b'"');
        self.json.resize(start + length, 0);
        STANDARD.encode_slice(bytes, &mut self.json[start..])?;
        self.json.push(b'"');
        Ok(())
    }

    fn flags(
        &mut self,
        ty: InterfaceType,
        words: impl Iterator<Item = u32>,
    ) -> wasmtime::Result<()> {
        let InterfaceType::Flags(index) = ty else { bad_type_info() };
        let names = &self.cx.types[index].names;
        self.push(b"[")?;
        let mut first = true;
        for (word, bits) in words.enumerate() {
            for bit in (0..32).filter(|bit| bits & (1 << bit) != 0) {
                // Bits without a name are ignored, as by the Canonical ABI.
                let Some(name) = names.iter().nth(32 * word + bit) else { continue };
                self.push(if first { b"" } else { b"," })?;
                self.text(name)?;
                first = false;
            }
        }
        self.push(b"]")
    }

    /// Writes a case, with the payload at the beginning of `bytes` if it has one.
    fn case(
        &mut self,
        ty: InterfaceType,
        case: u32,
        bytes: Option<&'a [u8]>,
    ) -> wasmtime::Result<()> {
        let types = self.cx.types;
        let unknown = || wasmtime::format_err!("case {case} of a type with fewer cases");
        let (name, payload) = match (ty, case) {
            (InterfaceType::Enum(index), _) => {
                let name = types[index].names.iter().nth(case as usize).ok_or_else(unknown)?;
                return self.text(name);
            }
            (InterfaceType::Variant(index), _) => {
                let found = types[index].cases.get_index(case as usize).ok_or_else(unknown)?;
                match found {
                    (name, None) => return self.text(name),
                    (name, payload) => (name.as_str(), *payload),
                }
            }
            (InterfaceType::Option(_), 0) => return self.push(b"null"),
            (InterfaceType::Option(index), 1) => match types[index].ty {
                payload @ InterfaceType::Option(_) => ("some", Some(payload)),
                payload => return self.value(payload, bytes.ok_or_else(unknown)?),
            },
            (InterfaceType::Result(index), 0) => ("ok", types[index].ok),
            (InterfaceType::Result(index), 1) => ("err", types[index].err),
            _ => return Err(unknown()),
        };
        self.push(b"{")?;
        self.text(name)?;
        self.push(b":")?;
        match (payload, bytes) {
            (Some(ty), Some(bytes)) => self.value(ty, bytes)?,
            (None, _) => self.push(b"null")?,
            (Some(_), None) => return Err(unknown()),
        }
        self.push(b"}")
    }
}

/// Returns the bytes from an offset on.
fn after(bytes: &[u8], at: usize) -> wasmtime::Result<&[u8]> {
    bytes.get(at..).ok_or_else(|| wasmtime::format_err!("a value beyond its memory"))
}

fn part(bytes: &[u8], at: usize, length: usize) -> wasmtime::Result<&[u8]> {
    let part = after(bytes, at)?.get(..length);
    part.ok_or_else(|| wasmtime::format_err!("a value beyond its memory"))
}

/// Reads a little-endian number of up to eight bytes.
fn number(bytes: &[u8], at: usize, size: usize) -> wasmtime::Result<u64> {
    let mut word = [0; 8];
    if let Some(low) = word.get_mut(..size) {
        low.copy_from_slice(part(bytes, at, size)?);
    }
    Ok(u64::from_le_bytes(word))
}
