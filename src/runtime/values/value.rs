//! A value for a guest, checked against its type.

use wasmtime::component::ResourceAny;

/// A value without its type. Lists of numbers are packed, because each element would take the room
/// of a whole `Value` otherwise.
#[derive(Debug)]
pub enum Value {
    /// A number, a bool, a char or the case of an enum: its bits, sign-extended.
    Scalar(u64),
    /// A string.
    Text(String),
    /// The elements of a list of numbers or bools, as they are in linear memory.
    Packed(Vec<u8>),
    /// The elements of any other list.
    List(Vec<Value>),
    /// The fields of a record or a tuple.
    Fields(Vec<Value>),
    /// The case of a variant, an option or a result, with its payload.
    Case(u32, Option<Box<Value>>),
    /// The bits of flags, 32 in each word.
    Flags(Vec<u32>),
    /// A handle.
    Resource(ResourceAny),
}
