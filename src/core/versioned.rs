//! Cached values that are valid for one version of what they were made from.

/// A value made for one version. Another version resets it.
#[derive(Clone, Debug, Default)]
pub struct Versioned<V, T> {
    version: V,
    value: T,
}

impl<V: Copy + PartialEq, T: Default> Versioned<V, T> {
    /// Returns the value for `version`: empty, if it was made for another one.
    #[inline]
    pub fn at(&mut self, version: V) -> &mut T {
        if self.version != version {
            *self = Self { version, value: T::default() };
        }
        &mut self.value
    }

    /// Returns the value if it is for `version`.
    pub fn if_at(&mut self, version: V) -> Option<&mut T> {
        (self.version == version).then_some(&mut self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_resets_the_value() {
        let mut cached = Versioned::<u64, Vec<u8>>::default();
        cached.at(1).push(1);
        assert_eq!(cached.at(1), &[1]);
        assert_eq!(cached.if_at(2), None);
        assert!(cached.at(2).is_empty());
        assert_eq!(cached.if_at(1), None);
    }
}
