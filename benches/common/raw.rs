//! Wasmtime as the library uses it, and nothing else.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Func, Instance, InstancePre, Lift, Linker,
    Lower, TypedFunc, WasmList,
};
use wasmtime::{Config, Engine, Store, StoreContextMut};

use super::contract::{self, GuestId, InitializeResult, MessageResult, MessagingError};

/// What stands behind the guest's `send`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Send {
    /// Nothing: it traps.
    Trap,
    /// A function that looks at its arguments.
    Sync,
    /// The same, as a future.
    Async,
}

/// A compiled component.
pub struct Raw {
    pub engine: Engine,
    pre: InstancePre<()>,
    exports: [ComponentExportIndex; 4],
}

/// An instance in a store of its own.
pub struct RawInstance {
    pub store: Store<()>,
    initialize: Func,
    handle_message: Func,
    metadata: Func,
    health: Func,
}

impl Raw {
    pub fn new(wasm: &[u8], send: Send) -> Self {
        let mut config = Config::new();
        config.concurrency_support(false).consume_fuel(true).epoch_interruption(true);
        let engine = Engine::new(&config).unwrap();
        let component = Component::from_binary(&engine, wasm).unwrap();
        let mut linker = Linker::new(&engine);
        link(&mut linker, send);
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let pre = linker.instantiate_pre(&component).unwrap();
        let lifecycle = component.get_export_index(None, contract::LIFECYCLE).unwrap();
        let exports = ["initialize", "handle-message", "metadata", "health"]
            .map(|name| component.get_export_index(Some(&lifecycle), name).unwrap());
        Self { engine, pre, exports }
    }

    /// Nothing is called yet.
    pub fn instantiate(&self) -> RawInstance {
        let mut store = Store::new(&self.engine, ());
        store.set_fuel(u64::MAX).unwrap();
        store.set_epoch_deadline(1);
        let instance = ready(self.pre.instantiate_async(&mut store)).unwrap();
        let [initialize, handle_message, metadata, health] =
            self.exports.map(|index| instance.get_func(&mut store, index).unwrap());
        RawInstance { store, initialize, handle_message, metadata, health }
    }

    /// An instance that has been initialized; its types have been checked.
    pub fn start(&self, env: &[(&str, &str)]) -> RawInstance {
        let mut instance = self.instantiate();
        let store = &instance.store;
        instance
            .initialize
            .typed::<(contract::ComponentConfig<'_>,), InitializeResult>(store)
            .unwrap();
        instance
            .handle_message
            .typed::<(contract::ComponentMessage<'_>,), MessageResult>(store)
            .unwrap();
        instance.metadata.typed::<(), (contract::ComponentMetadata,)>(store).unwrap();
        instance.health.typed::<(), (contract::HealthStatus,)>(store).unwrap();
        instance.initialize(env);
        instance
    }
}

fn link(linker: &mut Linker<()>, send: Send) {
    type Arguments = (GuestId, WasmList<u8>);
    type Answer = wasmtime::Result<(Result<(), MessagingError>,)>;

    fn look(store: &StoreContextMut<'_, ()>, (id, payload): &Arguments) -> Answer {
        for part in [&id.namespace, &id.name, &id.instance] {
            black_box(&*part.to_str(store)?);
        }
        black_box(payload.as_le_slice(store));
        Ok((Ok(()),))
    }

    if send == Send::Trap {
        return;
    }
    let mut interface = linker.instance(contract::MESSAGING).unwrap();
    match send {
        Send::Async => interface.func_wrap_async("send", |store, arguments: Arguments| {
            Box::new(async move { look(&store, &arguments) })
        }),
        _ => interface.func_wrap("send", |store, arguments: Arguments| look(&store, &arguments)),
    }
    .unwrap();
}

impl RawInstance {
    pub fn initialize(&mut self, env: &[(&str, &str)]) {
        let config = contract::ComponentConfig {
            env_vars: env,
            config_data: None,
            resource_limits: contract::ResourceLimits {
                max_memory_bytes: 64 << 20,
                max_execution_time_ms: 5_000,
                max_fuel: None,
            },
        };
        let (result,): InitializeResult = self.run(self.initialize, (config,));
        result.unwrap();
    }

    pub fn metadata(&mut self) -> contract::ComponentMetadata {
        let (metadata,) = self.run(self.metadata, ());
        metadata
    }

    pub fn health(&mut self) -> contract::HealthStatus {
        let (health,) = self.run(self.health, ());
        health
    }

    pub fn call(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let message = contract::ComponentMessage {
            sender: contract::ComponentId { namespace: "host", name: "bench", instance: "0" },
            payload,
            metadata: contract::MessageMetadata {
                correlation_id: None,
                reply_to: None,
                timestamp: contract::Timestamp { seconds: 0, nanoseconds: 0 },
                content_type: None,
            },
        };
        let (result,): MessageResult = self.run(self.handle_message, (message,));
        result.unwrap()
    }

    fn run<P, R>(&mut self, func: Func, parameters: P) -> R
    where
        P: ComponentNamedList + Lower + std::marker::Send + Sync,
        R: ComponentNamedList + Lift + std::marker::Send + Sync + 'static,
    {
        // SAFETY: `Raw::start` holds the functions against the types that the callers above use.
        let call = unsafe { TypedFunc::<P, R>::new_unchecked(func) };
        ready(call.call_async(&mut self.store, parameters)).unwrap()
    }
}

/// Polls a future that has nothing to wait for.
pub fn ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(output) = polled {
            return output;
        }
    }
}

/// Nothing but an instantiation.
pub fn instantiate_only(raw: &Raw) -> Instance {
    let mut store = Store::new(&raw.engine, ());
    store.set_fuel(u64::MAX).unwrap();
    store.set_epoch_deadline(1);
    ready(raw.pre.instantiate_async(&mut store)).unwrap()
}
