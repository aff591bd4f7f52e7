//! The arguments of C functions: converts raw pointers to checked values. The project has no other
//! pointer casts.
//!
//! A C function begins with [`arguments!`], which gives each of its pointers a type from this file.
//! The type states what C passes, and its methods rely on that. The rest of the function is safe:
//!
//! ```text
//! pub unsafe extern "C" fn airssys_engine_set_policies(
//!     engine: *mut airssys_engine_t,
//!     json: *const c_char,
//!     error: *mut *mut airssys_error_t,
//! ) -> airssys_status_t {
//!     arguments!(unsafe { engine: Object, json: Text, error: Out });
//!     on_engine(engine, error, |engine| Ok(engine.set_policies(json.required()?)?))
//! }
//! ```
//!
//! The parameters themselves keep their C types: cbindgen prints them, and Rust programs call these
//! functions too.

use std::ffi::{CStr, c_char};
use std::ptr::NonNull;

use crate::core::bounds::MAX_CONTENT_TYPE_BYTES;
use crate::ffi::failure::Failure;

/// Converts pointers from C to arguments of the same names, which errors repeat. Only for
/// parameters of an `unsafe extern "C"` function. A pointer and its length are one argument:
///
/// ```text
/// arguments!(unsafe { engine: Object, payload[len]: Slice, options: Versioned, error: Out });
/// ```
macro_rules! arguments {
    (unsafe { $($name:ident $([$len:ident])? : $type:ident),+ $(,)? }) => {
        let call = $crate::ffi::arguments::Call;
        $(
            // SAFETY: the header requires what `$type` states, for as long as the function runs.
            // Values read through the argument borrow `call`, so they do not outlive the function.
            let $name = unsafe {
                $crate::ffi::arguments::$type::new($name, $($len,)? stringify!($name), &call)
            };
        )+
    };
}
pub(super) use arguments;

/// A running C function. The values behind its arguments are borrowed from it.
pub struct Call;

fn null(name: &str) -> Failure {
    Failure::argument(name, "is NULL")
}

/// A text. C passes NULL, or a NUL-terminated text that does not change during the call.
pub struct Text<'a> {
    pointer: *const c_char,
    name: &'static str,
    _call: &'a Call,
}

impl<'a> Text<'a> {
    /// # Safety
    ///
    /// `pointer` is as [`Text`] states while `call` lives.
    pub unsafe fn new(pointer: *const c_char, name: &'static str, call: &'a Call) -> Self {
        Self { pointer, name, _call: call }
    }

    /// Returns the text, or an error for NULL.
    pub fn required(&self) -> Result<&'a str, Failure> {
        self.optional()?.ok_or_else(|| null(self.name))
    }

    /// Returns the text, or `None` for NULL.
    pub fn optional(&self) -> Result<Option<&'a str>, Failure> {
        if self.pointer.is_null() {
            return Ok(None);
        }
        // SAFETY: a non-NULL `Text` is NUL-terminated.
        let text = unsafe { CStr::from_ptr(self.pointer) };
        text.to_str().map(Some).map_err(|error| {
            let problem = format!("is not UTF-8 from byte {}", error.valid_up_to());
            Failure::argument(self.name, &problem)
        })
    }

    /// Returns the text as a content type, or `None` for NULL.
    pub fn content_type(&self) -> Result<Option<&'a str>, Failure> {
        let content_type = self.optional()?;
        match content_type.map_or(0, str::len) {
            ..=MAX_CONTENT_TYPE_BYTES => Ok(content_type),
            bytes => {
                let problem =
                    format!("has {bytes} bytes, at most {MAX_CONTENT_TYPE_BYTES} are allowed");
                Err(Failure::argument(self.name, &problem))
            }
        }
    }
}

/// An array of texts. C passes a length of 0, or NULL, or a pointer to that many texts as in [`Text`].
pub struct Texts<'a>(Slice<'a, *const c_char>);

impl<'a> Texts<'a> {
    /// # Safety
    ///
    /// `pointer` is as [`Texts`] states while `call` lives.
    pub unsafe fn new(
        pointer: *const *const c_char,
        len: usize,
        name: &'static str,
        call: &'a Call,
    ) -> Self {
        // SAFETY: this function's contract.
        Self(unsafe { Slice::new(pointer, len, name, call) })
    }

    /// Returns the texts, or an error if one is NULL.
    pub fn get(&self) -> Result<Vec<&'a str>, Failure> {
        let Slice { name, _call: call, .. } = self.0;
        // SAFETY: each element is as a `Text` states.
        let text = |pointer: &*const c_char| unsafe { Text::new(*pointer, name, call) }.required();
        self.0.get()?.iter().map(text).collect()
    }
}

/// Bytes or numbers. C passes a length of 0, or NULL, or a pointer to that many values, which do
/// not change during the call. A pointer that the function does not read may be anything.
pub struct Slice<'a, T> {
    pointer: *const T,
    len: usize,
    name: &'static str,
    _call: &'a Call,
}

impl<'a, T: Copy> Slice<'a, T> {
    /// # Safety
    ///
    /// `pointer` is as [`Slice`] states while `call` lives.
    pub unsafe fn new(pointer: *const T, len: usize, name: &'static str, call: &'a Call) -> Self {
        Self { pointer, len, name, _call: call }
    }

    /// Returns the values; none for a length of 0, whatever the pointer.
    pub fn get(&self) -> Result<&'a [T], Failure> {
        let Self { pointer, len, name, .. } = *self;
        if len == 0 {
            return Ok(&[]);
        }
        if !pointer.is_aligned() {
            return Err(Failure::argument(name, "is not aligned"));
        }
        if pointer.is_null() {
            return Err(Failure::argument(name, &format!("is NULL with a length of {len}")));
        }
        if len > isize::MAX as usize / size_of::<T>() {
            return Err(Failure::argument(name, &format!("has an impossible length of {len}")));
        }
        // SAFETY: a non-NULL `Slice` has `len` values. It is aligned and within the maximum size of
        // an object.
        Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
    }

    /// Returns the values, or `None` for NULL. NULL with a length other than 0 is an error.
    pub fn optional(&self) -> Result<Option<&'a [T]>, Failure> {
        let values = self.get()?;
        Ok((!self.pointer.is_null()).then_some(values))
    }
}

/// An object of the library. C passes NULL, or an object that is not released during the call.
/// Exception: an engine may be freed in the meantime. It then lives until the last `Entered` ends,
/// and nothing uses it after that.
pub struct Object<'a, T> {
    pointer: *const T,
    name: &'static str,
    _call: &'a Call,
}

impl<'a, T> Object<'a, T> {
    /// # Safety
    ///
    /// `pointer` is as [`Object`] states while `call` lives.
    pub unsafe fn new(pointer: *const T, name: &'static str, call: &'a Call) -> Self {
        Self { pointer, name, _call: call }
    }

    /// Returns the object, or an error for NULL.
    pub fn required(&self) -> Result<&'a T, Failure> {
        self.optional().ok_or_else(|| null(self.name))
    }

    /// Returns the object, or `None` for NULL.
    pub fn optional(&self) -> Option<&'a T> {
        // SAFETY: an `Object` is NULL or live.
        unsafe { self.pointer.as_ref() }
    }
}

/// An output. C passes NULL, or a pointer that is valid for writing during the call.
pub struct Out<'a, T> {
    pointer: *mut T,
    name: &'static str,
    call: &'a Call,
}

impl<'a, T> Out<'a, T> {
    /// # Safety
    ///
    /// `pointer` is as [`Out`] states while `call` lives.
    pub unsafe fn new(pointer: *mut T, name: &'static str, call: &'a Call) -> Self {
        Self { pointer, name, call }
    }

    /// Returns the place, or an error for NULL.
    pub fn required(&self) -> Result<Place<'a, T>, Failure> {
        self.optional().ok_or_else(|| null(self.name))
    }

    /// Returns the place, or `None` for NULL.
    pub fn optional(&self) -> Option<Place<'a, T>> {
        NonNull::new(self.pointer).map(|pointer| Place { pointer, _call: self.call })
    }
}

/// A non-NULL output.
pub struct Place<'a, T> {
    pointer: NonNull<T>,
    _call: &'a Call,
}

impl<T> Place<'_, T> {
    /// Writes the output.
    pub fn write(self, value: T) {
        // SAFETY: a non-NULL `Out` is valid for writing.
        unsafe { self.pointer.write(value) };
    }
}

/// A struct whose first field is the size of the caller's version.
///
/// # Safety
///
/// The struct is `repr(C)`, begins with a `size_t` size, and is valid with all fields zero.
pub unsafe trait Sized0: Copy {
    /// Its size in the first version of the ABI, which is the smallest.
    const FIRST_SIZE: usize;
}

/// A struct in the caller's version. C passes NULL, or a pointer to a size and that many bytes, the
/// size included, which do not change during the call. The fields are as the header states: a text
/// is a [`Text`], a function behaves as documented.
pub struct Versioned<'a, T> {
    pointer: *const T,
    name: &'static str,
    /// While this lives, the pointers in the struct are valid.
    pub call: &'a Call,
}

impl<'a, T: Sized0> Versioned<'a, T> {
    /// # Safety
    ///
    /// `pointer` is as [`Versioned`] states while `call` lives.
    pub unsafe fn new(pointer: *const T, name: &'static str, call: &'a Call) -> Self {
        Self { pointer, name, call }
    }

    /// Returns a copy of the struct, or an error for NULL.
    pub fn required(&self) -> Result<T, Failure> {
        self.optional()?.ok_or_else(|| null(self.name))
    }

    /// Returns a copy of the struct, or `None` for NULL. Fields that the caller's version lacks are
    /// zero. Fields unknown to this library must be zero.
    pub fn optional(&self) -> Result<Option<T>, Failure> {
        let Self { pointer, name, .. } = *self;
        if pointer.is_null() {
            return Ok(None);
        }
        // SAFETY: a non-NULL `Versioned` begins with its size.
        let size = unsafe { pointer.cast::<usize>().read_unaligned() };
        if size < T::FIRST_SIZE || size > 4096 {
            let problem = format!("has size {size}, {} was expected", size_of::<T>());
            return Err(Failure::argument(name, &problem));
        }
        // SAFETY: a `Versioned` has as many bytes as its size states.
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
}

/// An array of structs as in [`Versioned`], all of the same size. C passes a length of 0, or NULL, or a
/// pointer to that many structs.
pub struct VersionedArray<'a, T> {
    pointer: *const T,
    len: usize,
    name: &'static str,
    /// While this lives, the pointers in the structs are valid.
    pub call: &'a Call,
}

impl<'a, T: Sized0> VersionedArray<'a, T> {
    /// # Safety
    ///
    /// `pointer` is as [`VersionedArray`] states while `call` lives.
    pub unsafe fn new(pointer: *const T, len: usize, name: &'static str, call: &'a Call) -> Self {
        Self { pointer, len, name, call }
    }

    /// Returns copies of the structs; none for a length of 0, whatever the pointer.
    pub fn get(&self) -> Result<Vec<T>, Failure> {
        let Self { pointer, len, name, call } = *self;
        if len == 0 {
            return Ok(Vec::new());
        }
        if pointer.is_null() {
            return Err(Failure::argument(name, &format!("is NULL with a length of {len}")));
        }
        // SAFETY: a non-NULL `VersionedArray` that is not empty begins with a size.
        let size = unsafe { pointer.cast::<usize>().read_unaligned() };
        // Also if the size is invalid, which the first element reports.
        if len > isize::MAX as usize / size.max(size_of::<T>()) {
            return Err(Failure::argument(name, &format!("has an impossible length of {len}")));
        }
        let element = |at: usize| {
            let element = pointer.wrapping_byte_add(at * size);
            // SAFETY: a `VersionedArray` has `len` structs of this size; each is a `Versioned`.
            let given = unsafe { element.cast::<usize>().read_unaligned() };
            if given != size {
                let problem = format!("has size {given} at {at} and {size} at 0");
                return Err(Failure::argument(name, &problem));
            }
            // SAFETY: as above.
            unsafe { Versioned::new(element, name, call) }.required()
        };
        (0..len).map(element).collect()
    }
}

/// Takes an object back from C, for dropping.
///
/// # Safety
///
/// `pointer` is NULL, or came from `Box::into_raw` and is not used again.
pub unsafe fn free<T>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: this function's contract.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}
