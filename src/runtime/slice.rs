//! Tells a guest that has used its slice from one whose thread the system has held up.

use crate::runtime::pace::SHORT_WORK_FUEL;

/// How many ticks a slice may be extended if the guest has done little work. It may have run slow
/// instructions, so the number is bounded.
const MAX_EXCUSES: u8 = 2;

/// The time that a guest computes before others get their turn.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slice {
    /// The fuel at the start of the slice.
    fuel: u64,
    excuses: u8,
}

impl Slice {
    /// Starts a slice with `fuel` left.
    pub fn begin(fuel: u64) -> Self {
        Self { fuel, excuses: 0 }
    }

    /// Whether the slice ends, that is, the guest must yield, with `fuel` left.
    pub fn ends(&mut self, fuel: u64) -> bool {
        if self.fuel.saturating_sub(fuel) >= SHORT_WORK_FUEL || self.excuses == MAX_EXCUSES {
            return true;
        }
        self.excuses += 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_held_up_is_excused_and_not_for_ever() {
        let mut slice = Slice::begin(1 << 40);
        assert!(slice.ends((1 << 40) - SHORT_WORK_FUEL), "it has worked");
        let ends = (0..4).map(|_| slice.ends((1 << 40) - 1));
        assert_eq!(ends.collect::<Vec<_>>(), [false, false, true, true]);
    }
}
