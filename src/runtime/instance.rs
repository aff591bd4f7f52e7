//! One instance of a component in a store of its own, and the calls into it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Func, Lift, Lower, TypedFunc};

use crate::core::error::{self, CallError};
use crate::core::id::{CorrelationId, CorrelationText};
use crate::core::limits::Limits;
use crate::core::message::{MessageView, Outcome};
use crate::runtime::contract::{
    ComponentConfig, ComponentError, ComponentIdRef, ComponentMessage, ComponentMetadata,
    HealthStatus, MessageMetadata, ResourceLimits, WasmError,
};
use crate::runtime::drive::{drive, run_host_jobs};
use crate::runtime::engine::{MAX_HOST_CALL_BYTES, WasmRuntime};
use crate::runtime::limiter::Limiter;
use crate::runtime::loader::{LifecycleExports, LoadError, Prepared};
use crate::runtime::off_fiber::OffFiber;
use crate::runtime::state::{HostContext, HostState};
use crate::runtime::timers::Interrupted;
use crate::runtime::trap;

/// What `initialize` is given.
pub struct InitialConfig {
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Opaque configuration.
    pub data: Option<Vec<u8>>,
}

/// An instance. A call that trapped, ran into a limit or took too long leaves it unusable:
/// the only thing to do with it then is to drop it.
pub struct Instance {
    store: Store<HostState>,
    off_fiber: OffFiber,
    runtime: Arc<WasmRuntime>,
    context: Arc<HostContext>,
    limits: Arc<Limits>,
    lifecycle: Option<Lifecycle>,
    /// What each call may use.
    fuel: u64,
    fuel_used: u64,
}

/// The six functions of `component-lifecycle`; their types have been checked.
struct Lifecycle {
    initialize: Func,
    handle_message: Func,
    handle_callback: Func,
    metadata: Func,
    health: Func,
    shutdown: Func,
}

type InitializeResult = (Result<(), ComponentError>,);
type MessageResult = (Result<Option<Vec<u8>>, WasmError>,);
type CallbackResult = (Result<(), WasmError>,);
type MetadataResult = (ComponentMetadata,);
type HealthResult = (HealthStatus,);
type ShutdownResult = (Result<(), ComponentError>,);

impl Instance {
    /// Instantiates; `initialize` is not called yet.
    pub async fn create(
        runtime: Arc<WasmRuntime>,
        prepared: &Prepared,
        context: Arc<HostContext>,
        limits: Arc<Limits>,
    ) -> Result<Self, LoadError> {
        let state = HostState::new(Arc::clone(&context), Limiter::new(&limits));
        let off_fiber = state.off_fiber.clone();
        let mut store = Store::new(runtime.loader.engine(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(MAX_HOST_CALL_BYTES);
        store.epoch_deadline_async_yield_and_update(1);

        begin(&mut store, &limits).map_err(|error| LoadError::Instantiation(error.to_string()))?;
        let instantiated = {
            let mut call = pin!(prepared.pre.instantiate_async(&mut store));
            let call = pin!(poll_fn(|cx| {
                runtime.ticker.keep_awake();
                call.as_mut().poll(cx)
            }));
            drive(call, &off_fiber, limits.max_execution_time, &context.timers).await
        };
        let linked = match instantiated {
            Ok(Ok(wasm)) => prepared
                .lifecycle
                .as_ref()
                .map(|exports| Lifecycle::check(exports, &wasm, &mut store))
                .transpose(),
            Ok(Err(error)) => Err(instantiation_error(&error, &mut store, &limits)),
            Err(interrupted) => Err(LoadError::Call {
                during: "instantiation",
                error: interruption(interrupted, &limits),
            }),
        };
        match linked {
            Ok(lifecycle) => {
                let fuel = fuel(&limits);
                let fuel_used = fuel - store.get_fuel().unwrap_or(fuel);
                Ok(Self { store, off_fiber, runtime, context, limits, lifecycle, fuel, fuel_used })
            }
            Err(error) => {
                store.data().finish_output();
                run_host_jobs(&off_fiber, &context.timers).await;
                Err(error)
            }
        }
    }

    /// Ends the instance: what it has begun to print is logged, then it is dropped.
    pub async fn finish(self: Box<Self>) {
        self.store.data().finish_output();
        run_host_jobs(&self.off_fiber, &self.context.timers).await;
    }

    /// Bytes of linear memory in use.
    pub fn memory_bytes(&self) -> u64 {
        self.store.data().limiter.memory_bytes()
    }

    /// The fuel used since this was last asked.
    pub fn take_fuel_used(&mut self) -> u64 {
        std::mem::take(&mut self.fuel_used)
    }

    /// Calls `initialize`; without a life cycle there is nothing to do.
    pub async fn initialize(&mut self, config: &InitialConfig) -> Result<(), LoadError> {
        let Some(func) = self.lifecycle.as_ref().map(|exports| exports.initialize) else {
            return Ok(());
        };
        let limits = Arc::clone(&self.limits);
        let config = ComponentConfig {
            env_vars: &config.env,
            config_data: config.data.as_deref(),
            resource_limits: ResourceLimits {
                max_memory_bytes: limits.max_memory_bytes,
                max_execution_time_ms: limits.max_execution_time_ms(),
                max_fuel: limits.max_fuel,
            },
        };
        match self.call::<_, InitializeResult>(func, (config,)).await {
            Ok((Ok(()),)) => Ok(()),
            Ok((Err(refused),)) => Err(LoadError::Refused(refused.into())),
            Err(error) => Err(LoadError::Call { during: "initialize", error }),
        }
    }

    /// Calls `metadata`.
    pub async fn metadata(&mut self) -> Result<Option<ComponentMetadata>, CallError> {
        let Some(func) = self.lifecycle.as_ref().map(|exports| exports.metadata) else {
            return Ok(None);
        };
        let (metadata,) = self.call::<_, MetadataResult>(func, ()).await?;
        Ok(Some(metadata))
    }

    /// Calls `handle-message`.
    pub async fn handle_message(&mut self, message: MessageView<'_>) -> Outcome {
        let func = self.export("handle-message", |exports| exports.handle_message)?;
        let correlation = message.correlation.map(CorrelationId::text);
        let message = lowered(message, correlation.as_ref().map(CorrelationText::as_str));
        let (result,) = self.call::<_, MessageResult>(func, (message,)).await?;
        result.map_err(|error| CallError::Guest(error.into()))
    }

    /// Calls `handle-callback`.
    pub async fn handle_callback(&mut self, message: MessageView<'_>) -> Result<(), CallError> {
        let func = self.export("handle-callback", |exports| exports.handle_callback)?;
        let correlation = message.correlation.map(CorrelationId::text);
        let message = lowered(message, correlation.as_ref().map(CorrelationText::as_str));
        let (result,) = self.call::<_, CallbackResult>(func, (message,)).await?;
        result.map_err(|error| CallError::Guest(error.into()))
    }

    /// Calls `health`; without a life cycle it is unknown.
    pub async fn health(&mut self) -> Result<HealthStatus, CallError> {
        let Some(func) = self.lifecycle.as_ref().map(|exports| exports.health) else {
            return Ok(HealthStatus::Unknown);
        };
        let (health,) = self.call::<_, HealthResult>(func, ()).await?;
        Ok(health)
    }

    /// Calls `shutdown`; without a life cycle there is nothing to do.
    pub async fn shutdown(&mut self) -> Result<Result<(), error::ComponentError>, CallError> {
        let Some(func) = self.lifecycle.as_ref().map(|exports| exports.shutdown) else {
            return Ok(Ok(()));
        };
        let (result,) = self.call::<_, ShutdownResult>(func, ()).await?;
        Ok(result.map_err(Into::into))
    }

    fn export(
        &self,
        export: &'static str,
        select: impl FnOnce(&Lifecycle) -> Func,
    ) -> Result<Func, CallError> {
        self.lifecycle.as_ref().map(select).ok_or(CallError::ExportNotFound { export })
    }

    /// Calls one of the functions of [`Lifecycle`] with the types it was checked for.
    #[expect(unsafe_code, reason = "Wasmtime's types have no form that is generic over lifetimes")]
    async fn call<P, R>(&mut self, func: Func, parameters: P) -> Result<R, CallError>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        begin(&mut self.store, &self.limits).map_err(|error| CallError::Trap {
            reason: error.to_string(),
            backtrace: String::new(),
        })?;
        // SAFETY: `Lifecycle::check` held each function against the very types that its one
        // caller above uses; lifetimes do not take part in a function's type.
        let func = unsafe { TypedFunc::<P, R>::new_unchecked(func) };
        let result = {
            let mut call = pin!(func.call_async(&mut self.store, parameters));
            let ticker = &self.runtime.ticker;
            let call = pin!(poll_fn(|cx| {
                ticker.keep_awake();
                call.as_mut().poll(cx)
            }));
            let limit = self.limits.max_execution_time;
            drive(call, &self.off_fiber, limit, &self.context.timers).await
        };
        self.fuel_used += self.fuel - self.store.get_fuel().unwrap_or(self.fuel);
        match result {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) => {
                let breach = self.store.data_mut().limiter.breach();
                Err(trap::call_error(&error, breach, &self.limits))
            }
            Err(interrupted) => Err(interruption(interrupted, &self.limits)),
        }
    }
}

impl Lifecycle {
    /// Holds the exports of an instance against the contract.
    fn check(
        exports: &LifecycleExports,
        instance: &wasmtime::component::Instance,
        store: &mut Store<HostState>,
    ) -> Result<Self, LoadError> {
        type Config = (ComponentConfig<'static>,);
        type Incoming = (ComponentMessage<'static>,);
        let mut typed = Typed { instance, store };
        Ok(Self {
            initialize: typed.get::<Config, InitializeResult>("initialize", &exports.initialize)?,
            handle_message: typed
                .get::<Incoming, MessageResult>("handle-message", &exports.handle_message)?,
            handle_callback: typed
                .get::<Incoming, CallbackResult>("handle-callback", &exports.handle_callback)?,
            metadata: typed.get::<(), MetadataResult>("metadata", &exports.metadata)?,
            health: typed.get::<(), HealthResult>("health", &exports.health)?,
            shutdown: typed.get::<(), ShutdownResult>("shutdown", &exports.shutdown)?,
        })
    }
}

struct Typed<'a> {
    instance: &'a wasmtime::component::Instance,
    store: &'a mut Store<HostState>,
}

impl Typed<'_> {
    fn get<P, R>(
        &mut self,
        name: &str,
        index: &wasmtime::component::ComponentExportIndex,
    ) -> Result<Func, LoadError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        self.instance
            .get_typed_func::<P, R>(&mut *self.store, index)
            .map(|typed| *typed.func())
            .map_err(|error| {
                let lifecycle = crate::runtime::contract::LIFECYCLE;
                LoadError::InvalidComponent(format!("{lifecycle}#{name}: {error:#}"))
            })
    }
}

fn fuel(limits: &Limits) -> u64 {
    limits.max_fuel.unwrap_or(u64::MAX)
}

/// Readies a store for a call: fuel, yields, limits. Fails only in an engine without fuel.
fn begin(store: &mut Store<HostState>, limits: &Limits) -> wasmtime::Result<()> {
    store.set_fuel(fuel(limits))?;
    store.set_epoch_deadline(1);
    store.data_mut().limiter.begin();
    Ok(())
}

fn interruption(interrupted: Interrupted, limits: &Limits) -> CallError {
    match interrupted {
        Interrupted::DeadlinePassed => {
            CallError::ExecutionTime { limit: limits.max_execution_time }
        }
        Interrupted::Stopping => CallError::EngineStopped,
    }
}

fn instantiation_error(
    error: &wasmtime::Error,
    store: &mut Store<HostState>,
    limits: &Limits,
) -> LoadError {
    let breach = store.data_mut().limiter.breach();
    match trap::call_error(error, breach, limits) {
        CallError::Limit(breach) => LoadError::Limit(breach),
        CallError::Trap { .. } if error.downcast_ref::<wasmtime::Trap>().is_none() => {
            LoadError::Instantiation(format!("{error:#}"))
        }
        error => LoadError::Call { during: "instantiation", error },
    }
}

fn lowered<'a>(message: MessageView<'a>, correlation: Option<&'a str>) -> ComponentMessage<'a> {
    ComponentMessage {
        sender: message.sender.into(),
        payload: message.payload,
        metadata: MessageMetadata {
            correlation_id: correlation,
            reply_to: message.reply_to.map(ComponentIdRef::from),
            timestamp: message.accepted.into(),
            content_type: message.content_type,
        },
    }
}
