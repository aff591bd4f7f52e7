//! Helpers that all callbacks use.

use std::ffi::{CStr, c_char};

pub fn text(text: *const c_char) -> String {
    // SAFETY: every text of a callback is NUL-terminated and lives until it returns.
    unsafe { CStr::from_ptr(text) }.to_str().expect("UTF-8").to_owned()
}

pub fn bytes(data: *const u8, len: usize) -> Option<Vec<u8>> {
    // SAFETY: what is not NULL has `len` bytes.
    (!data.is_null()).then(|| unsafe { std::slice::from_raw_parts(data, len) }.to_vec())
}

/// Whether the caller runs on the stack that the system gave this thread.
pub fn on_native_stack() -> bool {
    let local = 0_u8;
    let address = (&raw const local).addr();
    let (mut bottom, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are initialized by the first call and destroyed once.
    unsafe {
        let mut attributes = std::mem::MaybeUninit::uninit();
        assert_eq!(libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()), 0);
        libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut bottom, &raw mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
    }
    (bottom.addr()..bottom.addr() + size).contains(&address)
}
