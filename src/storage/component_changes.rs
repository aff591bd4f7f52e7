//! What a component does with its storage besides reading and writing one key: several keys at once,
//! and changes that depend on the value before.

use std::ops::RangeInclusive;

use crate::core::account::Charge;
use crate::core::id::shorten;
use crate::security::action::Action;
use crate::storage::backend::{Change, Entry, Page, Placement, StorageError, Value};
use crate::storage::component_storage::{ComponentStorage, NewValue, checked};

/// The most keys of one operation.
pub const MAX_KEYS_AT_ONCE: usize = 1000;

/// How often an increment is tried: each failure means that another one succeeded.
const MOST_ATTEMPTS: usize = 10_000;

/// Values about to be stored together.
#[derive(Default)]
pub struct NewValues {
    /// The values by key; of two with the same key, the last counts.
    pub values: Vec<(String, Vec<u8>)>,
    /// The charges until they are stored.
    pub charges: Vec<Charge>,
}

impl ComponentStorage {
    /// Returns the values of some keys, each `None` if the key is missing. `charge` grows by what
    /// they take.
    pub fn get_many(
        &self,
        keys: &[String],
        charge: &mut Charge,
    ) -> Result<Vec<Option<Value>>, StorageError> {
        let namespace = self.permitted(Action::StorageRead)?;
        let mut values = Vec::with_capacity(keys.len());
        let is_copy = self.backend.placement() == Placement::OffFiber;
        for key in keys {
            let value = self.backend.get(namespace, checked(key)?, self.room())?;
            // The in-memory store shares its own copy.
            let bytes = value.as_ref().filter(|_| is_copy).map_or(0, |value| value.len() as u64);
            let grown = charge.grow(bytes);
            grown.map_err(|exceeded| StorageError::Io(format!("{exceeded}; read fewer keys")))?;
            values.push(value);
        }
        Ok(values)
    }

    /// Stores several values: all or none, if the backend can do that.
    pub fn set_many(&self, values: NewValues) -> Result<(), StorageError> {
        let NewValues { mut values, charges: _charges } = values;
        let namespace = self.permitted(Action::StorageWrite)?;
        // Stable, so that of two with the same key the last stays last.
        values.sort_by(|(a, _), (b, _)| a.cmp(b));
        values.reverse();
        values.dedup_by(|(a, _), (b, _)| a == b);
        let mut sizes = Vec::with_capacity(values.len());
        for (key, value) in &values {
            sizes.push((checked(key)?.to_owned(), (key.len() + value.len()) as u64));
        }
        let sizes: Vec<_> = sizes.iter().map(|(key, size)| (key.as_str(), *size)).collect();
        let changes = values.into_iter().map(|(key, value)| Change {
            key: key.into(),
            to: Some(Entry { value, expires: None }),
        });
        self.within_quotas(&sizes, || self.change(namespace, changes.collect()))
    }

    /// Removes several keys: all or none, if the backend can do that. A missing key is no error.
    pub fn delete_many(&self, keys: &[String]) -> Result<(), StorageError> {
        let namespace = self.permitted(Action::StorageDelete)?;
        let mut keys = keys.iter().map(|key| checked(key)).collect::<Result<Vec<_>, _>>()?;
        keys.sort_unstable();
        keys.dedup();
        let changes = keys.into_iter().map(|key| Change { key: key.into(), to: None });
        self.change(namespace, changes.collect())
    }

    /// Makes changes at once, or one after another if the backend cannot.
    fn change(&self, namespace: &str, changes: Vec<Change>) -> Result<(), StorageError> {
        if changes.is_empty() {
            return Ok(());
        }
        if !self.backend.makes_several() {
            return changes.into_iter().try_for_each(|Change { key, to }| match to {
                Some(entry) => self.backend.set(namespace, &key, entry.value),
                None => self.backend.delete(namespace, &key),
            });
        }
        self.backend.apply(namespace, changes)
    }

    /// Stores a value if the key still has the value `from`; `None`: if it is still missing. Returns
    /// whether it was stored.
    pub fn exchange(
        &self,
        key: &str,
        from: Option<&Value>,
        value: NewValue,
    ) -> Result<bool, StorageError> {
        let NewValue { bytes: value, charge: _charge } = value;
        self.permitted(Action::StorageRead)?;
        let namespace = self.permitted(Action::StorageWrite)?;
        self.put(namespace, checked(key)?, from, value)
    }

    fn put(
        &self,
        namespace: &str,
        key: &str,
        from: Option<&Value>,
        value: Vec<u8>,
    ) -> Result<bool, StorageError> {
        let size = (key.len() + value.len()) as u64;
        self.within_quotas(&[(key, size)], || {
            let to = Some(Entry { value, expires: None });
            self.backend.exchange(namespace, from, Change { key: key.into(), to })
        })
    }

    /// Adds to the number that a value is in decimal digits, 0 if the key is missing, and returns the
    /// sum. The sum must be within `range`.
    pub fn increment(
        &self,
        key: &str,
        delta: i128,
        range: &RangeInclusive<i128>,
    ) -> Result<i128, StorageError> {
        self.permitted(Action::StorageRead)?;
        let namespace = self.permitted(Action::StorageWrite)?;
        let key = checked(key)?;
        for _ in 0..MOST_ATTEMPTS {
            let from = self.backend.get(namespace, key, self.room())?;
            let sum = number(key, from.as_ref())?.checked_add(delta);
            let sum = sum.filter(|sum| range.contains(sum)).ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                let key = shorten(key);
                StorageError::Io(format!("{key:?} would not be within {least} and {most}"))
            })?;
            let text = sum.to_string().into_bytes();
            let cost = self.charge(key, text.len() as u64)?;
            let done = self.put(namespace, key, from.as_ref(), text)?;
            drop(cost);
            if done {
                return Ok(sum);
            }
        }
        let key = shorten(key);
        Err(StorageError::Io(format!("others changed {key:?} {MOST_ATTEMPTS} times meanwhile")))
    }

    /// Returns at most a page of the keys with a prefix after `after`, ascending, as of any backend.
    pub fn list_after(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        let namespace = self.permitted(Action::StorageRead)?;
        let Page { mut keys, mut is_last } = self.page(namespace, prefix, after)?;
        // The host's backend gives all keys at once.
        keys.retain(|key| after.is_none_or(|after| **key > *after));
        if keys.len() > MAX_KEYS_AT_ONCE {
            keys.truncate(MAX_KEYS_AT_ONCE);
            is_last = false;
        }
        Ok(Page { keys, is_last })
    }
}

fn number(key: &str, value: Option<&Value>) -> Result<i128, StorageError> {
    let Some(value) = value else { return Ok(0) };
    // More digits than the largest number has need not be read.
    let text = value.get(..40.min(value.len())).filter(|text| text.len() == value.len());
    let text = text.and_then(|text| std::str::from_utf8(text).ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let key = shorten(key);
        StorageError::Io(format!("the value of {key:?} is no whole number in decimal digits"))
    })
}
