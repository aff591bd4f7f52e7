//! The stacks of guests that may wait. On Linux 6.13 and newer the guard below a stack takes no
//! mapping of its own, so that neighbouring stacks count as one mapping.

use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use memmap2::{MmapOptions, MmapRaw};
use wasmtime::{Error, StackCreator, StackMemory};

use crate::runtime::spares::Spares;

/// The most stacks kept for others.
const MOST_SPARES: usize = 256;

/// The bytes at the top of a spare stack that stay resident.
const KEPT_BYTES: usize = 32 << 10;

/// Creates fiber stacks.
pub struct FiberStacks {
    spares: Arc<Spares<FiberStack>>,
}

impl FiberStacks {
    /// Creates stacks, which are used again.
    pub fn new() -> Self {
        Self { spares: Spares::new(MOST_SPARES) }
    }

    /// Returns the stacks kept for others.
    pub fn spares(&self) -> Arc<Spares<FiberStack>> {
        Arc::clone(&self.spares)
    }
}

/// A stack in use.
struct Lent {
    /// `None` once it is given back.
    stack: Option<FiberStack>,
    spares: Arc<Spares<FiberStack>>,
}

impl Lent {
    fn stack(&self) -> &FiberStack {
        self.stack.as_ref().expect("only a drop takes it")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(stack) = self.stack.take()
            && self.spares.has_room()
            && stack.forget_depths()
        {
            self.spares.put(stack);
        }
    }
}

/// A stack above its guard.
pub struct FiberStack {
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

    /// Gives all but the top of the stack back to the system; returns whether that worked.
    #[cfg(target_os = "linux")]
    fn forget_depths(&self) -> bool {
        let deep = (self.bytes.len() - self.guard).saturating_sub(KEPT_BYTES);
        let from = self.bytes.as_mut_ptr().wrapping_add(self.guard);
        #[expect(unsafe_code, reason = "a system call")]
        // SAFETY: the bytes are mapped, and nobody uses them.
        let done = unsafe { libc::madvise(from.cast(), deep, libc::MADV_DONTNEED) };
        deep == 0 || done == 0
    }

    #[cfg(not(target_os = "linux"))]
    fn forget_depths(&self) -> bool {
        false
    }
}

/// Returns the size of the system's pages.
pub fn page_size() -> usize {
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
// SAFETY: each stack is a mapping of whole pages above an inaccessible one, and zeroed if it must be.
unsafe impl StackCreator for FiberStacks {
    fn new_stack(&self, size: usize, zeroed: bool) -> Result<Box<dyn StackMemory>, Error> {
        let whole = size.max(1).next_multiple_of(page_size());
        let suits = |stack: &FiberStack| stack.bytes.len() - stack.guard == whole;
        let spare = if zeroed { None } else { self.spares.take(suits) };
        let stack = spare.map_or_else(|| FiberStack::new(size), Ok)?;
        Ok(Box::new(Lent { stack: Some(stack), spares: Arc::clone(&self.spares) }))
    }
}

#[expect(unsafe_code, reason = "Wasmtime's trait for stacks of the host")]
// SAFETY: the ranges are whole pages of one mapping, which lives as long as `self`.
unsafe impl StackMemory for Lent {
    fn top(&self) -> *mut u8 {
        let bytes = &self.stack().bytes;
        bytes.as_mut_ptr().wrapping_add(bytes.len())
    }

    fn range(&self) -> Range<usize> {
        let FiberStack { bytes, guard } = self.stack();
        let base = bytes.as_mut_ptr() as usize;
        base + guard..base + bytes.len()
    }

    fn guard_range(&self) -> Range<*mut u8> {
        let FiberStack { bytes, guard } = self.stack();
        let base = bytes.as_mut_ptr();
        base..base.wrapping_add(*guard)
    }
}
