//! The host's data for its callbacks.

use std::ffi::c_void;

use crate::ffi::boundary::quietly;
use crate::ffi::host_call::HostFn;

/// A pointer of the host, and the function to call after its last use.
pub struct UserData {
    pointer: *mut c_void,
    drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

// SAFETY: the header states that callbacks and `drop` run on any thread, several at once. A host
// that registers `user_data` accepts this.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

impl UserData {
    /// Takes ownership of the pointer.
    pub fn new(
        pointer: *mut c_void,
        drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    ) -> Self {
        Self { pointer, drop }
    }

    /// Returns the pointer, for a callback.
    pub fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            // SAFETY: the host gave the function for this pointer, and this is its only call.
            quietly(|| unsafe { drop.call((self.pointer,)) });
        }
    }
}
