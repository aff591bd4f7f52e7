//! Interrupts running components.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::component::actor::Actor;
use crate::core::error::CallError;
use crate::core::id::ComponentHandle;
use crate::system::engine::Engine;
use crate::system::error::EngineError;

/// How long an interrupted guest may take to end. A guest needs less: only a host callback takes
/// this long.
const GRACE: Duration = Duration::from_secs(1);

impl Engine {
    /// Interrupts what a component currently runs.
    pub fn interrupt(&self, handle: ComponentHandle) -> Result<(), EngineError> {
        for actor in self.look(handle)?.actors() {
            interrupt(actor);
        }
        Ok(())
    }
}

fn interrupt(actor: &Actor) {
    actor.mailbox().interrupts().interrupt();
}

/// Waits for an actor to end. At the deadline, interrupts what still runs and waits a little
/// longer.
pub fn end_by(
    actor: &Actor,
    deadline: Option<Instant>,
    wait: impl Fn(Option<Duration>) -> Result<(), CallError>,
) -> Result<(), CallError> {
    let Some(deadline) = deadline else { return wait(None) };
    let interrupted = Cell::new(false);
    let interrupt = || {
        interrupted.set(true);
        interrupt(actor);
    };
    let outcome = interrupting(deadline, interrupt, |left| wait(Some(left)));
    // An interrupted instance is gone, so its `shutdown` is not called.
    if interrupted.get() { outcome.and(Err(CallError::Interrupted)) } else { outcome }
}

/// Waits. At the deadline, interrupts what still runs and waits a little longer, since host callbacks
/// cannot be interrupted.
pub fn interrupting(
    deadline: Instant,
    interrupt: impl Fn(),
    wait: impl Fn(Duration) -> Result<(), CallError>,
) -> Result<(), CallError> {
    let mut outcome = wait(deadline.saturating_duration_since(Instant::now()));
    // Twice: the first interrupt may hit the message before a call of the life cycle.
    for _ in 0..2 {
        if !matches!(outcome, Err(CallError::CallerTimeout { .. })) {
            break;
        }
        interrupt();
        outcome = wait(GRACE);
    }
    outcome
}

/// Returns the error for an actor that an interrupt did not end.
pub fn still_in_callback(actor: &Actor) -> EngineError {
    EngineError::StillInCallback { component: Arc::clone(actor.mailbox().owner()) }
}
