//! Linear memories side by side: the system counts many of them as one mapping.
//!
//! Nothing around them is inaccessible, so guests must check each access: the engine's tunables
//! must have neither reservations nor guards.

use memmap2::{MmapMut, MmapOptions, MmapRaw};
use wasmtime::{Error, LinearMemory, MemoryCreator, MemoryType};

/// The room for growth without a move, unless half of the memory's size is more.
const ROOM_BYTES: usize = 1 << 20;

/// The bytes copied at a time.
const PAGE: [u8; 4096] = [0; 4096];

/// Creates packed memories.
pub struct PackedMemories;

/// A packed memory. All of its capacity is readable and writable, and zero beyond its size, since
/// memories never shrink.
struct PackedMemory {
    size: usize,
    bytes: MmapRaw,
}

/// Maps memory for `size` bytes and some growth. It becomes resident as it is used.
fn map(size: usize) -> std::io::Result<MmapMut> {
    let capacity = size.saturating_add(ROOM_BYTES.max(size / 2));
    let map = MmapOptions::new().len(capacity).no_reserve_swap().map_anon()?;
    // A huge page would make neighbours resident.
    #[cfg(target_os = "linux")]
    drop(map.advise(memmap2::Advice::NoHugePage));
    Ok(map)
}

impl PackedMemory {
    fn new(size: usize) -> std::io::Result<Self> {
        Ok(Self { size, bytes: map(size)?.into() })
    }
}

#[expect(unsafe_code, reason = "Wasmtime's trait for memories of the host")]
// SAFETY: each memory is its own zeroed mapping, whose address is not shared.
unsafe impl MemoryCreator for PackedMemories {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        _: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        if (reserved.unwrap_or(0), guard) != (0, 0) {
            return Err("packed memories have no reservation and no guards".into());
        }
        match PackedMemory::new(minimum) {
            Ok(memory) => Ok(Box::new(memory)),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[expect(unsafe_code, reason = "Wasmtime's trait for memories of the host")]
// SAFETY: `as_ptr` changes only when the memory outgrows its capacity, all of which is accessible.
unsafe impl LinearMemory for PackedMemory {
    fn byte_size(&self) -> usize {
        self.size
    }

    fn byte_capacity(&self) -> usize {
        self.bytes.len()
    }

    fn grow_to(&mut self, size: usize) -> Result<(), Error> {
        if size > self.bytes.len() {
            let mut moved = map(size)?;
            // SAFETY: the old mapping has this many bytes, and Wasmtime does not use it meanwhile.
            let bytes = unsafe { std::slice::from_raw_parts(self.bytes.as_ptr(), self.size) };
            for (to, from) in moved.chunks_mut(PAGE.len()).zip(bytes.chunks(PAGE.len())) {
                // A page that was never written stays non-resident in both places.
                if from != &PAGE[..from.len()] {
                    to[..from.len()].copy_from_slice(from);
                }
            }
            self.bytes = moved.into();
        }
        self.size = size;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_keeps_its_bytes_as_it_grows_and_the_rest_is_zero() {
        let mut memory = PackedMemory::new(0).unwrap();
        assert_eq!((memory.byte_size(), memory.byte_capacity()), (0, ROOM_BYTES));
        let mut before = 0;
        for size in [1, PAGE.len() - 1, PAGE.len() + 1, ROOM_BYTES, ROOM_BYTES + 1, 9 * ROOM_BYTES]
        {
            memory.grow_to(size).unwrap();
            assert!(memory.byte_capacity() >= memory.byte_size());
            #[expect(unsafe_code, reason = "reads through the pointer of the trait")]
            // SAFETY: this many bytes are accessible and not otherwise in use.
            let bytes =
                unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), memory.byte_size()) };
            assert!(bytes[..before].iter().all(|byte| *byte == 7), "{size}");
            assert!(bytes[before..].iter().all(|byte| *byte == 0), "{size}");
            bytes.fill(7);
            before = bytes.len();
        }
    }

    #[test]
    fn growing_step_by_step_moves_seldom() {
        const STEP: usize = 64 << 10;
        let mut memory = PackedMemory::new(STEP).unwrap();
        let mut moves = 0;
        for steps in 2..=1024 {
            let before = memory.byte_capacity();
            memory.grow_to(steps * STEP).unwrap();
            moves += usize::from(memory.byte_capacity() != before);
        }
        assert!((1..15).contains(&moves), "{moves}");
    }
}
