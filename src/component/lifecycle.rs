//! The life cycle of a component: its states, and what moves it from one to the next.

/// The state of a component's life cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Being instantiated and initialized.
    Initializing,
    /// Handling messages.
    Running,
    /// Without an instance; the next message makes a new one.
    Crashed,
    /// Being instantiated and initialized again.
    Restarting,
    /// Closed to messages, `shutdown` still to be called.
    Stopping,
    /// `shutdown` has been called.
    Stopped,
}

/// What changes the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The load succeeded.
    Loaded,
    /// A call left the instance unusable, or a new one could not be made.
    Crash,
    /// Mail waits for a crashed component.
    Mail,
    /// The host wants a new instance.
    Host,
    /// The new instance is initialized.
    Restarted,
    /// The component is unloaded, or the engine shut down.
    Close,
    /// `shutdown` has returned, or could not be called.
    End,
}

impl State {
    /// All states, by number.
    pub const ALL: [Self; 6] = [
        Self::Initializing,
        Self::Running,
        Self::Crashed,
        Self::Restarting,
        Self::Stopping,
        Self::Stopped,
    ];

    /// Returns the state after a change: the table of all transitions. `None` if `cause` does not
    /// change this state.
    pub fn after(self, cause: Cause) -> Option<Self> {
        match (self, cause) {
            (Self::Initializing, Cause::Loaded) => Some(Self::Running),
            (Self::Running | Self::Restarting, Cause::Crash) => Some(Self::Crashed),
            (Self::Crashed, Cause::Mail) => Some(Self::Restarting),
            (Self::Running | Self::Crashed, Cause::Host) => Some(Self::Restarting),
            (Self::Restarting, Cause::Restarted) => Some(Self::Running),
            (
                Self::Initializing | Self::Running | Self::Crashed | Self::Restarting,
                Cause::Close,
            ) => Some(Self::Stopping),
            (Self::Stopping, Cause::Crash | Cause::End) => Some(Self::Stopped),
            _ => None,
        }
    }

    /// Returns the lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Running => "running",
            Self::Crashed => "crashed",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// Returns the state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl Cause {
    /// Returns the lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Crash => "crash",
            Self::Mail => "mail",
            Self::Host => "host",
            Self::Restarted => "restarted",
            Self::Close => "close",
            Self::End => "end",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAUSES: [Cause; 7] = [
        Cause::Loaded,
        Cause::Crash,
        Cause::Mail,
        Cause::Host,
        Cause::Restarted,
        Cause::Close,
        Cause::End,
    ];

    #[test]
    fn every_state_is_reached_and_only_stopped_is_final() {
        let mut reached = vec![State::Initializing];
        let mut at = 0;
        while let Some(state) = reached.get(at).copied() {
            let next: Vec<_> = CAUSES.iter().filter_map(|cause| state.after(*cause)).collect();
            assert_eq!(next.is_empty(), state == State::Stopped, "{state:?}");
            assert!(next.iter().all(|to| *to != state), "{state:?} changes to itself");
            reached.extend(next.into_iter().filter(|to| !reached.contains(to)).collect::<Vec<_>>());
            reached.dedup();
            at += 1;
        }
        assert!(State::ALL.iter().all(|state| reached.contains(state)));
    }

    #[test]
    fn a_component_that_closes_never_runs_again() {
        let mut states = vec![State::Stopping];
        for cause in CAUSES {
            states.extend(State::Stopping.after(cause));
        }
        assert!(states.iter().all(|state| matches!(state, State::Stopping | State::Stopped)));
    }

    #[test]
    fn names_and_numbers_are_distinct() {
        for (number, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, number);
            assert_eq!(State::from_name(state.name()), Some(state));
        }
        assert_eq!(State::from_name("Running"), None);
    }
}
