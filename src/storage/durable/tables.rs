//! What is in the file: its tables, and how a transaction reads them.

use std::ops::Bound;
use std::sync::Arc;

use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    TableError,
};
use thiserror::Error;

use crate::storage::backend::{Key, Listing, Page, UnixMillis, Usage, Value};
use crate::storage::durable::open_error::OpenProblem;
use crate::storage::durable::record::{self, Body};

/// Records by place: values, and usages of namespaces.
pub const VALUES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("values");
/// Large values by place.
pub const LARGE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("large-values");
/// Times of expiry, big-endian, each followed by its place.
pub const EXPIRIES: TableDefinition<'_, &[u8], ()> = TableDefinition::new("expiries");
/// The format, under the key `format`.
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("airssys-wasm");

const FORMAT_KEY: &str = "format";
/// The format of this version.
const KNOWN_FORMAT: u64 = 1;

/// The number of keys per page of a listing.
pub const PAGE_KEYS: usize = 1024;

/// Why a transaction failed.
#[derive(Debug, Error)]
pub enum Fault {
    /// By redb, or by the system.
    #[error(transparent)]
    Redb(redb::Error),
    /// What is at this place does not match its checksum.
    #[error("{0} does not match its checksum")]
    Damaged(String),
    /// redb panicked.
    #[error("{0}")]
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

/// Returns the fault of a record that does not match its checksum.
pub fn damaged(place: &[u8]) -> Fault {
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
    let next_expiry = next_expiry(&transaction.open_table(EXPIRIES)?)?;
    Ok(Sums { bytes: total_bytes(values)?, next_expiry })
}

/// Returns the bytes of all keys and values.
pub fn total_bytes(
    values: &impl ReadableTable<&'static [u8], &'static [u8]>,
) -> Result<u64, Fault> {
    let (mut bytes, mut from) = (0_u64, Vec::new());
    while let Some(namespace) = next_namespace(values, &from)? {
        bytes = bytes.saturating_add(usage_of(values, &namespace)?.bytes);
        from = record::behind(&namespace);
    }
    Ok(bytes)
}

/// Returns the earliest expiry.
pub fn next_expiry(
    expiries: &impl ReadableTable<&'static [u8], ()>,
) -> Result<Option<UnixMillis>, Fault> {
    let Some((first, _)) = expiries.first()? else { return Ok(None) };
    // A damaged one is due: it is removed with the others.
    Ok(Some(due(first.value()).map_or(0, |(time, _)| time)))
}

/// Splits a key of the table of expiries.
pub fn due(entry: &[u8]) -> Option<(UnixMillis, &[u8])> {
    let (time, place) = entry.split_at_checked(size_of::<UnixMillis>())?;
    Some((UnixMillis::from_be_bytes(time.try_into().ok()?), place))
}

/// Returns a key of the table of expiries.
pub fn due_at(time: UnixMillis, place: &[u8]) -> Vec<u8> {
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

/// Returns the length of a value, unless it has expired or is missing. One that is damaged is there,
/// and has the length of its record.
pub fn size(view: &View, place: &[u8], now: UnixMillis) -> Result<Option<u64>, Fault> {
    match find(view, place, now) {
        Err(Fault::Damaged(_)) => {
            let found = view.values.get(place)?;
            Ok(found.map(|found| found.value().len() as u64))
        }
        found => Ok(found?.map(|found| found.value_bytes)),
    }
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
    values: &impl ReadableTable<&'static [u8], &'static [u8]>,
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
    match noted_usage(values, namespace)? {
        Some(usage) => Ok(usage),
        None => count(values, namespace),
    }
}

/// Returns the usage of a namespace as it was written; `None` if that is damaged.
pub fn noted_usage(
    values: &impl ReadableTable<&'static [u8], &'static [u8]>,
    namespace: &str,
) -> Result<Option<Usage>, Fault> {
    let place = record::place(namespace, "");
    let Some(found) = values.get(place.as_slice())? else { return Ok(Some(Usage::default())) };
    Ok(record::read_usage(&place, found.value()))
}

/// Counts what is in a namespace. A damaged record counts as it is.
pub fn count(
    values: &impl ReadableTable<&'static [u8], &'static [u8]>,
    namespace: &str,
) -> Result<Usage, Fault> {
    let (usage, end) = (record::place(namespace, ""), record::behind(namespace));
    let (from, to) = (Bound::Excluded(usage.as_slice()), Bound::Excluded(end.as_slice()));
    let mut counted = Usage::default();
    for entry in values.range::<&[u8]>((from, to))? {
        let (place, found) = entry?;
        let (place, found) = (place.value(), found.value());
        let value_bytes = record::read(place, found)
            .map_or(found.len() as u64, |record| record.body.value_bytes());
        counted.bytes += (place.len() - usage.len()) as u64 + value_bytes;
        counted.keys += 1;
    }
    Ok(counted)
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
