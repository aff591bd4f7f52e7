//! One instance of a component in its own store, and the calls into it.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Func, Lift, Lower, TypedFunc};

use crate::core::bounds::{MAX_ERROR_TEXT_BYTES, bounded};
use crate::core::error::{self, CallError, LimitBreach, Unfit};
use crate::core::id::CorrelationText;
use crate::core::limits::Limits;
use crate::core::message::MessageView;
use crate::core::metadata;
use crate::runtime::call_end::Interrupted;
use crate::runtime::call_error;
use crate::runtime::contract;
use crate::runtime::contract::{
    ComponentConfig, ComponentIdRef, ComponentMessage, ComponentMetadata, HealthStatus,
    LifecycleError, MessageMetadata, ResourceLimits, WasmError,
};
use crate::runtime::driver::attach;
use crate::runtime::driver::source::{Driven, MailSource};
use crate::runtime::engine::WasmRuntime;
use crate::runtime::guest_call::{Deadline, GuestCall, Progress, run_host_jobs};
use crate::runtime::host_context::HostContext;
use crate::runtime::initial_config::InitialConfig;
use crate::runtime::limiter::Limiter;
use crate::runtime::load_error::LoadError;
use crate::runtime::off_fiber::OffFiber;
use crate::runtime::prepared::{LifecycleExports, Prepared, StateExports};
use crate::runtime::shortage::MemoryLimits;
use crate::runtime::signals;
use crate::runtime::state::{HostState, make_ready};
use crate::runtime::typed_call::TypedCalls;
use crate::security::action::Action;
use crate::security::guard::Guard;
use crate::security::quota::Quotas;

/// An instance. A call that trapped, hit a limit or took too long leaves it unusable; it can then
/// only be dropped.
pub struct Instance {
    pub(super) store: Store<HostState>,
    pub(super) off_fiber: OffFiber,
    pub(super) runtime: Arc<WasmRuntime>,
    pub(super) context: Arc<HostContext>,
    pub(super) limits: Arc<Limits>,
    exports: Exports,
    pub(super) typed: TypedCalls,
    pub(super) on_caller: bool,
    /// The fuel of each call.
    pub(super) fuel: u64,
    fuel_used: u64,
    room: ProvenRoom,
}

/// The largest payload handled at the current memory size. Once that payload is done, the guest's
/// allocator has its room again.
#[derive(Default)]
struct ProvenRoom {
    payload: usize,
    memory_bytes: u64,
}

/// A payload within this size and this part of the memory limit is passed in unchecked: a guest
/// with less room left would fail anyway.
const SMALL_PAYLOAD: usize = 64 << 10;
const SMALL_PART: u64 = 16;

/// The functions of an instance, with checked types.
struct Exports {
    lifecycle: Option<Lifecycle>,
    state: Option<StateFuncs>,
    /// The loop that asks for mail.
    run: Option<LoopFunc>,
}

/// The two functions of `component-state`.
struct StateFuncs {
    save: Func,
    restore: Func,
}

/// The six functions of `component-lifecycle`, with checked types.
pub struct Lifecycle {
    initialize: Func,
    handle_message: Func,
    handle_callback: Func,
    metadata: Func,
    health: Func,
    shutdown: Func,
}

/// The end of a call: the guest's result, Wasmtime's error, or an interruption.
pub type Ended<R> = Result<wasmtime::Result<R>, Interrupted>;

type InitializeResult = (Result<(), LifecycleError>,);
/// The result of `handle-message` and `handle-callback`.
pub type HandlerResult<T> = (Result<T, WasmError>,);
type MessageResult = HandlerResult<<HandleMessage as HandlerExport>::Reply>;
type CallbackResult = HandlerResult<<HandleCallback as HandlerExport>::Reply>;
/// The arguments of a handler. Borrowed, because they move from future to future until they are
/// lowered.
pub type HandlerArguments<'a> = (&'a ComponentMessage<'a>,);
/// A handler for messages with the lifetime `'a`.
pub type HandlerFunc<'a, T> = TypedFunc<HandlerArguments<'a>, HandlerResult<T>>;
type MetadataResult = (ComponentMetadata,);
type HealthResult = (HealthStatus,);
type ShutdownResult = (Result<(), LifecycleError>,);
type SaveResult = (Result<Vec<u8>, LifecycleError>,);
type RestoreArguments<'a> = (&'a [u8], &'a str);
type RestoreResult = (Result<(), LifecycleError>,);

impl Instance {
    /// Instantiates, without calling `initialize`. With `on_caller`, runs on this thread's own
    /// stack, as in [`Instance::call_on_caller`]; so does the life cycle until
    /// [`Instance::set_on_caller`].
    pub async fn create(
        runtime: Arc<WasmRuntime>,
        prepared: &Prepared,
        context: Arc<HostContext>,
        initial: Arc<InitialConfig>,
        limits: Arc<Limits>,
        on_caller: bool,
    ) -> Result<Self, LoadError> {
        let added = prepared.run.as_ref().map_or(0, |added| added.instances);
        let limiter = Limiter::new(&limits, added);
        let state = HostState::new(Arc::clone(&context), initial, limiter);
        let off_fiber = state.off_fiber.clone();
        let mut store = Store::new(prepared.pre.engine(), state);
        store.limiter(|state| &mut state.limiter);
        let host_call_bytes = context.guard.quotas().host_call_bytes;
        store.set_hostcall_fuel(usize::try_from(host_call_bytes).unwrap_or(usize::MAX));
        let ticking = Arc::clone(&runtime);
        store.epoch_deadline_callback(move |mut store| {
            ticking.ticker.keep_awake();
            let fuel = store.get_fuel()?;
            store.data_mut().end_slice(fuel, ticking.ticker.ticks())
        });

        if prepared.uses_wasi {
            store.data_mut().open_directories()?;
        }
        make_ready(&mut store, fuel(&limits));
        let instantiated = if on_caller {
            on_this_stack(&mut store, &runtime, &limits, |store| prepared.pre.instantiate(store))
        } else {
            let call = prepared.pre.instantiate_async(&mut store);
            let (ticker, limit) = (&runtime.ticker, limits.max_execution_time);
            GuestCall::new(call, ticker, &off_fiber, limit, &context.timers).await
        };
        let linked = match instantiated {
            Ok(Ok(wasm)) => link(prepared, &wasm, &mut store).map(|exports| (exports, wasm)),
            Ok(Err(error)) => {
                Err(instantiation_error(&error, &mut store, &limits, context.guard.quotas()))
            }
            Err(interrupted) => Err(LoadError::Call {
                during: "instantiation",
                error: interruption(interrupted, &limits),
            }),
        };
        match linked {
            Ok((exports, wasm)) => {
                let fuel = fuel(&limits);
                let fuel_used = fuel - store.get_fuel().unwrap_or(fuel);
                Ok(Self {
                    store,
                    off_fiber,
                    runtime,
                    context,
                    limits,
                    exports,
                    typed: TypedCalls::new(prepared.pre.component().clone(), wasm),
                    on_caller,
                    fuel,
                    fuel_used,
                    room: ProvenRoom::default(),
                })
            }
            Err(error) => {
                store.data().finish_output();
                run_host_jobs(&off_fiber).await;
                Err(error)
            }
        }
    }

    /// Sets whether the life cycle runs on the polling thread's stack or on fibers.
    pub fn set_on_caller(&mut self, on_caller: bool) {
        self.on_caller = on_caller;
    }

    /// Moves the instance to another context of the same component, between two calls.
    pub fn move_to(&mut self, context: Arc<HostContext>) {
        self.store.data_mut().context = Arc::clone(&context);
        self.off_fiber = self.off_fiber.clone().run_for(Arc::clone(&context.node));
        self.context = context;
    }

    /// Ends the instance: logs its unfinished output and drops it.
    pub async fn finish(self: Box<Self>) {
        self.store.data().finish_output();
        run_host_jobs(&self.off_fiber).await;
    }

    /// Returns the bytes of linear memory in use.
    pub fn memory_bytes(&self) -> u64 {
        self.store.data().limiter.memory_bytes()
    }

    /// Returns the fuel used since the last call of this function.
    pub fn take_fuel_used(&mut self) -> u64 {
        std::mem::take(&mut self.fuel_used)
    }

    /// Calls `initialize`, if there is a life cycle.
    pub async fn initialize(&mut self, config: &InitialConfig) -> Result<(), LoadError> {
        let Some(func) = self.exports.lifecycle.as_ref().map(|exports| exports.initialize) else {
            return Ok(());
        };
        let limits = Arc::clone(&self.limits);
        // What WASI would refuse to show is not passed in either.
        let reads = |guard: &Guard| guard.check_own(Action::EnvironmentRead, None).is_ok();
        let told = config.env.is_empty() || reads(&self.context.guard);
        let config = ComponentConfig {
            env_vars: if told { &config.env } else { &[] },
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
    pub async fn metadata(&mut self) -> Result<Option<metadata::ComponentMetadata>, LoadError> {
        let Some(func) = self.exports.lifecycle.as_ref().map(|exports| exports.metadata) else {
            return Ok(None);
        };
        let called = self.call::<_, MetadataResult>(func, ()).await;
        let (metadata,) = called.map_err(|error| LoadError::Call { during: "metadata", error })?;
        Ok(Some(metadata.checked()?))
    }

    /// Returns a handler for [`Instance::begin`] and [`Instance::answered`].
    ///
    /// The actor assembles a call from these parts: a future moves into the one that awaits it, and
    /// this one is large.
    pub fn handler<'a, H: HandlerExport>(&self) -> Result<HandlerFunc<'a, H::Reply>, CallError> {
        self.export(H::EXPORT, H::select).map(typed)
    }

    /// Converts the end of a handler's call, given the length of its payload.
    pub fn answered<H: HandlerExport>(
        &mut self,
        ended: Ended<HandlerResult<H::Reply>>,
        payload: usize,
    ) -> Result<H::Reply, CallError> {
        let (result,) = self.conclude(ended)?;
        let reply = result.map_err(|error| CallError::Guest(error.into()))?;
        let (bytes, limit) = (H::reply_bytes(&reply), self.limits.max_message_bytes);
        if bytes > limit {
            return Err(CallError::DoesNotFit(Unfit::Reply { bytes, limit }));
        }
        self.note_room(payload);
        Ok(reply)
    }

    /// Returns why a payload does not fit the guest's memory. Passing it in would end the instance
    /// before its handler saw it, and so give the sender the power to do that.
    pub fn unfit(&self, payload: usize) -> Option<Unfit> {
        let (limit, used) = (self.limits.max_memory_bytes, self.memory_bytes());
        let bytes = payload as u64;
        let is_small = payload <= SMALL_PAYLOAD || bytes <= limit / SMALL_PART;
        let is_proven = payload <= self.room.payload && used == self.room.memory_bytes;
        // The allocator's own overhead is less than a small payload.
        let fits = used.saturating_add(bytes + SMALL_PAYLOAD as u64) <= limit;
        if is_small || is_proven || fits {
            return None;
        }
        Some(Unfit::Memory { bytes, limit, used })
    }

    /// Notes that a payload fitted.
    fn note_room(&mut self, payload: usize) {
        let memory_bytes = self.memory_bytes();
        if memory_bytes != self.room.memory_bytes {
            self.room = ProvenRoom { payload, memory_bytes };
        } else if payload > self.room.payload {
            self.room.payload = payload;
        }
    }

    /// Begins a call.
    #[inline(always)]
    pub fn begin<'a, P, R>(
        &'a mut self,
        func: &'a TypedFunc<P, R>,
        parameters: P,
    ) -> GuestCall<'a, impl Future<Output = wasmtime::Result<R>> + Send + use<'a, P, R>>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'a,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let limit = self.limits.max_execution_time;
        self.begin_within(limit, func, parameters)
    }

    /// Begins a call with a time limit of its own.
    #[inline(always)]
    fn begin_within<'a, P, R>(
        &'a mut self,
        limit: Duration,
        func: &'a TypedFunc<P, R>,
        parameters: P,
    ) -> GuestCall<'a, impl Future<Output = wasmtime::Result<R>> + Send + use<'a, P, R>>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'a,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        make_ready(&mut self.store, self.fuel);
        GuestCall::new(
            func.call_async(&mut self.store, parameters),
            &self.runtime.ticker,
            &self.off_fiber,
            limit,
            &self.context.timers,
        )
    }

    /// Calls a function on this thread's own stack, which saves a fiber. Requires that the
    /// component waits in no import, see [`Prepared::waits`], and that
    /// [`CALLER_STACK_BYTES`](crate::runtime::engine::CALLER_STACK_BYTES) of stack are left.
    pub fn call_on_caller<P, R>(&mut self, func: &TypedFunc<P, R>, parameters: P) -> Ended<R>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        make_ready(&mut self.store, self.fuel);
        let call = |store: &mut _| func.call(store, parameters);
        on_this_stack(&mut self.store, &self.runtime, &self.limits, call)
    }

    /// Runs the guest's loop over the messages of `source` in one call, and returns `source`. An
    /// error belongs to the last message handed out.
    pub async fn work_off<S: MailSource>(
        &mut self,
        source: S,
    ) -> (Result<(), CallError>, Option<S>) {
        let Some(run) = self.exports.run else {
            return (Err(CallError::ExportNotFound { export: attach::RUN }), Some(source));
        };
        let progress = Arc::<Progress>::default();
        self.store.data_mut().driven = Some(Driven {
            source: Box::new(source),
            fuel: self.fuel,
            progress: Arc::clone(&progress),
            limit: self.limits.max_execution_time,
            ticks: self.runtime.ticker.ticks().clone(),
            began: self.runtime.ticker.ticks().now(),
        });
        let ended = self.begin(&run, ()).renewed_by(&progress).await;
        let driven = self.store.data_mut().driven.take();
        let source = driven.map(|driven| driven.source as Box<dyn Any>);
        let source = source.and_then(|source| source.downcast().ok());
        (self.conclude(ended), source.map(|source| *source))
    }

    /// Calls `health`; without a life cycle the result is unknown.
    pub async fn health(&mut self) -> Result<HealthStatus, CallError> {
        let Some(func) = self.exports.lifecycle.as_ref().map(|exports| exports.health) else {
            return Ok(HealthStatus::Unknown);
        };
        let (health,) = self.call::<_, HealthResult>(func, ()).await?;
        Ok(health)
    }

    /// As [`Instance::health`], within a time of its own; beyond it, that time is the limit of the
    /// error.
    pub async fn health_within(&mut self, limit: Duration) -> Result<HealthStatus, CallError> {
        let Some(func) = self.exports.lifecycle.as_ref().map(|exports| exports.health) else {
            return Ok(HealthStatus::Unknown);
        };
        let limit = limit.min(self.limits.max_execution_time);
        let func = typed::<(), HealthResult>(func);
        let ended = self.begin_within(limit, &func, ()).await;
        match self.conclude(ended) {
            Ok((health,)) => Ok(health),
            Err(CallError::ExecutionTime { .. }) => Err(CallError::ExecutionTime { limit }),
            Err(error) => Err(error),
        }
    }

    /// Returns whether the component hands its state over.
    pub fn has_state(&self) -> bool {
        self.exports.state.is_some()
    }

    /// Calls `save`. The outer error leaves the instance as it is unless it poisons it.
    pub async fn save(&mut self) -> Result<Vec<u8>, CallError> {
        let Some(func) = self.exports.state.as_ref().map(|state| state.save) else {
            return Err(CallError::ExportNotFound { export: "save" });
        };
        let (result,) = self.call::<_, SaveResult>(func, ()).await?;
        result.map_err(|error| CallError::Lifecycle { export: "save", error: error.into() })
    }

    /// Calls `restore` with a state saved by `from_version`.
    pub async fn restore(&mut self, state: &[u8], from_version: &str) -> Result<(), CallError> {
        let Some(func) = self.exports.state.as_ref().map(|state| state.restore) else {
            return Err(CallError::ExportNotFound { export: "restore" });
        };
        if let Some(unfit) = self.unfit(state.len()) {
            return Err(CallError::DoesNotFit(unfit));
        }
        let (result,) = self.call::<_, RestoreResult>(func, (state, from_version)).await?;
        result.map_err(|error| CallError::Lifecycle { export: "restore", error: error.into() })
    }

    /// Calls `shutdown`, if there is a life cycle.
    pub async fn shutdown(&mut self) -> Result<Result<(), error::ComponentError>, CallError> {
        let Some(func) = self.exports.lifecycle.as_ref().map(|exports| exports.shutdown) else {
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
        self.exports.lifecycle.as_ref().map(select).ok_or(CallError::ExportNotFound { export })
    }

    async fn call<P, R>(&mut self, func: Func, parameters: P) -> Result<R, CallError>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let func = typed(func);
        let ended = if self.on_caller {
            self.call_on_caller(&func, parameters)
        } else {
            self.begin(&func, parameters).await
        };
        self.conclude(ended)
    }

    /// Converts the end of a call, and accounts for it.
    pub(super) fn conclude<R>(&mut self, ended: Ended<R>) -> Result<R, CallError> {
        let used = self.fuel - self.store.get_fuel().unwrap_or(self.fuel);
        self.fuel_used += used;
        self.context.timers.pace().note_work(used);
        match ended {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) => {
                if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
                    return Err(interruption(*interrupted, &self.limits));
                }
                if used == 0 && call_error::is_want_of_memory(&error) {
                    let reason = format!("{}; {MemoryLimits}", error.root_cause());
                    return Err(CallError::NoStack { reason });
                }
                let breach = self.store.data_mut().limiter.breach();
                let (guard, state) = (&self.context.guard, self.store.data());
                let stderr = || state.last_words();
                let (limits, quotas) = (&self.limits, guard.quotas());
                let error = call_error::call_error(&error, breach, stderr, limits, quotas);
                if let CallError::Limit(LimitBreach::Quota { name, limit, recorded: false }) = error
                {
                    guard.record_breach(name, limit);
                }
                Err(error)
            }
            Err(interrupted) => Err(interruption(interrupted, &self.limits)),
        }
    }
}

/// The loop that asks for mail.
type LoopFunc = TypedFunc<(), ()>;

/// Finds the functions of an instance and checks their types.
fn link(
    prepared: &Prepared,
    instance: &wasmtime::component::Instance,
    store: &mut Store<HostState>,
) -> Result<Exports, LoadError> {
    let lifecycle = match &prepared.lifecycle {
        Some(exports) => Some(Lifecycle::check(exports, instance, store)?),
        None => None,
    };
    let state = match &prepared.state {
        Some(exports) => Some(StateFuncs::check(exports, instance, store)?),
        None => None,
    };
    let run =
        match &prepared.run {
            Some(added) => Some(instance.get_typed_func(store, added.run).map_err(|error| {
                LoadError::Instantiation(format!("{}: {error:#}", attach::RUN))
            })?),
            None => None,
        };
    Ok(Exports { lifecycle, state, run })
}

/// Returns a function of [`Lifecycle`] with its checked type.
#[expect(unsafe_code, reason = "Wasmtime's types have no form that is generic over lifetimes")]
fn typed<P, R>(func: Func) -> TypedFunc<P, R>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    // SAFETY: a `Func` that gets here is a field of a `Lifecycle` or of `StateFuncs`. Only their
    // `check` creates one, after checking each field against the types used by its one caller;
    // lifetimes are no part of a function's type.
    unsafe { TypedFunc::new_unchecked(func) }
}

impl Lifecycle {
    /// Checks the exports of an instance against the contract.
    fn check(
        exports: &LifecycleExports,
        instance: &wasmtime::component::Instance,
        store: &mut Store<HostState>,
    ) -> Result<Self, LoadError> {
        type Config = (ComponentConfig<'static>,);
        type Incoming = HandlerArguments<'static>;
        let mut typed = Typed { interface: contract::LIFECYCLE, instance, store };
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

impl StateFuncs {
    /// Checks the exports of an instance against the contract.
    fn check(
        exports: &StateExports,
        instance: &wasmtime::component::Instance,
        store: &mut Store<HostState>,
    ) -> Result<Self, LoadError> {
        type Arguments = RestoreArguments<'static>;
        let mut typed = Typed { interface: contract::STATE, instance, store };
        let save = typed.get::<(), SaveResult>("save", &exports.save)?;
        let restore = typed.get::<Arguments, RestoreResult>("restore", &exports.restore)?;
        Ok(Self { save, restore })
    }
}

struct Typed<'a> {
    interface: &'static str,
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
                let error = bounded(&format_args!("{error:#}"), MAX_ERROR_TEXT_BYTES);
                LoadError::InvalidComponent(format!("{}#{name}: {error}", self.interface))
            })
    }
}

fn fuel(limits: &Limits) -> u64 {
    limits.max_fuel.unwrap_or(u64::MAX)
}

/// Runs a guest on this thread's own stack until its time passes or the engine stops.
pub(super) fn on_this_stack<R>(
    store: &mut Store<HostState>,
    runtime: &WasmRuntime,
    limits: &Limits,
    run: impl FnOnce(&mut Store<HostState>) -> wasmtime::Result<R>,
) -> Ended<R> {
    runtime.ticker.keep_awake();
    let began = runtime.ticker.ticks().now();
    let state = store.data_mut();
    let seen = state.context.timers.interrupts().seen();
    state.on_caller = Some((Deadline::new(limits.max_execution_time, began), seen));
    let result = signals::in_guest(|| run(store));
    let ended = store.data_mut().on_caller.take();
    let passed = ended.is_some_and(|(it, _)| it.has_passed(runtime.ticker.ticks()));
    match result.as_ref().err().and_then(|error| error.downcast_ref()) {
        Some(interrupted) => Err(*interrupted),
        None if passed => Err(Interrupted::DeadlinePassed),
        None => Ok(result),
    }
}

fn interruption(interrupted: Interrupted, limits: &Limits) -> CallError {
    match interrupted {
        Interrupted::DeadlinePassed => {
            CallError::ExecutionTime { limit: limits.max_execution_time }
        }
        Interrupted::ByHost => CallError::Interrupted,
        Interrupted::Stopping => CallError::EngineStopped,
    }
}

fn instantiation_error(
    error: &wasmtime::Error,
    store: &mut Store<HostState>,
    limits: &Limits,
    quotas: &Quotas,
) -> LoadError {
    let breach = store.data_mut().limiter.breach();
    let stderr = || store.data().last_words();
    match call_error::call_error(error, breach, stderr, limits, quotas) {
        CallError::Limit(breach) => LoadError::Limit(breach),
        CallError::Trap { reason, .. } if call_error::is_want_of_memory(error) => {
            LoadError::NoMemory { during: "instantiation", reason }
        }
        CallError::Trap { .. } if error.downcast_ref::<wasmtime::Trap>().is_none() => {
            LoadError::Instantiation(bounded(&format_args!("{error:#}"), MAX_ERROR_TEXT_BYTES))
        }
        error => LoadError::Call { during: "instantiation", error },
    }
}

/// One of the two functions of [`Lifecycle`] that handle mail.
pub trait HandlerExport {
    /// The name in the interface.
    const EXPORT: &'static str;
    /// The reply type, checked by [`Lifecycle::check`].
    type Reply: Lift + Send + Sync + 'static;
    /// Returns the handler's function.
    fn select(lifecycle: &Lifecycle) -> Func;
    /// Returns the size of a reply.
    fn reply_bytes(reply: &Self::Reply) -> u64;
}

/// `handle-message`.
pub struct HandleMessage;

impl HandlerExport for HandleMessage {
    const EXPORT: &'static str = "handle-message";
    type Reply = Option<Vec<u8>>;

    fn select(lifecycle: &Lifecycle) -> Func {
        lifecycle.handle_message
    }

    fn reply_bytes(reply: &Self::Reply) -> u64 {
        reply.as_ref().map_or(0, |reply| reply.len() as u64)
    }
}

/// `handle-callback`.
pub struct HandleCallback;

impl HandlerExport for HandleCallback {
    const EXPORT: &'static str = "handle-callback";
    type Reply = ();

    fn select(lifecycle: &Lifecycle) -> Func {
        lifecycle.handle_callback
    }

    fn reply_bytes((): &Self::Reply) -> u64 {
        0
    }
}

/// Converts a message to the guest's type. `correlation` is the text of its id, `accepted` the time
/// that the guest may see.
pub fn incoming<'a>(
    message: &MessageView<'a>,
    correlation: Option<&'a CorrelationText>,
) -> ComponentMessage<'a> {
    ComponentMessage {
        sender: message.sender.into(),
        payload: message.payload,
        metadata: MessageMetadata {
            correlation_id: correlation.map(CorrelationText::as_str),
            reply_to: message.reply_to.map(ComponentIdRef::from),
            timestamp: message.accepted.into(),
            content_type: message.content_type,
        },
    }
}
