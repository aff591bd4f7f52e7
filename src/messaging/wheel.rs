//! A hashed timing wheel (Varghese & Lauck 1987, scheme 6): values with deadlines.

use std::time::{Duration, Instant};

use crate::messaging::slab::{Key, Slab};

/// The length of a tick.
const TICK: Duration = Duration::from_millis(1);
const SLOTS: usize = 8192;
/// After the lists of the slots comes the list of the entries that are due.
const DUE_LIST: usize = SLOTS;

/// The tick of an entry without a deadline, and of an entry in [`DUE_LIST`].
const UNARMED: u64 = u64::MAX;
const DUE: u64 = u64::MAX - 1;
/// A tick too far off to come, with room for arithmetic.
const NEVER: u64 = u64::MAX >> 1;

/// No entry: the end of a list.
const NONE: u32 = u32::MAX;

/// Values, with or without a deadline.
pub struct Wheel<T> {
    entries: Slab<Entry<T>>,
    /// The end of tick 0.
    origin: Instant,
    /// Ticks before `until` have ended; slots from `next` on are still to be visited.
    next: u64,
    until: u64,
    /// The head of each list.
    heads: Box<[u32]>,
    occupied: Occupied,
}

struct Entry<T> {
    /// The tick at whose end the deadline has passed.
    tick: u64,
    /// Neighbours in the list of the slot.
    prev: u32,
    next: u32,
    value: T,
}

/// A bitmap of non-empty slots, and a bitmap of its non-zero words.
struct Occupied {
    slots: [u64; SLOTS / 64],
    words: u128,
}

impl<T> Wheel<T> {
    /// Creates an empty wheel that counts time from `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            entries: Slab::default(),
            origin: now,
            next: 0,
            until: 0,
            heads: vec![NONE; SLOTS + 1].into_boxed_slice(),
            occupied: Occupied { slots: [0; SLOTS / 64], words: 0 },
        }
    }

    /// Inserts a value; returns it if there are already [`MAX_VALUES`](crate::messaging::slab::MAX_VALUES).
    pub fn insert(&mut self, value: T, deadline: Option<Instant>) -> Result<Key, T> {
        let entry = Entry { tick: UNARMED, prev: NONE, next: NONE, value };
        let key = self.entries.insert(entry).map_err(|entry| entry.value)?;
        if let Some(deadline) = deadline {
            self.link(key.index(), self.tick_after(deadline));
        }
        Ok(key)
    }

    /// Sets or replaces the deadline; returns false if there is no such entry.
    pub fn arm(&mut self, key: Key, deadline: Instant) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        self.unlink(key.index());
        self.link(key.index(), self.tick_after(deadline));
        true
    }

    /// Returns the value of an entry.
    pub fn get(&self, key: Key) -> Option<&T> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Returns the value of an entry, mutably.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// Removes an entry.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.unlink(key.index());
        self.entries.remove(key).map(|entry| entry.value)
    }

    /// Removes an entry that is due; call until it returns `None`.
    ///
    /// Deadlines are rounded up to the end of a tick; due entries come out in no particular order.
    /// A `now` before an earlier one counts as the earlier one.
    pub fn pop_expired(&mut self, now: Instant) -> Option<(Key, T)> {
        self.until = self.until.max(self.ticks_over(now));
        loop {
            let first = self.heads[DUE_LIST];
            if first != NONE {
                let key = self.entries.key_at(first);
                return Some((key, self.remove(key)?));
            }
            // The last revolution visits every slot; earlier ones are unnecessary.
            self.next = self.next.max(self.until.saturating_sub(SLOTS as u64));
            match self.next_occupied() {
                Some(tick) if tick < self.until => {
                    self.next = tick + 1;
                    self.look_through(slot_of(tick));
                }
                _ => {
                    self.next = self.until;
                    return None;
                }
            }
        }
    }

    /// Returns when to call [`Wheel::pop_expired`] again; `None` if there is nothing to wait for.
    ///
    /// That is when the wheel reaches the next non-empty slot, even if its entries belong to a
    /// later revolution: never too late, and too early at most once per slot and revolution.
    pub fn next_look(&self) -> Option<Instant> {
        let occupied = self.next_occupied();
        if self.heads[DUE_LIST] != NONE || (self.next < self.until && occupied.is_some()) {
            return Some(self.origin);
        }
        // A time beyond the clock's range never comes.
        self.origin.checked_add(Duration::from_millis(occupied?))
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes all entries.
    pub fn drain(&mut self) -> Vec<(Key, T)> {
        let keys: Vec<_> = self.entries.keys().collect();
        keys.into_iter().filter_map(|key| Some((key, self.remove(key)?))).collect()
    }

    /// Returns the number of ticks that have ended at `now`.
    fn ticks_over(&self, now: Instant) -> u64 {
        // Tick 0 has ended at the origin, but not before it.
        let time = now.checked_duration_since(self.origin);
        time.map_or(0, |time| ticks_in(time).saturating_add(1).min(NEVER))
    }

    /// Returns the first tick that does not end before `deadline`.
    fn tick_after(&self, deadline: Instant) -> u64 {
        let rounding_up = TICK - Duration::from_nanos(1);
        let time = deadline.saturating_duration_since(self.origin).saturating_add(rounding_up);
        ticks_in(time).min(NEVER)
    }

    /// Returns the tick at which the wheel next reaches a non-empty slot.
    fn next_occupied(&self) -> Option<u64> {
        let from = slot_of(self.next);
        let slot = self.occupied.first(from)?;
        Some(self.next + (slot.wrapping_sub(from) % SLOTS) as u64)
    }

    /// Moves the due entries of a slot to the due list; those of later revolutions stay.
    fn look_through(&mut self, slot: usize) {
        let mut index = self.heads[slot];
        while index != NONE {
            let &Entry { tick, next, .. } = self.entries.at(index);
            if tick < self.until {
                self.unlink(index);
                self.link(index, tick);
            }
            index = next;
        }
    }

    /// Links an unlinked entry into the list of its tick.
    fn link(&mut self, index: u32, tick: u64) {
        // The wheel may be past the slot of a tick that has ended.
        let tick = if tick < self.until { DUE } else { tick };
        let list = list_of(tick);
        let next = std::mem::replace(&mut self.heads[list], index);
        let entry = self.entries.at_mut(index);
        (entry.tick, entry.prev, entry.next) = (tick, NONE, next);
        if next != NONE {
            self.entries.at_mut(next).prev = index;
        } else if list != DUE_LIST {
            self.occupied.set(list);
        }
    }

    /// Unlinks an entry from its list, if it is in one.
    fn unlink(&mut self, index: u32) {
        let entry = self.entries.at_mut(index);
        let (tick, prev, next) = (entry.tick, entry.prev, entry.next);
        if tick == UNARMED {
            return;
        }
        (entry.tick, entry.prev, entry.next) = (UNARMED, NONE, NONE);
        if next != NONE {
            self.entries.at_mut(next).prev = prev;
        }
        if prev != NONE {
            self.entries.at_mut(prev).next = next;
            return;
        }
        let list = list_of(tick);
        self.heads[list] = next;
        if next == NONE && list != DUE_LIST {
            self.occupied.clear(list);
        }
    }
}

impl Occupied {
    fn set(&mut self, slot: usize) {
        self.slots[slot / 64] |= 1 << (slot % 64);
        self.words |= 1 << (slot / 64);
    }

    fn clear(&mut self, slot: usize) {
        self.slots[slot / 64] &= !(1 << (slot % 64));
        if self.slots[slot / 64] == 0 {
            self.words &= !(1 << (slot / 64));
        }
    }

    /// Returns the first non-empty slot from `slot` on, wrapping around.
    fn first(&self, slot: usize) -> Option<usize> {
        let word = slot / 64;
        let here = self.slots[word] & (u64::MAX << (slot % 64));
        if here != 0 {
            return Some(word * 64 + here.trailing_zeros() as usize);
        }
        if self.words == 0 {
            return None;
        }
        // The words after this one come first; the bits of this one before `slot` come last.
        let distance = self.words.rotate_right(word as u32 + 1).trailing_zeros() as usize + 1;
        let word = (word + distance) % self.slots.len();
        Some(word * 64 + self.slots[word].trailing_zeros() as usize)
    }
}

fn slot_of(tick: u64) -> usize {
    (tick % SLOTS as u64) as usize
}

fn list_of(tick: u64) -> usize {
    if tick == DUE { DUE_LIST } else { slot_of(tick) }
}

/// Returns the number of whole ticks in `time`.
fn ticks_in(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1000).saturating_add(u64::from(time.subsec_millis()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const REVOLUTION: Duration = Duration::from_millis(SLOTS as u64);

    struct Random(u64);

    impl Random {
        /// Returns a number below `end` (xorshift64).
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % end
        }

        /// Returns short times more often than long ones, up to many revolutions.
        fn time(&mut self) -> Duration {
            let end = 1 << (4 + self.below(34));
            Duration::from_nanos(self.below(end))
        }
    }

    fn all_expired<T>(wheel: &mut Wheel<T>, now: Instant) -> Vec<(Key, T)> {
        std::iter::from_fn(|| wheel.pop_expired(now)).collect()
    }

    #[derive(Default)]
    struct Model {
        entries: BTreeMap<u64, (Key, Option<Instant>)>,
        gone: Vec<Key>,
    }

    impl Model {
        fn any(&self, random: &mut Random) -> Option<(u64, Key)> {
            let nth = random.below(self.entries.len().max(1) as u64) as usize;
            self.entries.iter().nth(nth).map(|(name, (key, _))| (*name, *key))
        }

        fn forget(&mut self, name: u64, key: Key) -> Option<Instant> {
            let (known, deadline) = self.entries.remove(&name).expect("an entry of the model");
            assert_eq!(known, key);
            self.gone.push(key);
            deadline
        }

        /// Removes what is due at `now` from both and compares.
        fn expire(&mut self, wheel: &mut Wheel<u64>, now: Instant) {
            for (key, name) in all_expired(wheel, now) {
                let deadline = self.forget(name, key).expect("an armed entry");
                assert!(deadline <= now, "{:?} early", deadline - now);
            }
            let late = |deadline: &Instant| *deadline + TICK <= now;
            assert!(!self.entries.values().filter_map(|(_, deadline)| *deadline).any(|d| late(&d)));
        }

        fn check_next_look(&self, wheel: &Wheel<u64>, now: Instant) {
            let earliest = self.entries.values().filter_map(|(_, deadline)| *deadline).min();
            let next = wheel.next_look();
            assert_eq!(next.is_some(), earliest.is_some());
            if let (Some(next), Some(earliest)) = (next, earliest) {
                assert!(next < earliest.max(wheel.origin) + TICK);
                assert!(next <= now + REVOLUTION);
                // A look finds nothing due only for an entry of a later revolution.
                assert!(
                    next > now || earliest <= now + TICK || earliest >= now + REVOLUTION - TICK
                );
            }
        }
    }

    fn run_against_the_model(seed: u64, steps: u64, limit: usize) {
        let start = Instant::now() + REVOLUTION;
        let mut random = Random(seed);
        let (mut wheel, mut model) = (Wheel::new(start), Model::default());
        let mut now = start;
        for name in 0..steps {
            let deadline = match random.below(8) {
                0 => now - random.time().min(REVOLUTION),
                1 => start - random.time().min(REVOLUTION),
                _ => now + random.time(),
            };
            match random.below(8) {
                0..3 if model.entries.len() < limit => {
                    let deadline = (random.below(4) > 0).then_some(deadline);
                    let key = wheel.insert(name, deadline).unwrap();
                    model.entries.insert(name, (key, deadline));
                }
                3 => {
                    let Some((name, key)) = model.any(&mut random) else { continue };
                    assert!(wheel.arm(key, deadline));
                    model.entries.insert(name, (key, Some(deadline)));
                }
                4 => {
                    let Some((name, key)) = model.any(&mut random) else { continue };
                    assert_eq!(wheel.get(key), Some(&name));
                    assert_eq!(wheel.remove(key), Some(name));
                    model.forget(name, key);
                }
                5 => {
                    // Pops only one due entry; the rest comes later.
                    if let Some((key, name)) = wheel.pop_expired(now + TICK) {
                        let deadline = model.forget(name, key).expect("an armed entry");
                        assert!(deadline <= now + TICK);
                    }
                    now += TICK;
                }
                6 => {
                    now += random.time();
                    model.expire(&mut wheel, now);
                    model.check_next_look(&wheel, now);
                }
                _ => {
                    let nth = random.below(model.gone.len().max(1) as u64) as usize;
                    let Some(&key) = model.gone.get(nth) else { continue };
                    assert_eq!(wheel.get(key), None);
                    assert!(!wheel.arm(key, deadline));
                    assert_eq!(wheel.remove(key), None);
                }
            }
            assert_eq!(wheel.len(), model.entries.len());
        }
        for (key, name) in wheel.drain() {
            model.forget(name, key);
        }
        assert!(model.entries.is_empty() && wheel.is_empty() && wheel.next_look().is_none());
        let keys = model.gone.len();
        model.gone.sort_by_key(|key| key.number());
        model.gone.dedup();
        assert_eq!(model.gone.len(), keys, "a key was used again");
    }

    #[test]
    fn it_agrees_with_a_model() {
        for seed in 1..=20 {
            run_against_the_model(seed, 5_000, 4);
            run_against_the_model(seed, 5_000, 400);
        }
        run_against_the_model(99, 20_000, 3_000);
    }

    #[test]
    fn nothing_is_early_and_nothing_a_tick_late() {
        let start = Instant::now();
        let mut random = Random(7);
        for _ in 0..200 {
            let mut wheel = Wheel::new(start);
            let deadline = start + random.time();
            wheel.insert((), Some(deadline)).unwrap();
            assert!(wheel.pop_expired(deadline - Duration::from_nanos(1)).is_none());
            let last = deadline + TICK - Duration::from_nanos(1);
            assert!(wheel.next_look().unwrap() <= last);
            assert!(wheel.pop_expired(last).is_some());
        }
        let mut wheel = Wheel::new(start);
        wheel.insert((), Some(start + TICK * 5)).unwrap();
        assert!(wheel.pop_expired(start + TICK * 5).is_some(), "exactly at a tick's end");
    }

    #[test]
    fn waiting_from_look_to_look_terminates() {
        let start = Instant::now();
        let mut random = Random(3);
        let mut wheel = Wheel::new(start);
        let mut latest = start;
        for _ in 0..1_000 {
            let deadline = start + random.time();
            latest = latest.max(deadline);
            wheel.insert(deadline, Some(deadline)).unwrap();
        }
        let (mut now, mut looks) = (start, 0);
        while let Some(next) = wheel.next_look() {
            assert!(next > now || looks == 0, "the same time again");
            now = now.max(next);
            looks += 1;
            for (_, deadline) in all_expired(&mut wheel, now) {
                assert!(deadline <= now && now < deadline + TICK);
            }
        }
        assert!(wheel.is_empty() && now < latest + TICK);
        let revolutions = (now - start).as_millis() / REVOLUTION.as_millis() + 1;
        assert!(looks <= 1_000 * revolutions);
    }

    #[test]
    fn a_long_sleep_misses_nothing() {
        let start = Instant::now();
        for jump in [1, SLOTS as u64 - 1, SLOTS as u64, SLOTS as u64 + 1, 1_000_000, 1 << 40] {
            let mut wheel = Wheel::new(start);
            for tick in 0..10_000 {
                wheel.insert(tick, Some(start + TICK * tick)).unwrap();
            }
            let later = start + Duration::from_millis(jump);
            let far = wheel.insert(0, Some(later + TICK)).unwrap();
            assert_eq!(all_expired(&mut wheel, later).len() as u64, 10_000.min(jump + 1));
            assert!(wheel.remove(far).is_some());
        }
    }

    #[test]
    fn a_clock_that_goes_back_takes_nothing_back() {
        let start = Instant::now();
        let later = start + REVOLUTION * 3;
        let mut wheel = Wheel::new(start);
        wheel.insert(1, Some(start + TICK)).unwrap();
        wheel.insert(2, Some(start + REVOLUTION)).unwrap();
        assert!(wheel.pop_expired(later).is_some());
        assert_eq!(wheel.next_look(), Some(start), "the other one is due");
        assert!(wheel.pop_expired(start).is_some());
        wheel.insert(3, Some(start + TICK * 9)).unwrap();
        assert_eq!(wheel.next_look(), Some(start));
        assert!(wheel.pop_expired(start - TICK).is_some());
        assert!(wheel.pop_expired(later).is_none() && wheel.is_empty());
    }

    #[test]
    fn past_deadlines_are_due_at_once_and_far_ones_never() {
        let start = Instant::now();
        let seconds = (0..64).rev().map(|bit| Duration::from_secs(1 << bit));
        let farthest = seconds.fold(start, |at, step| at.checked_add(step).unwrap_or(at));
        let mut wheel = Wheel::new(start);
        let far = wheel.insert("far", Some(farthest)).unwrap();
        let past = wheel.insert("past", Some(start - TICK)).unwrap();
        assert_eq!(wheel.pop_expired(start), Some((past, "past")));
        assert!(wheel.arm(far, farthest - TICK));
        assert!(wheel.next_look().is_some());
        assert_eq!(wheel.pop_expired(start + REVOLUTION * 1_000), None);
        assert_eq!(wheel.pop_expired(farthest - REVOLUTION), None);
        assert!(wheel.arm(far, farthest));
        let _ = wheel.next_look();
        assert!(wheel.arm(far, start));
        assert_eq!(wheel.pop_expired(start), Some((far, "far")));
    }

    #[test]
    fn an_entry_costs_little_more_than_its_value() {
        assert!(size_of::<Entry<[u64; 5]>>() <= 56);
    }
}
