//! The trial of a version: an actor keeps a second instance, and each message goes to one of the two.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::yield_now;

use crate::component::actor::{Actor, BATCH};
use crate::component::busy_time::BusyTime;
use crate::component::canary::{Canary, Lane, Reason, Verdict};
use crate::component::instances::end;
use crate::component::lifecycle::{Cause, State};
use crate::component::own_requests::{OwnRequests, Requests};
use crate::component::panics::Uncounted;
use crate::component::takeover::{Candidate, HandOver, Successor, discard};
use crate::component::version::Source;
use crate::core::error::{CallError, Unfit};
use crate::core::id::CorrelationId;
use crate::core::log::LogLevel;
use crate::core::message::{Invocation, MessageView, Outcome, Timestamp};
use crate::core::ports::Tally;
use crate::messaging::mail::Mail;
use crate::runtime::contract::HealthStatus;
use crate::runtime::host_context::HostContext;
use crate::runtime::instance::{HandleCallback, HandleMessage, HandlerExport, Instance, incoming};
use crate::runtime::load_error::LoadError;
use crate::runtime::mappings::Promise;
use crate::runtime::program::Program;

/// The instance of a canary, beside the actor's own.
pub struct Trial {
    canary: Arc<Canary>,
    source: Arc<Source>,
    /// That of the actor, but for the requests.
    context: Arc<HostContext>,
    requests: Arc<OwnRequests>,
    /// `None` after a crash, until its next message.
    instance: Option<Box<Instance>>,
    health: HealthStatus,
    reserved: Option<Box<Promise>>,
    owed: u8,
}

impl Trial {
    fn abort(&self, reason: Reason) {
        let _decided_already = self.canary.decide(Verdict::Abort(reason));
    }
}

/// Puts a trial back on drop, so that a panic does not lose it.
struct OnTrial<'a> {
    actor: &'a Actor,
    trial: Option<Box<Trial>>,
}

impl Drop for OnTrial<'_> {
    fn drop(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.actor.trial.store(Some(trial));
        }
    }
}

impl Actor {
    /// Begins the trial of a candidate, which gets the state of the present instance. After a
    /// failure the candidate is to be withdrawn. The caller holds the right to run.
    pub(super) async fn begin_trial(
        &self,
        mut candidate: Box<Candidate>,
        canary: Arc<Canary>,
    ) -> Result<(), CallError> {
        if let Err(error) = self.get_ready_for_trial().await {
            self.candidate.store(Some(candidate));
            return Err(error);
        }
        let requests = Arc::new(OwnRequests::new(Arc::clone(&self.spec().context.messenger)));
        let context = Arc::new(HostContext {
            messenger: Arc::<OwnRequests>::clone(&requests),
            ..(*self.spec().context).clone()
        });
        candidate.instance.move_to(Arc::clone(&context));
        if let Some(stable) = self.take_ready() {
            match self.hand_over(stable, &mut candidate.instance).await {
                Ok(stable) => self.put(stable),
                Err(HandOver { error, successor: Successor::Lost }) => {
                    candidate.instance.finish().await;
                    return Err(error);
                }
                Err(HandOver { error, successor: Successor::Usable }) => {
                    candidate.instance.move_to(Arc::clone(&candidate.beside));
                    self.candidate.store(Some(candidate));
                    return Err(error);
                }
            }
        }
        canary.enter();
        let Candidate { instance, source, health, reserved, .. } = *candidate;
        self.status.set_trial_memory(instance.memory_bytes());
        let instance = Some(instance);
        let trial =
            Trial { canary, source, context, requests, instance, health, reserved, owed: 0 };
        self.trial.store(Some(Box::new(trial)));
        Ok(())
    }

    /// Makes an instance for a passive component: it is not passive during a trial.
    async fn get_ready_for_trial(&self) -> Result<(), CallError> {
        match self.status.state() {
            _ if self.mailbox.is_open() => {}
            State::Failed => return Err(CallError::Failed),
            _ => return Err(CallError::Stopped),
        }
        if self.status.state() == State::Passive {
            let instance = self.restart(Cause::Mail).await?;
            self.put(instance);
        }
        Ok(())
    }

    /// Has a trial go on after a panic has ended the task's turn.
    pub(super) fn resume_trial(&self) {
        if let Some(trial) = self.trial.take() {
            self.trial.store(Some(trial));
            let _ = self.mailbox.deliver(Mail::Judge);
        }
    }

    /// Handles mail until a trial is over, and with it the outcomes of requests that an aborted
    /// canary has made. No caller's thread handles a message meanwhile: the task keeps the right to
    /// run. Returns at once if there is no trial.
    pub(super) fn run_trial(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let mut on = OnTrial { actor: self, trial: self.trial.take() };
            let mut orphans = Requests::default();
            let mut left = BATCH;
            loop {
                if let Some(verdict) = on.trial.as_ref().and_then(|trial| trial.canary.verdict()) {
                    orphans.extend(self.end_trial(on.trial.take(), verdict).await);
                }
                if on.trial.is_none() && orphans.is_empty() {
                    return;
                }
                if left == 0 || self.gives_way() {
                    yield_now().await;
                    left = BATCH;
                }
                left -= 1;
                let Some(mail) = self.mailbox.next_kept().await else {
                    // Closed: no outcome comes any more.
                    orphans.clear();
                    on.trial.iter().for_each(|trial| trial.abort(Reason::Stop));
                    continue;
                };
                self.handle_on_trial(mail, &mut on, &mut orphans).await;
            }
        })
    }

    async fn handle_on_trial(&self, mut mail: Mail, on: &mut OnTrial<'_>, orphans: &mut Requests) {
        if let Mail::Callback(outcome) = &mail
            && outcome.correlation.is_some_and(|request| orphans.remove(&request))
        {
            return;
        }
        let watch = BusyTime::start(self.ticks());
        let ends = match &mail {
            Mail::Stop(_) | Mail::Start(_) => Some(Reason::Stop),
            Mail::Restart(_) | Mail::Regroup(_) => Some(Reason::Restart),
            Mail::Shutdown(_) => Some(Reason::Close),
            _ => None,
        };
        if let Some(reason) = ends
            && let Some(trial) = on.trial.take()
        {
            let verdict = trial.canary.decide(Verdict::Abort(reason));
            orphans.extend(self.end_trial(Some(trial), verdict).await);
        }
        if matches!(mail, Mail::Stop(_) | Mail::Shutdown(_)) {
            // Behind it, outcomes are refused.
            orphans.clear();
        }
        match (&mut mail, &mut on.trial) {
            (Mail::Judge, Some(trial)) => trial.canary.judge(Instant::now()),
            (Mail::Recycle, Some(_)) => self.status.recycle_later(),
            (Mail::Passivate, Some(_)) => {
                self.spec().live.iter().for_each(|live| live.keep_for_now(self));
            }
            (Mail::Message(..), Some(trial)) => {
                let lane = trial.canary.lane(&mut trial.owed);
                // A canary that cannot be made costs nobody a message.
                match lane == Lane::Canary && self.is_ready(trial).await {
                    true => self.pass_on(trial, &mut mail).await,
                    false => self.handle_stable(&trial.canary, &mut mail).await,
                }
                self.status.count_time(watch.nanos(self.ticks()));
            }
            (Mail::Callback(outcome), Some(trial)) => {
                let is_own = |request| trial.requests.take(request);
                if !outcome.correlation.is_some_and(is_own) {
                    self.handle_stable(&trial.canary, &mut mail).await;
                } else if self.is_ready(trial).await {
                    self.pass_on(trial, &mut mail).await;
                }
                self.status.count_time(watch.nanos(self.ticks()));
            }
            // Another canary may begin while outcomes for the last one are under way.
            (Mail::Replace(reply), None) => {
                let result = self.take_over().await;
                reply.take().answer(result.map(|()| None));
                on.trial = self.trial.take();
            }
            _ => {
                self.handle(&mut mail).await;
                self.status.count_time(watch.nanos(self.ticks()));
            }
        }
    }

    /// Handles mail with the stable version, and counts it for comparison.
    async fn handle_stable(&self, canary: &Canary, mail: &mut Mail) {
        let before = self.status.counts();
        self.handle(mail).await;
        let after = self.status.counts();
        let errors = after.failed - before.failed;
        let messages = after.handled - before.handled + errors;
        canary.count(Lane::Stable, Tally { messages, errors });
    }

    /// Returns whether the canary has an instance; makes one after a crash.
    async fn is_ready(&self, trial: &mut Trial) -> bool {
        if trial.instance.is_some() {
            return true;
        }
        match self.instantiate(&trial.source, &trial.context, false).await {
            Ok(instance) => self.put_on_trial(trial, instance),
            Err(error) => self.report_canary(&trial.canary, error).await,
        }
        trial.instance.is_some()
    }

    fn put_on_trial(&self, trial: &mut Trial, instance: Box<Instance>) {
        self.status.set_trial_memory(instance.memory_bytes());
        trial.instance = Some(instance);
    }

    async fn report_canary(&self, canary: &Canary, error: LoadError) {
        let error = self.not_made(&error, error.cause());
        canary.count_outcome(&Err::<(), _>(error.clone()));
        self.report(LogLevel::Error, "a canary got no new instance", &error).await;
    }

    /// Handles a message or callback with the canary.
    async fn pass_on(&self, trial: &mut Trial, mail: &mut Mail) {
        let outcome = match mail {
            Mail::Message(message, _) => {
                let view = message.view(self.host());
                match view.invocation {
                    Some(invocation) => self.invoke_by(trial, invocation, view.payload).await,
                    None => self.handle_by::<HandleMessage>(trial, &view).await,
                }
            }
            Mail::Callback(message) => {
                let view = message.view(self.host());
                let mut outcome = self.handle_by::<HandleCallback>(trial, &view).await;
                if let Err(error @ CallError::DoesNotFit(Unfit::Memory { .. })) = &outcome {
                    // As for any callback: its requester gets an outcome all the same.
                    *message = message.failed(error);
                    let view = message.view(self.host());
                    outcome = self.handle_by::<HandleCallback>(trial, &view).await;
                }
                outcome.map(|()| None)
            }
            _ => return,
        };
        self.settle(mail, outcome).await;
    }

    async fn handle_by<H: HandlerExport>(
        &self,
        trial: &mut Trial,
        message: &MessageView<'_>,
    ) -> Result<H::Reply, CallError> {
        let (mut instance, uncounted) = self.take_canary(trial)?;
        let payload = message.payload.len();
        let outcome = match (instance.unfit(payload), instance.handler::<H>()) {
            (Some(unfit), _) => Err(CallError::DoesNotFit(unfit)),
            (None, Ok(handler)) => {
                let correlation = message.correlation.map(CorrelationId::text);
                let mut message = incoming(message, correlation.as_ref());
                if !self.spec().context.guard.shows_time() {
                    message.metadata.timestamp = Timestamp::HIDDEN.into();
                }
                let ended = instance.begin(&handler, (&message,)).await;
                instance.answered::<H>(ended, payload)
            }
            (None, Err(error)) => Err(error),
        };
        drop(uncounted);
        self.put_canary_back(trial, instance, &outcome).await;
        outcome
    }

    async fn invoke_by(&self, trial: &mut Trial, invocation: &Invocation, json: &[u8]) -> Outcome {
        if Program::is_run(&invocation.function) {
            let (source, context) = (&trial.source, &trial.context);
            let outcome =
                Box::pin(self.run_program(source, context, invocation, json, false)).await;
            trial.canary.count_outcome(&outcome);
            return outcome;
        }
        let (mut instance, uncounted) = self.take_canary(trial)?;
        let outcome = instance.invoke(invocation, json, false).await;
        drop(uncounted);
        self.put_canary_back(trial, instance, &outcome).await;
        outcome.map(Some)
    }

    fn take_canary(&self, trial: &mut Trial) -> Result<(Box<Instance>, Uncounted<'_>), CallError> {
        let is_stopping = self.spec().context.timers.is_stopping();
        let uncounted = Uncounted::new(&self.status);
        let instance = trial.instance.take_if(|_| !is_stopping).ok_or(CallError::EngineStopped)?;
        Ok((instance, uncounted))
    }

    /// Counts a message, and puts the instance back unless the call left it unusable.
    async fn put_canary_back<R>(
        &self,
        trial: &mut Trial,
        mut instance: Box<Instance>,
        outcome: &Result<R, CallError>,
    ) {
        self.status.count_handled(outcome.is_ok());
        self.status.count_fuel(instance.take_fuel_used());
        match outcome {
            Err(error) if error.poisons_instance() => {
                self.status.set_trial_memory(0);
                instance.finish().await;
                self.report(LogLevel::Error, "a canary crashed", error).await;
            }
            _ => self.put_on_trial(trial, instance),
        }
        // Last: the verdict may end the trial.
        trial.canary.count_outcome(outcome);
    }

    /// Ends a trial; returns the requests whose outcomes nobody waits for any longer, and may be
    /// under way.
    async fn end_trial(&self, trial: Option<Box<Trial>>, verdict: Verdict) -> Requests {
        let Some(trial) = trial else { return Requests::default() };
        let canary = Arc::clone(&trial.canary);
        let orphans = match verdict {
            Verdict::Promote(_) => {
                self.promote(*trial).await;
                Requests::default()
            }
            Verdict::Abort(_) => self.dismiss(*trial).await,
        };
        self.status.set_trial_memory(0);
        // Last: whoever waits for it finds the account as it was.
        canary.leave();
        orphans
    }

    /// Ends a canary and its requests; returns those whose outcomes are under way.
    async fn dismiss(&self, trial: Trial) -> Requests {
        let mut requests = trial.requests.take_all();
        requests.retain(|request| !self.spec().messenger.abandon(*request));
        self.end_canary(trial.instance).await;
        requests
    }

    async fn end_canary(&self, instance: Option<Box<Instance>>) {
        let Some(instance) = instance else { return };
        if let Err(error) = end(instance).await {
            self.report(LogLevel::Warn, "shutdown of a canary failed", &error).await;
        }
    }

    /// Has the version on trial take over. If both versions hand state over, a new instance gets the
    /// state of the stable one, with what that has learned during the trial; otherwise the canary
    /// itself goes on.
    async fn promote(&self, trial: Trial) {
        let Trial { source, instance: canary, health, reserved, .. } = trial;
        let stable = self.take_ready();
        let has_state = stable.as_ref().is_some_and(|stable| stable.has_state());
        let fresh = match has_state && source.version.prepared.state.is_some() {
            true => self.first_of(&source).await.ok(),
            false => None,
        };
        let (stable, fresh) = match (stable, fresh) {
            (Some(stable), Some(mut fresh)) => match self.hand_over(stable, &mut fresh).await {
                Ok(stable) => (Some(stable), Some(fresh)),
                Err(HandOver { error, successor }) => {
                    discard(fresh, successor).await;
                    self.report(LogLevel::Error, "a promoted version got no state", &error).await;
                    (self.take_ready(), None)
                }
            },
            (stable, _) => (stable, None),
        };
        let successor = match (fresh, canary) {
            (Some(fresh), canary) => {
                self.end_canary(canary).await;
                Ok(fresh)
            }
            (None, Some(mut canary)) => {
                canary.move_to(Arc::clone(&self.spec().context));
                Ok(canary)
            }
            (None, None) => self.first_of(&source).await,
        };
        self.status.change(Cause::Replace);
        self.adopt(successor, source, health, reserved);
        if let Some(stable) = stable
            && let Err(error) = end(stable).await
        {
            self.report(LogLevel::Warn, "shutdown after a promotion failed", &error).await;
        }
    }

    /// Makes an instance of a version that is about to take over.
    async fn first_of(&self, source: &Source) -> Result<Box<Instance>, CallError> {
        match self.instantiate(source, &self.spec().context, false).await {
            Ok(instance) => Ok(instance),
            Err(error) => {
                let error = self.not_made(&error, error.cause());
                self.report(LogLevel::Error, "a promoted version got no instance", &error).await;
                Err(error)
            }
        }
    }
}
