//! The interface `atomics`.

use std::ops::RangeInclusive;

use wasmtime::component::{Resource, WasmList};

use crate::core::account::Charge;
use crate::runtime::host::keyvalue::bucket::Bucket;
use crate::runtime::host::keyvalue::errors::{CasError, StoreError};
use crate::runtime::host::keyvalue::store::{Functions, KeyText, at_key};
use crate::runtime::host::storage::{Store, Taken, new_value};
use crate::storage::backend::Value;
use crate::storage::component_storage::NewValue;

const U64: RangeInclusive<i128> = 0..=u64::MAX as i128;
const S64: RangeInclusive<i128> = i64::MIN as i128..=i64::MAX as i128;

/// A value as it was read, to be replaced if it is still the same.
pub struct Cas {
    key: String,
    current: Option<Value>,
    /// The value may be gone from the storage while it is here.
    _charge: Charge,
}

/// Adds `increment` of unsigned numbers.
pub fn link_unsigned(mut functions: Functions<'_>) -> wasmtime::Result<()> {
    functions.interface.uses("bucket");
    functions.define(
        "increment",
        |store, (of, key, delta): (Resource<Bucket>, KeyText, u64)| {
            Ok(at_key(store, (of, key))?.map(|key| (key, delta)))
        },
        |storage, (key, delta)| Ok(storage.increment(&key, delta.into(), &U64)? as u64),
    )
}

/// Adds `increment` of signed numbers, and `cas` with `swap`.
pub fn link_signed(mut functions: Functions<'_>) -> wasmtime::Result<()> {
    functions.interface.uses("bucket");
    functions.define(
        "increment",
        |store, (of, key, delta): (Resource<Bucket>, KeyText, i64)| {
            Ok(at_key(store, (of, key))?.map(|key| (key, delta)))
        },
        |storage, (key, delta)| Ok(storage.increment(&key, delta.into(), &S64)? as i64),
    )?;
    functions.interface.resource::<Cas>("cas")?;
    functions.define_with(
        "[static]cas.new",
        at_key,
        |storage, key| {
            let current = storage.get(&key)?;
            Ok((key, current))
        },
        |store, (key, current)| new_cas(store, key, current),
    )?;
    functions.interface.immediate("[method]cas.current", current)?;
    functions.with_errors::<CasError>().define_with(
        "swap",
        swapped,
        |storage, (Cas { key, current, .. }, value)| {
            if storage.exchange(&key, current.as_ref(), value)? {
                return Ok(None);
            }
            let current = storage.get(&key)?;
            Ok(Some((key, current)))
        },
        |store, failed| {
            let Some((key, current)) = failed else { return Ok(Ok(())) };
            Ok(Err(match new_cas(store, key, current)? {
                Ok(cas) => CasError::Failed(cas),
                Err(error) => CasError::Store(error),
            }))
        },
    )
}

fn new_cas(
    store: &mut Store<'_>,
    key: String,
    current: Option<Value>,
) -> wasmtime::Result<Result<Resource<Cas>, StoreError>> {
    let bytes = key.len() + current.as_ref().map_or(0, |value| value.len());
    let charge = match store.data().context.account.charge(bytes as u64) {
        Ok(charge) => charge,
        Err(exceeded) => return Ok(Err(StoreError::Other(exceeded.to_string()))),
    };
    let cas = Cas { key, current, _charge: charge };
    Ok(Ok(store.data_mut().wasi().table.push(cas)?))
}

fn current(
    mut store: Store<'_>,
    (cas,): (Resource<Cas>,),
) -> wasmtime::Result<(Result<Option<Value>, StoreError>,)> {
    Ok((Ok(store.data_mut().wasi().table.get(&cas)?.current.clone()),))
}

/// Takes a cas from the instance, and reads the new value.
fn swapped(
    store: &mut Store<'_>,
    (cas, value): (Resource<Cas>, WasmList<u8>),
) -> Taken<(Cas, NewValue)> {
    let cas = store.data_mut().wasi().table.delete(cas)?;
    let value = new_value(store, &cas.key, &value)?;
    Ok(value.map(|value| (cas, value)))
}
