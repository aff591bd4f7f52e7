//! The host's data that its callbacks get back.

use std::ffi::c_void;

use crate::ffi::boundary::quietly;
use crate::ffi::host_call::HostFn;

/// A pointer of the host, and how to tell it that the pointer is not used any more.
pub struct UserData {
    pointer: *mut c_void,
    drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

// SAFETY: the header says that callbacks and their `drop` are called from any thread, several at
// once; a host that registers `user_data` has promised that it bears that.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

impl UserData {
    /// Takes the pointer over.
    pub fn new(
        pointer: *mut c_void,
        drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    ) -> Self {
        Self { pointer, drop }
    }

    /// The pointer, for a callback.
    pub fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            // SAFETY: the host gave the function for this pointer, and this is its one call.
            quietly(|| unsafe { drop.call((self.pointer,)) });
        }
    }
}
