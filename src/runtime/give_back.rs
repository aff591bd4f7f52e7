//! Memory that the allocator keeps.

/// Gives the system back what the allocator holds and nobody uses. It takes some milliseconds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library's own function")]
pub fn give_back() {
    // SAFETY: the function may be called by any thread at any time, and touches only memory that is free.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators do it by themselves, or can not be asked.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
