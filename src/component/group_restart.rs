//! The restart of members of a group: the others end in reverse order, and all begin in order.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::component::actor::Actor;
use crate::component::group_tree::Scope;
use crate::component::groups::Groups;
use crate::component::lifecycle::{Cause, State};
use crate::component::supervision::RestartPolicy;
use crate::core::error::CallError;
use crate::core::id::ComponentHandle;
use crate::core::log::LogLevel;
use crate::core::wait_graph::{Wait, WaitNode};
use crate::messaging::group_restart::{Fate, Lead, Part};
use crate::messaging::mail::Mail;
use crate::messaging::queue::{Intake, Runner};
use crate::runtime::call_end::Timers;

/// One restart, or the end of members whose group has given up.
pub struct GroupRestart {
    /// The group that makes it.
    pub group: ComponentHandle,
    /// The groups that it takes along as a whole.
    pub below: Vec<ComponentHandle>,
    /// What it takes along.
    pub scope: Scope,
    /// What becomes of the instances.
    pub fate: Fate,
    /// The instance whose loss is the reason. It takes part from the start.
    pub lost: Seat,
    /// The restart in the wait-for graph.
    pub node: Arc<WaitNode>,
}

/// One instance that takes part.
pub struct Seat {
    /// The instance.
    pub actor: Arc<Actor>,
    /// `None` once it is delivered.
    pub part: Option<Part>,
    /// The other side of the part.
    pub lead: Lead,
}

impl Seat {
    /// Has the instance end; returns false if it waits for one that has ended already.
    async fn end(&mut self, node: &Arc<WaitNode>) -> bool {
        let Some(part) = self.part.take() else {
            // It has no instance, and its mail waits already.
            self.lead.end().await;
            self.lead.note();
            return true;
        };
        let Some(wait) = Wait::begin(Some(Arc::clone(node)), &self.actor.spec().context.node)
        else {
            self.part = Some(part);
            return false;
        };
        // One that is stopped, or about to be, takes no part.
        drop(self.actor.mailbox().deliver(Mail::Regroup(Box::new(Some(part)))));
        self.lead.end().await;
        drop(wait);
        self.lead.note();
        true
    }
}

/// Makes a restart at `at` at the earliest. The restarts of an outermost group are made one after
/// another.
pub async fn run(groups: Arc<Groups>, restart: GroupRestart, at: Instant, timers: Timers) {
    if at > Instant::now() {
        timers.interruption(at, None).await;
    }
    let Some(root) = groups.queue(restart) else { return };
    while let Some(restart) = groups.next(root) {
        carry_out(&groups, restart).await;
    }
}

async fn carry_out(groups: &Arc<Groups>, restart: GroupRestart) {
    let GroupRestart { group, below, scope, fate, lost, node } = restart;
    // The host, or another restart, has given the lost instance a new one.
    if fate == Fate::Fail || !lost.lead.is_alone() {
        let mut seats = groups.seats(&scope, lost, &node);
        let mut late = Vec::new();
        for at in (0..seats.len()).rev() {
            if !seats[at].end(&node).await {
                late.push(seats.remove(at));
            }
        }
        let fate_now = || groups.fate(group, fate);
        for seat in seats {
            seat.lead.fulfil(fate_now()).await;
        }
        // They wait in a callback of the host for one that begins only now.
        for mut seat in late {
            seat.end(&Arc::default()).await;
            seat.lead.fulfil(fate_now()).await;
        }
    }
    groups.end(group, &below);
}

impl Actor {
    /// Takes part in a restart of the group. What the host does comes first, and ends the part.
    pub(super) async fn regroup(&self, part: Part) {
        let Part { restart, mark, turn, ended, noted, fate, done } = part;
        let wait = Wait::begin(Some(Arc::clone(&self.spec().context.node)), &restart);
        if self.rest_for(Runner::Resting, turn).await.is_none() {
            return;
        }
        drop(wait);
        // A passive component stays passive, and forgets its state.
        self.saved.take();
        self.status.change(Cause::Group);
        self.make_way("shutdown for its group failed").await;
        // An error: the engine stops.
        _ = ended.send(());
        if self.rest_for(Runner::Grouped, noted).await.is_none() {
            return;
        }
        // If the others wait for this one, it does not wait for them.
        let wait = Wait::begin(Some(Arc::clone(&self.spec().context.node)), &restart);
        let fate = match wait.is_some() {
            true => self.rest_for(Runner::Grouped, fate).await,
            false => Some(Fate::Restart),
        };
        drop(wait);
        // From now on a loss of the instance is another one.
        drop(mark);
        let never = |policy| policy == RestartPolicy::Temporary;
        let is_temporary =
            self.supervisor.as_ref().is_some_and(|it| never(it.supervision().policy));
        match fate {
            Some(Fate::Fail) => self.fail_with_group(),
            Some(Fate::Restart) if self.status.state() != State::Restarting => {}
            Some(Fate::Restart) if is_temporary => self.fail_with_group(),
            Some(Fate::Restart) => match self.restart(Cause::Group).await {
                Ok(instance) => self.put(instance),
                Err(CallError::EngineStopped) => return,
                Err(error) => self.report(LogLevel::Error, "restart failed", &error).await,
            },
            None => return,
        }
        _ = done.send(());
    }

    /// Lets mail wait until `receiver` gets its value. `None`: the host came first, or the engine
    /// stops.
    async fn rest_for<T>(&self, rest: Runner, receiver: oneshot::Receiver<T>) -> Option<T> {
        let mut value = None;
        self.mailbox.rest(rest, async { value = receiver.await.ok() }).await;
        value
    }

    fn fail_with_group(&self) {
        if let Some(removed) = self.mailbox.shut(Intake::Failed) {
            self.status.change(Cause::GiveUp);
            self.mailbox.dead_letter(removed, &CallError::Failed);
        }
    }
}
