//! A canary: a version on trial, which handles a share of the mail until it is promoted or aborted.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::component::pool::Pool;
use crate::component::version::Version;
use crate::core::deadline::deadline_in;
use crate::core::error::CallError;
use crate::core::ports::{CanaryChange, Identity, StateChanges, Tally};
use crate::messaging::mail::Mail;
use crate::messaging::mailbox::Mailbox;

/// The messages after which the rate of errors counts, unless the terms name others.
pub const SAMPLE: u64 = 100;

/// How a canary is tried, and what decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The share of the messages that it handles, in percent.
    pub share: u8,
    /// The messages that it handles before it is judged.
    pub messages: Option<u64>,
    /// The time before it is judged.
    pub time: Option<Duration>,
    /// The highest rate of errors, in percent; `None`: any.
    pub max_error_percent: Option<u8>,
    /// Whether only a call promotes it.
    pub by_call: bool,
}

/// What becomes of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes over.
    Promote(Reason),
    /// The old version stays.
    Abort(Reason),
}

/// Why a canary ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The host has decided.
    Call,
    /// It has handled enough messages.
    Messages,
    /// Its time is over.
    Time,
    /// Too many of its messages failed.
    Errors,
    /// The component is stopped, started, or has failed.
    Stop,
    /// The component is restarted.
    Restart,
    /// The component is unloaded, or the engine shut down.
    Close,
}

impl Reason {
    /// Returns the name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Messages => "messages",
            Self::Time => "time",
            Self::Errors => "errors",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Close => "close",
        }
    }
}

impl Verdict {
    /// Returns the name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Promote(_) => "promoted",
            Self::Abort(_) => "aborted",
        }
    }

    /// Returns the reason.
    pub fn reason(self) -> Reason {
        match self {
            Self::Promote(reason) | Self::Abort(reason) => reason,
        }
    }
}

/// Which version handles a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The one before.
    Stable,
    /// The one on trial.
    Canary,
}

/// One canary, shared by the instances of a pool.
pub struct Canary {
    pool: Weak<Pool>,
    component: Identity,
    terms: Terms,
    /// The number of the version before.
    before: u64,
    version: Arc<Version>,
    /// The mailboxes of the pool, which are told of the verdict.
    mailboxes: Vec<Arc<Mailbox>>,
    changes: Arc<dyn StateChanges>,
    progress: Mutex<Progress>,
    /// The verdict, once the canary is over: read without the lock, under which its begin is told.
    outcome: OnceLock<Verdict>,
}

#[derive(Clone)]
struct Progress {
    stage: Stage,
    /// The trials that have begun and not ended.
    trials: usize,
    stable: Tally,
    canary: Tally,
}

/// How far a canary has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its instances are being made; it gets no mail yet. It ends without an event.
    Preparing,
    /// It handles its share, and is judged at this time at the latest.
    Sharing(Option<Instant>),
    /// Its instances are about to take over, or to end. `begun`: mail was shared.
    Decided { verdict: Verdict, begun: bool },
    /// They have.
    Over(Verdict),
}

impl Canary {
    /// Creates a canary without instances.
    pub fn new(
        pool: &Arc<Pool>,
        terms: Terms,
        version: Arc<Version>,
        changes: Arc<dyn StateChanges>,
    ) -> Arc<Self> {
        let progress = Progress {
            stage: Stage::Preparing,
            trials: 0,
            stable: Tally::default(),
            canary: Tally::default(),
        };
        Arc::new(Self {
            pool: Arc::downgrade(pool),
            component: Identity { handle: pool.handle(), id: Arc::clone(pool.id()) },
            terms,
            before: pool.version().number,
            version,
            mailboxes: pool.mailboxes().iter().map(Arc::clone).collect(),
            changes,
            progress: Mutex::new(progress),
            outcome: OnceLock::new(),
        })
    }

    /// Returns the terms.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Returns the version on trial.
    pub fn version(&self) -> &Arc<Version> {
        &self.version
    }

    /// Returns how far it has got.
    pub fn stage(&self) -> Stage {
        self.progress().stage
    }

    /// Returns what the stable version and the canary have handled since it began.
    pub fn tallies(&self) -> (Tally, Tally) {
        let progress = self.progress();
        (progress.stable, progress.canary)
    }

    /// Begins to share the mail, now that all instances are ready. Returns false if it was ended
    /// meanwhile.
    pub fn begin(self: &Arc<Self>) -> bool {
        let mut progress = self.progress();
        if progress.stage != Stage::Preparing {
            return false;
        }
        progress.stage = Stage::Sharing(self.terms.time.map(deadline_in));
        // Under the lock, and so before the end.
        if let Some(pool) = self.pool.upgrade() {
            pool.set_canary(Arc::clone(self));
        }
        self.tell(&progress, "begun", None);
        true
    }

    /// Notes that an instance is on trial.
    pub fn enter(&self) {
        self.progress().trials += 1;
    }

    /// Notes that the trial of an instance has ended as the verdict says.
    pub fn leave(&self) {
        let mut progress = self.progress();
        progress.trials = progress.trials.saturating_sub(1);
        let (0, Stage::Decided { verdict, begun }) = (progress.trials, progress.stage) else {
            return;
        };
        progress.stage = Stage::Over(verdict);
        // Nobody is on trial who could change it.
        let last = progress.clone();
        drop(progress);
        self.end(verdict);
        if begun {
            self.tell(&last, verdict.name(), Some(verdict.reason().name()));
        }
    }

    /// Has the pool drop the losing version, before anyone learns of the end.
    fn end(&self, verdict: Verdict) {
        if let Some(pool) = self.pool.upgrade() {
            pool.settle(self, verdict);
        }
        self.outcome.get_or_init(|| verdict);
    }

    /// Returns which version handles the next message. `owed` is what an instance owes its canary;
    /// it makes the share exact.
    pub fn lane(&self, owed: &mut u8) -> Lane {
        if !matches!(self.stage(), Stage::Sharing(_)) {
            return Lane::Stable;
        }
        *owed += self.terms.share;
        if *owed < 100 {
            return Lane::Stable;
        }
        *owed -= 100;
        Lane::Canary
    }

    /// Counts messages and callbacks that a version has handled.
    pub fn count(&self, lane: Lane, handled: Tally) {
        let mut progress = self.progress();
        let tally = match lane {
            Lane::Stable => &mut progress.stable,
            Lane::Canary => &mut progress.canary,
        };
        tally.messages += handled.messages;
        tally.errors += handled.errors;
        drop(progress);
        self.judge(Instant::now());
    }

    /// Counts what a message or callback of the canary came to. What the host does to it is no
    /// error.
    pub fn count_outcome<T>(&self, outcome: &Result<T, CallError>) {
        let handled = match outcome {
            Ok(_) => Tally { messages: 1, errors: 0 },
            Err(CallError::Interrupted | CallError::EngineStopped) => return,
            Err(_) => Tally { messages: 1, errors: 1 },
        };
        self.count(Lane::Canary, handled);
    }

    /// Decides if there is enough to decide on.
    pub fn judge(&self, now: Instant) {
        let progress = self.progress();
        let Stage::Sharing(until) = progress.stage else { return };
        let verdict = self.terms.judge(progress.canary, until.is_some_and(|until| now >= until));
        drop(progress);
        if let Some(verdict) = verdict {
            let _decided_by_another = self.decide(verdict);
        }
    }

    /// Decides, unless it is decided already; returns what holds.
    pub fn decide(&self, verdict: Verdict) -> Verdict {
        let mut progress = self.progress();
        let begun = match progress.stage {
            Stage::Preparing => false,
            Stage::Sharing(_) => true,
            Stage::Decided { verdict, .. } | Stage::Over(verdict) => return verdict,
        };
        let is_over = progress.trials == 0;
        progress.stage = match is_over {
            true => Stage::Over(verdict),
            false => Stage::Decided { verdict, begun },
        };
        drop(progress);
        if is_over {
            self.end(verdict);
        }
        for mailbox in &self.mailboxes {
            // Refused only by a mailbox whose next mail ends the trial.
            let _ = mailbox.deliver(Mail::Judge);
        }
        verdict
    }

    /// Returns the verdict, once there is one.
    pub fn verdict(&self) -> Option<Verdict> {
        match self.stage() {
            Stage::Preparing | Stage::Sharing(_) => None,
            Stage::Decided { verdict, .. } | Stage::Over(verdict) => Some(verdict),
        }
    }

    /// Returns the verdict, once all instances have followed it.
    pub fn outcome(&self) -> Option<Verdict> {
        self.outcome.get().copied()
    }

    fn tell(&self, progress: &Progress, change: &'static str, reason: Option<&'static str>) {
        let (stable, canary) = (progress.stable, progress.canary);
        let (before, version) = (self.before, self.version.number);
        let change = CanaryChange { change, reason, before, version, stable, canary };
        self.changes.canary_changed(&self.component, change);
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // No code under the lock can panic half-way through a change.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Terms {
    /// Decides on what a canary has handled, if that is enough.
    fn judge(&self, handled: Tally, time_is_over: bool) -> Option<Verdict> {
        let Tally { messages, errors } = handled;
        let sample = self.messages.unwrap_or(SAMPLE);
        // Errors beyond what the sample may have end the trial before it is complete.
        let fails_among = |of: u64| {
            let most = self.max_error_percent;
            most.is_some_and(|most| u128::from(errors) * 100 > u128::from(most) * u128::from(of))
        };
        if fails_among(messages.max(sample)) {
            return Some(Verdict::Abort(Reason::Errors));
        }
        // With a time alone, the sample is not the end.
        let ends_by_messages = self.messages.is_some() || self.time.is_none();
        if !self.by_call && ends_by_messages && messages >= sample {
            return Some(Verdict::Promote(Reason::Messages));
        }
        if !time_is_over {
            return None;
        }
        Some(match fails_among(messages) {
            true => Verdict::Abort(Reason::Errors),
            // Nothing speaks for a version that has handled nothing.
            false if self.by_call || messages == 0 => Verdict::Abort(Reason::Time),
            false => Verdict::Promote(Reason::Time),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        share: 10,
        messages: Some(100),
        time: None,
        max_error_percent: Some(2),
        by_call: false,
    };

    fn judge(terms: &Terms, messages: u64, errors: u64) -> Option<Verdict> {
        terms.judge(Tally { messages, errors }, false)
    }

    #[test]
    fn errors_abort_as_soon_as_the_bound_is_out_of_reach() {
        assert_eq!(judge(&TERMS, 2, 2), None);
        assert_eq!(judge(&TERMS, 3, 3), Some(Verdict::Abort(Reason::Errors)));
        assert_eq!(judge(&TERMS, 99, 2), None);
        assert_eq!(judge(&TERMS, 100, 2), Some(Verdict::Promote(Reason::Messages)));
        assert_eq!(judge(&TERMS, 100, 3), Some(Verdict::Abort(Reason::Errors)));
        let any = Terms { max_error_percent: None, ..TERMS };
        assert_eq!(judge(&any, 99, 99), None);
        assert_eq!(judge(&any, 100, 100), Some(Verdict::Promote(Reason::Messages)));
    }

    #[test]
    fn without_a_count_the_time_decides() {
        let terms = Terms { messages: None, time: Some(Duration::from_secs(1)), ..TERMS };
        assert_eq!(judge(&terms, 150, 3), None);
        assert_eq!(judge(&terms, 149, 3), Some(Verdict::Abort(Reason::Errors)));
        assert_eq!(judge(&terms, 2, 2), None);
        let at_the_end = |messages, errors| terms.judge(Tally { messages, errors }, true);
        assert_eq!(at_the_end(2, 2), Some(Verdict::Abort(Reason::Errors)));
        assert_eq!(at_the_end(0, 0), Some(Verdict::Abort(Reason::Time)));
        assert_eq!(at_the_end(1, 0), Some(Verdict::Promote(Reason::Time)));
    }

    #[test]
    fn only_a_call_promotes_if_the_terms_say_so() {
        let terms = Terms { by_call: true, ..TERMS };
        assert_eq!(judge(&terms, 1000, 0), None);
        assert_eq!(judge(&terms, 1000, 21), Some(Verdict::Abort(Reason::Errors)));
        let at_the_end = terms.judge(Tally { messages: 1000, errors: 0 }, true);
        assert_eq!(at_the_end, Some(Verdict::Abort(Reason::Time)));
    }
}
