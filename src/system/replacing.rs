//! Replacing the version of a component while it runs, and returning to an earlier one.

use std::path::Path;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::component::actor::Actor;
use crate::component::canary::Canary;
use crate::component::expectation::Expectation;
use crate::component::pool::Pool;
use crate::component::takeover::Candidate;
use crate::component::version::{Source, Version};
use crate::core::bounds::{MAX_REPEATED_BYTES, bounded};
use crate::core::error::CallError;
use crate::core::id::ComponentHandle;
use crate::core::interrupts::Interrupts;
use crate::core::log::LogLevel;
use crate::core::wait_graph::Wait;
use crate::messaging::queue::Place;
use crate::messaging::reply::Waiter;
use crate::runtime::call_end::Timers;
use crate::runtime::initial_config::InitialConfig;
use crate::runtime::load_error::LoadError;
use crate::runtime::off_fiber::{current_component, run_host_code};
use crate::runtime::threads::signal_stack;
use crate::system::engine::Engine;
use crate::system::error::EngineError;
use crate::system::options::ReplaceOptions;

/// How a version takes over.
#[derive(Clone, Copy, Default)]
pub(super) struct Handing<'a> {
    /// The canary that it is; `None`: it takes over at once.
    pub canary: Option<&'a Arc<Canary>>,
    /// The time within which it must be healthy.
    pub health_gate: Option<Duration>,
    /// The longest wait for the message in progress.
    pub timeout: Option<Duration>,
    /// The stack left on this thread, in bytes.
    pub stack: usize,
}

impl Engine {
    /// Replaces the binary of a component, or with `binary` of `None` only its configuration, with
    /// `stack` bytes of stack left on the calling thread.
    pub fn replace(
        &self,
        handle: ComponentHandle,
        binary: Option<&[u8]>,
        options: Option<&str>,
        stack: usize,
    ) -> Result<(), EngineError> {
        let pool = self.to_replace(handle)?;
        let options = ReplaceOptions::parse(options)?;
        let _replacing = self.begin_replacing(&pool)?;
        let current = pool.version();
        let not_replaced = |error| self.not_replaced(&pool, error);
        let signature = options.signature.as_ref();
        let signer = match (binary, signature) {
            (Some(binary), _) => self.signer(binary, signature),
            // It was checked when it came.
            (None, None) => Ok(current.signer.clone()),
            (None, Some(_)) => {
                let signer = self.trust.signer(signature, || current.prepared.sha256);
                signer.map_err(LoadError::from)
            }
        };
        let signer = signer.map_err(not_replaced)?;
        let (prepared, lease) = match binary {
            Some(binary) => {
                let (prepared, lease) =
                    self.runtime.loader.prepare(binary).map_err(not_replaced)?;
                (prepared, Arc::new(lease))
            }
            None => (Arc::clone(&current.prepared), Arc::clone(&current.lease)),
        };
        match (current.prepared.lifecycle.is_some(), prepared.lifecycle.is_some()) {
            (true, false) => {
                return Err(not_replaced(LoadError::OtherLifecycle("the old version")));
            }
            (false, true) => {
                return Err(not_replaced(LoadError::OtherLifecycle("the new version")));
            }
            _ => {}
        }
        if let Some(expected) = &options.sha256 {
            prepared.check_sha256(expected).map_err(not_replaced)?;
        }
        let source = pool.actors().first().source();
        let before = source.metadata().map(|metadata| metadata.version.clone());
        if options.newer && before.is_none() {
            let reason = "its version before is not known, so none is newer; call it once";
            return Err(not_replaced(LoadError::Unexpected(reason.into())));
        }
        let newer_than = before.filter(|_| options.newer);
        let expectation = Expectation { newer_than, ..options.expectation };
        let (env, data) = (options.env.map(Into::into), options.config);
        let config = Arc::new(InitialConfig::new(
            env.unwrap_or_else(|| Arc::clone(&current.config.env)),
            data.unwrap_or_else(|| current.config.data.clone()),
        ));
        let number = pool.next_version();
        let metadata = OnceLock::new();
        let version = Version { number, prepared, lease, config, expectation, signer, metadata };
        let version = Arc::new(version);
        let ReplaceOptions { health_gate, timeout, .. } = options;
        let handing = Handing { canary: None, health_gate, timeout, stack };
        if let Some(terms) = options.canary {
            return self.begin_canary(&pool, version, terms, handing);
        }
        self.roll(&pool, &current, &version, handing)?;
        pool.advance_to(version);
        Ok(())
    }

    /// As [`Engine::replace`], from a file.
    pub fn replace_file(
        &self,
        handle: ComponentHandle,
        path: &Path,
        options: Option<&str>,
        stack: usize,
    ) -> Result<(), EngineError> {
        let binary = self.read_binary(path)?;
        self.replace(handle, Some(&binary), options, stack)
    }

    /// Returns to the version before the current one, with `stack` bytes of stack left on the
    /// calling thread.
    pub fn roll_back(&self, handle: ComponentHandle, stack: usize) -> Result<(), EngineError> {
        let pool = self.to_replace(handle)?;
        let _replacing = self.begin_replacing(&pool)?;
        let earlier = pool.earlier_version();
        let component = Arc::clone(pool.id());
        let earlier = earlier.ok_or(EngineError::NoEarlierVersion { component })?;
        let handing = Handing { stack, ..Handing::default() };
        self.roll(&pool, &pool.version(), &earlier, handing)?;
        pool.went_back();
        Ok(())
    }

    /// Returns the component to be replaced, if this thread may wait for it.
    fn to_replace(&self, handle: ComponentHandle) -> Result<Arc<Pool>, EngineError> {
        self.check_running()?;
        let pool = self.pool(handle)?;
        for actor in pool.actors() {
            self.wait_for(actor)?;
        }
        Ok(pool)
    }

    /// Waits for the end of another replacement of the same component. Fails if it has a canary.
    fn begin_replacing<'a>(&self, pool: &'a Pool) -> Result<MutexGuard<'a, ()>, EngineError> {
        let _wait = Wait::begin(current_component(), pool.replacement())
            .ok_or_else(|| EngineError::WouldDeadlock { target: pool.id().to_string() })?;
        let replacing = pool.replacing().lock().unwrap_or_else(PoisonError::into_inner);
        match pool.canary() {
            None => Ok(replacing),
            Some(canary) => {
                let (component, version) = (Arc::clone(pool.id()), canary.version().number);
                Err(EngineError::HasCanary { component, version })
            }
        }
    }

    /// Gives all instances of a pool another version, one at a time. After a failure those that have
    /// it get the old one back.
    fn roll(
        &self,
        pool: &Pool,
        old: &Arc<Version>,
        new: &Arc<Version>,
        handing: Handing<'_>,
    ) -> Result<(), EngineError> {
        for (at, actor) in pool.actors().iter().enumerate() {
            let Err(error) = self.hand_over(pool, actor, new, handing) else { continue };
            let back = Handing { stack: handing.stack, ..Handing::default() };
            for done in pool.actors().iter().take(at) {
                if let Err(error) = self.hand_over(pool, done, old, back) {
                    let reason = bounded(&error, MAX_REPEATED_BYTES);
                    let what = "an instance did not get its old version back";
                    let stderr = String::new();
                    report(
                        done,
                        LogLevel::Error,
                        what,
                        &CallError::RestartFailed { reason, stderr },
                    );
                }
            }
            return Err(error);
        }
        Ok(())
    }

    /// Gives one instance another version, or sets that on trial.
    pub(super) fn hand_over(
        &self,
        pool: &Pool,
        actor: &Arc<Actor>,
        version: &Arc<Version>,
        handing: Handing<'_>,
    ) -> Result<(), EngineError> {
        let not_replaced = |error| self.not_replaced(pool, error);
        let mappings = match actor.spec().activation.is_passivable() {
            true => None,
            false => Some(version.prepared.admit().map_err(|full| not_replaced(full.into()))?),
        };
        signal_stack::ensure().map_err(LoadError::no_stack).map_err(not_replaced)?;
        let stop = Arc::clone(&self.stop_signal);
        let timers = Timers::new(self.scheduler()?.clone(), Arc::<Interrupts>::default(), stop);
        let beside = actor.spec().context.beside(timers);
        let mut candidate = {
            // A callback that replaces a component waits for its `initialize`.
            let _wait = Wait::begin(current_component(), &beside.node);
            let _replaces = Wait::begin(Some(Arc::clone(pool.replacement())), &beside.node);
            let source = Source::new(Arc::clone(version), mappings);
            let Handing { health_gate, stack, .. } = handing;
            let tried = actor.try_out(source, beside, health_gate, stack);
            tried.map_err(|error| match error {
                LoadError::Stopped => self.unknown(pool.handle()),
                error => not_replaced(error),
            })?
        };
        if let Some(canary) = handing.canary {
            candidate.try_as(Arc::clone(canary));
        }
        let node = candidate.node();
        let outcome = self.take_over(pool, actor, candidate, handing.timeout);
        // From now on this thread waits for what ends.
        let _wait = Wait::begin(current_component(), &node);
        let _replaces = Wait::begin(Some(Arc::clone(pool.replacement())), &node);
        if let Some(candidate) = actor.withdraw() {
            Actor::reject(*candidate);
        }
        outcome?;
        pool.use_number(version.number);
        if let Err(error) = actor.retire() {
            report(actor, LogLevel::Warn, "shutdown after a replacement failed", &error);
        }
        Ok(())
    }

    /// Has a candidate take over between two messages.
    fn take_over(
        &self,
        pool: &Pool,
        actor: &Actor,
        candidate: Box<Candidate>,
        timeout: Option<Duration>,
    ) -> Result<(), EngineError> {
        let would_deadlock = || EngineError::WouldDeadlock { target: pool.id().to_string() };
        let replacement = Some(Arc::clone(pool.replacement()));
        let waits = match Wait::begin(replacement, &actor.spec().context.node) {
            Some(replaces) => self.wait_for(actor).map(|wait| (wait, replaces)),
            None => Err(would_deadlock()),
        };
        let mut candidate = Some(candidate);
        let _waits = match waits {
            Ok(waits) => waits,
            Err(error) => {
                actor.take_back(candidate);
                return Err(error);
            }
        };
        // A trial goes on where it begins, which must be the actor's task.
        let on_trial = candidate.as_ref().is_some_and(|candidate| candidate.is_canary());
        let here = if on_trial { None } else { actor.replace_here(&mut candidate) };
        if let Some(outcome) = here {
            return outcome.map_err(|error| self.not_taken_over(pool, error));
        }
        let Some(candidate) = candidate else { return Ok(()) };
        match actor.replace(candidate) {
            Ok((waiter, place)) => {
                let outcome = self.wait_for_take_over(pool, actor, (&waiter, place), timeout);
                actor.mailbox().retract(place);
                outcome
            }
            Err(refusal) => Err(self.not_accepted(actor.mailbox(), refusal)),
        }
    }

    pub(super) fn not_taken_over(&self, pool: &Pool, error: CallError) -> EngineError {
        match error {
            CallError::Unloaded => self.unknown(pool.handle()),
            CallError::EngineStopped => EngineError::Stopped,
            error => self.not_replaced(pool, LoadError::Call { during: "replacement", error }),
        }
    }

    fn wait_for_take_over(
        &self,
        pool: &Pool,
        actor: &Actor,
        (waiter, place): (&Waiter, Place),
        timeout: Option<Duration>,
    ) -> Result<(), EngineError> {
        let mut outcome = waiter.wait(timeout);
        if let (Err(CallError::CallerTimeout { .. }), Some(timeout)) = (&outcome, timeout) {
            actor.mailbox().retract(place);
            if let Some(candidate) = actor.withdraw() {
                actor.take_back(Some(candidate));
                let (component, version) = (Arc::clone(pool.id()), actor.status().version());
                return Err(EngineError::NotInTime { component, version, timeout });
            }
            // It has begun to take over, which does not take long.
            outcome = waiter.wait(None);
        }
        outcome.map(drop).map_err(|error| self.not_taken_over(pool, error))
    }

    fn not_replaced(&self, pool: &Pool, error: LoadError) -> EngineError {
        if let LoadError::Stopped = error {
            return EngineError::Stopped;
        }
        let (component, version) = (Arc::clone(pool.id()), pool.version().number);
        EngineError::NotReplaced { component, version, error }
    }
}

/// Logs a record in the component's name, on this thread.
fn report(actor: &Actor, level: LogLevel, what: &str, error: &CallError) {
    let context = &actor.spec().context;
    if let Some(report) = context.report(level, what, error) {
        run_host_code(&context.node, || context.write_report(report));
    }
}
