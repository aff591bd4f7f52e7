//! Linear memories with address space for all that a guest can reach. The next guest uses the
//! address space again, and the pages of it that the last one used, zeroed.

use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;

use wasmtime::{Error, LinearMemory, MemoryCreator, MemoryType};

use crate::runtime::fiber_stack::page_size;
use crate::runtime::spares::Spares;

/// The most regions kept for others.
const MOST_SPARES: usize = 256;

/// The most memory that a spare region holds. More would cost more to zero than to get anew.
const KEPT_BYTES: usize = 128 << 10;

/// The pages whose residence is asked for at a time.
const PAGES_AT_A_TIME: usize = 512;

/// Creates memories with a reservation.
pub struct ReservedMemories {
    spares: Arc<Spares<Region>>,
    /// The inaccessible bytes before each memory.
    before: usize,
}

impl ReservedMemories {
    /// Creates memories with `before` inaccessible bytes before each.
    pub fn new(before: usize) -> Self {
        Self { spares: Spares::new(MOST_SPARES), before }
    }

    /// Returns the regions kept for others.
    pub fn spares(&self) -> Arc<Spares<Region>> {
        Arc::clone(&self.spares)
    }
}

/// Reserved address space, of which the first bytes after a guard are accessible.
pub struct Region {
    start: *mut u8,
    len: usize,
    before: usize,
    /// What a guest can use, between the guards.
    reserved: usize,
    /// A multiple of the page size.
    accessible: usize,
}

#[expect(unsafe_code, reason = "a mapping belongs to no thread")]
// SAFETY: the region owns its mapping, and nothing in it depends on a thread.
unsafe impl Send for Region {}

#[expect(unsafe_code, reason = "a mapping belongs to no thread")]
// SAFETY: as above; a shared reference gives out an address and changes nothing.
unsafe impl Sync for Region {}

#[expect(unsafe_code, reason = "system calls on memory of our own")]
impl Region {
    fn new(before: usize, reserved: usize, guard: usize) -> io::Result<Self> {
        let len = before.saturating_add(reserved).saturating_add(guard).max(page_size());
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, at an address that the system chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), len, before, reserved, accessible: 0 })
    }

    fn base(&self) -> *mut u8 {
        self.start.wrapping_add(self.before)
    }

    /// Makes exactly the first `bytes`, rounded up to pages, accessible.
    fn make_accessible(&mut self, bytes: usize) -> io::Result<()> {
        let wanted = bytes.next_multiple_of(page_size());
        if wanted > self.reserved {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        let (from, to, protection) = match wanted >= self.accessible {
            true => (self.accessible, wanted, libc::PROT_READ | libc::PROT_WRITE),
            false => (wanted, self.accessible, libc::PROT_NONE),
        };
        if from == to {
            return Ok(());
        }
        // SAFETY: the range is within the region, and no guest runs in it.
        let changed =
            unsafe { libc::mprotect(self.base().wrapping_add(from).cast(), to - from, protection) };
        if changed != 0 {
            return Err(io::Error::last_os_error());
        }
        self.accessible = wanted;
        Ok(())
    }

    /// Zeroes all that is accessible, and keeps at most [`KEPT_BYTES`] of it; returns whether that
    /// worked.
    fn clear(&mut self) -> bool {
        let page = page_size();
        let (mut at, mut kept) = (0, 0);
        while at < self.accessible {
            let end = self.accessible.min(at + PAGES_AT_A_TIME * page);
            let mut resident = [0_u8; PAGES_AT_A_TIME];
            if kept >= KEPT_BYTES {
                return self.discard(at..self.accessible);
            }
            let from = self.base().wrapping_add(at).cast();
            // SAFETY: the range is mapped, and there is a byte for each of its pages.
            if unsafe { libc::mincore(from, end - at, resident.as_mut_ptr().cast()) } != 0 {
                return self.discard(at..self.accessible);
            }
            let pages = &resident[..(end - at) / page];
            for run in pages.chunk_by(|a, b| a & 1 == b & 1) {
                let bytes = at..at + run.len() * page;
                at = bytes.end;
                let is_kept = run[0] & 1 == 1 && kept + bytes.len() <= KEPT_BYTES;
                if is_kept {
                    kept += bytes.len();
                    // SAFETY: the range is accessible, and no guest runs in it.
                    unsafe {
                        ptr::write_bytes(self.base().wrapping_add(bytes.start), 0, bytes.len());
                    }
                } else if !self.discard(bytes) {
                    // Also what is not resident: it may be swapped out.
                    return false;
                }
            }
        }
        true
    }

    /// Gives pages back; they are zero when they are used again.
    fn discard(&self, bytes: Range<usize>) -> bool {
        let from = self.base().wrapping_add(bytes.start).cast();
        // SAFETY: the range is within the region, and no guest runs in it.
        unsafe { libc::madvise(from, bytes.len(), libc::MADV_DONTNEED) == 0 }
    }
}

#[expect(unsafe_code, reason = "a system call on memory of our own")]
impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is the region's own, and not used again.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

/// A memory in a region.
struct ReservedMemory {
    size: usize,
    /// `None` once it is given back.
    region: Option<Region>,
    spares: Arc<Spares<Region>>,
}

impl ReservedMemory {
    fn region(&self) -> &Region {
        self.region.as_ref().expect("only a drop takes it")
    }
}

impl Drop for ReservedMemory {
    fn drop(&mut self) {
        if let Some(mut region) = self.region.take()
            && self.spares.has_room()
            && region.clear()
        {
            self.spares.put(region);
        }
    }
}

#[expect(unsafe_code, reason = "Wasmtime's trait for memories of the host")]
// SAFETY: each memory has a region of its own, which is zero where it is accessible.
unsafe impl MemoryCreator for ReservedMemories {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        _: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let (before, reserved) = (self.before, reserved.unwrap_or(0).max(minimum));
        let suits = |region: &Region| {
            region.reserved == reserved && region.len >= before + reserved + guard
        };
        let region = match self.spares.take(suits) {
            Some(region) => Ok(region),
            None => Region::new(before, reserved, guard),
        };
        let accessible = region.and_then(|mut region| {
            region.make_accessible(minimum)?;
            Ok(region)
        });
        let region = Some(accessible.map_err(|error| error.to_string())?);
        Ok(Box::new(ReservedMemory { size: minimum, region, spares: Arc::clone(&self.spares) }))
    }
}

#[expect(unsafe_code, reason = "Wasmtime's trait for memories of the host")]
// SAFETY: the address never changes, and the first `byte_size` bytes are accessible.
unsafe impl LinearMemory for ReservedMemory {
    fn byte_size(&self) -> usize {
        self.size
    }

    fn byte_capacity(&self) -> usize {
        self.region().reserved
    }

    fn grow_to(&mut self, size: usize) -> Result<(), Error> {
        if let Some(region) = &mut self.region {
            region.make_accessible(size)?;
        }
        self.size = size;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.region().base()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVED: usize = 64 << 20;

    fn memory(memories: &ReservedMemories, minimum: usize) -> Box<dyn LinearMemory> {
        let ty = MemoryType::new(0, None);
        memories.new_memory(ty, minimum, None, Some(RESERVED), 64 << 10).unwrap()
    }

    #[expect(unsafe_code, reason = "uses the memory as a guest does")]
    fn bytes(memory: &mut dyn LinearMemory) -> &mut [u8] {
        // SAFETY: this many bytes are accessible, and nobody else uses them.
        unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), memory.byte_size()) }
    }

    #[test]
    fn a_memory_that_is_used_again_is_zero_whatever_the_last_guest_wrote() {
        let memories = ReservedMemories::new(64 << 10);
        let page = page_size();
        let mut address = None;
        for (round, size) in [(1, 17 << 16), (2, 40 << 16), (3, 1 << 16), (4, 300 << 16)] {
            let mut memory = memory(&memories, 1 << 16);
            let at = *address.get_or_insert(memory.as_ptr() as usize);
            assert_eq!(memory.as_ptr() as usize, at, "it is the same region");
            memory.grow_to(size).unwrap();
            assert!(bytes(&mut *memory).iter().all(|byte| *byte == 0), "{round}");
            // A few pages, then many, and not only whole ones.
            for written in bytes(&mut *memory).chunks_mut(page).step_by(5 - round) {
                written[round] = 7;
                *written.last_mut().unwrap() = 7;
            }
        }
    }

    #[test]
    fn a_region_that_is_kept_holds_little_and_is_accessible_only_as_far_as_its_memory() {
        let memories = ReservedMemories::new(0);
        let mut first = memory(&memories, 0);
        first.grow_to(RESERVED / 2).unwrap();
        bytes(&mut *first).fill(7);
        drop(first);
        let region = memories.spares.take(|_| true).unwrap();
        let mut resident = vec![0_u8; region.accessible / page_size()];
        #[expect(unsafe_code, reason = "a system call")]
        // SAFETY: the range is mapped, and there is a byte for each of its pages.
        let asked = unsafe {
            libc::mincore(region.base().cast(), region.accessible, resident.as_mut_ptr().cast())
        };
        assert_eq!(asked, 0);
        let resident = resident.iter().filter(|page| **page & 1 == 1).count();
        assert!(resident * page_size() <= KEPT_BYTES, "{resident} pages");
        memories.spares.put(region);
        drop(memory(&memories, 1 << 16));
        let region = memories.spares.take(|_| true).unwrap();
        assert_eq!(region.accessible, 1 << 16);
    }

    #[test]
    fn a_memory_does_not_outgrow_its_reservation() {
        let memories = ReservedMemories::new(0);
        let mut memory = memory(&memories, 1 << 16);
        assert!(memory.grow_to(RESERVED).is_ok() && memory.grow_to(RESERVED + 1).is_err());
        assert_eq!((memory.byte_size(), memory.byte_capacity()), (RESERVED, RESERVED));
    }

    #[test]
    fn at_most_so_many_regions_are_kept() {
        let memories = ReservedMemories::new(0);
        let all: Vec<_> = (0..MOST_SPARES + 9).map(|_| memory(&memories, 1 << 16)).collect();
        drop(all);
        let kept = std::iter::from_fn(|| memories.spares.take(|_| true)).count();
        assert_eq!(kept, MOST_SPARES);
    }
}
