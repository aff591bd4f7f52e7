//! Whether a guest has used its slice, or the system has held up its thread.

use crate::runtime::pace::SHORT_WORK_FUEL;

/// How many ticks longer a slice may be in which a guest has done little: it may have spent them in
/// instructions that take long.
const MAX_EXCUSES: u8 = 2;

/// A guest's time until others get their turn.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slice {
    /// What was left at its beginning.
    fuel: u64,
    excuses: u8,
}

impl Slice {
    /// Begins with so much fuel left.
    pub fn begin(fuel: u64) -> Self {
        Self { fuel, excuses: 0 }
    }

    /// Whether the guest gives way at its end, with so much fuel left.
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
