//! The engine behind an `airssys_engine_t`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::component::actor::Actor;
use crate::component::dormant::{Caller, Hibernation};
use crate::component::groups::Groups;
use crate::component::live_instances::LiveInstances;
use crate::component::pool::Pool;
use crate::component::rounds::{Rounds, make_rounds};
use crate::core::caller_watch;
use crate::core::error::CallError;
use crate::core::id::{ComponentHandle, ComponentId};
use crate::core::log::{HostErrorTexts, LogSink};
use crate::core::ports::{Directory, Router};
use crate::core::wait_graph::Wait;
use crate::messaging::mail::Mail;
use crate::messaging::messenger::MessagingContext;
use crate::messaging::pending_requests::{PendingRequests, SystemClock, watch_deadlines};
use crate::messaging::reply::Waiter;
use crate::runtime::call_end::StopSignal;
use crate::runtime::contract::HealthStatus;
use crate::runtime::engine::{RuntimeOptions, WasmRuntime};
use crate::runtime::host::functions::Offered;
use crate::runtime::host::pending_answers::PendingAnswers;
use crate::runtime::inspection::inspect;
use crate::runtime::off_fiber::current_component;
use crate::runtime::scheduler::Scheduler;
use crate::runtime::shortage::NoThread;
use crate::runtime::threads::plan::{Growth, Plan};
use crate::runtime::threads::pool::{ThreadPool, is_in_a_pool};
use crate::runtime::threads::workers;
use crate::runtime::wasi::blocking::BlockingThreads;
use crate::security::audit::AuditLog;
use crate::security::guard::Authority;
use crate::security::signature::Trust;
use crate::storage::backend::Backend;
use crate::storage::reservations::Reservations;
use crate::storage::saved_states::SavedStates;
use crate::system::audit::Audit;
use crate::system::blueprint::Blueprints;
use crate::system::callbacks::{Callbacks, PatientRouter};
use crate::system::components::{Catalogue, Components};
use crate::system::config::EngineConfig;
use crate::system::error::EngineError;
use crate::system::events::Events;
use crate::system::options::Defaults;
use crate::system::snapshot;
use crate::system::state_watch::StateWatch;
use crate::system::stderr_log::StderrLog;
use crate::system::storage;

/// How long freeing an engine waits for host callbacks in progress.
const CALLBACK_GRACE: Duration = Duration::from_secs(10);

/// How long a live engine takes at most for a job of no length.
const LIVE_WITHIN: Duration = Duration::from_secs(1);

/// The handle that stands for all components.
pub(super) const ALL: ComponentHandle = ComponentHandle(u64::MAX);

/// The namespace of hosts as senders of messages. No component can be loaded into it.
pub const HOST_NAMESPACE: &str = "host";

/// The components and everything they share.
pub struct Engine {
    pub(super) runtime: Arc<WasmRuntime>,
    pub(super) components: Arc<Components>,
    pub(super) messaging: Arc<MessagingContext>,
    /// Calls of host functions that the host answers later.
    pub(super) pending_answers: Arc<PendingAnswers>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) log: Arc<dyn LogSink>,
    pub(super) host_error_texts: HostErrorTexts,
    pub(super) storage: Arc<dyn Backend>,
    pub(super) reservations: Reservations,
    pub(super) saved_states: Arc<SavedStates>,
    pub(super) authority: Arc<Authority>,
    audit: Option<Audit>,
    pub(super) events: Events,
    pub(super) states: Arc<StateWatch>,
    pub(super) rounds: Arc<Rounds>,
    pub(super) groups: Arc<Groups>,
    /// `None`: there is no bound.
    pub(super) live: Option<Arc<LiveInstances>>,
    pub(super) callbacks: Callbacks,
    /// Runs host callbacks for components on worker threads.
    pub(super) threads: ThreadPool,
    pub(super) host: Arc<ComponentId>,
    pub(super) defaults: Defaults,
    pub(super) trust: Trust,
    worker_count: usize,
    /// Started by the first load.
    workers: OnceCell<Workers>,
    /// Where components make blocking system calls.
    pub(super) blocking: Arc<BlockingThreads>,
    pub(super) last_handle: AtomicU64,
    pub(super) blueprints: Blueprints,
    /// Closed to the host.
    stopped: AtomicBool,
    pub(super) stop_signal: Arc<StopSignal>,
    /// Held while a component becomes reachable, so that a stop either sees the component or
    /// prevents it.
    pub(super) loading: Mutex<()>,
}

impl Engine {
    /// Creates an engine without components. No thread but the ticker runs yet.
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        config.check_trust()?;
        let host = Arc::new(ComponentId::new(HOST_NAMESPACE, &config.name, "0")?);
        let log = match &config.log {
            Some(log) => Arc::clone(log),
            None => Arc::new(StderrLog::open().map_err(EngineError::Stderr)?),
        };
        let callbacks = Callbacks::new(config.callback_threads);
        let storage = storage::of(config, &log, &callbacks)?;
        let offered = Offered::new(&config.interfaces);
        let pending_answers = Arc::clone(&offered.pending);
        let runtime = WasmRuntime::new(&RuntimeOptions {
            offered,
            cache_dir: config.cache_dir.clone(),
            cache_max_bytes: config.cache_max_bytes,
            max_component_bytes: config.max_component_bytes,
            signals_based_traps: config.signals_based_traps,
            guard_before_memory: config.guard_before_memory,
            memory_reservation: config.memory_reservation,
            compile_threads: config.workers,
            compile: config.compile.clone(),
            log_runs_host_code: log.runs_host_code(),
            storage_placement: storage.placement(),
        })?;
        let in_background = callbacks.clone();
        let router = config.router.clone().map(|router| -> Arc<dyn Router> {
            Arc::new(PatientRouter::new(router, callbacks.clone()))
        });
        let messaging = MessagingContext {
            registry: Arc::default(),
            pending_requests: Arc::new(PendingRequests::new(
                router.clone(),
                Arc::new(move |job| in_background.submit(job)),
                Instant::now(),
            )),
            router,
        };
        let components = Components::new(Arc::clone(&messaging.registry));
        let audit = config.audit.as_ref().map(|config| Audit::new(config, callbacks.clone()));
        let events = Events::new(Arc::clone(&host), config.events.clone(), callbacks.clone());
        let states = StateWatch::new(events.clone());
        Ok(Self {
            runtime: Arc::new(runtime),
            directory: Arc::new(Catalogue::new(Arc::clone(&messaging.registry), &components)),
            components,
            messaging: Arc::new(messaging),
            pending_answers,
            groups: Groups::new(Arc::clone(&states) as _),
            states,
            rounds: Arc::default(),
            live: config.max_live_instances.map(|most| Arc::new(LiveInstances::new(most))),
            events,
            callbacks,
            threads: ThreadPool::new(Plan {
                name: "airssys-calls",
                most: config.callback_threads,
                growth: Growth::ForEachJob,
                runs_guests: true,
            }),
            log,
            host_error_texts: config.host_error_texts,
            saved_states: Arc::new(SavedStates::new(Arc::clone(&storage))),
            storage,
            reservations: Reservations::default(),
            authority: Arc::new(Authority::new(Arc::clone(&config.policies), log_of(&audit))),
            audit,
            host,
            defaults: config.defaults.clone(),
            trust: config.trust.clone(),
            worker_count: config.workers,
            workers: OnceCell::new(),
            blocking: Arc::default(),
            last_handle: AtomicU64::new(0),
            blueprints: Blueprints::default(),
            stopped: AtomicBool::new(false),
            stop_signal: Arc::default(),
            loading: Mutex::new(()),
        })
    }

    /// Calls `health` of a component; with several instances, returns the worst result. Of all
    /// components together, returns whether the engine works, without asking them.
    pub fn health(&self, handle: ComponentHandle) -> Result<String, EngineError> {
        self.check_running()?;
        if handle == ALL {
            let readiness = snapshot::readiness(&self.components.all(), self.is_live());
            return Ok(readiness.to_string());
        }
        let pool = self.pool(handle)?;
        let mut worst = HealthStatus::Healthy;
        for actor in pool.actors() {
            let _wait = self.wait_for(actor)?;
            let (waiter, reply) = Waiter::with_reply();
            self.ask(actor, Mail::Health(reply))?;
            let status = waiter.wait(None);
            let status = status.map_err(|error| self.call_failed(actor.mailbox(), error))?;
            worst = HealthStatus::worse(worst, HealthStatus::named(&status.unwrap_or_default()));
        }
        Ok(snapshot::health(&pool, worst).to_string())
    }

    /// Returns the component with an id; of several, the least busy.
    pub fn find(&self, id: &str) -> Result<ComponentHandle, EngineError> {
        let id = ComponentId::parse(id)?;
        self.messaging.registry.least_busy(&id).ok_or(EngineError::UnknownId(id))
    }

    /// Returns all components as JSON, in load order.
    pub fn list(&self) -> String {
        snapshot::array(self.components.all().iter().map(snapshot::summary))
    }

    /// Describes a component as JSON, as known without asking it.
    pub fn describe(&self, handle: ComponentHandle) -> Result<String, EngineError> {
        let pool = self.components.look(handle).ok_or(EngineError::UnknownHandle(handle))?;
        Ok(snapshot::description(&pool).to_string())
    }

    /// Tells what a component imports and exports, as JSON.
    pub fn inspect(&self, handle: ComponentHandle) -> Result<String, EngineError> {
        let pool = self.components.look(handle).ok_or(EngineError::UnknownHandle(handle))?;
        let version = pool.version();
        inspect::prepared(&version.prepared)
            .map_err(|error| EngineError::Load { id: (**pool.id()).clone(), error })
    }

    /// Compiles a component without loading it. `gives_up` is asked now and then whether to stop
    /// waiting.
    pub fn precompile(
        &self,
        binary: &[u8],
        gives_up: Option<Box<dyn Fn() -> bool>>,
    ) -> Result<(), EngineError> {
        let prepared = caller_watch::watched(gives_up, || self.runtime.loader.prepare(binary));
        prepared.map(drop).map_err(EngineError::Precompile)
    }

    /// Returns the counts of all components together and of each, as JSON.
    pub fn stats(&self) -> String {
        let shared = snapshot::Shared {
            binaries: self.runtime.loader.compiled(),
            cache: self.runtime.loader.cache_counts(),
            outstanding: self.messaging.pending_requests.outstanding(),
            late_replies: self.messaging.pending_requests.late(),
            dead_letters: self.events.dead_letters(),
            events_lost: self.events.lost(),
            audit_lost: self.audit.as_ref().map(Audit::lost).unwrap_or_default(),
            storage: self.storage.footprint(),
        };
        let all = self.components.all();
        snapshot::stats(all.iter().filter_map(|it| self.components.look_at(it)), &shared)
    }

    /// Ends everything that waits at once, and what runs at its next turn.
    pub fn stop(&self) {
        self.stop_accepting();
        self.stop_signal.give();
        self.runtime.loader.stop();
        for pool in self.components.clear() {
            self.unpublish(&pool);
            for actor in pool.actors() {
                actor.mailbox().dead_letter(actor.mailbox().drain(), &CallError::EngineStopped);
                actor.stopped().open();
            }
        }
        self.messaging.pending_requests.complete_all(&CallError::EngineStopped);
        self.states.look_again();
    }

    pub(super) fn stop_accepting(&self) {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopped.store(true, Ordering::Release);
    }

    pub(super) fn check_running(&self) -> Result<(), EngineError> {
        if self.stopped.load(Ordering::Acquire) { Err(EngineError::Stopped) } else { Ok(()) }
    }

    /// Returns the id of a loaded component.
    pub fn id_of(&self, handle: ComponentHandle) -> Result<Arc<ComponentId>, EngineError> {
        Ok(Arc::clone(self.look(handle)?.id()))
    }

    /// As [`Engine::pool`], to look at: a dormant component stays so.
    pub(super) fn look(&self, handle: ComponentHandle) -> Result<Arc<Pool>, EngineError> {
        self.components.look(handle).ok_or_else(|| self.unknown(handle))
    }

    /// Makes a component dormant if it can be, after the host has changed it.
    pub(super) fn hibernate(&self, pool: &Arc<Pool>) {
        self.components.hibernate(pool.handle(), Caller::PoolHolder);
    }

    pub(super) fn pool(&self, handle: ComponentHandle) -> Result<Arc<Pool>, EngineError> {
        self.components.get(handle).ok_or_else(|| self.unknown(handle))
    }

    /// Returns the error for an unknown handle: in a stopping engine, that the engine stops.
    pub(super) fn unknown(&self, handle: ComponentHandle) -> EngineError {
        match self.check_running() {
            Ok(()) => match self.groups.with(|tree| tree.name(handle)) {
                Some(name) => EngineError::Group { handle, name },
                None => EngineError::UnknownHandle(handle),
            },
            Err(stopped) => stopped,
        }
    }

    pub(super) fn wait_for(&self, actor: &Actor) -> Result<Wait, EngineError> {
        Wait::begin(current_component(), &actor.spec().context.node).ok_or_else(|| {
            EngineError::WouldDeadlock { target: actor.mailbox().owner().to_string() }
        })
    }

    /// Returns whether the workers take a job within [`LIVE_WITHIN`].
    fn is_live(&self) -> bool {
        let Some(workers) = self.workers.get() else { return true };
        let (answer, answered) = oneshot::channel();
        workers.scheduler.workers().spawn(async move { _ = answer.send(()) });
        answered.recv_timeout(LIVE_WITHIN).is_ok()
    }

    pub(super) fn scheduler(&self) -> Result<&Scheduler, EngineError> {
        let workers = self.workers.get_or_try_init(|| {
            let runtime = self.start_threads().inspect_err(|_| {
                self.callbacks.keep_none();
                self.threads.keep_none();
            })?;
            runtime.spawn(watch_deadlines(&self.messaging.pending_requests, SystemClock));
            runtime.spawn(make_rounds(&self.rounds));
            runtime.spawn(self.runtime.give_back());
            let handle = runtime.handle().clone();
            self.callbacks.watch_on(&handle);
            self.threads.watch_on(&handle);
            let ticks = self.runtime.ticker.ticks().clone();
            let scheduler = Scheduler::new(handle, self.worker_count, ticks);
            Ok::<_, EngineError>(Workers { scheduler, runtime: Mutex::new(Some(runtime)) })
        })?;
        Ok(&workers.scheduler)
    }

    /// Starts every indispensable thread, or none: whatever the system runs short of later,
    /// accepted messages make progress.
    fn start_threads(&self) -> Result<Runtime, NoThread> {
        self.callbacks.keep_one()?;
        self.threads.keep_one()?;
        let mut builder = Builder::new_multi_thread();
        builder.enable_all();
        workers::start(builder, self.worker_count)
    }
}

fn log_of(audit: &Option<Audit>) -> Option<Arc<dyn AuditLog>> {
    audit.clone().map(|audit| -> Arc<dyn AuditLog> { Arc::new(audit) })
}

/// The worker threads of an engine.
struct Workers {
    scheduler: Scheduler,
    /// `None` once stopped.
    runtime: Mutex<Option<Runtime>>,
}

impl Engine {
    /// Stops the engine and its workers, and runs the remaining callbacks on this thread.
    pub fn finish(&self) {
        self.stop();
        let runtime = self.workers.get().and_then(|workers| {
            workers.runtime.lock().unwrap_or_else(PoisonError::into_inner).take()
        });
        // The calls that waited for these jobs have ended.
        self.threads.close();
        while self.threads.take().is_some() {}
        let deadline = Instant::now() + CALLBACK_GRACE;
        // A thread cannot wait for itself: a callback may drop the last reference.
        let waits =
            Handle::try_current().is_err() && current_component().is_none() && !is_in_a_pool();
        if let Some(workers) = self.workers.get() {
            workers.scheduler.close(if waits { CALLBACK_GRACE } else { Duration::ZERO });
        }
        match runtime {
            Some(runtime) if waits => runtime.shutdown_timeout(CALLBACK_GRACE),
            Some(runtime) => runtime.shutdown_background(),
            None => {}
        }
        self.callbacks.stop();
        if waits {
            self.threads.wait_until_left(deadline);
            self.callbacks.wait_until_left(deadline);
        }
        self.storage.close();
        // Answers given while the workers ended, and jobs that they did not get to.
        self.callbacks.run_rest();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.finish();
        self.callbacks.close();
    }
}
