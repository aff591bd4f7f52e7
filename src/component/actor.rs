//! One component: its mailbox, its instance, and the recovery from failures.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crossbeam_utils::atomic::AtomicCell;

use crate::component::busy_time::BusyTime;
use crate::component::dormant::{Caller, Hibernation};
use crate::component::durable_state::DurableState;
use crate::component::groups::Membership;
use crate::component::instances::First;
use crate::component::lifecycle::Cause;
use crate::component::live_instances::{LiveInstances, Place};
use crate::component::mail_feed::{MailFeed, TurnLimit, Unfinished};
use crate::component::panics::{Uncounted, caught, caught_here};
use crate::component::rounds::Rounds;
use crate::component::status::Status;
use crate::component::supervision::{Supervision, Supervisor};
use crate::component::takeover::{Candidate, Retired};
use crate::component::trial::Trial;
use crate::component::upkeep::{Activation, HealthCheck, Saved};
use crate::component::version::{Needs, Source};
use crate::core::error::{CallError, Unfit};
use crate::core::id::{ComponentId, CorrelationId};
use crate::core::latch::Latch;
use crate::core::limits::Limits;
use crate::core::log::LogLevel;
use crate::core::message::{Invocation, Message, MessageView, Outcome, Timestamp};
use crate::messaging::mail::Mail;
use crate::messaging::mailbox::{MailHandler, Mailbox};
use crate::messaging::messenger::ComponentMessenger;
use crate::runtime::block_on::block_on;
use crate::runtime::call_end::Timers;
use crate::runtime::contract::HealthStatus;
use crate::runtime::engine::WasmRuntime;
use crate::runtime::guest_call::run_host_jobs;
use crate::runtime::host_context::HostContext;
use crate::runtime::instance::{HandleCallback, HandleMessage, HandlerExport, Instance, incoming};
use crate::runtime::load_error::LoadError;
use crate::runtime::mappings::Promise;
use crate::runtime::off_fiber::OffFiber;
use crate::runtime::program::Program;
use crate::runtime::ticker::Ticks;

/// The number of messages that an actor handles before it yields.
pub(super) const BATCH: usize = 64;

/// What stays with an actor while its instances come and go: the actor spec.
pub struct ActorSpec {
    /// The engine of the component.
    pub runtime: Arc<WasmRuntime>,
    /// The context of its host functions.
    pub context: Arc<HostContext>,
    /// Its limits.
    pub limits: Arc<Limits>,
    /// The sender of messages without one.
    pub host: Arc<ComponentId>,
    /// Its sender, for the count of sent messages.
    pub messenger: Arc<ComponentMessenger>,
    /// How it is supervised; `None`: a crashed component gets a new instance with its next message.
    pub supervision: Option<Supervision>,
    /// Its place in a group, if it has one.
    pub membership: Option<Membership>,
    /// How its health is checked; `None`: only when the host asks.
    pub health_check: Option<HealthCheck>,
    /// Where its state outlives the process, if it does.
    pub durable: Option<DurableState>,
    /// When it has an instance.
    pub activation: Activation,
    /// Visits it from time to time.
    pub rounds: Arc<Rounds>,
    /// Bounds the number of instances of components that may be passivated.
    pub live: Option<Arc<LiveInstances>>,
    /// Makes it dormant once it is passive; `None`: it keeps its actor.
    pub hibernation: Option<Weak<dyn Hibernation>>,
}

/// A running component.
///
/// The holder of the mailbox's right to run (a worker's task or a calling thread) takes the
/// instance out, calls it, and puts it back.
pub struct Actor {
    pub(super) mailbox: Arc<Mailbox>,
    spec: ActorSpec,
    /// Changed between two messages.
    source: Mutex<Arc<Source>>,
    /// The [`Needs`] of the source.
    needs: AtomicU8,
    /// `None` during a call, after a crash, and after `shutdown`.
    pub(super) instance: AtomicCell<Option<Box<Instance>>>,
    /// An instance of another version, about to take over.
    pub(super) candidate: AtomicCell<Option<Box<Candidate>>>,
    /// The instance whose place a candidate took.
    pub(super) retired: AtomicCell<Option<Box<Retired>>>,
    /// A version on trial, while no mail of it is handled.
    pub(super) trial: AtomicCell<Option<Box<Trial>>>,
    pub(super) status: Arc<Status>,
    pub(super) supervisor: Option<Supervisor>,
    /// Unhealthy checks in a row.
    pub(super) unhealthy: AtomicU32,
    /// The state of a passive component.
    pub(super) saved: AtomicCell<Option<Box<Saved>>>,
    /// The memory mappings reserved for the instance of a component that may be passivated.
    pub(super) reserved: AtomicCell<Option<Box<Promise>>>,
    pub(super) me: Weak<Self>,
    /// Its place among the [`LiveInstances`].
    pub(super) place: Arc<Place>,
    /// Whether the [`Rounds`] wait for its idleness.
    pub(super) is_visited: AtomicBool,
    /// Opened after `shutdown`, or when the engine stops.
    pub(super) stopped: Latch,
    /// Held while the host begins a stop or a start, so that the state follows the mailbox.
    pub(super) host_changes: Mutex<()>,
}

impl Actor {
    /// Instantiates and initializes a component on this thread, with `stack` bytes of stack left.
    /// Mail that arrives meanwhile waits in the mailbox until [`Actor::open`].
    pub fn start(
        mailbox: Arc<Mailbox>,
        spec: ActorSpec,
        source: Source,
        status: Status,
        stack: usize,
    ) -> Result<Arc<Self>, LoadError> {
        let on_demand = spec.activation.on_demand;
        let actor = Self::assemble(mailbox, spec, source, status);
        if on_demand {
            return Ok(actor);
        }
        let First { mut instance, health, reserved } =
            actor.first_instance(&actor.source(), &actor.spec.context, stack)?;
        if let Some(durable) = &actor.spec.durable {
            let resume = async { actor.resume(durable, &mut instance).await };
            let resumed = block_on(actor.ambient_timers(), pin!(resume));
            if let Err(error) = resumed {
                actor.abandon(instance, &error);
                return Err(LoadError::Call { during: "its saved state", error });
            }
        }
        actor.reserved.store(reserved);
        actor.status.set_health(health);
        actor.put(instance);
        Ok(actor)
    }

    /// Creates an actor without an instance.
    pub(super) fn assemble(
        mailbox: Arc<Mailbox>,
        spec: ActorSpec,
        source: Source,
        status: Status,
    ) -> Arc<Self> {
        let supervisor = spec.supervision.clone().map(Supervisor::new);
        Arc::new_cyclic(|me| Self {
            mailbox,
            spec,
            needs: AtomicU8::new(Needs::of(&source.version.prepared).number()),
            source: Mutex::new(Arc::new(source)),
            instance: AtomicCell::default(),
            candidate: AtomicCell::default(),
            retired: AtomicCell::default(),
            trial: AtomicCell::default(),
            status: Arc::new(status),
            supervisor,
            unhealthy: AtomicU32::new(0),
            saved: AtomicCell::default(),
            reserved: AtomicCell::default(),
            me: Weak::clone(me),
            place: Arc::default(),
            is_visited: AtomicBool::new(false),
            stopped: Latch::default(),
            host_changes: Mutex::default(),
        })
    }

    /// Starts handling mail. The caller holds the mailbox's right to run.
    pub fn open(self: &Arc<Self>) {
        self.connect();
        self.spec.rounds.save(self);
        if self.spec.activation.on_demand {
            self.status.change(Cause::Registered);
        } else {
            self.status.change(Cause::Loaded);
            self.note_live();
        }
        self.mailbox.release();
    }

    /// Connects the mailbox, and begins the health checks.
    pub(super) fn connect(self: &Arc<Self>) {
        let receiver: Weak<Self> = Arc::downgrade(self);
        self.mailbox.connect(receiver);
        self.spec.rounds.check_health_of(self);
    }

    /// Returns the mailbox.
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Returns the status, as known without asking the guest.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Returns the supervisor, if the component has one.
    pub fn supervisor(&self) -> Option<&Supervisor> {
        self.supervisor.as_ref()
    }

    /// Returns the latch that opens when the actor has stopped.
    pub fn stopped(&self) -> &Latch {
        &self.stopped
    }

    /// Returns the actor spec.
    pub fn spec(&self) -> &ActorSpec {
        &self.spec
    }

    /// Returns what its instances are made from at present.
    pub fn source(&self) -> Arc<Source> {
        Arc::clone(&self.source.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that a component that may be passivated is about to have an instance.
    pub(super) fn note_live(&self) {
        if !self.spec.activation.is_passivable() {
            return;
        }
        let Some(me) = self.me.upgrade() else { return };
        if let Some(live) = &self.spec.live {
            live.add(&me);
        }
        self.spec.rounds.await_idleness_of(&me);
    }

    /// Changes what instances are made from. The caller holds the right to run.
    pub(super) fn set_source(&self, source: Arc<Source>) {
        let needs = Needs::of(&source.version.prepared);
        self.needs.store(needs.number(), Ordering::Release);
        let mut current = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let _dropped_unlocked = std::mem::replace(&mut *current, source);
        drop(current);
    }

    fn needs(&self) -> Needs {
        Needs::from_number(self.needs.load(Ordering::Acquire))
    }

    /// Handles one message on this thread, bypassing the queue, with `stack` bytes of stack left.
    /// The caller holds the mailbox's right to run, which this gives up.
    pub fn handle_here(&self, message: MessageView<'_>, stack: usize) -> Outcome {
        let _right = RightToRun(&self.mailbox);
        let watch = BusyTime::start(self.ticks());
        let on_caller = self.needs().fit(stack);
        let timers = self.ambient_timers();
        let outcome = match message.invocation {
            Some(invocation) => {
                let invoked = pin!(self.invoke(&message, invocation, on_caller));
                caught_here(|| block_on(timers, invoked))
            }
            None => {
                let handled = pin!(self.handle_with::<HandleMessage>(&message, on_caller));
                caught_here(|| block_on(timers, handled))
            }
        };
        self.status.count_time(watch.nanos(self.ticks()));
        outcome.unwrap_or_else(|defect| {
            block_on(None, pin!(self.note(&defect)));
            Err(defect)
        })
    }

    /// As [`Actor::handle_here`], on the thread that polls the future.
    pub async fn handle_directly(self: Arc<Self>, message: Message) -> Outcome {
        let _right = RightToRun(&self.mailbox);
        let watch = BusyTime::start(self.ticks());
        let view = message.view(self.host());
        let outcome = match view.invocation {
            Some(invocation) => caught(pin!(self.invoke(&view, invocation, false))).await,
            None => caught(pin!(self.handle_with::<HandleMessage>(&view, false))).await,
        };
        self.status.count_time(watch.nanos(self.ticks()));
        match outcome {
            Ok(outcome) => outcome,
            Err(defect) => {
                self.note(&defect).await;
                Err(defect)
            }
        }
    }

    /// Does work on the instance on this thread if the actor is idle; returns `None` if it is not.
    /// The thread can run guests, see [`signal_stack::ensure`].
    ///
    /// [`signal_stack::ensure`]: crate::runtime::threads::signal_stack::ensure
    pub(super) fn if_idle_here<R>(
        &self,
        work: impl Future<Output = Result<R, CallError>>,
    ) -> Option<Result<R, CallError>> {
        if !self.mailbox.acquire_idle() {
            return None;
        }
        let _right = RightToRun(&self.mailbox);
        let work = pin!(work);
        let outcome = caught_here(|| block_on(self.ambient_timers(), work));
        Some(outcome.unwrap_or_else(|defect| {
            block_on(None, pin!(self.note(&defect)));
            Err(defect)
        }))
    }

    /// Returns the timers for a guest with ambient clocks; only WASI has them.
    pub fn ambient_timers(&self) -> Option<&Timers> {
        self.needs().workers().then_some(&self.spec.context.timers)
    }

    /// Runs the receiver's task: handles mail whenever there is some.
    async fn work(self: Arc<Self>) {
        while let Err(defect) = caught(self.work_off()).await {
            // A second panic, while noting the first, does not end the task either.
            let _ = caught(self.note(&defect)).await;
            self.resume_trial();
        }
    }

    async fn work_off(&self) {
        loop {
            let mut left = BATCH;
            while left > 0 && !self.gives_way() {
                let Some(mail) = self.mailbox.next().await else { return };
                left = left.saturating_sub(self.handle_some(mail, left).await);
            }
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn ticks(&self) -> &Ticks {
        self.spec.runtime.ticker.ticks()
    }

    /// Returns whether to yield although more mail waits.
    pub(super) fn gives_way(&self) -> bool {
        self.spec.context.timers.pace().turn_is_over(self.ticks()) && self.mailbox.load() > 1
    }

    /// Handles `mail` and up to about `most` messages behind it; returns how many.
    async fn handle_some(&self, mut mail: Mail, most: usize) -> usize {
        if self.needs().has_loop()
            && MailFeed::takes(&mail)
            && let Some(mut instance) = self.take_ready()
        {
            let (mailbox, status) = (Arc::clone(&self.mailbox), Arc::clone(&self.status));
            let host = Arc::clone(&self.spec.host);
            let guard = Arc::clone(&self.spec.context.guard);
            let pace = Arc::clone(self.spec.context.timers.pace());
            let turn = TurnLimit { most, pace, ticks: self.ticks().clone() };
            let mail_feed = MailFeed::new(mailbox, status, host, guard, mail, turn);
            let uncounted = Uncounted::new(&self.status);
            let (outcome, mail_feed) = instance.work_off(mail_feed).await;
            drop(uncounted);
            let (handled, unfinished) = mail_feed.map_or((0, None), MailFeed::end);
            let Some(Unfinished { mut mail, watch, answer }) = unfinished else {
                if let Some(crash) = self.put_back(instance, &outcome) {
                    crash.await;
                }
                return handled;
            };
            let outcome = outcome.and(answer);
            // Counted before the cleanup of a failure.
            self.status.count_handled(outcome.is_ok());
            if let Some(crash) = self.put_back(instance, &outcome) {
                crash.await;
            }
            self.settle(&mut mail, outcome).await;
            self.status.count_time(watch.nanos(self.ticks()));
            return handled + 1;
        }
        let watch = BusyTime::start(self.ticks());
        let passivates = matches!(mail, Mail::Passivate);
        self.handle(&mut mail).await;
        self.status.count_time(watch.nanos(self.ticks()));
        if passivates {
            self.hibernate(Caller::Task);
        }
        1
    }

    /// Delivers the outcome of a message, or logs it if no one waits for it.
    pub(super) async fn settle(&self, mail: &mut Mail, outcome: Outcome) {
        if let (
            Mail::Message(message, _),
            Err(error @ CallError::DoesNotFit(Unfit::Memory { .. })),
        ) = (&*mail, &outcome)
        {
            self.mailbox.lose(message, error);
        }
        let (what, message) = match mail {
            Mail::Message(_, reply) if !reply.is_nobody() => {
                self.mailbox.nearly_done();
                return reply.take().answer(outcome);
            }
            Mail::Message(message, _) => ("message", message),
            Mail::Callback(message) => ("callback", message),
            _ => return,
        };
        if let Err(error) = &outcome {
            let sender = message.sender(self.host());
            let what = format!("a {what} from {sender} failed");
            self.report(LogLevel::Warn, &what, error).await;
        }
    }

    /// Handles mail, by reference because moving it is slower.
    pub(super) async fn handle(&self, mail: &mut Mail) {
        match mail {
            Mail::Message(message, _) => {
                let view = message.view(self.host());
                let outcome = match view.invocation {
                    Some(invocation) => Box::pin(self.invoke(&view, invocation, false)).await,
                    None => self.handle_with::<HandleMessage>(&view, false).await,
                };
                self.settle(mail, outcome).await;
            }
            Mail::Callback(message) => {
                let view = message.view(self.host());
                let mut outcome = self.handle_with::<HandleCallback>(&view, false).await;
                if let Err(error @ CallError::DoesNotFit(Unfit::Memory { .. })) = &outcome {
                    // Its requester gets an outcome all the same.
                    *message = message.failed(error);
                    let view = message.view(self.host());
                    outcome = self.handle_with::<HandleCallback>(&view, false).await;
                }
                self.settle(mail, outcome.map(|()| None)).await;
            }
            Mail::Health(reply) => {
                let health = self.check_health().await;
                reply.take().answer(health.map(|name| Some(name.as_bytes().to_vec())));
            }
            Mail::Restart(reply) => {
                let result = self.renew().await;
                reply.take().answer(result.map(|()| None));
            }
            Mail::Recovery(at) => self.recover(*at).await,
            Mail::Regroup(part) => {
                if let Some(part) = part.take() {
                    Box::pin(self.regroup(part)).await;
                }
            }
            Mail::Probe => self.probe().await,
            Mail::Passivate => self.passivate().await,
            Mail::Recycle => self.recycle().await,
            Mail::Save => self.keep_state().await,
            Mail::Replace(reply) => {
                let result = self.take_over().await;
                reply.take().answer(result.map(|()| None));
                self.run_trial().await;
            }
            Mail::Judge => self.run_trial().await,
            Mail::Stop(reply) => {
                let result = self.end_with(Cause::Stop, Cause::Stopped, false).await;
                reply.take().answer(result.map(|()| None));
            }
            Mail::Start(reply) => {
                let result = self.begin_anew().await;
                reply.take().answer(result.map(|()| None));
            }
            Mail::Shutdown(reply) => {
                let result = self.shut_down(false).await;
                reply.take().answer(result.map(|()| None));
            }
        }
    }

    /// Calls the guest's handler for mail; `on_caller` means without a fiber. Never awaited by a
    /// mere wrapper: each wrapper would move the future once more.
    async fn handle_with<H: HandlerExport>(
        &self,
        message: &MessageView<'_>,
        on_caller: bool,
    ) -> Result<H::Reply, CallError> {
        let uncounted = Uncounted::new(&self.status);
        let mut instance = match self.take_ready() {
            Some(instance) => instance,
            // Boxed, like the other cold paths: futures are moved, and these are large.
            None => Box::pin(self.restart_for_mail()).await?,
        };
        let payload = message.payload.len();
        let outcome = match (instance.unfit(payload), instance.handler::<H>()) {
            (Some(unfit), _) => Err(CallError::DoesNotFit(unfit)),
            (None, Ok(handler)) => {
                let correlation = message.correlation.map(CorrelationId::text);
                let mut message = incoming(message, correlation.as_ref());
                if !self.spec.context.guard.shows_time() {
                    message.metadata.timestamp = Timestamp::HIDDEN.into();
                }
                let ended = if on_caller {
                    instance.call_on_caller(&handler, (&message,))
                } else {
                    instance.begin(&handler, (&message,)).await
                };
                instance.answered::<H>(ended, payload)
            }
            (None, Err(error)) => Err(error),
        };
        drop(uncounted);
        self.status.count_handled(outcome.is_ok());
        if let Some(crash) = self.put_back(instance, &outcome) {
            crash.await;
        }
        outcome
    }

    /// Calls the function that a typed call names; `on_caller` means without a fiber.
    async fn invoke(
        &self,
        message: &MessageView<'_>,
        invocation: &Invocation,
        on_caller: bool,
    ) -> Outcome {
        if Program::is_run(&invocation.function) {
            let (source, context) = (self.source(), &self.spec.context);
            let run = self.run_program(&source, context, invocation, message.payload, on_caller);
            return Box::pin(run).await;
        }
        let uncounted = Uncounted::new(&self.status);
        let mut instance = match self.take_ready() {
            Some(instance) => instance,
            None => Box::pin(self.restart_for_mail()).await?,
        };
        let outcome = instance.invoke(invocation, message.payload, on_caller).await;
        drop(uncounted);
        self.status.count_handled(outcome.is_ok());
        if let Some(crash) = self.put_back(instance, &outcome) {
            crash.await;
        }
        outcome.map(Some)
    }

    pub(super) fn host(&self) -> &ComponentId {
        &self.spec.host
    }

    async fn check_health(&self) -> Result<&'static str, CallError> {
        let mut instance = match self.take_ready() {
            Some(instance) => instance,
            None => self.restart(Cause::Mail).await?,
        };
        let health = instance.health().await;
        if let Ok(health) = health {
            self.status.report_health(health);
        }
        if let Some(crash) = self.put_back(instance, &health) {
            crash.await;
        }
        health.map(HealthStatus::name)
    }

    /// Puts the instance back, or returns the follow-up work if the call left it unusable.
    pub(super) fn put_back<'a, R>(
        &'a self,
        mut instance: Box<Instance>,
        outcome: &Result<R, CallError>,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>> {
        self.status.count_fuel(instance.take_fuel_used());
        match outcome {
            Err(error) if error.poisons_instance() => {
                Some(Box::pin(self.crash(instance, error.clone())))
            }
            _ => {
                self.status.set_memory(instance.memory_bytes());
                self.instance.store(Some(instance));
                if let Some(due) = self.status.due() {
                    // Refused only by a mailbox that is about to be stopped or closed.
                    let _ = self.mailbox.deliver(due);
                }
                None
            }
        }
    }

    /// Puts an instance back that no call has crashed.
    pub(super) fn put(&self, instance: Box<Instance>) {
        drop(self.put_back(instance, &Ok::<_, CallError>(())));
    }

    /// Takes the instance, if there is one and it is callable.
    pub(super) fn take_ready(&self) -> Option<Box<Instance>> {
        if self.spec.context.timers.is_stopping() { None } else { self.instance.take() }
    }

    /// Logs a record in the component's name, within its log quota.
    pub(super) async fn report(&self, level: LogLevel, what: &str, error: &CallError) {
        let context = Arc::clone(&self.spec.context);
        let Some(report) = context.report(level, what, error) else { return };
        let off_fiber = OffFiber::new(Arc::clone(&context.node), context.threads.clone());
        off_fiber.defer(move || context.write_report(report));
        run_host_jobs(&off_fiber).await;
    }
}

impl MailHandler for Actor {
    fn start(self: Arc<Self>) {
        let timers = self.spec.context.timers.clone();
        timers.spawn(self.work());
    }
}

/// Gives up a mailbox's right to run on drop.
struct RightToRun<'a>(&'a Mailbox);

impl Drop for RightToRun<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}
