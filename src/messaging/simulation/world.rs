//! Components by id, and what they share.

use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vec1::Vec1;

use crate::core::account::Account;
use crate::core::codec::CodecSet;
use crate::core::id::{ComponentHandle, ComponentId};
use crate::core::limits::{MailboxBounds, WhenFull};
use crate::core::simulation::random::Random;
use crate::messaging::mailbox::{Mailbox, MailboxOptions};
use crate::messaging::members::Members;
use crate::messaging::messenger::{ComponentMessenger, MessagingContext};
use crate::messaging::pending_requests::{PendingRequests, watch_deadlines};
use crate::messaging::simulation::actor::Actor;
use crate::messaging::simulation::executor::{Executor, Virtual};
use crate::messaging::simulation::model::Model;
use crate::security::action::Action;
use crate::security::capability::{Capabilities, Grant, Scope};
use crate::security::guard::{Authority, Guard};
use crate::security::pattern::Pattern;
use crate::security::quota::Quotas;

/// The number of ids. Pools may share one.
const IDS: u64 = 4;

/// The maximum number of members of a pool.
const MEMBERS: u64 = 3;

/// The quota of open requests, for some components.
const REQUESTS: u64 = 3;

pub struct World {
    pub executor: Arc<Executor>,
    pub random: Arc<Random>,
    pub model: Arc<Model>,
    pub messaging: Arc<MessagingContext>,
    pools: Mutex<Vec<Arc<SimulatedPool>>>,
    /// All actors ever loaded, by number.
    actors: Mutex<Vec<Arc<Actor>>>,
}

/// Members that share a handle.
pub struct SimulatedPool {
    pub id: Arc<ComponentId>,
    pub members: Arc<Members>,
    pub actors: Vec1<Arc<Actor>>,
}

impl World {
    pub fn new(seed: u64) -> Arc<Self> {
        let random = Arc::new(Random::new(seed));
        let executor = Executor::new(Arc::clone(&random));
        let pending_requests = PendingRequests::new(None, Arc::new(|job| job()), executor.now());
        let messaging = MessagingContext {
            registry: Arc::default(),
            pending_requests: Arc::new(pending_requests),
            router: None,
        };
        let watcher = watch_deadlines(&messaging.pending_requests, Virtual(Arc::clone(&executor)));
        executor.spawn("watcher", watcher);
        Arc::new(Self {
            model: Model::new(Arc::clone(&executor)),
            executor,
            random,
            messaging: Arc::new(messaging),
            pools: Mutex::default(),
            actors: Mutex::default(),
        })
    }

    /// A random id. A component with it may exist.
    pub fn any_id(&self) -> ComponentId {
        let instance = self.random.below(IDS).to_string();
        ComponentId::new("some", "body", &instance).unwrap()
    }

    pub fn any_pool(&self) -> Option<Arc<SimulatedPool>> {
        let pools = self.pools.lock().unwrap();
        (!pools.is_empty()).then(|| Arc::clone(&pools[self.random.index(pools.len())]))
    }

    pub fn any_actor(&self) -> Option<Arc<Actor>> {
        let actors = self.actors.lock().unwrap();
        (!actors.is_empty()).then(|| Arc::clone(&actors[self.random.index(actors.len())]))
    }

    pub fn all_actors(&self) -> Vec<Arc<Actor>> {
        self.actors.lock().unwrap().clone()
    }

    /// The actor of a member.
    pub fn actor_of(&self, mailbox: &Arc<Mailbox>) -> Arc<Actor> {
        let actors = self.actors.lock().unwrap();
        let its = actors.iter().find(|actor| Arc::ptr_eq(&actor.mailbox, mailbox));
        Arc::clone(its.expect("an actor has it"))
    }

    /// Loads a pool with a random id and random limits.
    pub fn load(self: &Arc<Self>) {
        let (id, handle) = (Arc::new(self.any_id()), self.all_actors().len() as u64 + 1);
        let (options, host_bytes) = (self.any_options(), self.any_host_bytes());
        let count = 1 + self.random.below(MEMBERS);
        let start = || self.start(&id, ComponentHandle(handle), &options, host_bytes);
        let mut actors = Vec1::new(start());
        actors.extend((1..count).map(|_| start()));
        let mailboxes = actors.mapped_ref(|actor| Arc::clone(&actor.mailbox));
        let members = Arc::new(Members::new(mailboxes.clone()));
        self.model.trace("loaded", handle, count);
        self.messaging.registry.publish(&id, &mailboxes);
        actors.iter().for_each(Actor::open);
        self.pools.lock().unwrap().push(Arc::new(SimulatedPool { id, members, actors }));
    }

    fn start(
        self: &Arc<Self>,
        id: &Arc<ComponentId>,
        handle: ComponentHandle,
        options: &MailboxOptions,
        host_bytes: u64,
    ) -> Arc<Actor> {
        let account = Account::new(host_bytes, Arc::default());
        let mailbox = Mailbox::new(
            handle,
            Arc::clone(id),
            Arc::default(),
            options.clone(),
            self.model.clone(),
            account,
        );
        let messenger =
            ComponentMessenger::new(Arc::clone(&self.messaging), &mailbox, self.guard(id));
        let mut actors = self.actors.lock().unwrap();
        let actor = Actor::new(self, actors.len(), mailbox, messenger);
        actors.push(Arc::clone(&actor));
        actor
    }

    fn guard(&self, id: &Arc<ComponentId>) -> Arc<Guard> {
        let grant = |action| Grant {
            action,
            scope: Scope::Ids(Pattern::for_ids("**").unwrap()),
            expires: None,
            text: "**".into(),
            seen_at: None,
        };
        let actions = [Action::MessagingSend, Action::MessagingRequest];
        let capabilities = Capabilities::new(actions.into_iter().map(grant).collect());
        let outstanding_requests = self.random.one_in(2).then_some(REQUESTS);
        let quotas = Quotas { outstanding_requests, ..Quotas::default() };
        let authority = Arc::new(Authority::new(Arc::default(), None));
        Arc::new(Guard::new(Arc::clone(id), authority, Arc::new(capabilities), quotas))
    }

    fn any_options(&self) -> MailboxOptions {
        let random = &self.random;
        let bounds = MailboxBounds {
            messages: random.pick(&[1, 2, 3, 8]),
            bytes: random.pick(&[600, 2000, 1 << 20]),
            max_message: random.pick(&[400, 3000]),
        };
        let when_full = random.pick(&[WhenFull::Reject, WhenFull::Block, WhenFull::DropOldest]);
        let codecs = CodecSet::default();
        let missing_handler = random.one_in(12).then_some("handle-message");
        MailboxOptions { bounds, when_full, codecs, missing_handler }
    }

    fn any_host_bytes(&self) -> u64 {
        self.random.pick(&[3000, 8000, 1 << 20])
    }

    /// Unloads a pool like an engine does, or lets it finish its mail first.
    pub async fn unload(&self, pool: &SimulatedPool) {
        let mailboxes = pool.members.all();
        let gracefully = self.random.one_in(3);
        self.pools.lock().unwrap().retain(|other| !std::ptr::eq(&**other, pool));
        self.model.trace("unloaded", mailboxes[0].handle().0, u64::from(gracefully));
        if !gracefully {
            self.messaging.registry.remove(&pool.id, mailboxes);
        }
        for actor in &pool.actors {
            actor.end(gracefully).await;
        }
        self.messaging.registry.remove(&pool.id, mailboxes);
    }

    /// Charges memory to a random component for a while.
    pub async fn charge_somebody(&self) {
        let Some(actor) = self.any_actor() else { return };
        let charge = actor.mailbox.account().charge(100 + self.random.below(6000));
        self.executor.sleep(self.moment()).await;
        drop(charge);
    }

    /// A random time, or none.
    pub fn moment(&self) -> Duration {
        Duration::from_millis(self.random.pick(&[0, 0, 1, 2, 7, 30, 3000]))
    }

    /// A random deadline, possibly now.
    pub fn patience(&self) -> Option<std::time::Instant> {
        let ms = self.random.pick(&[None, Some(0), Some(1), Some(6), Some(40), Some(20_000)]);
        ms.map(|ms| self.executor.now() + Duration::from_millis(ms))
    }

    /// Waits until `deadline`, or forever.
    pub async fn over(&self, deadline: Option<std::time::Instant>) {
        match deadline {
            Some(deadline) => self.executor.sleep_until(deadline).await,
            None => std::future::pending().await,
        }
        ready(()).await;
    }

    /// Checks the invariants of idle mailboxes.
    pub fn check_mailboxes(&self) {
        for actor in &*self.actors.lock().unwrap() {
            actor.mailbox.check();
            actor.mailbox.check_waiters();
        }
    }
}
