//! The life cycle of a component: its states, and what moves it from one to the next.

/// The state of a component's life cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Being instantiated and initialized, by a load or a start.
    Initializing,
    /// Handling messages.
    Running,
    /// Without an instance, because it had nothing to do; the next message makes a new one.
    Passive,
    /// Being instantiated and initialized for the message that waits.
    Activating,
    /// Without an instance; the next message or the supervisor makes a new one.
    Crashed,
    /// Being instantiated and initialized again.
    Restarting,
    /// Handing over to an instance of another version.
    Replacing,
    /// Closed to new messages; `shutdown` follows those that wait.
    Stopping,
    /// Without an instance and closed to messages, until it is started.
    Stopped,
    /// As [`State::Stopped`], because it crashed too often or could not be started.
    Failed,
    /// Closed for good, `shutdown` still to be called.
    Unloading,
    /// Gone.
    Unloaded,
}

/// What changes the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The load or the start succeeded.
    Loaded,
    /// The load succeeded, and the first message makes the first instance.
    Registered,
    /// It has had nothing to do for a while.
    Idle,
    /// The instance for the message that waits is initialized.
    Activated,
    /// A call left the instance unusable, or a new one could not be made.
    Crash,
    /// The component has ended by itself.
    Exit,
    /// Mail waits for a crashed component.
    Mail,
    /// The supervisor wants a new instance.
    Supervisor,
    /// The supervisor allows no further restart.
    GiveUp,
    /// The host wants a new instance.
    Restart,
    /// The group of the component restarts it, or ends it.
    Group,
    /// The options ask for a new instance in place of this one.
    Recycle,
    /// The new instance is initialized.
    Restarted,
    /// An instance of another version is ready.
    Replace,
    /// That instance has taken over.
    Replaced,
    /// The old instance stays.
    Kept,
    /// The host stops the component.
    Stop,
    /// `shutdown` of a component that is being stopped has returned, or could not be called.
    Stopped,
    /// The host starts the component.
    Start,
    /// The component is unloaded, or the engine shut down.
    Close,
    /// `shutdown` of a component that is being unloaded has returned, or could not be called.
    End,
}

impl State {
    /// All states, by number.
    pub const ALL: [Self; 12] = [
        Self::Initializing,
        Self::Running,
        Self::Passive,
        Self::Activating,
        Self::Crashed,
        Self::Restarting,
        Self::Replacing,
        Self::Stopping,
        Self::Stopped,
        Self::Failed,
        Self::Unloading,
        Self::Unloaded,
    ];

    /// Returns the state after a change: the table of all transitions. `None` if `cause` does not
    /// change this state.
    pub fn after(self, cause: Cause) -> Option<Self> {
        use State::*;
        match (self, cause) {
            (Initializing, Cause::Loaded) => Some(Running),
            (Initializing, Cause::Crash) => Some(Failed),
            (Initializing, Cause::Registered) => Some(Passive),
            (Running | Replacing, Cause::Idle) => Some(Passive),
            (Passive, Cause::Mail) => Some(Activating),
            (Activating, Cause::Activated) => Some(Running),
            (Running | Activating | Restarting | Replacing, Cause::Crash) => Some(Crashed),
            (Crashed, Cause::Mail | Cause::Supervisor) => Some(Restarting),
            (Running | Passive | Crashed, Cause::Restart) => Some(Restarting),
            (Running, Cause::Recycle) => Some(Restarting),
            (Running | Crashed, Cause::Group) => Some(Restarting),
            (Restarting, Cause::Restarted | Cause::Kept) => Some(Running),
            (Running | Passive | Crashed | Restarting | Stopped | Failed, Cause::Replace) => {
                Some(Replacing)
            }
            (Replacing, Cause::Replaced | Cause::Kept) => Some(Running),
            (Passive | Crashed | Restarting, Cause::GiveUp) => Some(Failed),
            (Running | Restarting | Replacing, Cause::Exit) => Some(Stopped),
            (Running | Passive | Activating | Crashed | Restarting | Replacing, Cause::Stop) => {
                Some(Stopping)
            }
            (Stopping, Cause::Stopped) => Some(Stopped),
            (Stopped | Failed, Cause::Start) => Some(Initializing),
            (Unloading, Cause::End) => Some(Unloaded),
            (Unloading | Unloaded, Cause::Close) => None,
            (_, Cause::Close) => Some(Unloading),
            _ => None,
        }
    }

    /// Returns whether there is no instance, and none is being made.
    pub fn is_without_instance(self) -> bool {
        matches!(
            self,
            Self::Passive | Self::Stopped | Self::Failed | Self::Unloading | Self::Unloaded
        )
    }

    /// Returns whether the instance is lost, and another is to take its place.
    pub fn awaits_instance(self) -> bool {
        matches!(self, Self::Crashed | Self::Restarting)
    }

    /// Returns the lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Running => "running",
            Self::Passive => "passive",
            Self::Activating => "activating",
            Self::Crashed => "crashed",
            Self::Restarting => "restarting",
            Self::Replacing => "replacing",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Unloading => "unloading",
            Self::Unloaded => "unloaded",
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
            Self::Registered => "registered",
            Self::Idle => "idle",
            Self::Activated => "activated",
            Self::Crash => "crash",
            Self::Exit => "exit",
            Self::Mail => "mail",
            Self::Supervisor => "supervisor",
            Self::GiveUp => "give-up",
            Self::Restart => "restart",
            Self::Group => "group",
            Self::Recycle => "recycle",
            Self::Restarted => "restarted",
            Self::Replace => "replace",
            Self::Replaced => "replaced",
            Self::Kept => "kept",
            Self::Stop => "stop",
            Self::Stopped => "stopped",
            Self::Start => "start",
            Self::Close => "close",
            Self::End => "end",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAUSES: [Cause; 21] = [
        Cause::Loaded,
        Cause::Registered,
        Cause::Idle,
        Cause::Activated,
        Cause::Crash,
        Cause::Exit,
        Cause::Mail,
        Cause::Supervisor,
        Cause::GiveUp,
        Cause::Restart,
        Cause::Group,
        Cause::Recycle,
        Cause::Restarted,
        Cause::Replace,
        Cause::Replaced,
        Cause::Kept,
        Cause::Stop,
        Cause::Stopped,
        Cause::Start,
        Cause::Close,
        Cause::End,
    ];

    fn reached_from(start: State) -> Vec<State> {
        let mut reached = vec![start];
        let mut at = 0;
        while let Some(state) = reached.get(at).copied() {
            for to in CAUSES.iter().filter_map(|cause| state.after(*cause)) {
                assert_ne!(to, state, "a change to itself");
                if !reached.contains(&to) {
                    reached.push(to);
                }
            }
            at += 1;
        }
        reached
    }

    #[test]
    fn every_state_is_reached_and_only_unloaded_is_final() {
        let reached = reached_from(State::Initializing);
        assert!(State::ALL.iter().all(|state| reached.contains(state)));
        for state in State::ALL {
            let is_final = CAUSES.iter().all(|cause| state.after(*cause).is_none());
            assert_eq!(is_final, state == State::Unloaded, "{state:?}");
        }
    }

    #[test]
    fn a_component_that_is_unloaded_never_runs_again() {
        assert_eq!(reached_from(State::Unloading), [State::Unloading, State::Unloaded]);
    }

    #[test]
    fn every_state_can_be_unloaded_and_all_others_run_again() {
        for state in State::ALL.into_iter().filter(|state| *state != State::Unloaded) {
            let reached = reached_from(state);
            assert!(reached.contains(&State::Unloaded), "{state:?}");
            assert_eq!(reached.contains(&State::Running), state != State::Unloading, "{state:?}");
        }
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
