//! Calls functions of the host, and lets no thread unwind out of them.
//!
//! A host can end the thread that runs its callback: CPython up to 3.13 calls `pthread_exit` on a
//! thread that asks for its lock while the interpreter shuts down. On Linux with glibc this unwinds
//! the stack, cannot be caught, and ends the process when it reaches Rust. A frame below Rust stops
//! it: the thread stays there forever, as it does in CPython from 3.14 on.

/// A function of the host, by its parameters.
pub trait HostFn<Arguments> {
    /// Calls it.
    ///
    /// # Safety
    ///
    /// The arguments are valid for the function.
    unsafe fn call(self, arguments: Arguments);
}

/// Callbacks with this number of arguments, each of which fits an integer register.
macro_rules! host_fn {
    ($($argument:ident: $type:ident),+; $($nothing:expr),*) => {
        impl<$($type),+> HostFn<($($type,)+)> for unsafe extern "C" fn($($type),+) {
            unsafe fn call(self, ($($argument,)+): ($($type,)+)) {
                #[cfg(held)]
                {
                    const { assert!(true $(&& size_of::<$type>() <= size_of::<usize>())+) };
                    // SAFETY: `held::call` calls its seventh argument with the first six. That is
                    // this function, which takes the first of them, by this function's contract.
                    unsafe {
                        let through: unsafe extern "C" fn($($type,)+ $(host_fn!(@slot $nothing),)* Self) =
                            std::mem::transmute(held::call as unsafe extern "C" fn());
                        through($($argument,)+ $($nothing,)* self);
                    }
                }
                #[cfg(not(held))]
                // SAFETY: this function's contract.
                unsafe { self($($argument),+) }
            }
        }
    };
    (@slot $nothing:expr) => { usize };
}

host_fn!(a: A; 0, 0, 0, 0, 0);
host_fn!(a: A, b: B; 0, 0, 0, 0);
host_fn!(a: A, b: B, c: C; 0, 0, 0);
host_fn!(a: A, b: B, c: C, d: D; 0, 0);
host_fn!(a: A, b: B, c: C, d: D, e: E; 0);
host_fn!(a: A, b: B, c: C, d: D, e: E, f: F;);

#[cfg(held)]
mod held {
    use std::arch::naked_asm;
    use std::ffi::c_int;

    /// Of `_Unwind_Action`: the unwinding cannot be caught.
    const FORCE_UNWIND: c_int = 8;

    /// Of `_Unwind_Reason_Code`: an exception ends the process.
    const FATAL_PHASE1_ERROR: c_int = 3;

    /// Calls its seventh argument with the six before it.
    #[cfg(target_arch = "x86_64")]
    #[unsafe(naked)]
    pub unsafe extern "C" fn call() {
        naked_asm!(
            ".hidden {personality}",
            ".cfi_startproc",
            // A relative address of four bytes: the symbol must be in this library.
            ".cfi_personality 0x1b, {personality}",
            "push rbp",
            ".cfi_def_cfa_offset 16",
            ".cfi_offset rbp, -16",
            "mov rbp, rsp",
            ".cfi_def_cfa_register rbp",
            "call [rbp + 16]",
            "pop rbp",
            ".cfi_def_cfa rsp, 8",
            "ret",
            ".cfi_endproc",
            personality = sym personality,
        )
    }

    /// Calls its seventh argument with the six before it.
    #[cfg(target_arch = "aarch64")]
    #[unsafe(naked)]
    pub unsafe extern "C" fn call() {
        naked_asm!(
            ".hidden {personality}",
            ".cfi_startproc",
            // A relative address of four bytes: the symbol must be in this library.
            ".cfi_personality 0x1b, {personality}",
            "stp x29, x30, [sp, #-16]!",
            ".cfi_def_cfa_offset 16",
            ".cfi_offset x29, -16",
            ".cfi_offset x30, -8",
            "mov x29, sp",
            ".cfi_def_cfa_register x29",
            "blr x6",
            ".cfi_def_cfa sp, 16",
            "ldp x29, x30, [sp], #16",
            ".cfi_def_cfa_offset 0",
            ".cfi_restore x29",
            ".cfi_restore x30",
            "ret",
            ".cfi_endproc",
            personality = sym personality,
        )
    }

    /// The unwinder calls this when it reaches [`call`].
    extern "C" fn personality(_version: c_int, actions: c_int) -> c_int {
        if actions & FORCE_UNWIND == 0 {
            return FATAL_PHASE1_ERROR;
        }
        loop {
            // SAFETY: only waits for a signal.
            unsafe { libc::pause() };
        }
    }
}
