//! The interface `storage`.

use std::marker::PhantomData;
use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentNamedList, ComponentType, Lift, Linker, Lower, WasmList};

use crate::runtime::contract::{self, StorageUsage};
use crate::runtime::host::interface::{Immediate, Interface};
use crate::runtime::host::work::work;
use crate::runtime::lifting::{NotText, ShortText, TooLong};
use crate::runtime::state::HostState;
use crate::storage::backend::{self, Page, Placement, StorageError};
use crate::storage::component_storage::{ComponentStorage, MAX_KEY_BYTES, NewValue, too_long};

/// A key, or a prefix of one, as passed by a guest.
type Key = ShortText<MAX_KEY_BYTES>;
/// The store of the guest that calls.
pub type Store<'a> = StoreContextMut<'a, HostState>;
/// Arguments read from the guest. An invalid one is an error result; malformed text is a trap.
pub type Taken<T> = wasmtime::Result<Result<T, StorageError>>;

/// Adds the interface to a linker.
pub fn link(
    linker: &mut Linker<HostState>,
    immediate: &mut Immediate,
    placement: Placement,
) -> wasmtime::Result<()> {
    let interface = Interface::new(contract::STORAGE, linker, immediate)?;
    let mut interface = StorageInterface::<contract::StorageError>::new(interface, placement);
    interface.define("get", key, |storage, key| storage.get(&key))?;
    interface.define("set", entry, |storage, (key, value)| storage.set(&key, value))?;
    interface.define("delete", key, |storage, key| storage.delete(&key))?;
    interface.define("exists", key, |storage, key| storage.exists(&key))?;
    interface.define(
        "usage",
        |_, ()| Ok(Ok(())),
        |storage, ()| {
            storage.usage().map(|usage| StorageUsage {
                used_bytes: usage.used.bytes,
                quota_bytes: usage.quota_bytes,
                key_count: usage.used.keys,
            })
        },
    )?;
    interface.interface.waiting("list-keys", move |store, (prefix,): (Option<Key>,)| {
        Box::new(list_keys(store, prefix, placement))
    })
}

/// An interface whose functions use the storage and have errors of the type `E`.
pub struct StorageInterface<'a, E> {
    /// The interface.
    pub interface: Interface<'a>,
    placement: Placement,
    errors: PhantomData<E>,
}

impl<'a, E> StorageInterface<'a, E>
where
    E: From<StorageError> + ComponentType + Lower + Send + 'static,
{
    /// Creates an interface whose functions run where the backend may.
    pub fn new(interface: Interface<'a>, placement: Placement) -> Self {
        Self { interface, placement, errors: PhantomData }
    }

    /// Returns the interface, for functions with other errors.
    pub fn with_errors<F>(self) -> StorageInterface<'a, F> {
        StorageInterface {
            interface: self.interface,
            placement: self.placement,
            errors: PhantomData,
        }
    }

    /// Adds one function. `take` reads its arguments from the guest's memory.
    pub fn define<P, A, R>(
        &mut self,
        name: &'static str,
        take: fn(&mut Store<'_>, P) -> Taken<A>,
        operation: fn(&ComponentStorage, A) -> Result<R, StorageError>,
    ) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lift + Send + 'static,
        A: Send + 'static,
        R: ComponentType + Lower + Send + 'static,
    {
        self.define_with(name, take, operation, |_, answer| Ok(Ok(answer)))
    }

    /// Adds one function whose answer is completed with what the instance has.
    pub fn define_with<P, A, T, R>(
        &mut self,
        name: &'static str,
        take: fn(&mut Store<'_>, P) -> Taken<A>,
        operation: fn(&ComponentStorage, A) -> Result<T, StorageError>,
        complete: fn(&mut Store<'_>, T) -> wasmtime::Result<Result<R, E>>,
    ) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lift + Send + 'static,
        A: Send + 'static,
        T: Send + 'static,
        R: ComponentType + Lower + Send + 'static,
    {
        if self.placement == Placement::OnFiber {
            return self.interface.immediate(name, move |mut store, arguments: P| {
                let arguments = take(&mut store, arguments)?;
                let storage = &store.data().context.storage;
                match arguments.and_then(|arguments| operation(storage, arguments)) {
                    Ok(answer) => Ok((complete(&mut store, answer)?,)),
                    Err(error) => Ok((Err(error.into()),)),
                }
            });
        }
        self.interface.waiting(name, move |mut store, arguments: P| {
            let taken = take(&mut store, arguments);
            let context = Arc::clone(&store.data().context);
            let off_fiber = store.data().off_fiber.clone();
            Box::new(async move {
                let job = move |arguments| {
                    let answer = operation(&context.storage, arguments);
                    answer.map_err(|error| context.told("storage", error))
                };
                let answer = match taken.map_err(|error| NotText::named(error, name))? {
                    Ok(arguments) => off_fiber.run(move || job(arguments)).await,
                    Err(error) => Err(error),
                };
                match answer {
                    Ok(answer) => Ok((complete(&mut store, answer)?,)),
                    Err(error) => Ok((Err(error.into()),)),
                }
            })
        })
    }
}

fn text(store: &Store<'_>, key: &Key) -> Taken<String> {
    let text = key.read(store, "key")?;
    Ok(text.map(Into::into).map_err(|TooLong { bytes }| too_long(bytes)))
}

fn key(store: &mut Store<'_>, (key,): (Key,)) -> Taken<String> {
    text(store, &key)
}

/// Reads a key and a value, which is charged before it is copied.
fn entry(store: &mut Store<'_>, (key, value): (Key, WasmList<u8>)) -> Taken<(String, NewValue)> {
    let key = match text(store, &key)? {
        Ok(key) => key,
        Err(error) => return Ok(Err(error)),
    };
    let value = new_value(store, &key, &value)?;
    Ok(value.map(|value| (key, value)))
}

/// Reads a value, which is charged before it is copied.
pub fn new_value(store: &mut Store<'_>, key: &str, value: &WasmList<u8>) -> Taken<NewValue> {
    let bytes = value.len() as u64;
    let charge = match store.data().context.storage.charge(key, bytes) {
        Ok(charge) => charge,
        Err(error) => return Ok(Err(error)),
    };
    work(store, bytes)?;
    let bytes = value.as_le_slice(&*store).to_vec();
    Ok(Ok(NewValue { bytes, charge }))
}

/// Returns the charge for a key in a listing; the in-memory store shares its own copy.
fn key_bytes(key: &backend::Key, is_copy: bool) -> u64 {
    (size_of::<backend::Key>() + if is_copy { key.len() } else { 0 }) as u64
}

/// Lists page by page, letting others run in between.
async fn list_keys(
    mut store: Store<'_>,
    prefix: Option<Key>,
    placement: Placement,
) -> wasmtime::Result<(Result<Vec<backend::Key>, contract::StorageError>,)> {
    let taken = prefix.map(|prefix| text(&store, &prefix)).transpose();
    let prefix: Arc<str> = match taken.map_err(|error| NotText::named(error, "list-keys"))? {
        None => "".into(),
        Some(Ok(prefix)) => prefix.into(),
        Some(Err(error)) => return Ok((Err(error.into()),)),
    };
    let is_copy = placement == Placement::OffFiber;
    store.data_mut().answer = None;
    let context = Arc::clone(&store.data().context);
    let mut charge = context.account.charge(0)?;
    let mut keys = Vec::<backend::Key>::new();
    loop {
        let (host, after) = (Arc::clone(&context), keys.last().cloned());
        let prefix = Arc::clone(&prefix);
        let list = move || {
            let page = host.storage.list_keys(&prefix, after.as_deref());
            page.map_err(|error| host.told("storage", error))
        };
        let page = if is_copy { store.data().off_fiber.clone().run(list).await } else { list() };
        let Page { keys: mut page, is_last } = match page {
            Ok(page) => page,
            Err(error) => return Ok((Err(error.into()),)),
        };
        let bytes = page.iter().map(|key| key_bytes(key, is_copy)).sum();
        if let Err(exceeded) = charge.grow(bytes) {
            let text = format!("{exceeded}; list fewer keys with a longer prefix");
            return Ok((Err(StorageError::Io(text).into()),));
        }
        work(&mut store, bytes)?;
        keys.append(&mut page);
        if is_last {
            store.data_mut().answer = Some(charge);
            return Ok((Ok(keys),));
        }
        tokio::task::yield_now().await;
    }
}
