//! The exchange between an instance and the restart of its group.

use tokio::sync::oneshot;

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
    /// It is the turn of the instance to end.
    pub turn: oneshot::Receiver<()>,
    /// The instance has ended.
    pub ended: oneshot::Sender<()>,
    /// All others have ended.
    pub fate: oneshot::Receiver<Fate>,
    /// The fate is fulfilled.
    pub done: oneshot::Sender<()>,
}

/// The side of the restart.
pub struct Lead {
    turn: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<()>>,
    fate: oneshot::Sender<Fate>,
    done: oneshot::Receiver<()>,
}

impl Part {
    /// Creates both sides.
    pub fn with_lead() -> (Self, Lead) {
        let (give_turn, turn) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        let (give_fate, fate) = oneshot::channel();
        let (tell_done, done) = oneshot::channel();
        let part = Self { turn, ended: tell_ended, fate, done: tell_done };
        (part, Lead { turn: Some(give_turn), ended: Some(ended), fate: give_fate, done })
    }
}

impl Lead {
    /// Gives the instance its turn to end; returns once it has ended, or has left.
    pub async fn end(&mut self) {
        if let (Some(turn), Some(ended)) = (self.turn.take(), self.ended.take()) {
            // An error: it has left, which the next step finds as well.
            _ = turn.send(());
            _ = ended.await;
        }
    }

    /// Gives an instance that has ended its fate; returns once that is fulfilled, or it has left.
    pub async fn fulfil(self, fate: Fate) {
        if self.fate.send(fate).is_ok() {
            _ = self.done.await;
        }
    }
}
