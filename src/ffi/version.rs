//! Versions, at compile time and at run time.

use std::ffi::{CStr, c_char};

/// Major version of the header.
pub const AIRSSYS_VERSION_MAJOR: u32 = 0;
/// Minor version of the header.
pub const AIRSSYS_VERSION_MINOR: u32 = 1;
/// Patch version of the header.
pub const AIRSSYS_VERSION_PATCH: u32 = 0;

/// Version of the binary interface: the number in the SONAME `libairssys_wasm.so.0`. It changes
/// only when programs have to be compiled anew.
pub const AIRSSYS_ABI_VERSION: u32 = 0;

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version holds no NUL"),
    };

/// The version of the library that is loaded, for example `"0.1.0"`.
///
/// The text is static and never freed. Any thread; callable from callbacks.
#[unsafe(no_mangle)]
pub extern "C" fn airssys_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The ABI version of the library that is loaded; equals `AIRSSYS_ABI_VERSION` of the header it
/// was built with. A host that opens the library at run time compares the two.
///
/// Any thread; callable from callbacks.
#[unsafe(no_mangle)]
pub extern "C" fn airssys_abi_version() -> u32 {
    AIRSSYS_ABI_VERSION
}
