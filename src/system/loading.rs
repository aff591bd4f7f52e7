//! Loading and unloading components.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use vec1::Vec1;

use crate::component::actor::Actor;
use crate::component::durable_state::DurableState;
use crate::component::groups::Membership;
use crate::component::lifecycle::Cause;
use crate::component::pool::Pool;
use crate::component::version::Source;
use crate::core::deadline::deadline_in;
use crate::core::error::CallError;
use crate::core::id::{ComponentHandle, ComponentId};
use crate::core::ports::Identity;
use crate::core::wait_graph::Wait;
use crate::messaging::mail::Mail;
use crate::messaging::reply::Waiter;
use crate::runtime::contract::LIFECYCLE;
use crate::runtime::load_error::LoadError;
use crate::runtime::off_fiber::current_component;
use crate::runtime::threads::signal_stack;
use crate::security::guard::Guard;
use crate::storage::saved_states::{Claim, StateKey};
use crate::system::binary_file;
use crate::system::blueprint::{Blueprint, Content};
use crate::system::components::Components;
use crate::system::dormant::Dormant;
use crate::system::engine::{ALL, Engine, HOST_NAMESPACE};
use crate::system::error::EngineError;
use crate::system::factory::{Factory, Parts};
use crate::system::interrupt::{end_by, still_in_callback};
use crate::system::options::LoadOptions;

/// What the actors of a pool share.
struct Plan {
    membership: Option<Membership>,
    /// `None`: the state ends with the process.
    claim: Option<Arc<Claim>>,
    identity: Identity,
    blueprint: Arc<Blueprint>,
    guard: Arc<Guard>,
    /// The stack left on the loading thread, in bytes.
    stack: usize,
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
        let failed = |error| match error {
            LoadError::Stopped => EngineError::Stopped,
            error => EngineError::Load { id: (*id).clone(), error },
        };
        let blueprint = self.blueprint(binary, options, &failed)?;
        let membership = self.membership(blueprint.options.group.as_deref())?;
        let handle = ComponentHandle(self.last_handle.fetch_add(1, Ordering::Relaxed) + 1);
        let identity = Identity { handle, id: Arc::clone(&id) };
        let factory = self.factory()?;
        if blueprint.begins_dormant() && self.register(&identity, &blueprint, factory)? {
            return Ok(handle);
        }
        let claim = match blueprint.options.durability {
            Some(_) => Some(Arc::new(self.saved_states.claim(&id, handle).map_err(|handle| {
                EngineError::StateInUse { component: Arc::clone(&id), handle }
            })?)),
            None => None,
        };
        let guard = Arc::new(factory.guard(&id, &blueprint));
        let plan = Plan { membership, claim, identity, blueprint, guard, stack };
        let mut actors = Vec1::new(self.start(&plan, 0)?);
        while actors.len() < plan.blueprint.options.instances {
            match self.start(&plan, actors.len()) {
                Ok(actor) => actors.push(actor),
                Err(error) => {
                    self.take_back(&actors, stack);
                    return Err(error);
                }
            }
        }
        let Plan { blueprint, guard, .. } = plan;
        drop(guard);
        let pool = Arc::new(Pool::new(handle, actors, blueprint.options.kept_versions));
        self.publish(pool, blueprint.may_be_dormant().then_some(blueprint), stack)?;
        Ok(handle)
    }

    /// Returns the blueprint of a load, shared with other loads of the same binary with the same
    /// options.
    fn blueprint(
        &self,
        binary: &[u8],
        text: Option<&str>,
        failed: &dyn Fn(LoadError) -> EngineError,
    ) -> Result<Arc<Blueprint>, EngineError> {
        let loader = &self.runtime.loader;
        let known = loader.find(binary);
        if let Some((prepared, _)) = &known
            && let Some(shared) = self.blueprints.find(&Content::of(prepared, text))
        {
            return Ok(shared);
        }
        let options = LoadOptions::parse(text, &self.defaults)?;
        // Before anything is compiled.
        self.membership(options.group.as_deref())?;
        let signer = self.signer(binary, options.signature.as_ref()).map_err(failed)?;
        let (prepared, lease) = known.map_or_else(|| loader.prepare(binary), Ok).map_err(failed)?;
        if options.durability.is_some() && prepared.state.is_none() {
            let what = "it exports no component-state, which \"state\": \"durable\" needs";
            return Err(failed(LoadError::Unexpected(what.into())));
        }
        if options.require_lifecycle && prepared.lifecycle.is_none() {
            let what = format!("it exports no {LIFECYCLE}, which \"require-lifecycle\" asks for");
            return Err(failed(LoadError::Unexpected(what)));
        }
        if let Some(expected) = &options.sha256 {
            prepared.check_sha256(expected).map_err(failed)?;
        }
        let content = Content::of(&prepared, text);
        Ok(self.blueprints.share(content, Blueprint::new(options, prepared, lease, signer)))
    }

    /// Registers a component without an actor; returns false if others share its id.
    fn register(
        &self,
        identity: &Identity,
        blueprint: &Arc<Blueprint>,
        factory: &Factory,
    ) -> Result<bool, EngineError> {
        // The first message makes the instance, which needs one.
        signal_stack::ensure()
            .map_err(LoadError::no_stack)
            .map_err(|error| EngineError::Load { id: (*identity.id).clone(), error })?;
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_running()?;
        let (identity, blueprint) = (identity.clone(), Arc::clone(blueprint));
        let dormant = Dormant { identity, blueprint, past: None };
        Ok(self.components.insert_dormant(dormant, |dormant| {
            factory.status(&dormant.identity, &dormant.blueprint, 0).change(Cause::Registered);
        }))
    }

    /// Returns what makes the actors, on the workers of this engine.
    fn factory(&self) -> Result<&Factory, EngineError> {
        let scheduler = self.scheduler()?;
        let hibernation: Weak<Components> = Arc::downgrade(&self.components);
        Ok(self.components.factory(|| Factory {
            runtime: Arc::clone(&self.runtime),
            messaging: Arc::clone(&self.messaging),
            directory: Arc::clone(&self.directory),
            log: Arc::clone(&self.log),
            host_error_texts: self.host_error_texts,
            storage: Arc::clone(&self.storage),
            reservations: self.reservations.clone(),
            authority: Arc::clone(&self.authority),
            events: self.events.clone(),
            states: Arc::clone(&self.states),
            rounds: Arc::clone(&self.rounds),
            live: self.live.clone(),
            threads: self.threads.clone(),
            host: Arc::clone(&self.host),
            blocking: Arc::clone(&self.blocking),
            scheduler: scheduler.clone(),
            stop_signal: Arc::clone(&self.stop_signal),
            hibernation,
        }))
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
        let Plan { identity, blueprint, guard, stack, .. } = plan;
        let id = &identity.id;
        let not_loaded = |error| EngineError::Load { id: (**id).clone(), error };
        let prepared = &blueprint.version.prepared;
        let mappings = match blueprint.options.activation.is_passivable() {
            true => None,
            false => Some(prepared.admit().map_err(|full| not_loaded(full.into()))?),
        };
        let parts = self.factory()?.parts(identity, blueprint, guard, number);
        let Parts { mailbox, mut spec, status } = parts;
        spec.membership.clone_from(&plan.membership);
        spec.durable =
            blueprint.options.durability.zip(plan.claim.clone()).map(|(durability, claim)| {
                DurableState { durability, claim, key: StateKey::new(id, number) }
            });
        signal_stack::ensure().map_err(LoadError::no_stack).map_err(not_loaded)?;
        // A callback that loads a component waits for its `initialize`.
        let _wait = Wait::begin(current_component(), &spec.context.node);
        let source = Source::new(Arc::clone(&blueprint.version), mappings);
        let actor = Actor::start(Arc::clone(&mailbox), spec, source, status, *stack);
        actor.map_err(|error| {
            mailbox.dead_letter(mailbox.drain(), &CallError::Unloaded);
            not_loaded(error)
        })
    }

    fn publish(
        &self,
        pool: Arc<Pool>,
        blueprint: Option<Arc<Blueprint>>,
        stack: usize,
    ) -> Result<(), EngineError> {
        let loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.check_running().and_then(|()| self.join_group(&pool)) {
            drop(loading);
            self.take_back(pool.actors(), stack);
            return Err(error);
        }
        self.components.insert(Arc::clone(&pool), blueprint);
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
        if handle == ALL {
            return Err(EngineError::UnloadOfAll);
        }
        if self.components.remove_dormant(handle) {
            return Ok(());
        }
        let Some(pool) = self.components.get(handle) else {
            return self.unload_group(handle, |member| self.unload(member, stack, timeout));
        };
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
        self.leave_group(&pool);
        if let Some(durable) = &pool.actors().first().spec().durable {
            // Others may still refer to the component.
            durable.claim.release();
        }
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
