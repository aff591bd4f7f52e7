//! The exchange between an instance and the restart of its group.

use std::any::Any;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::core::wait_graph::WaitNode;

/// What becomes of an instance that has ended for its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A new one is made.
    Restart,
    /// The component has failed.
    Fail,
}

/// The side of an instance. An instance that leaves the restart drops it.
pub struct Part {
    /// The restart in the wait-for graph.
    pub restart: Arc<WaitNode>,
    /// Marks the instance as one that takes part, until it is dropped.
    pub mark: Box<dyn Any + Send>,
    /// It is the turn of the instance to end.
    pub turn: oneshot::Receiver<()>,
    /// The instance has ended.
    pub ended: oneshot::Sender<()>,
    /// The restart waits for it no longer.
    pub noted: oneshot::Receiver<()>,
    /// All others have ended.
    pub fate: oneshot::Receiver<Fate>,
    /// The fate is fulfilled.
    pub done: oneshot::Sender<()>,
}

/// The side of the restart.
pub struct Lead {
    turn: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
    noted: Option<oneshot::Sender<()>>,
    fate: oneshot::Sender<Fate>,
    done: oneshot::Receiver<()>,
}

impl Part {
    /// Creates both sides.
    pub fn with_lead(restart: Arc<WaitNode>, mark: Box<dyn Any + Send>) -> (Self, Lead) {
        let (give_turn, turn) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        let (note, noted) = oneshot::channel();
        let (give_fate, fate) = oneshot::channel();
        let (tell_done, done) = oneshot::channel();
        let part = Self { restart, mark, turn, ended: tell_ended, noted, fate, done: tell_done };
        let lead = Lead { turn: Some(give_turn), ended, noted: Some(note), fate: give_fate, done };
        (part, lead)
    }
}

impl Lead {
    /// Returns whether the instance has left.
    pub fn is_alone(&self) -> bool {
        self.fate.is_closed()
    }

    /// Gives the instance its turn to end; returns once it has ended, or has left.
    pub async fn end(&mut self) {
        if let Some(turn) = self.turn.take()
            && turn.send(()).is_ok()
        {
            // An error: it has left, which the next step finds as well.
            _ = (&mut self.ended).await;
        }
    }

    /// Tells an instance that has ended that nothing waits for it any longer.
    pub fn note(&mut self) {
        if let Some(note) = self.noted.take() {
            _ = note.send(());
        }
    }

    /// Gives an instance that has ended its fate; returns once that is fulfilled, or it has left.
    pub async fn fulfil(self, fate: Fate) {
        if self.fate.send(fate).is_ok() {
            _ = self.done.await;
        }
    }
}
