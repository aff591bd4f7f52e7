//! Loading and unloading components.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use vec1::Vec1;

use crate::component::actor::{Actor, ActorSpec};
use crate::component::pool::Pool;
use crate::component::recycling::Recycling;
use crate::component::status::Status;
use crate::component::version::{Source, Version};
use crate::core::account::Account;
use crate::core::deadline::deadline_in;
use crate::core::error::CallError;
use crate::core::id::{ComponentHandle, ComponentId};
use crate::core::ports::Identity;
use crate::core::wait_graph::Wait;
use crate::messaging::mail::Mail;
use crate::messaging::mailbox::{Mailbox, MailboxOptions};
use crate::messaging::messenger::ComponentMessenger;
use crate::messaging::reply::Waiter;
use crate::runtime::call_end::Timers;
use crate::runtime::host_context::HostContext;
use crate::runtime::instance::{HandleMessage, HandlerExport, InitialConfig};
use crate::runtime::load_error::LoadError;
use crate::runtime::off_fiber::current_component;
use crate::runtime::shortage::MemoryLimits;
use crate::runtime::threads::signal_stack;
use crate::runtime::wasi::blocking::BlockingJobs;
use crate::security::guard::Guard;
use crate::storage::component_storage::ComponentStorage;
use crate::storage::namespace::Namespace;
use crate::system::binary_file;
use crate::system::engine::{Engine, HOST_NAMESPACE};
use crate::system::error::EngineError;
use crate::system::interrupt::{end_by, still_in_callback};
use crate::system::options::LoadOptions;

/// What the actors of a pool share.
struct Plan {
    identity: Identity,
    version: Arc<Version>,
    options: LoadOptions,
    guard: Arc<Guard>,
    /// The stack left on the loading thread, in bytes.
    stack: usize,
}

impl Plan {
    fn mailbox(&self) -> MailboxOptions {
        let deaf = self.version.prepared.lifecycle.is_none();
        let missing_handler = deaf.then_some(HandleMessage::EXPORT);
        MailboxOptions { missing_handler, ..self.options.mailbox.clone() }
    }
}

impl Engine {
    /// Loads a component: compiles, instantiates, initializes, and makes it reachable, with `stack`
    /// bytes of stack left on the calling thread.
    pub fn load(
        &self,
        id: &str,
        binary: &[u8],
        options: Option<&str>,
        stack: usize,
    ) -> Result<ComponentHandle, EngineError> {
        self.check_running()?;
        let id = Arc::new(ComponentId::parse(id)?);
        if id.namespace() == HOST_NAMESPACE {
            return Err(EngineError::ReservedId((*id).clone()));
        }
        let mut options = LoadOptions::parse(options, &self.defaults)?;
        let failed = |error| match error {
            LoadError::Stopped => EngineError::Stopped,
            error => EngineError::Load { id: (*id).clone(), error },
        };
        let (prepared, lease) = self.runtime.loader.prepare(binary).map_err(failed)?;
        let handle = ComponentHandle(self.last_handle.fetch_add(1, Ordering::Relaxed) + 1);
        if let Some(expected) = &options.sha256 {
            prepared.check_sha256(expected).map_err(failed)?;
        }
        let expectation = std::mem::take(&mut options.expectation);
        let env = std::mem::take(&mut options.env).into();
        let config = InitialConfig { env, data: options.config.take() };
        let version =
            Arc::new(Version { number: 1, prepared, lease: Arc::new(lease), config, expectation });
        let identity = Identity { handle, id: Arc::clone(&id) };
        let guard = Guard::new(
            Arc::clone(&id),
            Arc::clone(&self.authority),
            Arc::clone(&options.capabilities),
            options.quotas.clone(),
        );
        let guard = Arc::new(match options.activation.is_passivable() {
            // A component that waits for outcomes is not passivated.
            true => guard.count_requests(),
            false => guard,
        });
        let plan = Plan { identity, version, options, guard, stack };
        let mut actors = Vec1::new(self.start(&plan, 0)?);
        while actors.len() < plan.options.instances {
            match self.start(&plan, actors.len()) {
                Ok(actor) => actors.push(actor),
                Err(error) => {
                    self.take_back(&actors, stack);
                    return Err(error);
                }
            }
        }
        let pool = Pool::new(handle, actors, plan.options.kept_versions);
        self.publish(Arc::new(pool), stack)?;
        Ok(handle)
    }

    /// As [`Engine::load`], from a file.
    pub fn load_file(
        &self,
        id: &str,
        path: &Path,
        options: Option<&str>,
        stack: usize,
    ) -> Result<ComponentHandle, EngineError> {
        let binary = self.read_binary(path)?;
        self.load(id, &binary, options, stack)
    }

    /// Reads a binary from a file.
    pub(super) fn read_binary(&self, path: &Path) -> Result<Vec<u8>, EngineError> {
        binary_file::read(path, self.runtime.loader.max_component_bytes())
            .map_err(|source| EngineError::File { path: path.to_owned(), source })
    }

    /// Starts the actor with this number: initialized, but not reachable yet.
    fn start(&self, plan: &Plan, number: usize) -> Result<Arc<Actor>, EngineError> {
        let id = &plan.identity.id;
        let mappings =
            match plan.options.activation.is_passivable() {
                true => None,
                false => Some(plan.version.prepared.admit().map_err(|full| EngineError::Load {
                    id: (**id).clone(),
                    error: full.into(),
                })?),
            };
        let node = Arc::default();
        let namespace = Namespace::of(id, plan.options.storage_scope);
        let stored = self.storage.held(namespace.as_str());
        let account = Account::new(plan.options.limits.max_host_bytes, stored);
        let mailbox = Mailbox::new(
            plan.identity.handle,
            Arc::clone(id),
            Arc::clone(&node),
            plan.mailbox(),
            Arc::new(self.events.clone()),
            Arc::clone(&account),
        );
        let messenger = Arc::new(ComponentMessenger::new(
            Arc::clone(&self.messaging),
            &mailbox,
            Arc::clone(&plan.guard),
        ));
        let spec = ActorSpec {
            runtime: Arc::clone(&self.runtime),
            context: Arc::new(HostContext {
                identity: plan.identity.clone(),
                max_message_bytes: plan.options.limits.max_message_bytes,
                account: Arc::clone(&account),
                guard: Arc::clone(&plan.guard),
                messenger: messenger.clone(),
                directory: Arc::clone(&self.directory),
                log: Arc::clone(&self.log),
                host_error_texts: self.host_error_texts,
                storage: ComponentStorage::new(
                    Arc::clone(&self.storage),
                    namespace,
                    Arc::clone(&plan.guard),
                    account,
                    self.reservations.clone(),
                ),
                timers: Timers::new(
                    self.scheduler()?.clone(),
                    Arc::clone(mailbox.interrupts()),
                    Arc::clone(&self.stop_signal),
                ),
                threads: self.threads.clone(),
                jobs: Arc::new(BlockingJobs::new(Arc::clone(&self.blocking))),
                node,
            }),
            limits: Arc::new(plan.options.limits.clone()),
            host: Arc::clone(&self.host),
            messenger,
            supervision: plan.options.supervision.clone(),
            health_check: plan.options.health_check.clone(),
            activation: plan.options.activation.clone(),
            rounds: Arc::clone(&self.rounds),
            live: self.live.clone(),
        };
        signal_stack::ensure().map_err(|error| EngineError::Load {
            id: (**id).clone(),
            error: LoadError::NoMemory {
                during: "instantiation",
                reason: format!("{error}; {MemoryLimits}"),
            },
        })?;
        // A callback that loads a component waits for its `initialize`.
        let _wait = Wait::begin(current_component(), &spec.context.node);
        let recycling = plan.options.recycling.map(Recycling::new);
        let status = Status::new(plan.identity.clone(), number, self.states.clone(), recycling);
        let source = Source::new(Arc::clone(&plan.version), mappings);
        let actor = Actor::start(Arc::clone(&mailbox), spec, source, status, plan.stack);
        actor.map_err(|error| {
            mailbox.dead_letter(mailbox.drain(), &CallError::Unloaded);
            EngineError::Load { id: (**id).clone(), error }
        })
    }

    fn publish(&self, pool: Arc<Pool>, stack: usize) -> Result<(), EngineError> {
        let loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(stopped) = self.check_running() {
            drop(loading);
            self.take_back(pool.actors(), stack);
            return Err(stopped);
        }
        self.components.insert(Arc::clone(&pool));
        self.messaging.registry.publish(pool.id(), pool.mailboxes());
        for actor in pool.actors() {
            actor.open();
        }
        Ok(())
    }

    /// Shuts down actors that were never reachable.
    fn take_back(&self, actors: &[Arc<Actor>], stack: usize) {
        for actor in actors {
            let _wait = self.wait_for(actor).ok();
            // The caller gets the error of the load, not those of this cleanup.
            let _ = actor.shut_down_here(stack);
            actor.mailbox().dead_letter(actor.mailbox().drain(), &CallError::Unloaded);
        }
    }

    /// Unloads a component: ends the message in progress, answers waiting mail with an error, and
    /// calls `shutdown`. An unknown handle is no error. `stack` is as in [`Engine::load`]. After
    /// `timeout`, whatever still runs is interrupted.
    pub fn unload(
        &self,
        handle: ComponentHandle,
        stack: usize,
        timeout: Option<Duration>,
    ) -> Result<(), EngineError> {
        let Some(pool) = self.components.get(handle) else { return Ok(()) };
        for actor in pool.actors() {
            self.wait_for(actor)?;
        }
        self.unpublish(&pool);
        let deadline = timeout.map(deadline_in);
        // A thread that itself calls `shutdown` cannot watch the clock meanwhile.
        let close = |actor: &Arc<Actor>| close(actor, deadline.is_none());
        let closing: Vec<_> = pool.actors().iter().map(close).collect();
        let mut first_failure = Ok(());
        for (actor, closing) in pool.actors().iter().zip(closing) {
            // A caller that would wait for itself does not wait; the component ends without it.
            let _wait = match (self.wait_for(actor), &closing) {
                (Ok(wait), _) => Some(wait),
                (Err(_), Closing::Here) => None,
                (Err(would_deadlock), _) => {
                    first_failure = first_failure.and(Err(would_deadlock));
                    continue;
                }
            };
            let outcome = match closing {
                Closing::Here => actor.shut_down_here(stack),
                Closing::There(waiter) => {
                    end_by(actor, deadline, |left| waiter.wait(left).map(drop))
                }
                // The other thread receives the result.
                Closing::ByOthers => {
                    end_by(actor, deadline, |left| match actor.stopped().wait(left) {
                        true => Ok(()),
                        false => {
                            let timeout = left.unwrap_or_default();
                            Err(CallError::CallerTimeout { timeout, unstarted: None })
                        }
                    })
                }
            };
            first_failure = first_failure.and(match outcome {
                Err(CallError::CallerTimeout { .. }) => Err(still_in_callback(actor)),
                outcome => self.shutdown_outcome(actor, outcome),
            });
        }
        self.components.remove(handle);
        first_failure
    }

    /// Removes a component from the registry.
    pub(super) fn unpublish(&self, pool: &Pool) {
        self.messaging.registry.remove(pool.id(), pool.mailboxes());
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
}

/// Who calls an actor's `shutdown`.
enum Closing {
    Here,
    There(Waiter),
    ByOthers,
}

/// Closes an actor. `here` allows this thread to call `shutdown`.
fn close(actor: &Actor, here: bool) -> Closing {
    let mailbox = actor.mailbox();
    if here && mailbox.close_idle() {
        return Closing::Here;
    }
    let (waiter, reply) = Waiter::with_reply();
    match mailbox.close(Mail::Shutdown(reply), false) {
        Some(removed) => {
            mailbox.dead_letter(removed, &CallError::Unloaded);
            Closing::There(waiter)
        }
        None => Closing::ByOthers,
    }
}
