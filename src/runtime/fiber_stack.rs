//! The stacks of guests that may wait. The guard below a stack takes no mapping of its own where the system
//! has such guards (Linux 6.13 and newer), so that stacks side by side count as one.

use std::io;
use std::ops::Range;
use std::sync::OnceLock;

use memmap2::{MmapOptions, MmapRaw};
use wasmtime::{Error, StackCreator, StackMemory};

/// Makes them.
pub struct FiberStacks;

/// One of them, above its guard.
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
    // SAFETY: it takes a number and returns one.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(64 << 10)
}

/// Makes the first bytes of a mapping inaccessible.
fn protect(bytes: &MmapRaw, guard: usize) -> io::Result<()> {
    if install_guard(bytes, guard) { Ok(()) } else { forbid(bytes, guard) }
}

/// Makes them so without a mapping of their own; false where the system does not.
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

/// Whether the guard below a stack splits the mapping that it is in.
pub fn guards_take_mappings() -> bool {
    static SPLITS: OnceLock<bool> = OnceLock::new();
    *SPLITS.get_or_init(|| {
        let page = page_size();
        let probe = MmapOptions::new().len(page).map_anon();
        !probe.is_ok_and(|probe| install_guard(&probe.into(), page))
    })
}

/// The same with a mapping of its own.
fn forbid(bytes: &MmapRaw, guard: usize) -> io::Result<()> {
    #[expect(unsafe_code, reason = "a system call")]
    // SAFETY: the bytes are mapped, and nobody uses them.
    match unsafe { libc::mprotect(bytes.as_mut_ptr().cast(), guard, libc::PROT_NONE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[expect(unsafe_code, reason = "Wasmtime's trait for stacks of the host")]
// SAFETY: a stack is mapped by itself, on whole pages, zero, with an inaccessible page below it.
unsafe impl StackCreator for FiberStacks {
    fn new_stack(&self, size: usize, _zeroed: bool) -> Result<Box<dyn StackMemory>, Error> {
        Ok(Box::new(FiberStack::new(size)?))
    }
}

#[expect(unsafe_code, reason = "Wasmtime's trait for stacks of the host")]
// SAFETY: the ranges are of one mapping, whole pages, and live as long as this.
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
