//! The interface `batch`.

use wasmtime::component::{Resource, WasmList};

use crate::core::account::Charge;
use crate::runtime::host::keyvalue::bucket::{Bucket, Prefix};
use crate::runtime::host::keyvalue::store::{Functions, KeyText, bucket, read_key};
use crate::runtime::host::storage::{Store, Taken, new_value};
use crate::storage::backend::{StorageError, Value};
use crate::storage::component_changes::{MAX_KEYS_AT_ONCE, NewValues};
use crate::storage::component_storage::NewValue;

/// The values of some keys, each with its key, and the charge for them.
type Found = (Vec<Option<(String, Value)>>, Charge);

/// Adds all functions.
pub fn link(mut functions: Functions<'_>) -> wasmtime::Result<()> {
    functions.interface.uses("bucket");
    functions.define_with(
        "get-many",
        |store, arguments: (Resource<Bucket>, WasmList<KeyText>)| {
            let (prefix, keys) = match keys(store, arguments)? {
                Ok(taken) => taken,
                Err(error) => return Ok(Err(error)),
            };
            store.data_mut().answer = None;
            let charge = store.data().context.account.charge(0)?;
            Ok(Ok((prefix, keys, charge)))
        },
        |storage, (prefix, keys, mut charge)| -> Result<Found, StorageError> {
            let values = storage.get_many(&keys, &mut charge)?;
            let outer = |key: String| key[prefix.bytes()..].to_owned();
            let found = keys.into_iter().zip(values);
            let found = found.map(|(key, value)| value.map(|value| (outer(key), value)));
            Ok((found.collect(), charge))
        },
        |store, (found, charge)| {
            store.data_mut().answer = Some(charge);
            Ok(Ok(found))
        },
    )?;
    functions.define("set-many", entries, |storage, values| storage.set_many(values))?;
    functions.define("delete-many", keys, |storage, (_, keys)| storage.delete_many(&keys))
}

fn too_many(count: usize) -> Option<StorageError> {
    (count > MAX_KEYS_AT_ONCE).then(|| {
        StorageError::Io(format!("{count} keys at once, at most {MAX_KEYS_AT_ONCE} are allowed"))
    })
}

/// Reads a bucket and keys.
fn keys(
    store: &mut Store<'_>,
    (of, list): (Resource<Bucket>, WasmList<KeyText>),
) -> Taken<(Prefix, Vec<String>)> {
    if let Some(error) = too_many(list.len()) {
        return Ok(Err(error));
    }
    let prefix = bucket(store, &of)?.prefix().clone();
    let mut keys = Vec::with_capacity(list.len());
    for index in 0..list.len() {
        let Some(key) = list.get(&mut *store, index).transpose()? else { break };
        match read_key(store, &prefix, &key)? {
            Ok(key) => keys.push(key),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok((prefix, keys)))
}

/// Reads a bucket, keys and values, which are charged before they are copied.
fn entries(
    store: &mut Store<'_>,
    (of, list): (Resource<Bucket>, WasmList<(KeyText, WasmList<u8>)>),
) -> Taken<NewValues> {
    if let Some(error) = too_many(list.len()) {
        return Ok(Err(error));
    }
    let prefix = bucket(store, &of)?.prefix().clone();
    let mut taken = NewValues::default();
    for index in 0..list.len() {
        let Some((key, value)) = list.get(&mut *store, index).transpose()? else { break };
        let key = match read_key(store, &prefix, &key)? {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        let NewValue { bytes, charge } = match new_value(store, &key, &value)? {
            Ok(value) => value,
            Err(error) => return Ok(Err(error)),
        };
        taken.values.push((key, bytes));
        taken.charges.push(charge);
    }
    Ok(Ok(taken))
}
