//! How instances of an actor come and go: starts, crashes, restarts and ends.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crate::component::actor::Actor;
use crate::component::lifecycle::{Cause, State};
use crate::component::status::{LastFailure, Status};
use crate::component::supervision::{RestartPolicy, Supervisor, Verdict};
use crate::component::takeover::{HandOver, discard};
use crate::component::version::{Needs, Source};
use crate::core::bounds::{MAX_REPEATED_BYTES, bounded};
use crate::core::error::CallError;
use crate::core::latch::OpenOnDrop;
use crate::core::log::LogLevel;
use crate::messaging::mail::{Mail, Refusal};
use crate::messaging::queue::{Intake, Place, Runner};
use crate::messaging::reply::Waiter;
use crate::runtime::block_on::block_on;
use crate::runtime::call_end::Timers;
use crate::runtime::contract::HealthStatus;
use crate::runtime::host_context::HostContext;
use crate::runtime::initial_config::InitialConfig;
use crate::runtime::instance::Instance;
use crate::runtime::load_error::LoadError;
use crate::runtime::mappings::Promise;
use crate::runtime::shortage::MemoryLimits;
use crate::runtime::threads::signal_stack;

/// A stop of an actor.
pub enum Stopping {
    /// This call has begun it, at this place of the mailbox. The waiter gets its outcome.
    Begun(Waiter, Place),
    /// It was begun before, or the actor has no instance and takes no mail.
    ByOthers,
}

/// The first instance of a version.
pub struct First {
    /// The instance.
    pub instance: Box<Instance>,
    /// What it reports of its health.
    pub health: HealthStatus,
    /// The memory mappings reserved for it, if the component may be passivated.
    pub reserved: Option<Box<Promise>>,
}

impl Source {
    /// Returns whether its guest can run on a thread with `stack` bytes of stack left.
    pub(super) fn fits(&self, stack: usize) -> bool {
        Needs::of(&self.version.prepared).fit(stack)
    }

    /// Returns the timers for a guest with ambient clocks; only WASI has them.
    pub(super) fn ambient<'a>(&self, context: &'a HostContext) -> Option<&'a Timers> {
        self.version.prepared.uses_wasi.then_some(&context.timers)
    }
}

impl Actor {
    /// Makes the first instance of a version on this thread, with `stack` bytes of stack left, and
    /// asks for its metadata and health.
    pub(super) fn first_instance(
        &self,
        source: &Source,
        context: &Arc<HostContext>,
        stack: usize,
    ) -> Result<First, LoadError> {
        let reserved = self.reserve(source)?;
        let first = pin!(async {
            let mut instance = self.instantiate(source, context, source.fits(stack)).await?;
            self.ask_metadata(source, &mut instance).await?;
            let health = instance.health().await;
            let health = health.map_err(|error| LoadError::Call { during: "health", error })?;
            instance.set_on_caller(false);
            Ok(First { instance, health, reserved })
        });
        block_on(source.ambient(context), first)
    }

    /// Reserves the mappings of an instance, if the component may be passivated; those of others
    /// are reserved with their source.
    fn reserve(&self, source: &Source) -> Result<Option<Box<Promise>>, LoadError> {
        if !self.spec().activation.is_passivable() {
            return Ok(None);
        }
        Ok(Some(Box::new(source.version.prepared.admit()?)))
    }

    async fn ask_metadata(
        &self,
        source: &Source,
        instance: &mut Instance,
    ) -> Result<(), LoadError> {
        let metadata = instance.metadata().await?;
        let expectation = &source.version.expectation;
        expectation.check(metadata.as_ref()).map_err(|it| LoadError::Unexpected(it.to_string()))?;
        let Some(metadata) = metadata else { return Ok(()) };
        let charge = self.spec().context.account.charge(metadata.bytes());
        let charge = charge.map_err(|exceeded| LoadError::Limit(exceeded.into()))?;
        source.set_metadata(metadata, charge);
        Ok(())
    }

    pub(super) async fn instantiate(
        &self,
        source: &Source,
        context: &Arc<HostContext>,
        on_caller: bool,
    ) -> Result<Box<Instance>, LoadError> {
        let config = Arc::clone(&source.version.config);
        self.instantiate_with(source, context, config, on_caller).await
    }

    /// As [`Actor::instantiate`], with a configuration other than the version's.
    pub(super) async fn instantiate_with(
        &self,
        source: &Source,
        context: &Arc<HostContext>,
        config: Arc<InitialConfig>,
        on_caller: bool,
    ) -> Result<Box<Instance>, LoadError> {
        let spec = self.spec();
        let instance = Instance::create(
            Arc::clone(&spec.runtime),
            &source.version.prepared,
            Arc::clone(context),
            Arc::clone(&config),
            Arc::clone(&spec.limits),
            on_caller,
        );
        let mut instance = Box::new(instance.await?);
        match instance.initialize(&config).await {
            Ok(()) => Ok(instance),
            Err(error) => {
                instance.finish().await;
                Err(error)
            }
        }
    }

    /// Gives an idle component a new instance on this thread; `None` if it is not idle. The thread
    /// can run guests.
    pub fn restart_here(&self) -> Option<Result<(), CallError>> {
        self.if_idle_here(self.renew())
    }

    /// Ends an instance that was never in its place, on this thread.
    pub(super) fn abandon(&self, instance: Box<Instance>, error: &CallError) {
        let successor = HandOver::refused(error.clone()).successor;
        block_on(self.ambient_timers(), pin!(discard(instance, successor)));
    }

    /// Puts a new instance in its place.
    pub(super) fn put_new(&self, instance: Box<Instance>) {
        self.begin_with(&instance);
        self.put(instance);
    }

    /// Notes that an instance begins, or goes on after it was to be recycled.
    fn begin_with(&self, instance: &Instance) {
        self.unhealthy.store(0, Ordering::Relaxed);
        self.status.set_memory(instance.memory_bytes());
        self.status.recycle_later();
        self.status.save_later();
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
        let source = self.source();
        let shut_down = pin!(self.shut_down(source.fits(stack)));
        block_on(source.ambient(&self.spec().context), shut_down)
    }

    pub(super) async fn shut_down(&self, on_caller: bool) -> Result<(), CallError> {
        let _stopped = OpenOnDrop(&self.stopped);
        self.end_with(Cause::Close, Cause::End, on_caller).await
    }

    /// Calls `shutdown` of the instance, if there is one, between two changes of the state.
    pub(super) async fn end_with(
        &self,
        before: Cause,
        after: Cause,
        on_caller: bool,
    ) -> Result<(), CallError> {
        self.status.change(before);
        self.saved.take();
        // The state does not stay behind if a bug ends the call.
        let mut ended = ChangeOnDrop { status: &self.status, cause: after, failure: None };
        let Some(mut instance) = self.instance.take() else { return Ok(()) };
        instance.set_on_caller(on_caller);
        let result = match self.leave_state(&mut instance).await {
            Err(error) if error.poisons_instance() => {
                instance.finish().await;
                Err(error)
            }
            left => left.and(end(instance).await),
        };
        self.status.set_memory(0);
        ended.failure = result.as_ref().err().map(|error| self.failure(error));
        result
    }

    /// Drops an instance that a call left unusable.
    pub(super) async fn crash(&self, instance: Box<Instance>, error: CallError) {
        let (level, what) = in_words(self.lost(&error));
        instance.finish().await;
        if !matches!(error, CallError::EngineStopped) {
            self.report(level, what, &error).await;
        }
    }

    /// Records a defect, which may have cost the instance. The caller holds the right to run.
    pub(super) async fn note(&self, defect: &CallError) {
        let what = match self.instance.take() {
            Some(instance) => {
                self.instance.store(Some(instance));
                "a bug in the library"
            }
            None => in_words(self.lost(defect)).1,
        };
        self.report(LogLevel::Error, what, defect).await;
    }

    /// Notes that the instance is lost, or that no new one could be made, and decides what follows.
    /// The caller holds the right to run.
    pub(super) fn lost(&self, error: &CallError) -> Verdict {
        self.status.set_health(HealthStatus::Unhealthy);
        self.status.set_memory(0);
        let mut failure = Some(self.failure(error));
        let supervised = !matches!(error, CallError::EngineStopped) && self.mailbox.is_left_alone();
        let verdict = match &self.supervisor {
            Some(supervisor) if supervised => {
                let now = Instant::now();
                let verdict = supervisor.after(error, now);
                let group = self.spec().membership.as_ref().zip(self.me.upgrade());
                match (group, verdict.wish(now)) {
                    (Some((membership, me)), Some(wish)) => {
                        // Told before what the group does.
                        self.status.change_for(Cause::Crash, failure.take());
                        match membership.takes_on(&me, supervisor, error, wish) {
                            true => Verdict::Group,
                            false => verdict,
                        }
                    }
                    _ => verdict,
                }
            }
            _ => Verdict::OnDemand,
        };
        match verdict {
            Verdict::OnDemand | Verdict::Group => self.status.change_for(Cause::Crash, failure),
            Verdict::Recover(at) => {
                self.status.change_for(Cause::Crash, failure);
                // Refused only by a mailbox that is about to be stopped or closed.
                let _ = self.mailbox.deliver(Mail::Recovery(at));
            }
            // Closed first: whoever sees the state finds the mailbox closed. A mailbox that is not
            // open is about to be stopped or closed by the host.
            Verdict::Exited => match self.mailbox.shut(Intake::Stopped) {
                Some(removed) => {
                    self.status.set_health(HealthStatus::Unknown);
                    self.status.change_for(Cause::Exit, failure);
                    self.mailbox.dead_letter(removed, &CallError::Stopped);
                }
                None => self.status.change_for(Cause::Crash, failure),
            },
            Verdict::GiveUp | Verdict::Never => {
                let removed = self.mailbox.shut(Intake::Failed);
                self.status.change_for(Cause::Crash, failure);
                if let Some(removed) = removed {
                    self.status.change(Cause::GiveUp);
                    self.mailbox.dead_letter(removed, &CallError::Failed);
                }
            }
        }
        verdict
    }

    fn failure(&self, error: &CallError) -> LastFailure {
        LastFailure::new(error, &self.spec().context.account)
    }

    /// Makes a new instance after a crash, at `at` at the earliest. Mail waits meanwhile.
    pub(super) async fn recover(&self, at: Instant) {
        let timers = &self.spec().context.timers;
        if at > Instant::now() {
            let over = timers.interruption(at, None);
            self.mailbox.rest(Runner::Resting, async move { _ = over.await }).await;
        }
        let supervision = self.supervisor.as_ref().map(Supervisor::supervision);
        let on_demand = supervision.is_some_and(|it| it.policy == RestartPolicy::OnDemand);
        // The host came first, or the engine stops.
        let is_over = timers.is_stopping() || !self.status.state().awaits_instance();
        if on_demand || is_over || at > Instant::now() {
            return;
        }
        match self.restart(Cause::Supervisor).await {
            Ok(instance) => self.put(instance),
            Err(CallError::EngineStopped) => {}
            Err(error) => self.report(LogLevel::Error, "restart failed", &error).await,
        }
    }

    /// Makes an instance for a component that was stopped or has failed.
    pub(super) async fn begin_anew(&self) -> Result<(), CallError> {
        if self.mailbox.is_open() {
            return Ok(());
        }
        // The state of a passive component that could not be restored.
        self.saved.take();
        self.status.change(Cause::Start);
        match self.awakened(Cause::Start).await {
            Ok(instance) => {
                if let Some(supervisor) = &self.supervisor {
                    supervisor.reset();
                }
                self.status.set_health(HealthStatus::Unknown);
                self.put_new(instance);
                self.mailbox.reopen();
                self.status.change(Cause::Loaded);
                self.note_live();
                Ok(())
            }
            Err(error) => {
                self.mailbox.fail_start();
                self.status.change_for(Cause::Crash, Some(self.failure(&error)));
                Err(error)
            }
        }
    }

    /// Makes a new instance for a message or callback, which fails if that fails.
    pub(super) async fn restart_for_mail(&self) -> Result<Box<Instance>, CallError> {
        let instance = self.restart(Cause::Mail).await;
        if instance.is_err() {
            self.status.count_handled(false);
        }
        instance
    }

    /// Ends the instance and makes a new one, because the host wants that.
    pub(super) async fn renew(&self) -> Result<(), CallError> {
        self.make_way("shutdown before a restart failed").await;
        let instance = self.restart(Cause::Restart).await?;
        self.put(instance);
        Ok(())
    }

    /// Ends the instance, if there is one, for another; `failed` says in the log that its `shutdown`
    /// did not succeed, on which the other does not depend.
    pub(super) async fn make_way(&self, failed: &str) {
        let Some(instance) = self.take_ready() else { return };
        let ended = end(instance).await;
        self.status.set_memory(0);
        if let Err(error) = ended {
            self.report(LogLevel::Warn, failed, &error).await;
        }
    }

    pub(super) async fn restart(&self, cause: Cause) -> Result<Box<Instance>, CallError> {
        if self.spec().context.timers.is_stopping() {
            return Err(CallError::EngineStopped);
        }
        let was_passive = self.status.state() == State::Passive;
        self.status.change(cause);
        if was_passive {
            self.note_live();
        }
        match self.awakened(cause).await {
            Ok(instance) => {
                self.begin_with(&instance);
                self.status.set_health(HealthStatus::Unknown);
                if self.status.state() == State::Activating {
                    self.status.change(Cause::Activated);
                } else {
                    self.status.count_restart();
                    self.status.change(Cause::Restarted);
                }
                Ok(instance)
            }
            Err(error) => {
                self.lost(&error);
                Err(error)
            }
        }
    }

    /// Makes a new instance, with the state that a passive component has saved.
    async fn awakened(&self, cause: Cause) -> Result<Box<Instance>, CallError> {
        if cause == Cause::Restart {
            // The host wants it to begin anew.
            self.saved.take();
            self.forget_state().await?;
        }
        let mut instance = self.new_instance().await?;
        match self.restore(&mut instance).await {
            Ok(()) => Ok(instance),
            Err(error) => {
                let HandOver { error, successor } = HandOver::refused(error);
                discard(instance, successor).await;
                Err(self.not_made(&error, Some(&error)))
            }
        }
    }

    pub(super) async fn new_instance(&self) -> Result<Box<Instance>, CallError> {
        let (source, context) = (self.source(), &self.spec().context);
        let made = async {
            let reserved = match self.reserved.take() {
                Some(reserved) => Some(reserved),
                None => self.reserve(&source)?,
            };
            self.reserved.store(reserved);
            let mut instance = self.instantiate(&source, context, false).await?;
            // Not asked yet if the component was loaded to be activated on demand.
            if source.metadata().is_none() {
                self.ask_metadata(&source, &mut instance).await?;
            }
            Ok::<_, LoadError>(instance)
        };
        made.await.map_err(|error| self.not_made(&error, error.cause()))
    }

    pub(super) fn not_made(
        &self,
        error: &dyn fmt::Display,
        cause: Option<&CallError>,
    ) -> CallError {
        // Stopping is the cause, whatever error came of it.
        match self.spec().context.timers.is_stopping() {
            true => CallError::EngineStopped,
            false => CallError::RestartFailed {
                reason: bounded(error, MAX_REPEATED_BYTES),
                stderr: cause.and_then(CallError::stderr).unwrap_or_default().to_owned(),
            },
        }
    }
}

fn in_words(verdict: Verdict) -> (LogLevel, &'static str) {
    match verdict {
        Verdict::OnDemand | Verdict::Recover(_) => (LogLevel::Error, "crashed"),
        Verdict::GiveUp | Verdict::Never => {
            (LogLevel::Error, "crashed, and is not restarted any more")
        }
        Verdict::Group => (LogLevel::Error, "crashed, which concerns its group"),
        Verdict::Exited => (LogLevel::Info, "ended by itself"),
    }
}

/// Calls `shutdown` of an instance and drops it.
pub(super) async fn end(mut instance: Box<Instance>) -> Result<(), CallError> {
    let result = instance.shutdown().await;
    instance.finish().await;
    result?.map_err(|error| CallError::Lifecycle { export: "shutdown", error })
}

/// Changes the state on drop.
struct ChangeOnDrop<'a> {
    status: &'a Status,
    cause: Cause,
    failure: Option<LastFailure>,
}

impl Drop for ChangeOnDrop<'_> {
    fn drop(&mut self) {
        self.status.change_for(self.cause, self.failure.take());
    }
}
