//! Checks raw arguments and converts them. The project has no other pointer casts.

use std::ffi::{CStr, c_char};

use crate::core::bounds::MAX_CONTENT_TYPE_BYTES;
use crate::ffi::failure::Failure;

/// A struct whose first field is the size of the caller's version.
///
/// # Safety
///
/// The struct is `repr(C)`, begins with a `size_t` size, and is valid with all fields zero.
pub unsafe trait Sized0: Copy {
    /// Its size in the first version of the ABI, the smallest that exists.
    const FIRST_SIZE: usize;
}

/// `NULL` or a reference.
///
/// # Safety
///
/// `pointer` is NULL, or points to a live `T` that nobody changes during `'a`.
pub unsafe fn reference<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: this function's contract.
    unsafe { pointer.as_ref() }
}

/// A required object.
///
/// # Safety
///
/// As [`reference()`].
pub unsafe fn object<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    // SAFETY: this function's contract.
    unsafe { reference(pointer) }.ok_or_else(|| Failure::argument(name, "is NULL"))
}

/// Takes an object back from C, to be dropped.
///
/// # Safety
///
/// `pointer` is NULL, or came from `Box::into_raw` and is not used again.
pub unsafe fn free<T>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: this function's contract.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}

/// A required text.
///
/// # Safety
///
/// `pointer` is NULL, or points to a NUL-terminated text that nobody changes during `'a`.
pub unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str, Failure> {
    // SAFETY: this function's contract.
    unsafe { optional_text(pointer, name) }?.ok_or_else(|| Failure::argument(name, "is NULL"))
}

/// An optional text.
///
/// # Safety
///
/// As [`text`].
pub unsafe fn optional_text<'a>(
    pointer: *const c_char,
    name: &str,
) -> Result<Option<&'a str>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and this function's contract.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|error| {
        Failure::argument(name, &format!("is not UTF-8 from byte {}", error.valid_up_to()))
    })
}

/// An optional content type.
///
/// # Safety
///
/// As [`text`].
pub unsafe fn content_type<'a>(
    pointer: *const c_char,
    name: &str,
) -> Result<Option<&'a str>, Failure> {
    // SAFETY: this function's contract.
    let content_type = unsafe { optional_text(pointer, name) }?;
    match content_type.map_or(0, str::len) {
        ..=MAX_CONTENT_TYPE_BYTES => Ok(content_type),
        bytes => {
            let problem =
                format!("has {bytes} bytes, at most {MAX_CONTENT_TYPE_BYTES} are allowed");
            Err(Failure::argument(name, &problem))
        }
    }
}

/// Bytes. A length of 0 is empty, whatever the pointer.
///
/// # Safety
///
/// `len` is 0, or `pointer` is NULL, or it points to `len` bytes that nobody changes during `'a`.
pub unsafe fn bytes<'a>(pointer: *const u8, len: usize, name: &str) -> Result<&'a [u8], Failure> {
    // SAFETY: this function's contract.
    unsafe { slice(pointer, len, name) }
}

/// Numbers. A count of 0 is none, whatever the pointer.
///
/// # Safety
///
/// As [`bytes()`], with `count` aligned numbers.
pub unsafe fn numbers<'a>(
    pointer: *const u64,
    count: usize,
    name: &str,
) -> Result<&'a [u64], Failure> {
    if count > 0 && !pointer.is_aligned() {
        return Err(Failure::argument(name, "is not aligned"));
    }
    // SAFETY: this function's contract.
    unsafe { slice(pointer, count, name) }
}

/// # Safety
///
/// `len` is 0, or `pointer` is NULL, or it points to `len` aligned values that nobody changes during
/// `'a`. Any bits are a valid `T`.
unsafe fn slice<'a, T: Copy>(
    pointer: *const T,
    len: usize,
    name: &str,
) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(Failure::argument(name, &format!("is NULL with a length of {len}")));
    }
    if len > isize::MAX as usize / size_of::<T>() {
        return Err(Failure::argument(name, &format!("has an impossible length of {len}")));
    }
    // SAFETY: not NULL, no longer than an object can be, and this function's contract.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// A required output.
pub fn output<T>(pointer: *mut T, name: &str) -> Result<*mut T, Failure> {
    if pointer.is_null() { Err(Failure::argument(name, "is NULL")) } else { Ok(pointer) }
}

/// Writes an output.
///
/// # Safety
///
/// `pointer` is valid for writing a `T`.
pub unsafe fn write_output<T>(pointer: *mut T, value: T) {
    // SAFETY: this function's contract.
    unsafe { pointer.write(value) };
}

/// Reads a struct of another version. Fields that the caller's version lacks are zero. Fields that
/// this library does not know must be zero.
///
/// # Safety
///
/// `pointer` is NULL, or points to a size and that many bytes, the size included.
pub unsafe fn versioned<T: Sized0>(pointer: *const T, name: &str) -> Result<Option<T>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and `T` begins with its size.
    let size = unsafe { pointer.cast::<usize>().read_unaligned() };
    if size < T::FIRST_SIZE || size > 4096 {
        let problem = format!("has size {size}, {} was expected", size_of::<T>());
        return Err(Failure::argument(name, &problem));
    }
    // SAFETY: the contract says that there are `size` bytes.
    let given = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), size) };
    if given.iter().skip(size_of::<T>()).any(|byte| *byte != 0) {
        return Err(Failure::argument(name, "uses fields of a newer version of this library"));
    }
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    let known = size.min(size_of::<T>());
    // SAFETY: both sides have `known` bytes and do not overlap.
    unsafe { value.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(given.as_ptr(), known) };
    // SAFETY: a `Sized0` is valid with zero fields; the others hold what the caller wrote.
    Ok(Some(unsafe { value.assume_init() }))
}
