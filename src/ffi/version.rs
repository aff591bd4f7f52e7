//! Versions at compile time and at run time.

use std::ffi::{CStr, c_char};

/// Major version of this header.
pub const AIRSSYS_VERSION_MAJOR: u32 = 0;
/// Minor version of this header.
pub const AIRSSYS_VERSION_MINOR: u32 = 1;
/// Patch version of this header.
pub const AIRSSYS_VERSION_PATCH: u32 = 0;

/// Version of the binary interface, the number in the SONAME `libairssys_wasm.so.0`. It changes
/// only when programs must be recompiled.
pub const AIRSSYS_ABI_VERSION: u32 = 0;

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version holds no NUL"),
    };

/// Returns the version of the loaded library, for example `"0.1.0"`.
///
/// The text is static and must not be freed. Any thread; callable from callbacks.
#[unsafe(no_mangle)]
pub extern "C" fn airssys_version() -> *const c_char {
    VERSION.as_ptr()
}

/// Returns the ABI version of the loaded library.
///
/// A host that opens the library at run time must compare it with `AIRSSYS_ABI_VERSION`. Any
/// thread; callable from callbacks.
#[unsafe(no_mangle)]
pub extern "C" fn airssys_abi_version() -> u32 {
    AIRSSYS_ABI_VERSION
}
