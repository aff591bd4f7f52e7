//! How a transaction changes the tables.

use std::collections::HashMap;

use redb::{ReadableTable, Table, WriteTransaction};

use crate::storage::backend::{Change, UnixMillis, Usage};
use crate::storage::durable::record::{self, Body};
use crate::storage::durable::tables::{
    EXPIRIES, Fault, LARGE, Sums, VALUES, count, damaged, due, due_at, next_expiry, noted_usage,
    total_bytes,
};

/// The most expired keys that one transaction removes.
const MOST_EXPIRED: usize = 64;

/// A change of one key, as it will be written.
pub struct Prepared {
    place: Vec<u8>,
    /// `None` removes the key.
    to: Option<Written>,
}

struct Written {
    record: Vec<u8>,
    /// The value, if it is kept apart.
    large: Option<Vec<u8>>,
    value_bytes: u64,
    expires: Option<UnixMillis>,
}

impl Prepared {
    /// Prepares a change.
    pub fn new(namespace: &str, change: Change) -> Self {
        let place = record::place(namespace, &change.key);
        let to = change.to.map(|entry| {
            let (value_bytes, expires) = (entry.value.len() as u64, entry.expires);
            let (record, large) = if entry.value.len() > record::MAX_INLINE_BYTES {
                (record::large(&place, &entry.value, expires), Some(entry.value))
            } else {
                (record::inline(&place, entry.value, expires), None)
            };
            Written { record, large, value_bytes, expires }
        });
        Self { place, to }
    }

    /// Returns the place of the key.
    pub fn place(&self) -> &[u8] {
        &self.place
    }

    /// Returns the bytes that this writes.
    pub fn bytes(&self) -> u64 {
        let value = self.to.as_ref().map_or(0, |to| to.value_bytes);
        self.place.len() as u64 + value
    }
}

/// The tables of a transaction that changes them.
struct Changing<'t> {
    values: Table<'t, &'static [u8], &'static [u8]>,
    /// Opened when needed, as is `expiries`.
    large: Option<Table<'t, &'static [u8], &'static [u8]>>,
    expiries: Option<Table<'t, &'static [u8], ()>>,
    transaction: &'t WriteTransaction,
    /// What has come and gone, by namespace.
    moved: HashMap<Box<str>, Moved>,
}

/// What has come to a namespace and gone from it.
#[derive(Default)]
struct Moved {
    come: Usage,
    gone: Usage,
    /// Something damaged has gone, which nobody can count.
    is_unknown: bool,
}

impl Moved {
    /// Returns whether the usage is as before.
    fn is_nothing(&self) -> bool {
        self.come == self.gone && !self.is_unknown
    }

    /// Returns a usage after this; `None` if that takes a recount.
    fn after(&self, before: Usage) -> Option<Usage> {
        let after = |before: u64, come: u64, gone: u64| before.checked_add(come)?.checked_sub(gone);
        let Self { come, gone, is_unknown } = self;
        if *is_unknown {
            return None;
        }
        Some(Usage {
            bytes: after(before.bytes, come.bytes, gone.bytes)?,
            keys: after(before.keys, come.keys, gone.keys)?,
        })
    }
}

/// What a change found at its place.
enum Old {
    Nothing,
    Record { value_bytes: u64, is_large: bool, expires: Option<UnixMillis> },
    Damaged,
}

/// Makes changes, and removes keys that have expired. Returns what all namespaces hold then.
pub fn apply<'c>(
    transaction: &WriteTransaction,
    changes: impl IntoIterator<Item = &'c Prepared>,
    before: Sums,
    now: UnixMillis,
) -> Result<Sums, Fault> {
    let mut tables = Changing {
        values: transaction.open_table(VALUES)?,
        large: None,
        expiries: None,
        transaction,
        moved: HashMap::new(),
    };
    let mut sums = before;
    for change in changes {
        tables.change(change)?;
        let expires = change.to.as_ref().and_then(|to| to.expires);
        sums.next_expiry = [sums.next_expiry, expires].into_iter().flatten().min();
    }
    if sums.next_expiry.is_some_and(|next| next <= now) {
        tables.remove_expired(now)?;
        sums.next_expiry = next_expiry(tables.expiries()?)?;
    }
    sums.bytes = tables.settle(sums.bytes)?;
    Ok(sums)
}

impl<'t> Changing<'t> {
    fn large(&mut self) -> Result<&mut Table<'t, &'static [u8], &'static [u8]>, Fault> {
        if self.large.is_none() {
            self.large = Some(self.transaction.open_table(LARGE)?);
        }
        self.large.as_mut().ok_or_else(|| Fault::Damaged("the table of large values".into()))
    }

    fn expiries(&mut self) -> Result<&mut Table<'t, &'static [u8], ()>, Fault> {
        if self.expiries.is_none() {
            self.expiries = Some(self.transaction.open_table(EXPIRIES)?);
        }
        self.expiries.as_mut().ok_or_else(|| Fault::Damaged("the table of expiries".into()))
    }

    /// Writes the record of a change. Returns the old one.
    fn exchange(&mut self, change: &Prepared) -> Result<Old, Fault> {
        let place = change.place.as_slice();
        let old = match &change.to {
            Some(to) => self.values.insert(place, to.record.as_slice())?,
            None => self.values.remove(place)?,
        };
        let Some(old) = old else { return Ok(Old::Nothing) };
        Ok(record::read(place, old.value()).map_or(Old::Damaged, |record| Old::Record {
            value_bytes: record.body.value_bytes(),
            is_large: matches!(record.body, Body::Large { .. }),
            expires: record.expires,
        }))
    }

    fn change(&mut self, change: &Prepared) -> Result<(), Fault> {
        let place = change.place.as_slice();
        let (namespace, key) = record::parts(place).ok_or_else(|| damaged(place))?;
        let old = self.exchange(change)?;
        if !self.moved.contains_key(namespace) {
            self.moved.insert(namespace.into(), Moved::default());
        }
        if let Some(moved) = self.moved.get_mut(namespace) {
            let size = |value: u64| key.len() as u64 + value;
            match old {
                Old::Nothing => {}
                Old::Record { value_bytes, .. } => {
                    moved.gone.bytes += size(value_bytes);
                    moved.gone.keys += 1;
                }
                Old::Damaged => moved.is_unknown = true,
            }
            if let Some(to) = &change.to {
                moved.come.bytes += size(to.value_bytes);
                moved.come.keys += 1;
            }
        }
        let (was_large, expired) = match old {
            Old::Nothing => (false, None),
            Old::Record { is_large, expires, .. } => (is_large, expires),
            Old::Damaged => {
                self.remove_expiries_of(place)?;
                (true, None)
            }
        };
        match change.to.as_ref().and_then(|to| to.large.as_deref()) {
            Some(value) => _ = self.large()?.insert(place, value)?,
            None if was_large => _ = self.large()?.remove(place)?,
            None => {}
        }
        let expires = change.to.as_ref().and_then(|to| to.expires);
        if expired != expires {
            if let Some(time) = expired {
                self.expiries()?.remove(due_at(time, place).as_slice())?;
            }
            if let Some(time) = expires {
                self.expiries()?.insert(due_at(time, place).as_slice(), ())?;
            }
        }
        Ok(())
    }

    /// Removes the expiries of a key whose record was damaged, and with it the time.
    fn remove_expiries_of(&mut self, place: &[u8]) -> Result<(), Fault> {
        let is_of = |entry: &[u8]| due(entry).is_some_and(|(_, other)| other == place);
        Ok(self.expiries()?.retain(|entry, ()| !is_of(entry))?)
    }

    fn remove_expired(&mut self, now: UnixMillis) -> Result<(), Fault> {
        let end = due_at(now.saturating_add(1), &[]);
        let mut entries = Vec::new();
        for entry in self.expiries()?.range::<&[u8]>(..end.as_slice())?.take(MOST_EXPIRED) {
            entries.push(entry?.0.value().to_vec());
        }
        for entry in entries {
            match due(&entry) {
                Some((time, place)) if self.expires_at(place, time)? => {
                    self.change(&Prepared { place: place.to_vec(), to: None })?;
                }
                // It is damaged, or what it refers to is.
                _ => _ = self.expiries()?.remove(entry.as_slice())?,
            }
        }
        Ok(())
    }

    /// Returns whether there is a key at a place that expires at a time.
    fn expires_at(&self, place: &[u8], time: UnixMillis) -> Result<bool, Fault> {
        let Some(found) = self.values.get(place)? else { return Ok(false) };
        let record = record::read(place, found.value());
        Ok(record.is_some_and(|record| record.expires == Some(time)))
    }

    /// Writes the usages of the changed namespaces. Returns the new sum of all.
    fn settle(&mut self, mut bytes: u64) -> Result<u64, Fault> {
        let mut is_recounted = false;
        for (namespace, moved) in std::mem::take(&mut self.moved) {
            if moved.is_nothing() {
                continue;
            }
            let before = noted_usage(&self.values, &namespace)?;
            let usage = if let Some(after) = before.and_then(|before| moved.after(before)) {
                bytes = bytes.saturating_add(moved.come.bytes).saturating_sub(moved.gone.bytes);
                after
            } else {
                is_recounted = true;
                count(&self.values, &namespace)?
            };
            let place = record::place(&namespace, "");
            match usage.keys {
                0 => _ = self.values.remove(place.as_slice())?,
                _ if before == Some(usage) => {}
                _ => {
                    let record = record::of_usage(&place, usage);
                    self.values.insert(place.as_slice(), record.as_slice())?;
                }
            }
        }
        if is_recounted { total_bytes(&self.values) } else { Ok(bytes) }
    }
}
