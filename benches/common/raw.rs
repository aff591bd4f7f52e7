//! Wasmtime alone, configured as in the library.

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

/// The implementation of the guest's `send`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Send {
    /// None: a call traps.
    Trap,
    /// A function that reads its arguments.
    Sync,
    /// The same as an async function.
    Async,
}

/// A compiled component.
pub struct Raw {
    pub engine: Engine,
    pre: InstancePre<()>,
    exports: [ComponentExportIndex; 6],
}

/// An instance in its own store.
pub struct RawInstance {
    pub store: Store<()>,
    initialize: Func,
    handle_message: Func,
    metadata: Func,
    health: Func,
    others: [Func; 2],
}

impl Raw {
    pub fn new(wasm: &[u8], send: Send) -> Self {
        let mut config = Config::new();
        config.concurrency_support(false).consume_fuel(true).epoch_interruption(true);
        // Like the library for small binaries.
        config.memory_init_cow(false);
        let engine = Engine::new(&config).unwrap();
        let component = Component::from_binary(&engine, wasm).unwrap();
        let mut linker = Linker::new(&engine);
        link(&mut linker, send);
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let pre = linker.instantiate_pre(&component).unwrap();
        let lifecycle = component.get_export_index(None, contract::LIFECYCLE).unwrap();
        let exports =
            ["initialize", "handle-message", "metadata", "health", "handle-callback", "shutdown"]
                .map(|name| component.get_export_index(Some(&lifecycle), name).unwrap());
        let raw = Self { engine, pre, exports };
        raw.look_up(raw.instantiate()).check();
        raw
    }

    pub fn instantiate(&self) -> (Store<()>, Instance) {
        let mut store = Store::new(&self.engine, ());
        store.set_fuel(u64::MAX).unwrap();
        store.set_epoch_deadline(1);
        let instance = ready(self.pre.instantiate_async(&mut store)).unwrap();
        (store, instance)
    }

    /// Looks up the functions without calling them.
    pub fn look_up(&self, (mut store, instance): (Store<()>, Instance)) -> RawInstance {
        let functions = self.exports.map(|index| instance.get_func(&mut store, index).unwrap());
        let [initialize, handle_message, metadata, health, others @ ..] = functions;
        RawInstance { store, initialize, handle_message, metadata, health, others }
    }

    pub fn start(&self, env: &[(&str, &str)]) -> RawInstance {
        let mut instance = self.look_up(self.instantiate());
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
    /// Checks the types of the functions.
    pub fn check(&self) {
        type Config = (contract::ComponentConfig<'static>,);
        type Message = (contract::ComponentMessage<'static>,);
        type Nothing<E> = (Result<(), E>,);
        let store = &self.store;
        self.initialize.typed::<Config, InitializeResult>(store).unwrap();
        self.handle_message.typed::<Message, MessageResult>(store).unwrap();
        self.metadata.typed::<(), (contract::ComponentMetadata,)>(store).unwrap();
        self.health.typed::<(), (contract::HealthStatus,)>(store).unwrap();
        let [handle_callback, shutdown] = self.others;
        handle_callback.typed::<Message, Nothing<contract::WasmError>>(store).unwrap();
        shutdown.typed::<(), Nothing<contract::ComponentError>>(store).unwrap();
    }

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
        // SAFETY: `Raw::new` has checked the functions against the types that the callers above
        // use.
        let call = unsafe { TypedFunc::<P, R>::new_unchecked(func) };
        ready(call.call_async(&mut self.store, parameters)).unwrap()
    }
}

/// Polls a future that never waits.
pub fn ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(output) = polled {
            return output;
        }
    }
}
