//! Stacks for signal handlers. Wasmtime makes one at the first guest of a thread and panics if it
//! gets no memory for it; it accepts a stack that the thread already has.

#![expect(unsafe_code, reason = "signal stacks are a matter of system calls")]

use std::io;

/// Gives this thread a signal stack large enough for Wasmtime's handlers, unless it has one.
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

/// On other systems handlers run on the thread's own stack.
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

    /// What Wasmtime requires, with a margin.
    const BYTES: usize = 64 * 4096 + GUARD_BYTES;

    /// The guard below the stack; a multiple of every page size.
    const GUARD_BYTES: usize = 64 << 10;

    thread_local! {
        pub static IS_THERE: Cell<bool> = const { Cell::new(false) };
        pub static OWN: RefCell<Option<Stack>> = const { RefCell::new(None) };
    }

    /// A thread's signal stack, dropped by that thread only.
    pub struct Stack(*mut c_void);

    /// Returns whether this thread has a signal stack that Wasmtime accepts.
    pub fn has_one() -> io::Result<bool> {
        let mut found = MaybeUninit::<libc::stack_t>::uninit();
        // SAFETY: no stack is set, and the output is valid for writing.
        check(unsafe { libc::sigaltstack(ptr::null(), found.as_mut_ptr()) })?;
        // SAFETY: the call succeeded and so wrote the output.
        let found = unsafe { found.assume_init() };
        Ok(found.ss_flags & libc::SS_DISABLE == 0 && found.ss_size >= BYTES - GUARD_BYTES)
    }

    impl Stack {
        pub fn new() -> io::Result<Self> {
            let (access, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: a mapping at an address of the system's choice overlaps no other memory.
            let start = unsafe { libc::mmap(ptr::null_mut(), BYTES, access, flags, -1, 0) };
            if start == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let stack = Self(start);
            let (base, size) = (start.wrapping_byte_add(GUARD_BYTES), BYTES - GUARD_BYTES);
            // SAFETY: the range is part of the mapping above.
            check(unsafe { libc::mprotect(base, size, libc::PROT_READ | libc::PROT_WRITE) })?;
            let set = libc::stack_t { ss_sp: base, ss_flags: 0, ss_size: size };
            // SAFETY: the memory belongs to this thread and stays mapped until `drop` unsets it.
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
            // SAFETY: dropped at the end of its thread, which is then in no signal handler and no
            // longer uses the mapping.
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
