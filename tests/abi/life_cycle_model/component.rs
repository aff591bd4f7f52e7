//! The model of one component: its state, its versions and its canary.

use airssys_wasm::*;

/// The restarts that a component's own supervision makes.
pub const MAX_RESTARTS: usize = 2;
pub const KEPT_VERSIONS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    Unsupervised,
    OnDemand,
    Permanent,
    Temporary,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// With this sum.
    Running(u64),
    Crashed,
    Stopped,
    Failed,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Running(_) => "running",
            Self::Crashed => "crashed",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Version {
    pub number: u64,
    /// Whether its `restore` fails.
    pub refuses: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub share: u8,
    pub messages: u64,
    pub max_error_percent: Option<u64>,
    pub by_call: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    pub messages: u64,
    pub errors: u64,
}

#[derive(Debug)]
pub struct Canary {
    pub version: Version,
    pub stable: Tally,
    pub own: Tally,
    terms: Terms,
    /// The share of messages that it has not got yet.
    owed: u8,
    /// `None`: without an instance.
    sum: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub enum Mail {
    Add(u64),
    Crash,
    /// A loop that the host interrupts.
    Loop,
}

/// What became of mail.
pub enum Received {
    Refused(airssys_status_t),
    Sum(u64),
    /// The canary lost its instance.
    CanaryLost,
    /// The component lost its own.
    Lost,
}

/// What the supervision of a component does after a loss.
#[derive(Clone, Copy, PartialEq)]
pub enum Own {
    WaitsForMail,
    Restarts,
    IsExhausted,
    NeverRestarts,
}

#[derive(Debug)]
pub struct Component {
    pub policy: Policy,
    pub state: State,
    pub restarts: u64,
    /// Restarts that count against the budget.
    pub counted: usize,
    pub version: Version,
    earlier: Vec<Version>,
    last_number: u64,
    pub canary: Option<Canary>,
    /// The changes of canaries that the host is told of.
    pub told: Vec<String>,
}

impl Component {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            state: State::Running(0),
            restarts: 0,
            counted: 0,
            version: Version { number: 1, refuses: false },
            earlier: Vec::new(),
            last_number: 1,
            canary: None,
            told: Vec::new(),
        }
    }

    /// Whether its next message finds an instance.
    pub fn is_ready(&self) -> bool {
        let ready = matches!(self.state, State::Running(_));
        ready && self.canary.as_ref().is_none_or(|canary| !canary.is_next() || canary.sum.is_some())
    }

    pub fn receive(&mut self, mail: Mail) -> Received {
        match self.state {
            State::Stopped => return Received::Refused(AIRSSYS_ERROR_COMPONENT_STOPPED),
            State::Failed => return Received::Refused(AIRSSYS_ERROR_COMPONENT_FAILED),
            State::Running(_) | State::Crashed => {}
        }
        if let Some(canary) = &mut self.canary {
            if canary.takes_next() {
                return self.receive_as_canary(mail);
            }
            canary.stable.messages += 1;
            canary.stable.errors += u64::from(!matches!(mail, Mail::Add(_)));
        }
        let sum = match self.state {
            State::Running(sum) => sum,
            // The message gets it an instance.
            _ => {
                self.restarts += 1;
                0
            }
        };
        let Mail::Add(more) = mail else {
            self.state = State::Crashed;
            return Received::Lost;
        };
        self.state = State::Running(sum + more);
        Received::Sum(sum + more)
    }

    fn receive_as_canary(&mut self, mail: Mail) -> Received {
        let canary = self.canary.as_mut().expect("a canary");
        let sum = canary.sum.take().unwrap_or(0);
        let received = match mail {
            Mail::Add(more) => {
                canary.sum = Some(sum + more);
                canary.own.messages += 1;
                Received::Sum(sum + more)
            }
            Mail::Crash => {
                canary.own.messages += 1;
                canary.own.errors += 1;
                Received::CanaryLost
            }
            // What the host does to it is no error.
            Mail::Loop => return Received::CanaryLost,
        };
        match canary.verdict() {
            Some("errors") => self.abort("errors"),
            Some(reason) => self.promote(reason),
            None => {}
        }
        received
    }

    /// What its own supervision does after a loss.
    pub fn supervise(&mut self, by_host: bool) -> Own {
        match self.policy {
            Policy::Unsupervised => Own::WaitsForMail,
            Policy::Temporary => Own::NeverRestarts,
            // The host's doing is no failure, and charges nothing.
            _ if !by_host && self.counted == MAX_RESTARTS => Own::IsExhausted,
            policy => {
                self.counted += usize::from(!by_host);
                if policy == Policy::OnDemand { Own::WaitsForMail } else { Own::Restarts }
            }
        }
    }

    pub fn begin_again(&mut self) {
        self.restarts += 1;
        self.state = State::Running(0);
    }

    /// Its group restarts it, or ends it.
    pub fn follow_group(&mut self, restarts: bool) {
        if matches!(self.state, State::Stopped | State::Failed) {
            return;
        }
        self.abort("restart");
        match self.policy {
            Policy::Temporary => self.state = State::Failed,
            _ if !restarts => self.state = State::Failed,
            _ => self.begin_again(),
        }
    }

    pub fn fail(&mut self) {
        self.state = State::Failed;
        self.abort("stop");
    }

    pub fn stop(&mut self) {
        if self.state != State::Failed {
            self.state = State::Stopped;
            self.abort("stop");
        }
    }

    pub fn start(&mut self) {
        if matches!(self.state, State::Stopped | State::Failed) {
            (self.state, self.counted) = (State::Running(0), 0);
        }
    }

    pub fn restart(&mut self) -> airssys_status_t {
        match self.state {
            State::Stopped => return AIRSSYS_ERROR_COMPONENT_STOPPED,
            State::Failed => return AIRSSYS_ERROR_COMPONENT_FAILED,
            State::Running(_) | State::Crashed => {}
        }
        self.abort("restart");
        self.begin_again();
        AIRSSYS_OK
    }

    fn next_version(&self, refuses: bool) -> Version {
        Version { number: self.last_number + 1, refuses }
    }

    /// A version takes over, if the state can be handed over.
    fn take_over(&mut self, version: Version) -> airssys_status_t {
        self.state = match self.state {
            State::Running(_) if version.refuses => return AIRSSYS_ERROR_RUNTIME,
            State::Running(sum) => State::Running(sum),
            _ => State::Running(0),
        };
        self.counted = 0;
        AIRSSYS_OK
    }

    fn advance_to(&mut self, version: Version) {
        self.last_number = self.last_number.max(version.number);
        self.earlier.push(std::mem::replace(&mut self.version, version));
        let surplus = self.earlier.len().saturating_sub(KEPT_VERSIONS);
        self.earlier.drain(..surplus);
    }

    /// `None` is a binary that cannot be used.
    pub fn replace(&mut self, refuses: Option<bool>) -> airssys_status_t {
        let Some(refuses) = refuses.filter(|_| self.canary.is_none()) else {
            return match self.canary {
                Some(_) => AIRSSYS_ERROR_CANARY_UNDER_WAY,
                None => AIRSSYS_ERROR_INVALID_COMPONENT,
            };
        };
        let version = self.next_version(refuses);
        let status = self.take_over(version);
        if status == AIRSSYS_OK {
            self.advance_to(version);
        }
        status
    }

    pub fn roll_back(&mut self) -> airssys_status_t {
        if self.canary.is_some() {
            return AIRSSYS_ERROR_CANARY_UNDER_WAY;
        }
        let Some(version) = self.earlier.last().copied() else {
            return AIRSSYS_ERROR_INVALID_ARGUMENT;
        };
        let status = self.take_over(version);
        if status == AIRSSYS_OK {
            self.version = version;
            self.earlier.pop();
        }
        status
    }

    pub fn try_out(&mut self, terms: Terms, refuses: bool) -> airssys_status_t {
        if self.canary.is_some() {
            return AIRSSYS_ERROR_CANARY_UNDER_WAY;
        }
        let sum = match self.state {
            State::Stopped => return AIRSSYS_ERROR_COMPONENT_STOPPED,
            State::Failed => return AIRSSYS_ERROR_COMPONENT_FAILED,
            State::Running(_) if refuses => return AIRSSYS_ERROR_RUNTIME,
            State::Running(sum) => sum,
            State::Crashed => 0,
        };
        let version = self.next_version(refuses);
        self.last_number = version.number;
        let (stable, own) = (Tally::default(), Tally::default());
        self.canary = Some(Canary { version, stable, own, terms, owed: 0, sum: Some(sum) });
        self.tell(version, "begun");
        AIRSSYS_OK
    }

    /// The host decides on the canary.
    pub fn decide(&mut self, promote: bool) -> airssys_status_t {
        match (&self.canary, promote) {
            (None, _) => return AIRSSYS_ERROR_INVALID_ARGUMENT,
            (Some(_), true) => self.promote("call"),
            (Some(_), false) => self.abort("call"),
        }
        AIRSSYS_OK
    }

    fn promote(&mut self, reason: &str) {
        let Some(Canary { version, sum, .. }) = self.canary.take() else { return };
        let sum = match self.state {
            // A new instance gets the state of the old version.
            State::Running(sum) if !version.refuses => sum,
            // The canary itself goes on, or a new instance without a state.
            _ => sum.unwrap_or(0),
        };
        (self.state, self.counted) = (State::Running(sum), 0);
        self.advance_to(version);
        self.tell(version, &format!("promoted {reason}"));
    }

    pub fn abort(&mut self, reason: &str) {
        if let Some(canary) = self.canary.take() {
            self.tell(canary.version, &format!("aborted {reason}"));
        }
    }

    fn tell(&mut self, version: Version, change: &str) {
        self.told.push(format!("{} {change}", version.number));
    }
}

impl Canary {
    fn is_next(&self) -> bool {
        self.owed + self.terms.share >= 100
    }

    fn takes_next(&mut self) -> bool {
        let takes = self.is_next();
        self.owed += self.terms.share;
        self.owed -= if takes { 100 } else { 0 };
        takes
    }

    fn verdict(&self) -> Option<&'static str> {
        let Tally { messages, errors } = self.own;
        let Terms { messages: sample, max_error_percent, by_call, .. } = self.terms;
        let fails = |most| errors * 100 > most * messages.max(sample);
        if max_error_percent.is_some_and(fails) {
            return Some("errors");
        }
        (!by_call && messages >= sample).then_some("messages")
    }
}
