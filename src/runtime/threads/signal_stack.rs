//! Stacks for signal handlers. Wasmtime makes one at the first guest of a thread, and panics where it gets
//! no memory for it; a thread that has one already keeps it.

#![expect(unsafe_code, reason = "signal stacks are a matter of system calls")]

use std::io;

/// Gives this thread a stack for signal handlers that is large enough for Wasmtime's, unless it has one.
#[cfg(unix)]
#[inline]
pub fn ensure() -> io::Result<()> {
    if unix::IS_THERE.get() { Ok(()) } else { make() }
}

#[cfg(unix)]
#[cold]
fn make() -> io::Result<()> {
    if !unix::has_one()? {
        let stack = unix::Stack::new()?;
        unix::OWN.with_borrow_mut(|own| *own = Some(stack));
    }
    unix::IS_THERE.set(true);
    Ok(())
}

/// Elsewhere handlers run on the thread's own stack.
#[cfg(not(unix))]
pub fn ensure() -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
mod unix {
    use std::cell::{Cell, RefCell};
    use std::ffi::c_void;
    use std::io;
    use std::mem::MaybeUninit;
    use std::ptr;

    /// What Wasmtime asks for, and some.
    const BYTES: usize = 64 * 4096 + GUARD_BYTES;

    /// Below the stack; a multiple of the size of a page, whatever that is.
    const GUARD_BYTES: usize = 64 << 10;

    thread_local! {
        pub static IS_THERE: Cell<bool> = const { Cell::new(false) };
        pub static OWN: RefCell<Option<Stack>> = const { RefCell::new(None) };
    }

    /// The signal stack of the thread that made it, which alone drops it.
    pub struct Stack(*mut c_void);

    /// Whether this thread has one that Wasmtime takes.
    pub fn has_one() -> io::Result<bool> {
        let mut found = MaybeUninit::<libc::stack_t>::uninit();
        // SAFETY: no stack is set, and the output is valid for writing.
        check(unsafe { libc::sigaltstack(ptr::null(), found.as_mut_ptr()) })?;
        // SAFETY: the call has succeeded, and so written it.
        let found = unsafe { found.assume_init() };
        Ok(found.ss_flags & libc::SS_DISABLE == 0 && found.ss_size >= BYTES - GUARD_BYTES)
    }

    impl Stack {
        pub fn new() -> io::Result<Self> {
            let (access, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: a mapping where the system likes is no other's memory.
            let start = unsafe { libc::mmap(ptr::null_mut(), BYTES, access, flags, -1, 0) };
            if start == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let stack = Self(start);
            let (base, size) = (start.wrapping_byte_add(GUARD_BYTES), BYTES - GUARD_BYTES);
            // SAFETY: a part of the mapping above.
            check(unsafe { libc::mprotect(base, size, libc::PROT_READ | libc::PROT_WRITE) })?;
            let set = libc::stack_t { ss_sp: base, ss_flags: 0, ss_size: size };
            // SAFETY: the memory is this thread's, and stays mapped until `drop` has unset it.
            check(unsafe { libc::sigaltstack(&raw const set, ptr::null_mut()) })?;
            Ok(stack)
        }
    }

    impl Drop for Stack {
        fn drop(&mut self) {
            let unset = libc::stack_t {
                ss_sp: ptr::null_mut(),
                ss_flags: libc::SS_DISABLE,
                ss_size: BYTES,
            };
            // SAFETY: it is dropped at the end of its thread, which is in no signal handler then, and has
            // no use of the mapping any more.
            unsafe {
                libc::sigaltstack(&raw const unset, ptr::null_mut());
                libc::munmap(self.0, BYTES);
            }
        }
    }

    fn check(result: i32) -> io::Result<()> {
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gets_one_once() {
        ensure().unwrap();
        assert!(unix::has_one().unwrap());
        ensure().unwrap();
    }
}
