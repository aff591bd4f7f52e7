//! The life cycle of components by call: stops, starts, restarts, and waits for states.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::component::actor::Actor;
use crate::component::instances::Stopping;
use crate::component::lifecycle::State;
use crate::component::pool::Pool;
use crate::core::deadline::deadline_in;
use crate::core::error::CallError;
use crate::core::id::ComponentHandle;
use crate::messaging::mail::Mail;
use crate::messaging::reply::Waiter;
use crate::runtime::threads::signal_stack;
use crate::system::engine::{ALL, Engine};
use crate::system::error::EngineError;
use crate::system::interrupt::{interrupting, still_in_callback};
use crate::system::snapshot;

/// The calls of a restart into a guest: `shutdown`, instantiation, `initialize`.
const CALLS_OF_A_RESTART: u32 = 3;

impl Engine {
    /// Stops components: they take no new mail, handle the mail that waits, and end. After
    /// `timeout`, waiting mail becomes dead letters and the mail in progress is interrupted.
    pub fn stop_components(
        &self,
        handle: ComponentHandle,
        timeout: Duration,
    ) -> Result<(), EngineError> {
        self.check_running()?;
        match handle {
            ALL => self.components.stop_all_dormant(),
            one if self.components.stop_dormant(one) => return Ok(()),
            _ => {}
        }
        let mut pools = self.addressed(handle)?;
        pools.reverse();
        let deadline = deadline_in(timeout);
        let stop = |actor: &Arc<Actor>| (Arc::clone(actor), actor.stop());
        let stopping: Vec<Vec<_>> =
            pools.iter().map(|pool| pool.actors().iter().map(stop).collect()).collect();
        each(handle, pools.iter().zip(stopping), |_, actors| {
            let ends =
                actors.into_iter().map(|(actor, stop)| self.end_stop(&actor, stop, deadline));
            ends.fold(Ok(()), Result::and)
        })
    }

    fn end_stop(
        &self,
        actor: &Arc<Actor>,
        stopping: Stopping,
        deadline: Instant,
    ) -> Result<(), EngineError> {
        let _wait = self.wait_for(actor)?;
        let mailbox = actor.mailbox();
        let hurry = || mailbox.dead_letter(mailbox.hurry(), &CallError::Stopped);
        // An interrupted instance is gone, so its `shutdown` is not called.
        let interrupted = Cell::new(false);
        let outcome = match stopping {
            Stopping::Begun(waiter, place) => {
                let hurried = Cell::new(false);
                let hurry = || {
                    hurry();
                    // First what comes before `shutdown`; then `shutdown` has had its time.
                    match hurried.replace(true) {
                        false => interrupted.set(mailbox.interrupt_other(place)),
                        true => mailbox.interrupts().interrupt(),
                    }
                };
                interrupting(deadline, hurry, |left| waiter.wait(Some(left)).map(drop))
            }
            Stopping::ByOthers => {
                let hurry = || {
                    hurry();
                    // Open again, it was started since.
                    if !mailbox.is_open() {
                        interrupted.set(true);
                        mailbox.interrupts().interrupt();
                    }
                };
                interrupting(deadline, hurry, |left| self.wait_until_stopped(actor, left))
            }
        };
        let outcome = match interrupted.get() {
            true => outcome.and(Err(CallError::Interrupted)),
            false => outcome,
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(CallError::CallerTimeout { .. }) => Err(still_in_callback(actor)),
            Err(CallError::EngineStopped) => Err(EngineError::Stopped),
            Err(CallError::Unloaded) => Err(self.unknown(mailbox.handle())),
            Err(error) => self.shutdown_outcome(actor, Err(error)),
        }
    }

    fn wait_until_stopped(&self, actor: &Actor, timeout: Duration) -> Result<(), CallError> {
        let look = || match actor.status().state() {
            _ if actor.mailbox().is_open() => Some(Ok(())),
            State::Running | State::Crashed | State::Restarting | State::Stopping => {
                self.stop_signal.is_given().then_some(Err(CallError::EngineStopped))
            }
            _ => Some(Ok(())),
        };
        let waited = self.states.until(deadline_in(timeout), look);
        waited.unwrap_or(Err(CallError::CallerTimeout { timeout, unstarted: None }))
    }

    /// Starts components that are stopped or have failed.
    pub fn start_components(&self, handle: ComponentHandle) -> Result<(), EngineError> {
        if handle == ALL {
            self.components.rouse_all(|state| state == State::Stopped);
        }
        let pools = self.addressed(handle)?;
        self.groups.revive((handle != ALL).then_some(handle));
        each(handle, pools.iter().map(|pool| (pool, ())), |pool, ()| {
            pool.actors().iter().map(|actor| self.start_one(actor)).fold(Ok(()), Result::and)
        })
    }

    fn start_one(&self, actor: &Arc<Actor>) -> Result<(), EngineError> {
        let _wait = self.wait_for(actor)?;
        let mailbox = actor.mailbox();
        match actor.start_again() {
            Ok(None) => Ok(()),
            Ok(Some(waiter)) => match waiter.wait(None) {
                Err(CallError::Unloaded) => Err(self.unknown(mailbox.handle())),
                outcome => outcome.map(drop).map_err(|error| self.call_failed(mailbox, error)),
            },
            Err(refusal) => Err(self.not_accepted(mailbox, refusal)),
        }
    }

    /// Gives components a new instance after the mail in progress; of a pool, one instance at a
    /// time. After `timeout`, that mail is interrupted.
    pub fn restart(&self, handle: ComponentHandle, timeout: Duration) -> Result<(), EngineError> {
        let deadline = deadline_in(timeout);
        if handle == ALL {
            self.components.rouse_all(|_| true);
        }
        let pools = self.addressed(handle)?;
        each(handle, pools.iter().map(|pool| (pool, ())), |pool, ()| {
            pool.actors().iter().try_for_each(|actor| self.restart_one(actor, deadline))
        })
    }

    fn restart_one(&self, actor: &Arc<Actor>, deadline: Instant) -> Result<(), EngineError> {
        let _wait = self.wait_for(actor)?;
        let mailbox = actor.mailbox();
        // This thread cannot watch the clock while it runs the guest.
        let longest = actor.spec().limits.max_execution_time.saturating_mul(CALLS_OF_A_RESTART);
        let has_time = deadline.saturating_duration_since(Instant::now()) >= longest;
        if has_time
            && signal_stack::ensure().is_ok()
            && let Some(outcome) = actor.restart_here()
        {
            return outcome.map_err(|error| self.call_failed(mailbox, error));
        }
        let (waiter, reply) = Waiter::with_reply();
        let place = self.ask(actor, Mail::Restart(reply))?;
        let interrupt = || _ = mailbox.interrupt_other(place);
        let outcome = interrupting(deadline, interrupt, |left| waiter.wait(Some(left)).map(drop));
        outcome.map_err(|error| match error {
            CallError::CallerTimeout { .. } => still_in_callback(actor),
            error => self.call_failed(actor.mailbox(), error),
        })
    }

    /// Returns what is known of the state of components, as JSON.
    pub fn status(&self, handle: ComponentHandle) -> Result<String, EngineError> {
        self.check_running()?;
        if handle == ALL {
            let all = self.components.all();
            let all = all.iter().filter_map(|component| self.components.look_at(component));
            return Ok(snapshot::array(all.map(|pool| snapshot::status(&pool))));
        }
        if let Some(status) = self.group_status(handle) {
            return Ok(status.to_string());
        }
        let pool = self.look(handle)?;
        Ok(snapshot::status(&pool).to_string())
    }

    /// Blocks until all instances of components have a state.
    pub fn wait_for_state(
        &self,
        handle: ComponentHandle,
        wanted: State,
        timeout: Duration,
    ) -> Result<(), EngineError> {
        let was_loaded = handle.0 != 0 && handle.0 <= self.last_handle.load(Ordering::Relaxed);
        if self.components.is_dormant_in(handle, wanted) {
            return Ok(());
        }
        let pools = match self.pools_of(handle) {
            // Handles are not reused.
            Err(EngineError::UnknownHandle(_)) if was_loaded && wanted == State::Unloaded => {
                return Ok(());
            }
            found => found?,
        };
        let actors = || pools.iter().flat_map(|pool| pool.actors());
        for actor in actors() {
            self.wait_for(actor)?;
        }
        // A thread waits for one at a time; any will do.
        let _wait = actors().next().map(|first| self.wait_for(first)).transpose()?;
        let is_group = pools.first().is_none_or(|pool| pool.handle() != handle);
        // Members that are unloaded meanwhile are members no longer.
        let counts =
            |state: &State| !is_group || *state != State::Unloaded || wanted == State::Unloaded;
        let states = || actors().map(|actor| actor.status().state()).filter(counts);
        let look = || {
            if states().all(|state| state == wanted) {
                return Some(Ok(()));
            }
            let is_final = states().any(|state| state == State::Unloaded);
            match self.check_running() {
                Ok(()) if is_final && wanted != State::Unloaded => Some(Err(self.unknown(handle))),
                Ok(()) => None,
                Err(stopped) => Some(Err(stopped)),
            }
        };
        let waited = self.states.until(deadline_in(timeout), look).unwrap_or_else(|| {
            let other = pools.iter().find(|pool| pool.state() != wanted).or(pools.first());
            let Some(pool) = other else { return Ok(()) };
            let (component, state) = (Arc::clone(pool.id()), pool.state().name());
            Err(EngineError::OtherState { component, wanted: wanted.name(), state, timeout })
        });
        if let [pool] = &pools[..] {
            self.hibernate(pool);
        }
        waited
    }

    /// Returns the components that a handle stands for, in load order, if this thread may wait for
    /// all of them. Of all components, those that are awake.
    fn addressed(&self, handle: ComponentHandle) -> Result<Vec<Arc<Pool>>, EngineError> {
        self.check_running()?;
        let pools = match handle {
            ALL => self.in_order(),
            handle => self.pools_of(handle)?,
        };
        for actor in pools.iter().flat_map(|pool| pool.actors()) {
            self.wait_for(actor)?;
        }
        Ok(pools)
    }

    /// Returns a component, or the members of a group in order.
    fn pools_of(&self, handle: ComponentHandle) -> Result<Vec<Arc<Pool>>, EngineError> {
        match self.groups.pools(handle) {
            Some(members) => Ok(members),
            None => Ok(vec![self.pool(handle)?]),
        }
    }
}

/// Does something for each component, although it may fail for some.
fn each<'a, T>(
    handle: ComponentHandle,
    all: impl Iterator<Item = (&'a Arc<Pool>, T)>,
    mut each: impl FnMut(&Pool, T) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let (mut components, mut failed) = (0, Vec::new());
    for (pool, with) in all {
        components += 1;
        failed.extend(each(pool, with).err().map(|error| (pool.handle(), error)));
    }
    match failed.pop() {
        None => Ok(()),
        Some((component, error)) if component == handle => Err(error),
        Some(last) => {
            failed.push(last);
            Err(EngineError::Several { components, failed })
        }
    }
}
