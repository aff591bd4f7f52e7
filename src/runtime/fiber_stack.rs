//! The stacks of guests that may wait. On Linux 6.13 and newer the guard below a stack takes no
//! mapping of its own, so that neighbouring stacks count as one mapping.

use std::io;
use std::ops::Range;
use std::sync::OnceLock;

use memmap2::{MmapOptions, MmapRaw};
use wasmtime::{Error, StackCreator, StackMemory};

/// Creates fiber stacks.
pub struct FiberStacks;

/// A stack above its guard.
struct FiberStack {
    bytes: MmapRaw,
    guard: usize,
}

impl FiberStack {
    fn new(size: usize) -> io::Result<Self> {
        let page = page_size();
        let (size, guard) = (size.max(1).next_multiple_of(page), page);
        let bytes = MmapOptions::new().len(guard + size).stack().no_reserve_swap().map_anon()?;
        let bytes = MmapRaw::from(bytes);
        protect(&bytes, guard)?;
        Ok(Self { bytes, guard })
    }
}

fn page_size() -> usize {
    #[expect(unsafe_code, reason = "a system call")]
    // SAFETY: the call takes a number and returns one.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(64 << 10)
}

/// Makes the first bytes of a mapping inaccessible.
fn protect(bytes: &MmapRaw, guard: usize) -> io::Result<()> {
    if install_guard(bytes, guard) { Ok(()) } else { forbid(bytes, guard) }
}

/// Does so without a mapping of their own; returns false if the system cannot.
#[cfg(target_os = "linux")]
fn install_guard(bytes: &MmapRaw, guard: usize) -> bool {
    /// `MADV_GUARD_INSTALL`, which `libc` does not name.
    const INSTALL_GUARD: i32 = 102;
    #[expect(unsafe_code, reason = "a system call")]
    // SAFETY: the bytes are mapped, and nobody uses them.
    let installed = unsafe { libc::madvise(bytes.as_mut_ptr().cast(), guard, INSTALL_GUARD) };
    installed == 0
}

#[cfg(not(target_os = "linux"))]
fn install_guard(_: &MmapRaw, _: usize) -> bool {
    false
}

/// Returns whether the guard below a stack splits its mapping.
pub fn guards_take_mappings() -> bool {
    static SPLITS: OnceLock<bool> = OnceLock::new();
    *SPLITS.get_or_init(|| {
        let page = page_size();
        let probe = MmapOptions::new().len(page).map_anon();
        !probe.is_ok_and(|probe| install_guard(&probe.into(), page))
    })
}

/// Does so with a mapping of their own.
fn forbid(bytes: &MmapRaw, guard: usize) -> io::Result<()> {
    #[expect(unsafe_code, reason = "a system call")]
    // SAFETY: the bytes are mapped, and nobody uses them.
    match unsafe { libc::mprotect(bytes.as_mut_ptr().cast(), guard, libc::PROT_NONE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[expect(unsafe_code, reason = "Wasmtime's trait for stacks of the host")]
// SAFETY: each stack is a mapping of whole, zeroed pages above an inaccessible one.
unsafe impl StackCreator for FiberStacks {
    fn new_stack(&self, size: usize, _zeroed: bool) -> Result<Box<dyn StackMemory>, Error> {
        Ok(Box::new(FiberStack::new(size)?))
    }
}

#[expect(unsafe_code, reason = "Wasmtime's trait for stacks of the host")]
// SAFETY: the ranges are whole pages of one mapping, which lives as long as `self`.
unsafe impl StackMemory for FiberStack {
    fn top(&self) -> *mut u8 {
        self.bytes.as_mut_ptr().wrapping_add(self.bytes.len())
    }

    fn range(&self) -> Range<usize> {
        let base = self.bytes.as_mut_ptr() as usize;
        base + self.guard..base + self.bytes.len()
    }

    fn guard_range(&self) -> Range<*mut u8> {
        let base = self.bytes.as_mut_ptr();
        base..base.wrapping_add(self.guard)
    }
}
