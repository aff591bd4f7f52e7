//! The remaining stack of the calling thread.

use std::ops::Range;

thread_local! {
    /// The addresses of this thread's stack; empty if unknown.
    static STACK: Range<usize> = system::stack();
}

/// Returns the bytes left on this thread's stack; 0 if unknown, or on a stack that is not the
/// thread's own, for example a coroutine's.
pub fn left() -> usize {
    let local = 0_u8;
    let here = std::hint::black_box(&raw const local).addr();
    // A thread that is ending no longer has this variable.
    STACK.try_with(|stack| if stack.contains(&here) { here - stack.start } else { 0 }).unwrap_or(0)
}

#[cfg(target_os = "linux")]
mod system {
    use std::mem::MaybeUninit;
    use std::ops::Range;
    use std::ptr;

    pub fn stack() -> Range<usize> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: writes the attributes of this thread to `attributes`.
        if unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } != 0 {
            return 0..0;
        }
        let (mut lowest, mut size, mut guard) = (ptr::null_mut(), 0, 0);
        // SAFETY: the attributes were written above and are destroyed once; the other outputs are
        // local variables.
        let found = unsafe {
            let stack =
                libc::pthread_attr_getstack(attributes.as_ptr(), &mut lowest, &mut size) == 0;
            let guarded = libc::pthread_attr_getguardsize(attributes.as_ptr(), &mut guard) == 0;
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            stack && guarded
        };
        let lowest = lowest.addr();
        // Some C libraries count the guard as part of the stack.
        if found { lowest + guard.min(size)..lowest + size } else { 0..0 }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::ops::Range;

    pub fn stack() -> Range<usize> {
        0..0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    #[test]
    #[cfg(target_os = "linux")]
    fn left_is_most_of_a_new_thread_s_stack() {
        // Larger than the stacks of other tests' threads, which glibc caches and reuses.
        let size = 16 * 1024 * KIB;
        let thread = std::thread::Builder::new().stack_size(size).spawn(left).unwrap();
        let left = thread.join().unwrap();
        assert!((size - 256 * KIB..=size).contains(&left), "{left}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn deeper_calls_have_less_left() {
        #[inline(never)]
        fn deeper() -> usize {
            let buffer = std::hint::black_box([0_u8; 16 * KIB]);
            let left = left();
            std::hint::black_box(&buffer);
            left
        }
        assert!(left() >= deeper() + 16 * KIB);
    }
}
