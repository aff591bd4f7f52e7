//! A table of values, each with a key that is never reused.

use std::num::NonZeroU64;

/// The most values at a time.
pub const MAX_VALUES: usize = 1 << INDEX_BITS;

/// The low bits of a key are an index; the high bits are a generation, which tells apart successive
/// values with the same index.
const INDEX_BITS: u32 = 24;
const GENERATION: NonZeroU64 = NonZeroU64::new(1 << INDEX_BITS).unwrap();
const INDEX_MASK: u64 = GENERATION.get() - 1;

/// Slots are allocated in chunks, so that a large table is never copied to grow.
const CHUNK: usize = 1024;
/// At least this many free slots rotate, so that no generation counter runs out soon.
const TAKING_TURNS: usize = 256;

/// Values with keys.
pub struct Slab<T> {
    /// Each with [`CHUNK`] slots, except the last.
    chunks: Vec<Vec<Slot<T>>>,
    len: usize,
    /// The free slots: taken from the head, returned to the tail. Head and tail have no meaning
    /// while there are none.
    free_head: u32,
    free_tail: u32,
    free_len: usize,
    /// The first generation of new slots, after all generations of released ones.
    first: NonZeroU64,
    /// An upper bound of all generations.
    latest: NonZeroU64,
}

/// Identifies one value. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key(NonZeroU64);

struct Slot<T> {
    /// The key of this value, or of the next one if the slot is free.
    key: Key,
    content: Content<T>,
}

enum Content<T> {
    Value(T),
    /// `next` has no meaning in the last free slot.
    Free {
        next: u32,
    },
}

impl Key {
    /// Creates a key from a number, which need not name a value.
    pub fn new(number: NonZeroU64) -> Self {
        Self(number)
    }

    /// Returns the key as a number.
    pub fn number(self) -> NonZeroU64 {
        self.0
    }

    /// Returns the index of the value.
    pub fn index(self) -> u32 {
        (self.0.get() & INDEX_MASK) as u32
    }

    /// Returns the next key with the same index; `None` after 2^40 generations.
    fn next(self) -> Option<Self> {
        self.0.checked_add(GENERATION.get()).map(Self)
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
            free_head: 0,
            free_tail: 0,
            free_len: 0,
            first: GENERATION,
            latest: GENERATION,
        }
    }
}

impl<T> Slab<T> {
    /// Inserts a value; returns it if there are already [`MAX_VALUES`].
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        let slots = self.slots();
        let index = if self.free_len >= TAKING_TURNS || slots == MAX_VALUES {
            let Some(index) = self.take_free() else { return Err(value) };
            index
        } else {
            self.add_slot(slots)
        };
        let slot = self.slot_mut(index);
        slot.content = Content::Value(value);
        let key = slot.key;
        self.len += 1;
        Ok(key)
    }

    /// Returns a value.
    pub fn get(&self, key: Key) -> Option<&T> {
        let index = key.index() as usize;
        let slot = self.chunks.get(index / CHUNK)?.get(index % CHUNK)?;
        match &slot.content {
            Content::Value(value) if slot.key == key => Some(value),
            _ => None,
        }
    }

    /// Returns a value, mutably.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.get(key)?;
        Some(self.at_mut(key.index()))
    }

    /// Removes a value.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.free(key.index())
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the keys of all values.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let values = self.chunks.iter().flatten();
        values.filter(|slot| matches!(slot.content, Content::Value(_))).map(|slot| slot.key)
    }

    /// Returns the key of the value with this index.
    pub fn key_at(&self, index: u32) -> Key {
        self.slot(index).key
    }

    /// Returns the value with this index. There must be one.
    pub fn at(&self, index: u32) -> &T {
        match &self.slot(index).content {
            Content::Value(value) => value,
            Content::Free { .. } => panic!("slot {index} is free"),
        }
    }

    /// Returns the value with this index, mutably. There must be one.
    pub fn at_mut(&mut self, index: u32) -> &mut T {
        match &mut self.slot_mut(index).content {
            Content::Value(value) => value,
            Content::Free { .. } => panic!("slot {index} is free"),
        }
    }

    fn slot(&self, index: u32) -> &Slot<T> {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    fn slot_mut(&mut self, index: u32) -> &mut Slot<T> {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    /// Returns the number of allocated slots, free ones included.
    fn slots(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    fn add_slot(&mut self, slots: usize) -> u32 {
        if slots.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::new());
        }
        let key = Key(self.first | slots as u64);
        self.chunks[slots / CHUNK].push(Slot { key, content: Content::Free { next: 0 } });
        slots as u32
    }

    fn take_free(&mut self) -> Option<u32> {
        self.free_len = self.free_len.checked_sub(1)?;
        let index = self.free_head;
        if let Content::Free { next } = self.slot(index).content {
            self.free_head = next;
        }
        Some(index)
    }

    /// Removes the value with this index, and frees its slot.
    fn free(&mut self, index: u32) -> Option<T> {
        let slot = self.slot_mut(index);
        let content = std::mem::replace(&mut slot.content, Content::Free { next: 0 });
        let Content::Value(value) = content else { return None };
        // A slot without keys left is retired.
        if let Some(key) = slot.key.next() {
            slot.key = key;
            self.latest = self.latest.max(key.0);
            if self.free_len == 0 {
                self.free_head = index;
            } else {
                let tail = self.free_tail;
                self.slot_mut(tail).content = Content::Free { next: index };
            }
            self.free_tail = index;
            self.free_len += 1;
        }
        self.len -= 1;
        if self.len == 0 && self.chunks.len() > 1 {
            self.give_memory_back();
        }
        Some(value)
    }

    /// Releases all memory; every slot is free.
    fn give_memory_back(&mut self) {
        // New slots skip all earlier generations, unless that would use up most of them.
        let first = (self.latest | INDEX_MASK).checked_add(1);
        if let Some(first) = first.filter(|first| first.get() <= u64::MAX / 2) {
            self.first = first;
            self.chunks = Vec::new();
            self.free_len = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::default();
        let first = slab.insert(1).unwrap();
        assert_eq!(Key::new(first.number()), first);
        assert_eq!(slab.remove(first), Some(1));
        let next = slab.key_at(first.index());
        for stale in [first, next, Key(NonZeroU64::MIN), Key(NonZeroU64::MAX)] {
            assert_eq!(slab.get(stale), None);
            assert_eq!(slab.get_mut(stale), None);
            assert_eq!(slab.remove(stale), None);
        }
        // The slot's turn comes again.
        let keys: Vec<_> = (0..TAKING_TURNS * 2)
            .map(|value| {
                let key = slab.insert(value).unwrap();
                slab.remove(key);
                key
            })
            .collect();
        assert!(keys.contains(&next) && !keys.contains(&first));
        assert!(keys[..TAKING_TURNS - 1].iter().all(|key| key.index() != first.index()));
        assert_eq!(slab.get(first), None);
    }

    #[test]
    fn memory_is_released_and_keys_are_not_reused() {
        let mut slab = Slab::default();
        let mut keys = Vec::new();
        for _ in 0..3 {
            let new: Vec<_> = (0..CHUNK * 4).map(|i| slab.insert(i).unwrap()).collect();
            assert!(slab.slots() <= CHUNK * 4 + TAKING_TURNS);
            assert!(slab.keys().eq(new.iter().copied()));
            assert!(new.iter().all(|key| slab.remove(*key).is_some()));
            assert!(slab.chunks.is_empty() && slab.is_empty());
            keys.extend(new.iter().map(|key| key.number()));
        }
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    #[test]
    fn a_slot_without_keys_is_retired() {
        let first = NonZeroU64::new(!INDEX_MASK).unwrap();
        let mut slab = Slab { first, latest: first, ..Slab::default() };
        let last = slab.insert(()).unwrap();
        assert_eq!(last.number().get(), !INDEX_MASK);
        assert!(slab.remove(last).is_some() && slab.get(last).is_none());
        assert_eq!(slab.free_len, 0);
        assert_eq!(slab.insert(()).map(Key::index), Ok(1));

        let half = NonZeroU64::new((u64::MAX >> 1) + 1).unwrap();
        let mut slab = Slab { first: half, latest: half, ..Slab::default() };
        let keys: Vec<_> = (0..CHUNK * 2).map(|_| slab.insert(()).unwrap()).collect();
        assert!(keys.iter().all(|key| slab.remove(*key).is_some()));
        assert!(!slab.chunks.is_empty(), "new slots would have few keys left");
    }

    #[test]
    fn a_slot_costs_little_more_than_its_value() {
        assert_eq!(size_of::<Option<Key>>(), 8);
        assert_eq!(size_of::<Slot<(u64, Box<u64>)>>(), 24, "a niche of the value costs nothing");
        assert_eq!(size_of::<Slot<u64>>(), 24);
        let mut slab = Slab::default();
        for _ in 0..CHUNK * 5 / 2 {
            slab.insert(0_u64).unwrap();
        }
        assert!(slab.chunks.iter().all(|chunk| chunk.capacity() <= CHUNK));
    }
}
