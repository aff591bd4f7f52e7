//! Supervision: what follows the loss of an instance.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::component::restart_budget::{RestartBudget, RestartLimit};
use crate::core::error::CallError;

/// When a component gets a new instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// With its next message.
    OnDemand,
    /// At once.
    Permanent,
    /// At once; after an exit with code 0 it is stopped.
    Transient,
    /// Never.
    Temporary,
}

impl RestartPolicy {
    /// Returns the name in the options.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::Temporary => "temporary",
        }
    }
}

/// How the pauses before restarts grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// There is none.
    None,
    /// The same each time.
    Fixed,
    /// Twice as long with each restart.
    Exponential,
}

impl Growth {
    /// Returns the name in the options.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Fixed => "fixed",
            Self::Exponential => "exponential",
        }
    }
}

/// The pauses before restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// How pauses grow.
    pub growth: Growth,
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// The share of a pause, in percent, of which a random part is left out.
    pub jitter: u8,
    /// After this time without a restart, pauses begin with the first again.
    pub quiet: Duration,
}

/// How a component is supervised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// When it is restarted.
    pub policy: RestartPolicy,
    /// The most restarts in `window`; `None` is unlimited.
    pub max_restarts: Option<usize>,
    /// The length of the sliding window.
    pub window: Duration,
    /// The pauses before restarts.
    pub backoff: Backoff,
}

impl Supervision {
    fn limit(&self) -> RestartLimit {
        RestartLimit { most: self.max_restarts, window: self.window }
    }
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::Permanent,
            max_restarts: Some(10),
            window: Duration::from_secs(60),
            backoff: Backoff {
                growth: Growth::Exponential,
                first: Duration::from_millis(100),
                longest: Duration::from_secs(30),
                jitter: 20,
                quiet: Duration::from_secs(60),
            },
        }
    }
}

/// What follows the loss of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next message makes a new one.
    OnDemand,
    /// A restart, at this time at the earliest.
    Recover(Instant),
    /// The component has ended by itself, and is stopped.
    Exited,
    /// The budget is exhausted: the component has failed.
    GiveUp,
    /// The component has failed: it is never restarted.
    Never,
    /// The group of the component restarts it, or ends it.
    Group,
}

/// A verdict in which the group of the component has a say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A restart: if the group makes it, at this time at the earliest.
    Restart(Instant),
    /// The budget is exhausted.
    GiveUp,
}

impl Verdict {
    /// Returns what the component's group hears of a loss at `now`; `None` if it has no say.
    pub fn wish(self, now: Instant) -> Option<Wish> {
        match self {
            Self::OnDemand => Some(Wish::Restart(now)),
            Self::Recover(at) => Some(Wish::Restart(at)),
            Self::GiveUp => Some(Wish::GiveUp),
            Self::Exited | Self::Never | Self::Group => None,
        }
    }
}

/// The supervisor of one instance.
pub struct Supervisor {
    supervision: Supervision,
    history: Mutex<History>,
}

#[derive(Default)]
struct History {
    budget: RestartBudget,
    /// Restarts in a row without a quiet time.
    in_a_row: u32,
    last: Option<Instant>,
}

impl Supervisor {
    /// Creates a supervisor that has seen nothing yet.
    pub fn new(supervision: Supervision) -> Self {
        Self { supervision, history: Mutex::default() }
    }

    /// Returns how the component is supervised.
    pub fn supervision(&self) -> &Supervision {
        &self.supervision
    }

    /// Returns the number of restarts in the current window.
    pub fn in_window(&self, now: Instant) -> usize {
        self.history().budget.used(self.supervision.limit(), now)
    }

    /// Forgets all restarts: the host has started the component again.
    pub fn reset(&self) {
        *self.history() = History::default();
    }

    /// Decides what follows the loss of an instance to `error`.
    pub fn after(&self, error: &CallError, now: Instant) -> Verdict {
        let policy = self.supervision.policy;
        let exited = matches!(error, CallError::Exited { code: 0, .. });
        match (policy, error) {
            (RestartPolicy::Transient | RestartPolicy::Temporary, _) if exited => {
                return Verdict::Exited;
            }
            (RestartPolicy::Temporary, _) => return Verdict::Never,
            // The host's doing is no failure of the component.
            (_, CallError::Interrupted) => return Verdict::Recover(now),
            _ => {}
        }
        let mut history = self.history();
        if !history.budget.take(self.supervision.limit(), now) {
            return Verdict::GiveUp;
        }
        let at = history.next_restart(&self.supervision.backoff, now);
        match policy {
            RestartPolicy::OnDemand if at == now => Verdict::OnDemand,
            _ => Verdict::Recover(at),
        }
    }

    /// Begins a new budget, because the group restarts a component whose own is exhausted. Returns
    /// the time of the restart.
    pub fn begin_anew(&self, now: Instant) -> Instant {
        let mut history = self.history();
        history.budget.reset();
        history.next_restart(&self.supervision.backoff, now)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // No code under the lock can panic half-way through a change.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// Returns the time of the next restart, after its pause.
    fn next_restart(&mut self, backoff: &Backoff, now: Instant) -> Instant {
        let is_quiet = |last| now.saturating_duration_since(last) >= backoff.quiet;
        if self.last.is_some_and(is_quiet) {
            self.in_a_row = 0;
        }
        let pause = backoff.pause(self.in_a_row, fastrand::f64());
        let at = now.checked_add(pause).unwrap_or(now);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.last = Some(at);
        at
    }
}

impl Backoff {
    /// Returns the pause after `before` restarts in a row. `random` is from 0 to 1.
    fn pause(&self, before: u32, random: f64) -> Duration {
        let whole = match self.growth {
            Growth::None => return Duration::ZERO,
            Growth::Fixed => self.first,
            Growth::Exponential => {
                self.first.saturating_mul(1u32.checked_shl(before).unwrap_or(u32::MAX))
            }
        };
        let left_out = f64::from(self.jitter.min(100)) / 100.0 * random;
        whole.min(self.longest).mul_f64(1.0 - left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash() -> CallError {
        CallError::Trap {
            reason: "unreachable".into(),
            backtrace: String::new(),
            stderr: String::new(),
        }
    }

    fn with(policy: RestartPolicy, most: usize, growth: Growth) -> Supervisor {
        let whole = Supervision::default();
        let backoff = Backoff { growth, jitter: 0, ..whole.backoff.clone() };
        Supervisor::new(Supervision { policy, max_restarts: Some(most), backoff, ..whole })
    }

    #[test]
    fn the_budget_is_a_sliding_window() {
        let supervisor = with(RestartPolicy::Permanent, 2, Growth::None);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let after = |seconds| supervisor.after(&crash(), at(seconds));
        assert_eq!(after(0), Verdict::Recover(at(0)));
        assert_eq!(after(30), Verdict::Recover(at(30)));
        assert_eq!(after(59), Verdict::GiveUp);
        assert_eq!(supervisor.in_window(at(59)), 2);
        assert_eq!(after(60), Verdict::Recover(at(60)), "the first is old");
        assert_eq!(after(89), Verdict::GiveUp);
        supervisor.reset();
        assert_eq!(after(89), Verdict::Recover(at(89)));
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_quiet() {
        let supervisor = with(RestartPolicy::Permanent, 1000, Growth::Exponential);
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            let Verdict::Recover(at) = supervisor.after(&crash(), now) else { panic!("gave up") };
            pauses.push((at - now).as_millis());
            now = at;
        }
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[39], 30_000);
        now += Duration::from_secs(60);
        let Verdict::Recover(at) = supervisor.after(&crash(), now) else { panic!("gave up") };
        assert_eq!((at - now).as_millis(), 100);
    }

    #[test]
    fn jitter_leaves_out_at_most_its_share() {
        let backoff = Backoff { jitter: 25, ..Supervision::default().backoff };
        assert_eq!(backoff.pause(0, 0.0), Duration::from_millis(100));
        assert_eq!(backoff.pause(0, 1.0), Duration::from_millis(75));
        assert_eq!(backoff.pause(u32::MAX, 0.0), Duration::from_secs(30));
    }

    #[test]
    fn policies_tell_crashes_exits_and_interrupts_apart() {
        let now = Instant::now();
        let exit = |code| CallError::Exited { code, stderr: String::new() };
        let again = Verdict::Recover(now);
        for (policy, crashed, exited, interrupted) in [
            (RestartPolicy::OnDemand, Verdict::OnDemand, Verdict::OnDemand, again),
            (RestartPolicy::Permanent, again, again, again),
            (RestartPolicy::Transient, again, Verdict::Exited, again),
            (RestartPolicy::Temporary, Verdict::Never, Verdict::Exited, Verdict::Never),
        ] {
            let supervisor = with(policy, 10, Growth::None);
            assert_eq!(supervisor.after(&crash(), now), crashed, "{policy:?}");
            assert_eq!(supervisor.after(&exit(1), now), crashed, "{policy:?}");
            assert_eq!(supervisor.after(&exit(0), now), exited, "{policy:?}");
            assert_eq!(supervisor.after(&CallError::Interrupted, now), interrupted, "{policy:?}");
        }
    }
}
