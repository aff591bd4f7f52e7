//! Random numbers from a seed (SplitMix64).

#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Takes the seed from an input. Missing bytes are 0.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut seed = [0; 8];
        seed.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Self(u64::from_le_bytes(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True once in `of` times.
    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// A number that tends to expose faults: small, at or next to a power of two, or any.
    pub fn number(&mut self) -> u64 {
        match self.below(4) {
            0 => self.below(20) as u64,
            1 => 1_u64 << self.below(64),
            2 => (1_u64 << self.below(64)).wrapping_sub(1),
            _ => self.next(),
        }
    }
}
