//! Returns unused memory of the allocator to the system.

/// Returns free memory of the allocator to the system. Takes some milliseconds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library's own function")]
pub fn give_back() {
    // SAFETY: any thread may call the function at any time; it touches only free memory.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators do this by themselves, or have no function for it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
