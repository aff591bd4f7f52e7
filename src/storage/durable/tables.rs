//! What is in the file: its tables, and how a transaction reads and changes them.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, Table,
    TableDefinition, TableError, WriteTransaction,
};
use thiserror::Error;

use crate::storage::backend::{Change, Key, Listing, Page, UnixMillis, Usage, Value};
use crate::storage::durable::open_error::OpenProblem;
use crate::storage::durable::record::{self, Body, Record};

/// Records by place: values, and usages of namespaces.
const VALUES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("values");
/// Large values by place.
const LARGE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("large-values");
/// Times of expiry, big-endian, each followed by its place.
const EXPIRIES: TableDefinition<'_, &[u8], ()> = TableDefinition::new("expiries");
/// The format, under the key `format`.
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("airssys-wasm");

const FORMAT_KEY: &str = "format";
/// The format of this version.
const KNOWN_FORMAT: u64 = 1;

/// The number of keys per page of a listing.
pub const PAGE_KEYS: usize = 1024;

/// The most expired keys that one transaction removes.
const MOST_EXPIRED: usize = 64;

/// Why a transaction failed.
#[derive(Debug, Error)]
pub enum Fault {
    /// By redb, or by the system.
    #[error(transparent)]
    Redb(redb::Error),
    /// What is at this place does not match its checksum.
    #[error("the file is damaged: {0} does not match its checksum")]
    Damaged(String),
    /// redb panicked.
    #[error("the file is damaged: {0}")]
    Panicked(String),
    /// A value exceeds what the caller may hold.
    #[error("the value of {bytes} bytes exceeds {most_bytes} bytes")]
    TooLarge {
        /// The length of the value.
        bytes: u64,
        /// What the caller may hold.
        most_bytes: u64,
    },
    /// A listing would exceed what the caller may hold.
    #[error("the keys exceed {0} bytes; list fewer keys with a longer prefix")]
    TooManyKeys(u64),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

fn damaged(place: &[u8]) -> Fault {
    Fault::Damaged(match record::parts(place) {
        Some((namespace, "")) => format!("the usage of {namespace}"),
        Some((namespace, key)) => format!("key {key:?} of {namespace}"),
        None => "a key".into(),
    })
}

/// Fills a new file.
pub fn format(database: &Database) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    transaction.open_table(FORMAT)?.insert(FORMAT_KEY, KNOWN_FORMAT)?;
    transaction.open_table(VALUES)?;
    transaction.open_table(LARGE)?;
    transaction.open_table(EXPIRIES)?;
    Ok(transaction.commit()?)
}

/// Checks that a file has the format of this version.
pub fn check_format(database: &Database) -> Result<(), OpenProblem> {
    let found = || -> Result<Option<u64>, Fault> {
        match database.begin_read()?.open_table(FORMAT) {
            Ok(table) => Ok(table.get(FORMAT_KEY)?.map(|found| found.value())),
            Err(TableError::Storage(error)) => Err(error.into()),
            Err(_) => Ok(None),
        }
    };
    match found() {
        Ok(Some(KNOWN_FORMAT)) => Ok(()),
        Ok(Some(found)) => Err(OpenProblem::OtherFormat { found, known: KNOWN_FORMAT }),
        Ok(None) => Err(OpenProblem::OtherProgram),
        Err(fault) => Err(OpenProblem::Damaged(fault.to_string())),
    }
}

/// The contents after one commit, for any number of reads.
pub struct View {
    transaction: ReadTransaction,
    values: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl View {
    /// Opens the contents after the last commit.
    pub fn new(database: &Database) -> Result<Self, Fault> {
        let transaction = database.begin_read()?;
        let values = transaction.open_table(VALUES)?;
        Ok(Self { transaction, values })
    }
}

/// What all namespaces hold together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Bytes of keys and values.
    pub bytes: u64,
    /// The earliest expiry.
    pub next_expiry: Option<UnixMillis>,
}

/// Reads what all namespaces hold together.
pub fn sums(View { transaction, values }: &View) -> Result<Sums, Fault> {
    let mut sums = Sums::default();
    let mut from = Vec::new();
    while let Some(namespace) = next_namespace(values, &from)? {
        sums.bytes = sums.bytes.saturating_add(usage_of(values, &namespace)?.bytes);
        from = record::behind(&namespace);
    }
    sums.next_expiry = next_expiry(&transaction.open_table(EXPIRIES)?)?;
    Ok(sums)
}

fn next_expiry(
    expiries: &impl ReadableTable<&'static [u8], ()>,
) -> Result<Option<UnixMillis>, Fault> {
    let Some((first, _)) = expiries.first()? else { return Ok(None) };
    let (time, _) = due(first.value()).ok_or_else(|| damaged(first.value()))?;
    Ok(Some(time))
}

/// Splits a key of the table of expiries.
fn due(entry: &[u8]) -> Option<(UnixMillis, &[u8])> {
    let (time, place) = entry.split_at_checked(size_of::<UnixMillis>())?;
    Some((UnixMillis::from_be_bytes(time.try_into().ok()?), place))
}

fn due_at(time: UnixMillis, place: &[u8]) -> Vec<u8> {
    [&time.to_be_bytes(), place].concat()
}

/// Reads a value, unless it has expired or is missing.
pub fn get(
    View { transaction, values }: &View,
    place: &[u8],
    now: UnixMillis,
    most_bytes: u64,
) -> Result<Option<Value>, Fault> {
    let Some(found) = values.get(place)? else { return Ok(None) };
    let record = record::read(place, found.value()).ok_or_else(|| damaged(place))?;
    if record.is_expired(now) {
        return Ok(None);
    }
    if record.body.value_bytes() > most_bytes {
        return Err(Fault::TooLarge { bytes: record.body.value_bytes(), most_bytes });
    }
    let (bytes, checksum) = match record.body {
        Body::Inline(value) => return Ok(Some(Arc::new(value.to_vec()))),
        Body::Large { bytes, checksum } => (bytes, checksum),
    };
    let large = transaction.open_table(LARGE)?;
    let value = large.get(place)?.ok_or_else(|| damaged(place))?;
    let value = value.value();
    if value.len() as u64 != bytes || record::checksum(value) != checksum {
        return Err(damaged(place));
    }
    Ok(Some(Arc::new(value.to_vec())))
}

/// A key without its value.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The length of the value.
    pub value_bytes: u64,
    /// From this time on the key is missing.
    pub expires: Option<UnixMillis>,
}

/// Looks a key up, unless it has expired or is missing.
pub fn find(
    View { values, .. }: &View,
    place: &[u8],
    now: UnixMillis,
) -> Result<Option<Found>, Fault> {
    let Some(found) = values.get(place)? else { return Ok(None) };
    let record = record::read(place, found.value()).ok_or_else(|| damaged(place))?;
    if record.is_expired(now) {
        return Ok(None);
    }
    Ok(Some(Found { value_bytes: record.body.value_bytes(), expires: record.expires }))
}

/// Returns a page of keys.
pub fn list(
    View { values, .. }: &View,
    namespace: &str,
    listing: &Listing<'_>,
    now: UnixMillis,
) -> Result<Page, Fault> {
    let (usage, prefix) = (record::place(namespace, ""), record::place(namespace, listing.prefix));
    let after = listing.after.map(|after| record::place(namespace, after));
    // The usage, which is no key, is at the place of the empty prefix.
    let from = Bound::Excluded(after.as_ref().unwrap_or(&usage).as_slice());
    let from = if after.is_none() && !listing.prefix.is_empty() {
        Bound::Included(prefix.as_slice())
    } else {
        from
    };
    let (mut keys, mut bytes) = (Vec::<Key>::new(), 0);
    for entry in values.range::<&[u8]>((from, Bound::Unbounded))? {
        let (place, found) = entry?;
        let place = place.value();
        if !place.starts_with(&prefix) {
            return Ok(Page { keys, is_last: true });
        }
        if keys.len() == PAGE_KEYS {
            return Ok(Page { keys, is_last: false });
        }
        let record = record::read(place, found.value()).ok_or_else(|| damaged(place))?;
        if record.is_expired(now) {
            continue;
        }
        let (_, key) = record::parts(place).ok_or_else(|| damaged(place))?;
        bytes += (size_of::<Key>() + key.len()) as u64;
        if bytes > listing.most_bytes {
            return Err(Fault::TooManyKeys(listing.most_bytes));
        }
        keys.push(key.into());
    }
    Ok(Page { keys, is_last: true })
}

/// Returns a page of the namespaces that hold keys.
pub fn namespaces(View { values, .. }: &View, after: Option<&str>) -> Result<Page, Fault> {
    let mut from = after.map(record::behind).unwrap_or_default();
    let mut keys = Vec::<Key>::new();
    while keys.len() < PAGE_KEYS {
        let Some(namespace) = next_namespace(values, &from)? else {
            return Ok(Page { keys, is_last: true });
        };
        from = record::behind(&namespace);
        keys.push(namespace);
    }
    let is_last = next_namespace(values, &from)?.is_none();
    Ok(Page { keys, is_last })
}

/// Returns the first namespace from a place on.
fn next_namespace(
    values: &ReadOnlyTable<&'static [u8], &'static [u8]>,
    from: &[u8],
) -> Result<Option<Key>, Fault> {
    let Some(first) = values.range::<&[u8]>(from..)?.next() else { return Ok(None) };
    let (place, _) = first?;
    let (namespace, _) = record::parts(place.value()).ok_or_else(|| damaged(place.value()))?;
    Ok(Some(namespace.into()))
}

/// Returns the usage of a namespace.
pub fn usage(view: &View, namespace: &str) -> Result<Usage, Fault> {
    usage_of(&view.values, namespace)
}

fn usage_of(
    values: &impl ReadableTable<&'static [u8], &'static [u8]>,
    namespace: &str,
) -> Result<Usage, Fault> {
    let place = record::place(namespace, "");
    let Some(found) = values.get(place.as_slice())? else { return Ok(Usage::default()) };
    record::read_usage(&place, found.value()).ok_or_else(|| damaged(&place))
}

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

    /// Writes the record of a change. Returns length and expiry of the old value, and whether it is
    /// kept apart.
    fn exchange(
        &mut self,
        change: &Prepared,
    ) -> Result<Option<(u64, bool, Option<UnixMillis>)>, Fault> {
        let place = change.place.as_slice();
        let old = match &change.to {
            Some(to) => self.values.insert(place, to.record.as_slice())?,
            None => self.values.remove(place)?,
        };
        let Some(old) = old else { return Ok(None) };
        let Record { body, expires } =
            record::read(place, old.value()).ok_or_else(|| damaged(place))?;
        Ok(Some((body.value_bytes(), matches!(body, Body::Large { .. }), expires)))
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
            if let Some((value_bytes, ..)) = old {
                moved.gone.bytes += size(value_bytes);
                moved.gone.keys += 1;
            }
            if let Some(to) = &change.to {
                moved.come.bytes += size(to.value_bytes);
                moved.come.keys += 1;
            }
        }
        let (was_large, expired) =
            old.map_or((false, None), |(_, large, expires)| (large, expires));
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

    fn remove_expired(&mut self, now: UnixMillis) -> Result<(), Fault> {
        let end = due_at(now.saturating_add(1), &[]);
        let mut expired = Vec::new();
        for entry in self.expiries()?.range::<&[u8]>(..end.as_slice())?.take(MOST_EXPIRED) {
            let (entry, ()) = entry.map(|(entry, _)| (entry, ()))?;
            let (_, place) = due(entry.value()).ok_or_else(|| damaged(entry.value()))?;
            expired.push(Prepared { place: place.to_vec(), to: None });
        }
        expired.iter().try_for_each(|removal| self.change(removal))
    }

    /// Writes the usages of the changed namespaces. Returns the new sum of all.
    fn settle(&mut self, mut bytes: u64) -> Result<u64, Fault> {
        for (namespace, Moved { come, gone }) in std::mem::take(&mut self.moved) {
            let place = record::place(&namespace, "");
            let before = usage_of(&self.values, &namespace)?;
            let after =
                |before: u64, come: u64, gone: u64| before.checked_add(come)?.checked_sub(gone);
            let usage = Usage {
                bytes: after(before.bytes, come.bytes, gone.bytes)
                    .ok_or_else(|| damaged(&place))?,
                keys: after(before.keys, come.keys, gone.keys).ok_or_else(|| damaged(&place))?,
            };
            bytes = bytes.saturating_add(come.bytes).saturating_sub(gone.bytes);
            if usage == before && before.keys > 0 {
                continue;
            }
            match usage.keys {
                0 => _ = self.values.remove(place.as_slice())?,
                _ => {
                    let record = record::of_usage(&place, usage);
                    self.values.insert(place.as_slice(), record.as_slice())?;
                }
            }
        }
        Ok(bytes)
    }
}

/// Reads everything, and compares each usage with a recount. For tests.
#[cfg(test)]
pub fn recount(view: &View) -> Result<Sums, String> {
    use std::collections::BTreeMap;

    let read = || -> Result<_, Fault> {
        let (mut counted, mut stored) = (BTreeMap::<Key, Usage>::new(), BTreeMap::new());
        let (mut large, mut expiries) = (Vec::new(), Vec::new());
        let View { transaction, values } = view;
        for entry in values.iter()? {
            let (place, found) = entry?;
            let place = place.value();
            let (namespace, key) = record::parts(place).ok_or_else(|| damaged(place))?;
            if key.is_empty() {
                let usage = record::read_usage(place, found.value());
                stored.insert(Key::from(namespace), usage.ok_or_else(|| damaged(place))?);
                continue;
            }
            let record = record::read(place, found.value()).ok_or_else(|| damaged(place))?;
            let usage = counted.entry(namespace.into()).or_default();
            usage.bytes += key.len() as u64 + record.body.value_bytes();
            usage.keys += 1;
            if let Body::Large { .. } = record.body {
                get(view, place, 0, u64::MAX)?;
                large.push(place.to_vec());
            }
            expiries.extend(record.expires.map(|time| due_at(time, place)));
        }
        expiries.sort();
        let mut found_large = Vec::new();
        for entry in transaction.open_table(LARGE)?.iter()? {
            found_large.push(entry?.0.value().to_vec());
        }
        let mut found_expiries = Vec::new();
        for entry in transaction.open_table(EXPIRIES)?.iter()? {
            found_expiries.push(entry?.0.value().to_vec());
        }
        Ok((counted, stored, (large, found_large), (expiries, found_expiries)))
    };
    let (counted, stored, large, expiries) = read().map_err(|fault| fault.to_string())?;
    let sums = sums(view).map_err(|fault| fault.to_string())?;
    if counted != stored {
        return Err(format!("usages are {stored:?}, but there is {counted:?}"));
    }
    if large.0 != large.1 {
        return Err(format!("large values are {:?}, but referred to are {:?}", large.1, large.0));
    }
    if expiries.0 != expiries.1 {
        return Err(format!("expiries are {:?}, but there are {:?}", expiries.1, expiries.0));
    }
    assert_eq!(sums.bytes, counted.values().map(|usage| usage.bytes).sum::<u64>());
    Ok(sums)
}
