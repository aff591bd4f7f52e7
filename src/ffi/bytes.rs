//! Bytes that the library returns.

use std::mem::ManuallyDrop;

/// Bytes that the caller owns and must release with `airssys_bytes_free`.
///
/// "None" and "empty" differ. `data` is NULL if there are no bytes, for example if a component
/// handled a message without a reply. `data` is not NULL and `len` is 0 if there are zero bytes.
/// JSON documents are UTF-8, followed by a NUL that `len` does not count.
#[repr(C)]
pub struct airssys_bytes_t {
    /// The bytes, or NULL.
    pub data: *mut u8,
    /// The number of bytes.
    pub len: usize,
    /// For the library. Do not change it.
    pub capacity: usize,
}

const NONE: airssys_bytes_t = airssys_bytes_t { data: std::ptr::null_mut(), len: 0, capacity: 0 };

impl airssys_bytes_t {
    /// Passes ownership of bytes to C.
    pub fn new(bytes: Option<Vec<u8>>) -> Self {
        bytes.map_or(NONE, |bytes| {
            let mut bytes = ManuallyDrop::new(bytes);
            Self { data: bytes.as_mut_ptr(), len: bytes.len(), capacity: bytes.capacity() }
        })
    }

    /// Passes ownership of a document to C, followed by a NUL.
    pub fn document(text: String) -> Self {
        let mut bytes = text.into_bytes();
        bytes.push(0);
        let document = Self::new(Some(bytes));
        Self { len: document.len - 1, ..document }
    }
}

/// Releases bytes and sets them to `{NULL, 0, 0}`, so that a second call does nothing.
///
/// `bytes`: NULL does nothing. Any thread; callable from callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_bytes_free(bytes: *mut airssys_bytes_t) {
    if bytes.is_null() {
        return;
    }
    // SAFETY: not NULL, and by this function's contract a live `airssys_bytes_t`.
    let airssys_bytes_t { data, len, capacity } = unsafe { bytes.replace(NONE) };
    if !data.is_null() {
        // SAFETY: made by `airssys_bytes_t::new` from a vector of this pointer and capacity, of
        // which at least `len` bytes are set.
        drop(unsafe { Vec::from_raw_parts(data, len, capacity) });
    }
}
