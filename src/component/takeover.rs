//! How an instance takes the place of another, of the same version or a new one.

use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::component::actor::Actor;
use crate::component::canary::Canary;
use crate::component::instances::{First, end};
use crate::component::lifecycle::{Cause, State};
use crate::component::version::Source;
use crate::core::account::Charge;
use crate::core::deadline::deadline_in;
use crate::core::error::{CallError, Unfit};
use crate::core::log::LogLevel;
use crate::core::wait_graph::WaitNode;
use crate::messaging::mail::{Mail, Refusal};
use crate::messaging::queue::Place;
use crate::messaging::reply::Waiter;
use crate::runtime::block_on::block_on;
use crate::runtime::contract::HealthStatus;
use crate::runtime::host_context::HostContext;
use crate::runtime::instance::Instance;
use crate::runtime::load_error::LoadError;
use crate::runtime::mappings::Promise;

/// How often a candidate is asked for its health.
const HEALTH_POLL: Duration = Duration::from_millis(5);

/// An instance of another version, beside the actor's own.
pub struct Candidate {
    pub(super) instance: Box<Instance>,
    pub(super) source: Arc<Source>,
    /// The context in which it runs apart from the actor's own instance.
    pub(super) beside: Arc<HostContext>,
    pub(super) health: HealthStatus,
    pub(super) reserved: Option<Box<Promise>>,
    /// The canary that it belongs to; `None`: it takes over.
    canary: Option<Arc<Canary>>,
}

/// An instance whose place another has taken.
pub struct Retired {
    instance: Box<Instance>,
    beside: Arc<HostContext>,
}

/// Why a state was not handed over.
pub(super) struct HandOver {
    pub error: CallError,
    pub successor: Successor,
}

/// What became of the instance that was to take over.
pub(super) enum Successor {
    /// It can be called.
    Usable,
    /// It can only be dropped.
    Lost,
}

impl Candidate {
    /// Returns its node in the wait-for graph, which stays with the instance that does not run.
    pub fn node(&self) -> Arc<WaitNode> {
        Arc::clone(&self.beside.node)
    }

    /// Has it go on trial instead of taking over.
    pub fn try_as(&mut self, canary: Arc<Canary>) {
        self.canary = Some(canary);
    }

    /// Returns whether it goes on trial.
    pub fn is_canary(&self) -> bool {
        self.canary.is_some()
    }
}

impl HandOver {
    /// The successor did not take the state.
    pub(super) fn refused(error: CallError) -> Self {
        let lost = error.poisons_instance();
        Self { error, successor: if lost { Successor::Lost } else { Successor::Usable } }
    }
}

impl Actor {
    /// Makes an instance of another version beside the actor's own, on this thread. With `gate`, it
    /// must become healthy within that time.
    pub fn try_out(
        &self,
        source: Source,
        beside: HostContext,
        gate: Option<Duration>,
        stack: usize,
    ) -> Result<Box<Candidate>, LoadError> {
        let beside = Arc::new(beside);
        let First { mut instance, mut health, reserved } =
            self.first_instance(&source, &beside, stack)?;
        let until = gate.map(|gate| (gate, deadline_in(gate)));
        while let Some((gate, deadline)) = until
            && health != HealthStatus::Healthy
        {
            let is_over = beside.timers.is_stopping() || self.mailbox.is_final();
            if is_over || Instant::now() >= deadline {
                let last = health.name();
                block_on(source.ambient(&beside), pin!(end(instance))).ok();
                return Err(match is_over {
                    true => LoadError::Stopped,
                    false => LoadError::Unhealthy { last, gate },
                });
            }
            std::thread::sleep(HEALTH_POLL);
            let asked = pin!(instance.health());
            health = block_on(source.ambient(&beside), asked)
                .map_err(|error| LoadError::Call { during: "health", error })?;
        }
        let source = Arc::new(source);
        Ok(Box::new(Candidate { instance, source, beside, health, reserved, canary: None }))
    }

    /// Has a candidate take over from an idle component, on this thread; `None` if it is not idle.
    /// Afterwards [`Actor::withdraw`] takes back a candidate that has not taken over. The thread can
    /// run guests.
    pub fn replace_here(
        &self,
        candidate: &mut Option<Box<Candidate>>,
    ) -> Option<Result<(), CallError>> {
        self.if_idle_here(async {
            self.candidate.store(candidate.take());
            self.take_over().await
        })
    }

    /// Has `candidate` take over between two messages. The waiter gets the outcome. Until then, and
    /// after a refusal, [`Actor::withdraw`] takes the candidate back.
    pub fn replace(&self, candidate: Box<Candidate>) -> Result<(Waiter, Place), Refusal> {
        let _changes = self.host_changes.lock().unwrap_or_else(PoisonError::into_inner);
        self.candidate.store(Some(candidate));
        let (waiter, reply) = Waiter::with_reply();
        self.mailbox.replace(Mail::Replace(reply)).map(|place| (waiter, place))
    }

    /// Keeps a candidate that is not to take over for [`Actor::withdraw`].
    pub fn take_back(&self, candidate: Option<Box<Candidate>>) {
        self.candidate.store(candidate);
    }

    /// Takes a candidate back that has not begun to take over.
    pub fn withdraw(&self) -> Option<Box<Candidate>> {
        self.candidate.take()
    }

    /// Ends a candidate that does not take over, on this thread.
    pub fn reject(candidate: Candidate) {
        let Candidate { instance, source, beside, .. } = candidate;
        let ended = pin!(end(instance));
        // The caller learns why it was rejected; how it ends is of no interest.
        let _ = block_on(source.ambient(&beside), ended);
    }

    /// Ends the instance whose place another has taken, if there was one, on this thread.
    pub fn retire(&self) -> Result<(), CallError> {
        let Some(retired) = self.retired.take() else { return Ok(()) };
        let Retired { mut instance, beside } = *retired;
        instance.move_to(Arc::clone(&beside));
        block_on(Some(&beside.timers), pin!(end(instance)))
    }

    pub(super) async fn take_over(&self) -> Result<(), CallError> {
        let Some(mut candidate) = self.candidate.take() else {
            // Withdrawn: its maker has stopped waiting. It has ended the pause before a restart.
            if self.supervisor.is_some() && self.status.state().awaits_instance() {
                let _ = self.mailbox.deliver(Mail::Recovery(Instant::now()));
            }
            return Ok(());
        };
        if let Some(canary) = candidate.canary.take() {
            return self.begin_trial(candidate, canary).await;
        }
        candidate.instance.move_to(Arc::clone(&self.spec().context));
        let handed = match self.take_ready() {
            Some(old) => {
                self.status.change(Cause::Replace);
                self.hand_over(old, &mut candidate.instance).await.map(Some)
            }
            None => {
                let restored = self.restore(&mut candidate.instance).await;
                if restored.is_ok() {
                    self.status.change(Cause::Replace);
                }
                restored.map(|()| None).map_err(HandOver::refused)
            }
        };
        let old = match handed {
            Ok(old) => old,
            Err(HandOver { error, successor: Successor::Lost }) => {
                candidate.instance.finish().await;
                return Err(error);
            }
            Err(HandOver { error, successor: Successor::Usable }) => {
                candidate.instance.move_to(Arc::clone(&candidate.beside));
                self.candidate.store(Some(candidate));
                return Err(error);
            }
        };
        let Candidate { instance, source, beside, health, reserved, .. } = *candidate;
        if let Some(old) = old {
            self.retired.store(Some(Box::new(Retired { instance: old, beside })));
        }
        self.adopt(Ok(instance), source, health, reserved);
        Ok(())
    }

    /// Has a version take over with an instance, or the error for which it has none.
    pub(super) fn adopt(
        &self,
        instance: Result<Box<Instance>, CallError>,
        source: Arc<Source>,
        health: HealthStatus,
        reserved: Option<Box<Promise>>,
    ) {
        self.reserved.store(reserved);
        self.status.set_version(source.version.number);
        self.set_source(source);
        if let Some(supervisor) = &self.supervisor {
            supervisor.reset();
        }
        match instance {
            Ok(instance) => {
                self.status.set_health(health);
                self.put_new(instance);
                self.mailbox.reopen();
                self.status.change(Cause::Replaced);
                self.note_live();
            }
            Err(error) => _ = self.lost(&error),
        }
    }

    /// Hands the state of the instance over to its successor, if both take part, and returns the
    /// instance. After a failure it is back in its place, unless it crashed.
    pub(super) async fn hand_over(
        &self,
        mut old: Box<Instance>,
        new: &mut Instance,
    ) -> Result<Box<Instance>, HandOver> {
        if !(old.has_state() && new.has_state()) {
            return Ok(old);
        }
        let saved = match old.save().await {
            Ok(saved) => saved,
            Err(error) => {
                match self.put_back(old, &Err::<(), _>(error.clone())) {
                    Some(crash) => crash.await,
                    None => self.status.change(Cause::Kept),
                }
                return Err(HandOver { error, successor: Successor::Usable });
            }
        };
        let restored = match self.charge_state(saved.len()) {
            Ok(_charge) => new.restore(&saved, &self.version_text()).await,
            Err(error) => Err(error),
        };
        let Err(error) = restored else { return Ok(old) };
        self.put(old);
        self.status.change(Cause::Kept);
        Err(HandOver::refused(error))
    }

    /// Charges the account for a saved state.
    pub(super) fn charge_state(&self, bytes: usize) -> Result<Charge, CallError> {
        let bytes = bytes as u64;
        self.spec().context.account.charge(bytes).map_err(|exceeded| {
            CallError::DoesNotFit(Unfit::State { bytes, limit: exceeded.limit })
        })
    }

    /// Returns the version in the metadata of the component.
    pub(super) fn version_text(&self) -> String {
        self.source().metadata().map_or_else(String::new, |metadata| metadata.version.clone())
    }

    /// Puts a new instance in the place of one that has grown old.
    pub(super) async fn recycle(&self) {
        if self.status.state() != State::Running {
            return;
        }
        let Some(old) = self.take_ready() else { return };
        self.status.change(Cause::Recycle);
        let mut new = match self.new_instance().await {
            Ok(new) => new,
            Err(error) => {
                self.put_new(old);
                self.status.change(Cause::Kept);
                return self.report(LogLevel::Warn, "recycling failed", &error).await;
            }
        };
        match self.hand_over(old, &mut new).await {
            Ok(old) => {
                self.status.count_restart();
                self.status.set_health(HealthStatus::Unknown);
                self.put_new(new);
                self.status.change(Cause::Restarted);
                if let Err(error) = end(old).await {
                    self.report(LogLevel::Warn, "shutdown after recycling failed", &error).await;
                }
            }
            Err(HandOver { error, successor }) => {
                self.status.recycle_later();
                discard(new, successor).await;
                self.report(LogLevel::Warn, "recycling failed", &error).await;
            }
        }
    }
}

/// Ends an instance that did not take over. It is of no interest how it ends.
pub(super) async fn discard(instance: Box<Instance>, successor: Successor) {
    match successor {
        Successor::Lost => instance.finish().await,
        Successor::Usable => drop(end(instance).await),
    }
}
