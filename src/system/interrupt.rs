//! Interrupting what components run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::component::actor::Actor;
use crate::core::error::CallError;
use crate::core::id::ComponentHandle;
use crate::system::engine::Engine;
use crate::system::error::EngineError;

/// How long a guest that was interrupted may take to give way. Longer than it needs: only a callback
/// of the host takes so long.
const GRACE: Duration = Duration::from_secs(1);

impl Engine {
    /// Ends what a component runs now.
    pub fn interrupt(&self, handle: ComponentHandle) -> Result<(), EngineError> {
        for actor in self.pool(handle)?.actors() {
            interrupt(actor);
        }
        Ok(())
    }
}

fn interrupt(actor: &Actor) {
    actor.mailbox().interrupts().interrupt();
}

/// Waits for the end of an actor. What it still runs at the deadline is interrupted; then this waits a
/// little longer, as a callback of the host can not be.
pub fn end_by(
    actor: &Actor,
    deadline: Option<Instant>,
    wait: impl Fn(Option<Duration>) -> Result<(), CallError>,
) -> Result<(), CallError> {
    let Some(deadline) = deadline else { return wait(None) };
    let mut outcome = wait(Some(deadline.saturating_duration_since(Instant::now())));
    // Twice: the first may meet the message before `shutdown`.
    for _ in 0..2 {
        if !matches!(outcome, Err(CallError::CallerTimeout { .. })) {
            return outcome;
        }
        interrupt(actor);
        // An instance that was interrupted is gone, so its `shutdown` is not called.
        outcome = wait(Some(GRACE)).and(Err(CallError::Interrupted));
    }
    outcome
}

/// Why an actor has not ended although it was interrupted.
pub fn still_in_callback(actor: &Actor) -> EngineError {
    EngineError::StillInCallback { component: Arc::clone(actor.mailbox().owner()) }
}
