//! The interface `store`.

use wasmtime::component::{ComponentType, Lower, Resource, WasmList};

use crate::runtime::host::keyvalue::bucket::{Bucket, MAX_NAME_BYTES, Prefix};
use crate::runtime::host::keyvalue::errors::StoreError;
use crate::runtime::host::storage::{StorageInterface, Store, Taken, new_value};
use crate::runtime::lifting::{ShortText, TooLong};
use crate::storage::backend::{Key, Page};
use crate::storage::component_storage::{MAX_KEY_BYTES, NewValue, too_long};

/// A key as passed by a guest.
pub type KeyText = ShortText<MAX_KEY_BYTES>;
/// The functions of an interface of `wasi:keyvalue`.
pub type Functions<'a> = StorageInterface<'a, StoreError>;

/// The record `key-response`, with cursors of the type `C`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub struct KeyResponse<C> {
    keys: Vec<Key>,
    cursor: Option<C>,
}

/// Adds all functions but `list-keys`.
pub fn link(functions: &mut Functions<'_>) -> wasmtime::Result<()> {
    functions.interface.resource::<Bucket>("bucket")?;
    functions.interface.immediate("open", open)?;
    functions.define("[method]bucket.get", at_key, |storage, key| storage.get(&key))?;
    functions
        .define("[method]bucket.set", entry, |storage, (key, value)| storage.set(&key, value))?;
    functions.define("[method]bucket.delete", at_key, |storage, key| storage.delete(&key))?;
    functions.define("[method]bucket.exists", at_key, |storage, key| storage.exists(&key))
}

fn open(
    mut store: Store<'_>,
    (name,): (ShortText<MAX_NAME_BYTES>,),
) -> wasmtime::Result<(Result<Resource<Bucket>, StoreError>,)> {
    let bucket = name.read(&store, "identifier")?.ok().and_then(|name| Bucket::named(&name));
    let Some(bucket) = bucket else { return Ok((Err(StoreError::NoSuchStore),)) };
    Ok((Ok(store.data_mut().wasi().table.push(bucket)?),))
}

/// Returns a bucket of the calling instance.
pub fn bucket<'a>(
    store: &'a mut Store<'_>,
    bucket: &Resource<Bucket>,
) -> wasmtime::Result<&'a mut Bucket> {
    Ok(store.data_mut().wasi().table.get_mut(bucket)?)
}

/// Returns the key in the component's storage.
pub fn read_key(store: &Store<'_>, prefix: &Prefix, key: &KeyText) -> Taken<String> {
    Ok(match key.read(store, "key")? {
        Ok(key) => prefix.within(&key),
        Err(TooLong { bytes }) => Err(too_long(bytes)),
    })
}

/// Reads a bucket and a key.
pub fn at_key(store: &mut Store<'_>, (of, key): (Resource<Bucket>, KeyText)) -> Taken<String> {
    let prefix = bucket(store, &of)?.prefix().clone();
    read_key(store, &prefix, &key)
}

fn entry(
    store: &mut Store<'_>,
    (of, key, value): (Resource<Bucket>, KeyText, WasmList<u8>),
) -> Taken<(String, NewValue)> {
    let key = match at_key(store, (of, key))? {
        Ok(key) => key,
        Err(error) => return Ok(Err(error)),
    };
    let value = new_value(store, &key, &value)?;
    Ok(value.map(|value| (key, value)))
}

/// A page about to be listed: the bucket, the prefix of its keys, and the last key of the page before.
struct Wanted {
    of: u32,
    prefix: Prefix,
    after: Option<Key>,
}

/// Adds `list-keys` with cursors that are the last key of a page.
pub fn link_list_by_key(functions: &mut Functions<'_>) -> wasmtime::Result<()> {
    functions.define(
        "[method]bucket.list-keys",
        |store: &mut Store<'_>, (of, cursor): (Resource<Bucket>, Option<KeyText>)| {
            let after = match cursor.map(|cursor| cursor.read(&*store, "cursor")).transpose()? {
                None => None,
                Some(Ok(after)) => Some(Key::from(&*after)),
                Some(Err(TooLong { bytes })) => return Ok(Err(too_long(bytes))),
            };
            Ok(Ok((bucket(store, &of)?.prefix().clone(), after)))
        },
        |storage, (prefix, after)| {
            let Page { keys, is_last } = prefix.page(storage, after.as_deref())?;
            let cursor = if is_last { None } else { keys.last().cloned() };
            Ok(KeyResponse { keys, cursor })
        },
    )
}

/// Adds `list-keys` with cursors that are numbers.
pub fn link_list_by_number(functions: &mut Functions<'_>) -> wasmtime::Result<()> {
    functions.define_with(
        "[method]bucket.list-keys",
        |store: &mut Store<'_>, (of, cursor): (Resource<Bucket>, Option<u64>)| {
            let bucket = bucket(store, &of)?;
            let after = cursor.map(|number| bucket.recall(number)).transpose();
            let prefix = bucket.prefix().clone();
            Ok(after.map(|after| Wanted { of: of.rep(), prefix, after }))
        },
        |storage, Wanted { of, prefix, after }| Ok((of, prefix.page(storage, after.as_deref())?)),
        |store, (of, Page { keys, is_last })| {
            let last = if is_last { None } else { keys.last().cloned() };
            let cursor = match last {
                None => None,
                Some(last) => match store.data().context.account.charge(last.len() as u64) {
                    Ok(charge) => {
                        let bucket = bucket(store, &Resource::new_borrow(of))?;
                        Some(bucket.remember(last, charge))
                    }
                    Err(exceeded) => return Ok(Err(StoreError::Other(exceeded.to_string()))),
                },
            };
            Ok(Ok(KeyResponse { keys, cursor }))
        },
    )
}
