//! The restart of members of a group: all pause, end in reverse order, and begin in order.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::component::actor::Actor;
use crate::component::groups::{Groups, InstanceKey};
use crate::component::lifecycle::{Cause, State};
use crate::component::turnover::end;
use crate::core::error::CallError;
use crate::core::id::ComponentHandle;
use crate::core::log::LogLevel;
use crate::messaging::group_restart::{Fate, Lead, Part};
use crate::messaging::queue::{Intake, Runner};
use crate::runtime::call_end::Timers;

/// One restart, or the end of members whose group has given up.
pub struct GroupRestart {
    /// The group that makes it.
    pub group: ComponentHandle,
    /// The groups that it takes along as a whole.
    pub below: Vec<ComponentHandle>,
    /// The instances that take part, in order.
    pub parts: Vec<(InstanceKey, Lead)>,
    /// New instances are made at this time at the earliest.
    pub at: Instant,
    /// What becomes of the instances.
    pub fate: Fate,
}

/// Works off the restarts of an outermost group, one after another.
pub async fn run(groups: Arc<Groups>, root: ComponentHandle, timers: Timers) {
    while let Some(restart) = groups.next(root) {
        let GroupRestart { group, below, mut parts, at, fate } = restart;
        for (_, lead) in parts.iter_mut().rev() {
            lead.end().await;
        }
        if fate == Fate::Restart && at > Instant::now() {
            timers.interruption(at, None).await;
        }
        for (instance, lead) in parts {
            groups.goes_on(instance);
            lead.fulfil(fate).await;
        }
        groups.end(group, &below);
    }
}

impl Actor {
    /// Takes part in a restart of the group. What the host does comes first, and ends the part.
    pub(super) async fn regroup(&self, part: Part) {
        let Part { turn, ended, fate, done } = part;
        if self.rest_for(turn).await.is_none() {
            return;
        }
        // A passive component stays passive, and forgets its state.
        self.saved.take();
        self.status.change(Cause::Group);
        if let Some(instance) = self.take_ready() {
            let result = end(instance).await;
            self.status.set_memory(0);
            // The new instance does not depend on how the old one ended.
            if let Err(error) = result {
                self.report(LogLevel::Warn, "shutdown for its group failed", &error).await;
            }
        }
        // Dropped receivers belong to a stopping engine.
        _ = ended.send(());
        match self.rest_for(fate).await {
            Some(Fate::Restart) if self.status.state() == State::Restarting => {
                match self.restart(Cause::Group).await {
                    Ok(instance) => self.put(instance),
                    Err(CallError::EngineStopped) => return,
                    Err(error) => self.report(LogLevel::Error, "restart failed", &error).await,
                }
            }
            Some(Fate::Fail) => self.fail_with_group(),
            Some(Fate::Restart) | None => {}
        }
        _ = done.send(());
    }

    /// Lets mail wait until `receiver` gets its value. `None`: the host came first, or the engine
    /// stops.
    async fn rest_for<T>(&self, receiver: oneshot::Receiver<T>) -> Option<T> {
        let mut value = None;
        self.mailbox.rest(Runner::Grouped, async { value = receiver.await.ok() }).await;
        value
    }

    fn fail_with_group(&self) {
        if let Some(removed) = self.mailbox.shut(Intake::Failed) {
            self.status.change(Cause::GiveUp);
            self.mailbox.dead_letter(removed, &CallError::Failed);
        }
    }
}
