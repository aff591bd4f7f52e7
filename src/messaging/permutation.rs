//! A secret permutation of the positive integers, to show counters without revealing how far they
//! have counted.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::num::NonZeroU64;

/// With pseudorandom round functions, four Feistel rounds are indistinguishable from a random
/// permutation even if the adversary may query both directions (Luby & Rackoff 1988).
const ROUNDS: u64 = 4;

/// A Feistel network over SipHash, with its own key.
#[derive(Debug)]
pub struct Permutation {
    key: RandomState,
}

impl Permutation {
    /// Creates a permutation with a random key.
    pub fn random() -> Self {
        Self { key: RandomState::new() }
    }

    /// Encrypts a number.
    pub fn hide(&self, number: NonZeroU64) -> NonZeroU64 {
        walk(number, |number| {
            (0..ROUNDS)
                .fold(halves(number), |(left, right), round| (right, left ^ self.mix(round, right)))
        })
    }

    /// Decrypts a number.
    pub fn reveal(&self, hidden: NonZeroU64) -> NonZeroU64 {
        walk(hidden, |hidden| {
            (0..ROUNDS)
                .rev()
                .fold(halves(hidden), |(left, right), round| (right ^ self.mix(round, left), left))
        })
    }

    fn mix(&self, round: u64, half: u32) -> u32 {
        let mut hasher = self.key.build_hasher();
        hasher.write_u64(round << 32 | u64::from(half));
        hasher.finish() as u32
    }
}

/// Cycle-walks a permutation that includes 0 to one that excludes it: the number that maps to 0
/// maps to the image of 0.
fn walk(number: NonZeroU64, step: impl Fn(u64) -> (u32, u32)) -> NonZeroU64 {
    let mut at = number.get();
    loop {
        let (left, right) = step(at);
        at = u64::from(left) << 32 | u64::from(right);
        if let Some(number) = NonZeroU64::new(at) {
            return number;
        }
    }
}

fn halves(number: u64) -> (u32, u32) {
    ((number >> 32) as u32, number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn number(number: u64) -> NonZeroU64 {
        NonZeroU64::new(number).unwrap()
    }

    #[test]
    fn every_number_has_its_own_image() {
        let permutation = Permutation::random();
        let hidden: HashSet<NonZeroU64> = (1..=10_000)
            .chain((1..=10_000).map(|n| u64::MAX / n))
            .collect::<HashSet<u64>>()
            .into_iter()
            .map(|n| {
                let hidden = permutation.hide(number(n));
                assert_eq!(permutation.reveal(hidden), number(n));
                assert_eq!(permutation.hide(permutation.reveal(number(n))), number(n));
                hidden
            })
            .collect();
        assert!(hidden.len() > 19_000);
    }

    #[test]
    fn the_preimage_of_0_maps_to_the_image_of_0() {
        let swap = |n: u64| halves(if n < 2 { 1 - n } else { n });
        assert_eq!(walk(number(1), swap), number(1));
        let turn = |n: u64| halves((n + 1) % 3);
        assert_eq!([1, 2].map(|n| walk(number(n), turn).get()), [2, 1]);
    }

    #[test]
    fn neighbours_have_half_of_their_bits_in_common_and_keys_differ() {
        let (one, other) = (Permutation::random(), Permutation::random());
        let apart = |a: NonZeroU64, b: NonZeroU64| (a.get() ^ b.get()).count_ones();
        let sums = (1..=1000).map(number).fold((0, 0), |(neighbours, keys), n| {
            let next = number(n.get() + 1);
            let hidden = one.hide(n);
            (neighbours + apart(hidden, one.hide(next)), keys + apart(hidden, other.hide(n)))
        });
        // Expected 32,000 with a standard deviation of 126.
        for sum in [sums.0, sums.1] {
            assert!((31_000..33_000).contains(&sum), "{sums:?}");
        }
    }
}
