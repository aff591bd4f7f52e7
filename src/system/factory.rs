//! Makes actors, with all that they share with the rest of their engine.

use std::sync::{Arc, Weak};

use vec1::vec1;

use crate::component::actor::{Actor, ActorSpec};
use crate::component::dormant::Hibernation;
use crate::component::live_instances::LiveInstances;
use crate::component::pool::Pool;
use crate::component::recycling::{Recycling, SaveAfter};
use crate::component::rounds::Rounds;
use crate::component::status::Status;
use crate::component::version::Source;
use crate::core::account::Account;
use crate::core::id::ComponentId;
use crate::core::log::{HostErrorTexts, LogSink};
use crate::core::ports::{Directory, Identity};
use crate::messaging::mailbox::Mailbox;
use crate::messaging::messenger::{ComponentMessenger, MessagingContext};
use crate::runtime::call_end::{StopSignal, Timers};
use crate::runtime::engine::WasmRuntime;
use crate::runtime::host_context::HostContext;
use crate::runtime::scheduler::Scheduler;
use crate::runtime::threads::pool::ThreadPool;
use crate::runtime::wasi::blocking::{BlockingJobs, BlockingThreads};
use crate::security::guard::{Authority, Guard};
use crate::storage::backend::Backend;
use crate::storage::component_storage::ComponentStorage;
use crate::storage::reservations::Reservations;
use crate::system::blueprint::Blueprint;
use crate::system::dormant::Dormant;
use crate::system::events::Events;
use crate::system::state_watch::StateWatch;

/// What all actors of an engine share.
pub struct Factory {
    pub runtime: Arc<WasmRuntime>,
    pub messaging: Arc<MessagingContext>,
    pub directory: Arc<dyn Directory>,
    pub log: Arc<dyn LogSink>,
    pub host_error_texts: HostErrorTexts,
    pub storage: Arc<dyn Backend>,
    pub reservations: Reservations,
    pub authority: Arc<Authority>,
    pub events: Events,
    pub states: Arc<StateWatch>,
    pub rounds: Arc<Rounds>,
    pub live: Option<Arc<LiveInstances>>,
    pub threads: ThreadPool,
    pub host: Arc<ComponentId>,
    pub blocking: Arc<BlockingThreads>,
    pub scheduler: Scheduler,
    pub stop_signal: Arc<StopSignal>,
    pub hibernation: Weak<dyn Hibernation>,
}

/// What an actor is made of.
pub struct Parts {
    /// Its mailbox. The maker holds the right to run.
    pub mailbox: Arc<Mailbox>,
    /// Its actor spec.
    pub spec: ActorSpec,
    /// Its status.
    pub status: Status,
}

impl Factory {
    /// Returns the guard of a component.
    pub fn guard(&self, id: &Arc<ComponentId>, blueprint: &Blueprint) -> Guard {
        let options = &blueprint.options;
        let guard = Guard::new(
            Arc::clone(id),
            Arc::clone(&self.authority),
            Arc::clone(&options.capabilities),
            options.quotas.clone(),
        );
        match options.activation.is_passivable() {
            // A component that waits for outcomes is not passivated.
            true => guard.count_requests(),
            false => guard,
        }
    }

    /// Returns the status of the instance with this number.
    pub fn status(&self, identity: &Identity, blueprint: &Blueprint, number: usize) -> Status {
        let recycling = blueprint.options.recycling.map(Recycling::new);
        let save_after = blueprint.options.durability.and_then(|it| it.save_after_messages);
        let saving = save_after.map(SaveAfter::new);
        Status::new(identity.clone(), number, self.states.clone(), recycling, saving)
    }

    /// Returns the parts of the actor with this number.
    pub fn parts(
        &self,
        identity: &Identity,
        blueprint: &Blueprint,
        guard: &Arc<Guard>,
        number: usize,
    ) -> Parts {
        let (options, id) = (&blueprint.options, &identity.id);
        let node = Arc::default();
        let account = Account::new(options.limits.max_host_bytes, self.storage.held(id.as_str()));
        let mailbox = Mailbox::new(
            identity.handle,
            Arc::clone(id),
            Arc::clone(&node),
            blueprint.mailbox(),
            Arc::new(self.events.clone()),
            Arc::clone(&account),
        );
        let messenger = Arc::new(ComponentMessenger::new(
            Arc::clone(&self.messaging),
            &mailbox,
            Arc::clone(guard),
        ));
        let spec = ActorSpec {
            runtime: Arc::clone(&self.runtime),
            context: Arc::new(HostContext {
                identity: identity.clone(),
                max_message_bytes: options.limits.max_message_bytes,
                account: Arc::clone(&account),
                guard: Arc::clone(guard),
                messenger: messenger.clone(),
                directory: Arc::clone(&self.directory),
                log: Arc::clone(&self.log),
                host_error_texts: self.host_error_texts,
                storage: ComponentStorage::new(
                    Arc::clone(&self.storage),
                    Arc::clone(id),
                    Arc::clone(guard),
                    account,
                    self.reservations.clone(),
                ),
                timers: Timers::new(
                    self.scheduler.clone(),
                    Arc::clone(mailbox.interrupts()),
                    Arc::clone(&self.stop_signal),
                ),
                threads: self.threads.clone(),
                jobs: Arc::new(BlockingJobs::new(Arc::clone(&self.blocking))),
                node,
            }),
            limits: Arc::clone(&blueprint.limits),
            host: Arc::clone(&self.host),
            messenger,
            supervision: options.supervision.clone(),
            membership: None,
            durable: None,
            health_check: options.health_check.clone(),
            activation: options.activation.clone(),
            rounds: Arc::clone(&self.rounds),
            live: self.live.clone(),
            hibernation: blueprint.may_be_dormant().then(|| Weak::clone(&self.hibernation)),
        };
        Parts { mailbox, spec, status: self.status(identity, blueprint, number) }
    }

    /// Returns the pool that a dormant component gets at its end. Until it takes mail, the pool
    /// serves to look at the component.
    pub fn revive(&self, dormant: &Dormant) -> Arc<Pool> {
        let (identity, blueprint) = (&dormant.identity, &dormant.blueprint);
        let past = dormant.past();
        let guard = self.guard(&identity.id, blueprint);
        let guard = Arc::new(match past.guard() {
            Some(past) => guard.go_on(past),
            None => guard,
        });
        let Parts { mailbox, spec, status } = self.parts(identity, blueprint, &guard, 0);
        drop(guard);
        let source = Source::new(Arc::clone(&blueprint.version), None);
        let actor = Actor::dormant(mailbox, spec, source, status, past);
        Arc::new(Pool::new(identity.handle, vec1![actor], blueprint.options.kept_versions))
    }

    /// Returns the status of a dormant component, to change its state.
    pub fn status_of(&self, dormant: &Dormant) -> Status {
        let status = self.status(&dormant.identity, &dormant.blueprint, 0);
        dormant.past().apply_to(&status);
        status
    }
}
