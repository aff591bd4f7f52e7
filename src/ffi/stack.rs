//! How much stack the calling thread has left.

use std::ops::Range;

thread_local! {
    /// Where the stack of this thread is, from its lowest address; empty where nobody knows.
    static STACK: Range<usize> = system::stack();
}

/// Bytes between here and the end of this thread's stack; 0 where nobody knows, and on a stack that
/// is not the thread's own, as a coroutine's is.
pub fn left() -> usize {
    let local = 0_u8;
    let here = std::hint::black_box(&raw const local).addr();
    // A thread that ends has no such variable any more.
    STACK.try_with(|stack| if stack.contains(&here) { here - stack.start } else { 0 }).unwrap_or(0)
}

#[cfg(target_os = "linux")]
mod system {
    use std::mem::MaybeUninit;
    use std::ops::Range;
    use std::ptr;

    pub fn stack() -> Range<usize> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attributes of this thread are written to a place for them.
        if unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } != 0 {
            return 0..0;
        }
        let (mut lowest, mut size, mut guard) = (ptr::null_mut(), 0, 0);
        // SAFETY: they were written above and are destroyed once; all else is written to places of
        // our own.
        let found = unsafe {
            let stack =
                libc::pthread_attr_getstack(attributes.as_ptr(), &mut lowest, &mut size) == 0;
            let guarded = libc::pthread_attr_getguardsize(attributes.as_ptr(), &mut guard) == 0;
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            stack && guarded
        };
        let lowest = lowest.addr();
        // Some C libraries count the guard as a part of the stack.
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
    fn a_thread_knows_how_much_of_its_stack_is_left() {
        let thread = std::thread::Builder::new().stack_size(512 * KIB).spawn(left).unwrap();
        let left = thread.join().unwrap();
        assert!((256 * KIB..=512 * KIB).contains(&left), "{left}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn deeper_calls_have_less() {
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
