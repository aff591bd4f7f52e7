//! One component: its mailbox, its instance, and the recovery from failures.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use crossbeam_utils::atomic::AtomicCell;

use crate::component::busy_time::BusyTime;
use crate::component::lifecycle::{Cause, State};
use crate::component::mail_feed::{MailFeed, TurnLimit, Unfinished};
use crate::component::panics::{Uncounted, caught, caught_here};
use crate::component::status::{LastFailure, Status};
use crate::component::supervision::{RestartPolicy, Supervision, Supervisor, Verdict};
use crate::core::bounds::{MAX_REPEATED_BYTES, bounded};
use crate::core::error::{CallError, Unfit};
use crate::core::id::{ComponentId, CorrelationId};
use crate::core::latch::{Latch, OpenOnDrop};
use crate::core::limits::Limits;
use crate::core::log::LogLevel;
use crate::core::message::{Message, MessageView, Outcome, Timestamp};
use crate::messaging::mail::{Mail, Refusal};
use crate::messaging::mailbox::{MailHandler, Mailbox};
use crate::messaging::messenger::ComponentMessenger;
use crate::messaging::queue::{Intake, Place};
use crate::messaging::reply::Waiter;
use crate::runtime::block_on::block_on;
use crate::runtime::call_end::Timers;
use crate::runtime::compiler::Lease;
use crate::runtime::contract::HealthStatus;
use crate::runtime::engine::{CALLER_STACK_BYTES, WasmRuntime};
use crate::runtime::guest_call::run_host_jobs;
use crate::runtime::host_context::HostContext;
use crate::runtime::instance::{
    HandleCallback, HandleMessage, HandlerExport, InitialConfig, Instance, incoming,
};
use crate::runtime::load_error::LoadError;
use crate::runtime::mappings::Promise;
use crate::runtime::off_fiber::OffFiber;
use crate::runtime::prepared::Prepared;
use crate::runtime::shortage::MemoryLimits;
use crate::runtime::threads::signal_stack;
use crate::runtime::ticker::Ticks;

/// The number of messages that an actor handles before it yields.
const BATCH: usize = 64;

/// What an actor makes its instances from: the actor spec.
pub struct ActorSpec {
    /// The engine of the component.
    pub runtime: Arc<WasmRuntime>,
    /// The compiled component.
    pub prepared: Arc<Prepared>,
    /// Keeps the compiled component cached for the next load of the same binary.
    #[expect(dead_code, reason = "it is held, not read")]
    pub lease: Arc<Lease>,
    /// The memory mappings reserved for the component.
    #[expect(dead_code, reason = "it is held, not read")]
    pub mappings: Promise,
    /// The context of its host functions.
    pub context: Arc<HostContext>,
    /// Its limits.
    pub limits: Arc<Limits>,
    /// The configuration passed to `initialize`.
    pub config: Arc<InitialConfig>,
    /// The sender of messages without one.
    pub host: Arc<ComponentId>,
    /// Its sender, for the count of sent messages.
    pub messenger: Arc<ComponentMessenger>,
}

impl ActorSpec {
    /// Returns whether the guest can run on a thread with `stack` bytes of stack left.
    fn fits(&self, stack: usize) -> bool {
        !self.prepared.waits && stack >= CALLER_STACK_BYTES
    }

    async fn instance(&self, on_caller: bool) -> Result<Box<Instance>, LoadError> {
        let instance = Instance::create(
            Arc::clone(&self.runtime),
            &self.prepared,
            Arc::clone(&self.context),
            Arc::clone(&self.limits),
            on_caller,
        );
        let mut instance = Box::new(instance.await?);
        match instance.initialize(&self.config).await {
            Ok(()) => Ok(instance),
            Err(error) => {
                instance.finish().await;
                Err(error)
            }
        }
    }
}

/// A stop of an actor.
pub enum Stopping {
    /// This call has begun it, at this place of the mailbox. The waiter gets its outcome.
    Begun(Waiter, Place),
    /// It was begun before, or the actor has no instance and takes no mail.
    ByOthers,
}

/// A running component.
///
/// The holder of the mailbox's right to run (a worker's task or a calling thread) takes the
/// instance out, calls it, and puts it back.
pub struct Actor {
    mailbox: Arc<Mailbox>,
    spec: ActorSpec,
    /// `None` during a call, after a crash, and after `shutdown`.
    instance: AtomicCell<Option<Box<Instance>>>,
    status: Arc<Status>,
    /// `None`: a crashed component gets a new instance with its next message.
    supervisor: Option<Supervisor>,
    /// Opened after `shutdown`, or when the engine stops.
    stopped: Latch,
    /// Held while the host begins a stop or a start, so that the state follows the mailbox.
    host_changes: Mutex<()>,
}

impl Actor {
    /// Instantiates and initializes a component on this thread, with `stack` bytes of stack left.
    /// Mail that arrives meanwhile waits in the mailbox until [`Actor::open`].
    pub fn start(
        mailbox: Arc<Mailbox>,
        spec: ActorSpec,
        status: Status,
        supervision: Option<Supervision>,
        stack: usize,
    ) -> Result<Arc<Self>, LoadError> {
        let actor = Arc::new(Self {
            mailbox,
            spec,
            instance: AtomicCell::default(),
            status: Arc::new(status),
            supervisor: supervision.map(Supervisor::new),
            stopped: Latch::default(),
            host_changes: Mutex::default(),
        });
        let instance = {
            let first = pin!(actor.first_instance(actor.spec.fits(stack)));
            block_on(actor.ambient_timers(), first)?
        };
        // No call was made that could have crashed it.
        drop(actor.put_back(instance, &Ok::<_, CallError>(())));
        Ok(actor)
    }

    async fn first_instance(&self, on_caller: bool) -> Result<Box<Instance>, LoadError> {
        let mut instance = self.spec.instance(on_caller).await?;
        let failed = |during| move |error| LoadError::Call { during, error };
        if let Some(metadata) = instance.metadata().await? {
            let charge = self.spec.context.account.charge(metadata.bytes());
            let charge = charge.map_err(|exceeded| LoadError::Limit(exceeded.into()))?;
            self.status.set_metadata(metadata, charge);
        }
        self.status.set_health(instance.health().await.map_err(failed("health"))?);
        instance.set_on_caller(false);
        Ok(instance)
    }

    /// Starts handling mail. The caller holds the mailbox's right to run.
    pub fn open(self: &Arc<Self>) {
        let receiver: Weak<Self> = Arc::downgrade(self);
        self.mailbox.connect(receiver);
        self.status.change(Cause::Loaded);
        self.mailbox.release();
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

    /// Handles one message on this thread, bypassing the queue, with `stack` bytes of stack left.
    /// The caller holds the mailbox's right to run, which this gives up.
    pub fn handle_here(&self, message: MessageView<'_>, stack: usize) -> Outcome {
        let _right = RightToRun(&self.mailbox);
        let watch = BusyTime::start(self.ticks());
        let on_caller = self.spec.fits(stack);
        let handled = pin!(self.handle_with::<HandleMessage>(&message, on_caller));
        let outcome = caught_here(|| block_on(self.ambient_timers(), handled));
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
        let handled = pin!(self.handle_with::<HandleMessage>(&view, false));
        let outcome = caught(handled).await;
        self.status.count_time(watch.nanos(self.ticks()));
        match outcome {
            Ok(outcome) => outcome,
            Err(defect) => {
                self.note(&defect).await;
                Err(defect)
            }
        }
    }

    /// Closes the mailbox to new mail until a start; `shutdown` follows the mail that waits.
    pub fn stop(&self) -> Stopping {
        let _changes = self.host_changes.lock().unwrap_or_else(PoisonError::into_inner);
        let (waiter, reply) = Waiter::with_reply();
        match self.mailbox.stop(Mail::Stop(reply)) {
            Ok(place) => {
                self.status.change(Cause::Stop);
                Stopping::Begun(waiter, place)
            }
            Err(stop) => {
                stop.withdraw();
                Stopping::ByOthers
            }
        }
    }

    /// Has a new instance made if the mailbox was closed by a stop or a failure. `None` if it is
    /// open.
    pub fn start_again(&self) -> Result<Option<Waiter>, Refusal> {
        let _changes = self.host_changes.lock().unwrap_or_else(PoisonError::into_inner);
        let (waiter, reply) = Waiter::with_reply();
        match self.mailbox.start(Mail::Start(reply)) {
            Ok(()) => Ok(Some(waiter)),
            Err((refusal, start)) => {
                start.withdraw();
                refusal.map_or(Ok(None), Err)
            }
        }
    }

    /// Calls `shutdown` on this thread, with `stack` bytes of stack left. The caller holds the
    /// right to run of a closed mailbox.
    pub fn shut_down_here(&self, stack: usize) -> Result<(), CallError> {
        if let Err(error) = signal_stack::ensure() {
            let _stopped = OpenOnDrop(&self.stopped);
            drop(self.instance.take());
            self.status.change(Cause::Close);
            self.status.change(Cause::End);
            return Err(CallError::NoStack { reason: format!("{error}; {MemoryLimits}") });
        }
        let shut_down = pin!(self.shut_down(self.spec.fits(stack)));
        block_on(self.ambient_timers(), shut_down)
    }

    /// Returns the timers for a guest with ambient clocks; only WASI has them.
    pub fn ambient_timers(&self) -> Option<&Timers> {
        self.spec.prepared.uses_wasi.then_some(&self.spec.context.timers)
    }

    /// Runs the receiver's task: handles mail whenever there is some.
    async fn work(self: Arc<Self>) {
        while let Err(defect) = caught(self.work_off()).await {
            // A second panic, while noting the first, does not end the task either.
            let _ = caught(self.note(&defect)).await;
        }
    }

    /// Records a defect, which may have cost the instance. The caller holds the right to run.
    async fn note(&self, defect: &CallError) {
        let what = match self.instance.take() {
            Some(instance) => {
                self.instance.store(Some(instance));
                "a bug in the library"
            }
            None => Self::in_words(self.lost(defect)).1,
        };
        self.report(LogLevel::Error, what, defect).await;
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

    fn ticks(&self) -> &Ticks {
        self.spec.runtime.ticker.ticks()
    }

    /// Returns whether to yield although more mail waits.
    fn gives_way(&self) -> bool {
        self.spec.context.timers.pace().turn_is_over(self.ticks()) && self.mailbox.load() > 1
    }

    /// Handles `mail` and up to about `most` messages behind it; returns how many.
    async fn handle_some(&self, mut mail: Mail, most: usize) -> usize {
        if self.spec.prepared.run.is_some()
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
        self.handle(&mut mail).await;
        self.status.count_time(watch.nanos(self.ticks()));
        1
    }

    /// Delivers the outcome of a message, or logs it if no one waits for it.
    async fn settle(&self, mail: &mut Mail, outcome: Outcome) {
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
            Mail::Health(_)
            | Mail::Restart(_)
            | Mail::Recovery(_)
            | Mail::Stop(_)
            | Mail::Start(_)
            | Mail::Shutdown(_) => return,
        };
        if let Err(error) = &outcome {
            let sender = message.sender(self.host());
            let what = format!("a {what} from {sender} failed");
            self.report(LogLevel::Warn, &what, error).await;
        }
    }

    /// Handles mail, by reference because moving it is slower.
    async fn handle(&self, mail: &mut Mail) {
        match mail {
            Mail::Message(message, _) => {
                let outcome =
                    self.handle_with::<HandleMessage>(&message.view(self.host()), false).await;
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

    fn host(&self) -> &ComponentId {
        &self.spec.host
    }

    async fn check_health(&self) -> Result<&'static str, CallError> {
        let mut instance = match self.take_ready() {
            Some(instance) => instance,
            None => self.restart(Cause::Mail).await?,
        };
        let health = instance.health().await;
        if let Ok(health) = health {
            self.status.set_health(health);
        }
        if let Some(crash) = self.put_back(instance, &health) {
            crash.await;
        }
        health.map(HealthStatus::name)
    }

    async fn shut_down(&self, on_caller: bool) -> Result<(), CallError> {
        let _stopped = OpenOnDrop(&self.stopped);
        self.end_with(Cause::Close, Cause::End, on_caller).await
    }

    /// Calls `shutdown` of the instance, if there is one, between two changes of the state.
    async fn end_with(
        &self,
        before: Cause,
        after: Cause,
        on_caller: bool,
    ) -> Result<(), CallError> {
        self.status.change(before);
        // The state does not stay behind if a bug ends the call.
        let mut ended = Changed { status: &self.status, cause: after, failure: None };
        let Some(mut instance) = self.instance.take() else { return Ok(()) };
        instance.set_on_caller(on_caller);
        let result = end(instance).await;
        self.status.set_memory(0);
        ended.failure = result.as_ref().err().map(|error| self.failure(error));
        result
    }

    /// Puts the instance back, or returns the follow-up work if the call left it unusable.
    fn put_back<'a, R>(
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
                None
            }
        }
    }

    /// Drops an instance that a call left unusable.
    async fn crash(&self, instance: Box<Instance>, error: CallError) {
        let (level, what) = Self::in_words(self.lost(&error));
        instance.finish().await;
        if !matches!(error, CallError::EngineStopped) {
            self.report(level, what, &error).await;
        }
    }

    fn in_words(verdict: Verdict) -> (LogLevel, &'static str) {
        match verdict {
            Verdict::OnDemand | Verdict::Recover(_) => (LogLevel::Error, "crashed"),
            Verdict::GiveUp => (LogLevel::Error, "crashed, and is not restarted any more"),
            Verdict::Exited => (LogLevel::Info, "ended by itself"),
        }
    }

    /// Notes that the instance is lost, or that no new one could be made, and decides what follows.
    /// The caller holds the right to run.
    fn lost(&self, error: &CallError) -> Verdict {
        self.status.set_health(HealthStatus::Unhealthy);
        self.status.set_memory(0);
        let failure = Some(self.failure(error));
        let supervised = !matches!(error, CallError::EngineStopped) && self.mailbox.is_open();
        let verdict = match &self.supervisor {
            Some(supervisor) if supervised => supervisor.after(error, Instant::now()),
            _ => Verdict::OnDemand,
        };
        let cause = if verdict == Verdict::Exited { Cause::Exit } else { Cause::Crash };
        self.status.change_for(cause, failure);
        match verdict {
            Verdict::OnDemand => {}
            Verdict::Recover(at) => {
                // Refused only by a mailbox that is about to be stopped or closed.
                let _ = self.mailbox.deliver(Mail::Recovery(at));
            }
            Verdict::Exited => self.shut(Intake::Stopped, &CallError::Stopped),
            Verdict::GiveUp => {
                self.status.change(Cause::GiveUp);
                self.shut(Intake::Failed, &CallError::Failed);
            }
        }
        verdict
    }

    fn shut(&self, intake: Intake, reason: &CallError) {
        if let Some(removed) = self.mailbox.shut(intake) {
            self.mailbox.dead_letter(removed, reason);
        }
    }

    fn failure(&self, error: &CallError) -> LastFailure {
        LastFailure::new(error, &self.spec.context.account)
    }

    /// Makes a new instance after a crash, at `at` at the earliest. Mail waits meanwhile.
    async fn recover(&self, at: Instant) {
        let timers = &self.spec.context.timers;
        if at > Instant::now() {
            let over = timers.interruption(at, None);
            self.mailbox.rest(async move { _ = over.await }).await;
        }
        let on_demand = self.supervisor.as_ref().map(Supervisor::supervision);
        let on_demand = on_demand.is_some_and(|it| it.policy == RestartPolicy::OnDemand);
        // The host came first, or the engine stops.
        let is_over = timers.is_stopping() || self.status.state() != State::Crashed;
        if on_demand || is_over || at > Instant::now() {
            return;
        }
        match self.restart(Cause::Supervisor).await {
            Ok(instance) => drop(self.put_back(instance, &Ok::<_, CallError>(()))),
            Err(CallError::EngineStopped) => {}
            Err(error) => self.report(LogLevel::Error, "restart failed", &error).await,
        }
    }

    /// Makes an instance for a component that was stopped or has failed.
    async fn begin_anew(&self) -> Result<(), CallError> {
        if self.mailbox.is_open() {
            return Ok(());
        }
        self.status.change(Cause::Start);
        match self.new_instance().await {
            Ok(instance) => {
                if let Some(supervisor) = &self.supervisor {
                    supervisor.reset();
                }
                drop(self.put_back(instance, &Ok::<_, CallError>(())));
                self.mailbox.reopen();
                self.status.change(Cause::Loaded);
                Ok(())
            }
            Err(error) => {
                self.mailbox.fail_start();
                self.status.change_for(Cause::Crash, Some(self.failure(&error)));
                Err(error)
            }
        }
    }

    /// Takes the instance, if there is one and it is callable.
    fn take_ready(&self) -> Option<Box<Instance>> {
        if self.spec.context.timers.is_stopping() { None } else { self.instance.take() }
    }

    /// Makes a new instance for a message or callback, which fails if that fails.
    async fn restart_for_mail(&self) -> Result<Box<Instance>, CallError> {
        let instance = self.restart(Cause::Mail).await;
        if instance.is_err() {
            self.status.count_handled(false);
        }
        instance
    }

    /// Ends the instance and makes a new one, because the host wants that.
    async fn renew(&self) -> Result<(), CallError> {
        if let Some(instance) = self.take_ready() {
            let ended = end(instance).await;
            self.status.set_memory(0);
            // The new instance does not depend on how the old one ended.
            if let Err(error) = ended {
                self.report(LogLevel::Warn, "shutdown before a restart failed", &error).await;
            }
        }
        let instance = self.restart(Cause::Restart).await?;
        drop(self.put_back(instance, &Ok::<_, CallError>(())));
        Ok(())
    }

    async fn restart(&self, cause: Cause) -> Result<Box<Instance>, CallError> {
        if self.spec.context.timers.is_stopping() {
            return Err(CallError::EngineStopped);
        }
        self.status.change(cause);
        match self.new_instance().await {
            Ok(instance) => {
                self.status.count_restart();
                self.status.change(Cause::Restarted);
                Ok(instance)
            }
            Err(error) => {
                self.lost(&error);
                Err(error)
            }
        }
    }

    async fn new_instance(&self) -> Result<Box<Instance>, CallError> {
        let instance = self.spec.instance(false).await.map_err(|error| {
            // Stopping is the cause, whatever error came of it.
            match self.spec.context.timers.is_stopping() {
                true => CallError::EngineStopped,
                false => CallError::RestartFailed { reason: bounded(&error, MAX_REPEATED_BYTES) },
            }
        })?;
        self.status.set_health(HealthStatus::Unknown);
        Ok(instance)
    }

    /// Logs a record in the component's name, within its log quota.
    async fn report(&self, level: LogLevel, what: &str, error: &CallError) {
        let context = Arc::clone(&self.spec.context);
        let Some(report) = context.report(level, what, error) else { return };
        let off_fiber = OffFiber::new(Arc::clone(&context.node), context.threads.clone());
        off_fiber.defer(move || context.write_report(report));
        run_host_jobs(&off_fiber).await;
    }
}

/// Calls `shutdown` of an instance and drops it.
async fn end(mut instance: Box<Instance>) -> Result<(), CallError> {
    let result = instance.shutdown().await;
    instance.finish().await;
    result?.map_err(|error| CallError::Lifecycle { export: "shutdown", error })
}

impl MailHandler for Actor {
    fn start(self: Arc<Self>) {
        let timers = self.spec.context.timers.clone();
        timers.spawn(self.work());
    }
}

/// Changes the state on drop.
struct Changed<'a> {
    status: &'a Status,
    cause: Cause,
    failure: Option<LastFailure>,
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        self.status.change_for(self.cause, self.failure.take());
    }
}

/// Gives up a mailbox's right to run on drop.
struct RightToRun<'a>(&'a Mailbox);

impl Drop for RightToRun<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}
