//! The interface `storage`.

use std::sync::Arc;

use wasmtime::component::{ComponentNamedList, ComponentType, Lift, Linker, Lower};

use crate::runtime::contract::{self, StorageUsage};
use crate::runtime::host::interface::{Immediate, Interface};
use crate::runtime::state::HostState;
use crate::storage::backend::StorageError;
use crate::storage::namespaced::NamespacedStorage;

/// Adds the interface to a linker.
pub fn link(
    linker: &mut Linker<HostState>,
    immediate: &mut Immediate,
    runs_host_code: bool,
) -> wasmtime::Result<()> {
    let interface = Interface::new(contract::STORAGE, linker, immediate)?;
    let mut interface = Storage { interface, runs_host_code };
    interface.define("get", |storage, (key,): (String,)| storage.get(&key))?;
    interface
        .define("set", |storage, (key, value): (String, Vec<u8>)| storage.set(&key, &value))?;
    interface.define("delete", |storage, (key,): (String,)| storage.delete(&key))?;
    interface.define("exists", |storage, (key,): (String,)| storage.exists(&key))?;
    interface.define("list-keys", |storage, (prefix,): (Option<String>,)| {
        storage.list_keys(prefix.as_deref())
    })?;
    interface.define("usage", |storage, (): ()| {
        storage.usage().map(|usage| StorageUsage {
            used_bytes: usage.used.bytes,
            quota_bytes: usage.quota_bytes,
            key_count: usage.used.keys,
        })
    })
}

struct Storage<'a> {
    interface: Interface<'a>,
    runs_host_code: bool,
}

impl Storage<'_> {
    /// Adds one function; it runs on the fiber unless the backend is code of the host.
    fn define<P, R>(
        &mut self,
        name: &'static str,
        operation: fn(&NamespacedStorage, P) -> Result<R, StorageError>,
    ) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lift + Send + 'static,
        R: ComponentType + Lower + Send + 'static,
    {
        if !self.runs_host_code {
            return self.interface.immediate(name, move |store, arguments: P| {
                let answer = operation(&store.data().context.storage, arguments);
                Ok((answer.map_err(contract::StorageError::from),))
            });
        }
        self.interface.waiting(name, move |store, arguments: P| {
            let context = Arc::clone(&store.data().context);
            let off_fiber = store.data().off_fiber.clone();
            Box::new(async move {
                let job = move || {
                    operation(&context.storage, arguments).map_err(|error| {
                        context.told(error, "storage", StorageError::without_host_text)
                    })
                };
                let answer = off_fiber.run(job).await;
                Ok((answer.map_err(contract::StorageError::from),))
            })
        })
    }
}
