//! The engine: what an `airssys_engine_t` stands for.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use once_cell::sync::OnceCell;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::component::actor::{Actor, Blueprint};
use crate::component::status::State;
use crate::core::error::CallError;
use crate::core::id::{ComponentHandle, ComponentId};
use crate::core::limits::Limits;
use crate::core::log::LogSink;
use crate::core::message::{Message, MessageView, Timestamp};
use crate::core::ports::{Directory, Messenger, Sender};
use crate::core::waiting::Wait;
use crate::messaging::correlation::{Correlations, watch_deadlines};
use crate::messaging::mailbox::{Entry, Mail, Mailbox, Refusal};
use crate::messaging::post::Post;
use crate::messaging::registry::Registry;
use crate::messaging::reply::{Reply, Waiter};
use crate::runtime::engine::{RuntimeOptions, WasmRuntime};
use crate::runtime::instance::InitialConfig;
use crate::runtime::off_fiber::current_component;
use crate::runtime::state::HostContext;
use crate::runtime::timers::{StopSignal, Timers};
use crate::storage::backend::Backend;
use crate::storage::memory::MemoryBackend;
use crate::storage::namespaced::NamespacedStorage;
use crate::system::blocking::run_here_first;
use crate::system::components::{Catalogue, Components};
use crate::system::config::EngineConfig;
use crate::system::error::EngineError;
use crate::system::options::LoadOptions;
use crate::system::snapshot;
use crate::system::stderr_log::StderrLog;

/// How long `free` waits for host callbacks that are under way.
const CALLBACK_GRACE: Duration = Duration::from_secs(10);

/// Threads for host callbacks of workers, made as they are needed. A callback that waits for
/// another component needs one for that component's callback too, so there must be enough.
const MAX_CALLBACK_THREADS: usize = 1 << 20;

/// The namespace of hosts, as senders of messages; no component is loaded into it.
const HOST_NAMESPACE: &str = "host";

/// A message from the host.
pub struct HostMessage<'a> {
    /// Opaque bytes.
    pub payload: &'a [u8],
    /// In whose name; `None`: the host's own.
    pub sender: Option<ComponentId>,
    /// What the payload is.
    pub content_type: Option<&'a str>,
}

/// Components, and everything they share.
pub struct Engine {
    runtime: Arc<WasmRuntime>,
    pub(super) components: Arc<Components>,
    registry: Arc<Registry>,
    pub(super) correlations: Arc<Correlations>,
    messenger: Arc<dyn Messenger>,
    directory: Arc<dyn Directory>,
    log: Arc<dyn LogSink>,
    storage: Arc<dyn Backend>,
    host: Arc<ComponentId>,
    limits: Limits,
    worker_count: usize,
    /// Started by the first load.
    workers: OnceCell<Runtime>,
    last_handle: AtomicU64,
    /// Nothing more is accepted from the host.
    stopped: AtomicBool,
    pub(super) stop_signal: Arc<StopSignal>,
    /// Held while a component becomes reachable, so that a stop sees it or prevents it.
    loading: Mutex<()>,
}

impl Engine {
    /// An engine without components; no thread but the ticker runs yet.
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        let host = Arc::new(ComponentId::new(HOST_NAMESPACE, &config.name, "0")?);
        let log = config.log.clone().unwrap_or_else(|| Arc::new(StderrLog));
        let storage = config.storage.clone().unwrap_or_else(|| Arc::new(MemoryBackend::default()));
        let runtime = WasmRuntime::new(&RuntimeOptions {
            cache_dir: config.cache_dir.clone(),
            max_component_bytes: config.max_component_bytes,
            signals_based_traps: config.signals_based_traps,
            compile_threads: config.workers,
            log_runs_host_code: log.runs_host_code(),
            storage_runs_host_code: storage.runs_host_code(),
        })?;
        let (components, registry) = (Arc::<Components>::default(), Arc::<Registry>::default());
        let correlations = Arc::<Correlations>::default();
        Ok(Self {
            runtime: Arc::new(runtime),
            messenger: Arc::new(Post::new(Arc::clone(&registry), Arc::clone(&correlations))),
            directory: Arc::new(Catalogue::new(Arc::clone(&registry), &components)),
            components,
            registry,
            correlations,
            log,
            storage,
            host,
            limits: config.limits.clone(),
            worker_count: config.workers,
            workers: OnceCell::new(),
            last_handle: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            stop_signal: Arc::default(),
            loading: Mutex::new(()),
        })
    }

    /// Loads a component: compiles, instantiates, initializes, and makes it reachable.
    pub fn load(
        &self,
        id: &str,
        binary: &[u8],
        options: Option<&str>,
    ) -> Result<ComponentHandle, EngineError> {
        self.check_running()?;
        let id = Arc::new(ComponentId::parse(id)?);
        if id.namespace() == HOST_NAMESPACE {
            return Err(EngineError::ReservedId((*id).clone()));
        }
        let options = LoadOptions::parse(options, &self.limits)?;
        let failed = |error| EngineError::Load { id: (*id).clone(), error };
        let prepared = self.runtime.loader.prepare(binary).map_err(failed)?;
        let workers = self.workers()?;

        let handle = ComponentHandle(self.last_handle.fetch_add(1, Ordering::Relaxed) + 1);
        let mailbox = Mailbox::new(handle, Arc::clone(&id), options.mailbox);
        let blueprint = Blueprint {
            runtime: Arc::clone(&self.runtime),
            prepared,
            context: Arc::new(HostContext {
                identity: Sender { handle, id: Arc::clone(&id) },
                messenger: Arc::clone(&self.messenger),
                directory: Arc::clone(&self.directory),
                log: Arc::clone(&self.log),
                storage: NamespacedStorage::new(Arc::clone(&self.storage), Arc::clone(&id)),
                timers: Timers::new(workers.clone(), Arc::clone(&self.stop_signal)),
                node: Arc::default(),
            }),
            limits: Arc::new(options.limits),
            config: InitialConfig { env: options.env, data: options.config },
        };
        // A callback that loads waits for what `initialize` does.
        let _wait = Wait::begin(current_component(), &blueprint.context.node);
        // Requests that `initialize` makes are answered to this mailbox.
        self.registry.insert(Arc::clone(&mailbox));
        let made_reachable = Actor::start(Arc::clone(&mailbox), blueprint)
            .map_err(failed)
            .and_then(|actor| self.publish(actor));
        if let Err(error) = made_reachable {
            self.registry.remove(handle);
            answer_all(mailbox.drain(), &CallError::Unloaded);
            return Err(error);
        }
        Ok(handle)
    }

    /// [`Engine::load`] from a file.
    pub fn load_file(
        &self,
        id: &str,
        path: &Path,
        options: Option<&str>,
    ) -> Result<ComponentHandle, EngineError> {
        let binary = read_file(path, self.runtime.loader.max_component_bytes())
            .map_err(|source| EngineError::File { path: path.to_owned(), source })?;
        self.load(id, &binary, options)
    }

    fn publish(&self, actor: Arc<Actor>) -> Result<(), EngineError> {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_running()?;
        self.components.insert(Arc::clone(&actor));
        self.registry.publish(actor.mailbox().handle());
        actor.open();
        Ok(())
    }

    /// Unloads a component: the message under way ends, mail that waits is answered with an
    /// error, `shutdown` is called. An unknown handle is no error.
    pub fn unload(&self, handle: ComponentHandle) -> Result<(), EngineError> {
        let Some(actor) = self.components.get(handle) else { return Ok(()) };
        let _wait = self.wait_for(&actor)?;
        self.registry.remove(handle);
        let outcome = if actor.mailbox().close_idle() {
            actor.shut_down_here()
        } else {
            let (waiter, reply) = Waiter::with_reply();
            let Some(removed) = actor.mailbox().close(Mail::Shutdown(reply), false) else {
                // Somebody else unloads it, and is told how that goes.
                actor.stopped().wait(None);
                self.components.remove(handle);
                return Ok(());
            };
            answer_all(removed, &CallError::Unloaded);
            waiter.wait(None).map(drop)
        };
        self.components.remove(handle);
        self.shutdown_outcome(&actor, outcome)
    }

    pub(super) fn shutdown_outcome(
        &self,
        actor: &Actor,
        outcome: Result<(), CallError>,
    ) -> Result<(), EngineError> {
        match outcome {
            Ok(()) | Err(CallError::EngineStopped) => Ok(()),
            Err(error) => {
                Err(EngineError::Shutdown { component: Arc::clone(actor.mailbox().owner()), error })
            }
        }
    }

    /// Queues a message whose outcome nobody waits for.
    pub fn send(
        &self,
        handle: ComponentHandle,
        message: HostMessage<'_>,
    ) -> Result<(), EngineError> {
        self.check_running()?;
        let actor = self.actor(handle)?;
        self.queue(&actor, Mail::Message(self.message(message), Reply::nobody()))
    }

    /// Hands a message over and waits for its outcome.
    pub fn call(
        &self,
        handle: ComponentHandle,
        message: HostMessage<'_>,
        timeout: Option<Duration>,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        self.check_running()?;
        let actor = self.actor(handle)?;
        let _wait = self.wait_for(&actor)?;
        let outcome = match actor.mailbox().try_enter() {
            Entry::Entered if self.ends_in_time(&actor, timeout) => {
                actor.handle_here(MessageView {
                    sender: message.sender.as_ref().unwrap_or(&self.host),
                    payload: message.payload,
                    content_type: message.content_type,
                    correlation: None,
                    reply_to: None,
                    accepted: Timestamp::now(),
                })
            }
            Entry::Entered => {
                let timers = actor.ambient_timers().is_some();
                let call = Arc::clone(&actor).handle_directly(self.message(message));
                run_here_first(self.workers()?, timers, call, timeout)
                    .unwrap_or_else(|missed| Err(missed.into()))
            }
            Entry::Busy => {
                let (waiter, reply) = Waiter::with_reply();
                self.queue(&actor, Mail::Message(self.message(message), reply))?;
                waiter.wait(timeout)
            }
            Entry::Closed => return Err(self.unknown(handle)),
        };
        outcome.map_err(|error| EngineError::Call {
            component: Arc::clone(actor.mailbox().owner()),
            error,
        })
    }

    /// Asks a component for its health.
    pub fn health(&self, handle: ComponentHandle) -> Result<String, EngineError> {
        self.check_running()?;
        let actor = self.actor(handle)?;
        let _wait = self.wait_for(&actor)?;
        let (waiter, reply) = Waiter::with_reply();
        self.queue(&actor, Mail::Health(reply))?;
        let component = actor.mailbox().owner();
        let status = waiter
            .wait(None)
            .map_err(|error| EngineError::Call { component: Arc::clone(component), error })?;
        let status = String::from_utf8_lossy(&status.unwrap_or_default()).into_owned();
        Ok(serde_json::json!({ "handle": handle.0, "id": component.as_str(), "health": status })
            .to_string())
    }

    /// The least busy component of an id.
    pub fn find(&self, id: &str) -> Result<ComponentHandle, EngineError> {
        let id = ComponentId::parse(id)?;
        match self.registry.find(&id) {
            Some(mailbox) => Ok(mailbox.handle()),
            None => Err(EngineError::UnknownId(id)),
        }
    }

    /// All components, in the order they were loaded.
    pub fn list(&self) -> String {
        let all = self.components.all();
        serde_json::Value::from_iter(all.iter().map(|actor| snapshot::summary(actor))).to_string()
    }

    /// What is known of a component without asking it.
    pub fn describe(&self, handle: ComponentHandle) -> Result<String, EngineError> {
        let actor = self.components.get(handle).ok_or(EngineError::UnknownHandle(handle))?;
        Ok(snapshot::description(&actor).to_string())
    }

    /// Sums over all components.
    pub fn stats(&self) -> String {
        snapshot::totals(&self.components.all(), self.runtime.loader.compiled()).to_string()
    }

    /// Ends all that waits at once, and what runs at its next turn.
    pub fn stop(&self) {
        self.stop_accepting();
        self.stop_signal.give();
        for actor in self.components.clear() {
            self.registry.remove(actor.mailbox().handle());
            answer_all(actor.mailbox().drain(), &CallError::EngineStopped);
            actor.stopped().open();
        }
    }

    pub(super) fn stop_accepting(&self) {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopped.store(true, Ordering::Release);
    }

    fn check_running(&self) -> Result<(), EngineError> {
        if self.stopped.load(Ordering::Acquire) { Err(EngineError::Stopped) } else { Ok(()) }
    }

    fn actor(&self, handle: ComponentHandle) -> Result<Arc<Actor>, EngineError> {
        self.components.get(handle).ok_or_else(|| self.unknown(handle))
    }

    /// Why a handle is not there: in an engine that stops, all go.
    fn unknown(&self, handle: ComponentHandle) -> EngineError {
        match self.check_running() {
            Ok(()) => EngineError::UnknownHandle(handle),
            Err(stopped) => stopped,
        }
    }

    pub(super) fn wait_for(&self, actor: &Actor) -> Result<Wait, EngineError> {
        Wait::begin(current_component(), &actor.blueprint().context.node).ok_or_else(|| {
            EngineError::WouldDeadlock { target: actor.mailbox().owner().to_string() }
        })
    }

    fn queue(&self, actor: &Actor, mail: Mail) -> Result<(), EngineError> {
        let mailbox = actor.mailbox();
        mailbox.deliver(mail).map_err(|(refusal, _mail)| match refusal {
            Refusal::Full => EngineError::QueueFull {
                component: Arc::clone(mailbox.owner()),
                bounds: mailbox.bounds(),
            },
            Refusal::Closed => self.unknown(mailbox.handle()),
        })
    }

    /// Whether a caller that lends its payload and its thread gets both back in time: a guest
    /// must not be unwound because its caller can not wait.
    fn ends_in_time(&self, actor: &Actor, timeout: Option<Duration>) -> bool {
        // A new instance after a crash takes time of its own.
        timeout.is_none_or(|timeout| {
            actor.status().state() == State::Running
                && timeout >= actor.blueprint().limits.max_execution_time
        })
    }

    fn message(&self, message: HostMessage<'_>) -> Message {
        Message {
            sender: message.sender.map_or_else(|| Arc::clone(&self.host), Arc::new),
            payload: Arc::new(message.payload.to_vec()),
            content_type: message.content_type.map(Into::into),
            correlation: None,
            reply_to: None,
            accepted: Timestamp::now(),
        }
    }

    fn workers(&self) -> Result<&Handle, EngineError> {
        let runtime = self.workers.get_or_try_init(|| {
            let runtime = Builder::new_multi_thread()
                .worker_threads(self.worker_count)
                .thread_name("airssys-worker")
                .max_blocking_threads(MAX_CALLBACK_THREADS)
                .enable_all()
                .build()
                .map_err(EngineError::Workers)?;
            runtime.spawn(watch_deadlines(&self.correlations));
            Ok::<_, EngineError>(runtime)
        })?;
        Ok(runtime.handle())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
        if let Some(workers) = self.workers.take() {
            // A worker can not wait for itself: the last reference may go inside a callback.
            if Handle::try_current().is_ok() || current_component().is_some() {
                workers.shutdown_background();
            } else {
                workers.shutdown_timeout(CALLBACK_GRACE);
            }
        }
    }
}

/// Reads a file, but no more than one byte beyond `limit`: enough to see that it is too large.
fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Asked before it is opened, which would wait for the other end of a pipe.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut binary = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut binary)?;
    Ok(binary)
}

fn answer_all(mail: Vec<Mail>, error: &CallError) {
    for mail in mail {
        match mail {
            Mail::Message(_, reply) | Mail::Health(reply) | Mail::Shutdown(reply) => {
                reply.answer(Err(error.clone()));
            }
            Mail::Callback(_) => {}
        }
    }
}
