//! The invariants of messages and requests in every order of events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::core::error::CallError;
use crate::core::id::{ComponentId, CorrelationId};
use crate::core::message::{ERROR_CONTENT_TYPE, Message, Outcome};
use crate::core::ports::DeadLetters;
use crate::core::simulation::trace::Trace;
use crate::messaging::simulation::executor::Executor;

/// How late a deadline may expire: deadlines are rounded up to ticks.
const TICK: Duration = Duration::from_millis(1);

/// The state of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Offered,
    Refused,
    Accepted,
    Begun,
    Ended(Ended),
    /// Accepted, but never handled.
    Dead,
}

/// How a message's handling ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With a reply of this size.
    Replied(usize),
    Failed,
    /// The handler dropped it.
    Lost,
}

/// The owner of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requester {
    Host,
    /// A component, by the number of its mailbox.
    Component(usize),
}

#[derive(Debug)]
struct Request {
    of: Requester,
    message: u64,
    deadline: Option<Instant>,
    state: RequestState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestState {
    Open,
    Cancelled,
    Answered,
}

#[derive(Default)]
struct Known {
    messages: Vec<State>,
    requests: Vec<Request>,
    by_message: HashMap<u64, usize>,
    by_correlation: HashMap<CorrelationId, usize>,
    /// The last message that was started, by sender and mailbox.
    last: HashMap<(usize, usize), u64>,
    begun: HashMap<usize, u64>,
    trace: Trace,
}

pub struct Model {
    executor: Arc<Executor>,
    origin: Instant,
    known: Mutex<Known>,
}

impl Model {
    pub fn new(executor: Arc<Executor>) -> Arc<Self> {
        let origin = executor.now();
        Arc::new(Self { executor, origin, known: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Records an event for the trace.
    pub fn trace(&self, what: &'static str, a: u64, b: u64) {
        let at = self.executor.now() - self.origin;
        self.known().trace.note(at, what, a, b);
    }

    /// The last events.
    pub fn last_events(&self) -> String {
        self.known().trace.text()
    }

    /// Registers a message that a sender is about to send. Returns its number.
    pub fn offer(&self, sender: usize) -> u64 {
        let mut known = self.known();
        known.messages.push(State::Offered);
        let message = known.messages.len() as u64 - 1;
        drop(known);
        self.trace("offered by", message, sender as u64);
        message
    }

    fn change(&self, message: u64, from: State, to: State, what: &'static str) {
        self.trace(what, message, 0);
        let state = &mut self.known().messages[message as usize];
        assert_eq!(*state, from, "message {message} is to be {to:?}");
        *state = to;
    }

    pub fn accepted(&self, message: u64) {
        self.change(message, State::Offered, State::Accepted, "accepted");
    }

    pub fn refused(&self, message: u64) {
        self.change(message, State::Offered, State::Refused, "refused");
    }

    /// Called when a message is started. Earlier messages of its sender must have been started
    /// before.
    pub fn begun(&self, mailbox: usize, sender: usize, message: u64) {
        self.change(message, State::Accepted, State::Begun, "begun");
        let mut known = self.known();
        *known.begun.entry(mailbox).or_default() += 1;
        let before = known.last.insert((sender, mailbox), message);
        assert!(
            before.is_none_or(|before| before < message),
            "mailbox {mailbox} hands {message} of sender {sender} over after {before:?}"
        );
    }

    pub fn ended(&self, message: u64, how: Ended) {
        self.change(message, State::Begun, State::Ended(how), "ended");
    }

    /// How many messages of a mailbox were started.
    pub fn begun_of(&self, mailbox: usize) -> u64 {
        self.known().begun.get(&mailbox).copied().unwrap_or_default()
    }

    /// Called when a request was accepted. `correlation` is its id for the component.
    pub fn opened(
        &self,
        of: Requester,
        message: u64,
        deadline: Option<Instant>,
        correlation: CorrelationId,
    ) {
        self.trace("requested", message, 0);
        let mut known = self.known();
        let at = known.requests.len();
        known.requests.push(Request { of, message, deadline, state: RequestState::Open });
        assert!(known.by_message.insert(message, at).is_none());
        assert!(
            known.by_correlation.insert(correlation, at).is_none(),
            "a correlation id is used twice"
        );
    }

    /// Called when a component has cancelled a request.
    pub fn cancelled(&self, correlation: CorrelationId) {
        let mut known = self.known();
        let at = known.by_correlation[&correlation];
        let request = &mut known.requests[at];
        assert_eq!(request.state, RequestState::Open, "{request:?} can not be cancelled");
        request.state = RequestState::Cancelled;
    }

    /// Called when a component gets a callback.
    pub fn called_back(&self, mailbox: usize, callback: &Message) {
        let correlation = callback.correlation.expect("a callback has one");
        let at = self.known().by_correlation[&correlation];
        if callback.content_type.as_deref() != Some(ERROR_CONTENT_TYPE) {
            return self.outcome(at, Requester::Component(mailbox), Ok(callback.payload.len()));
        }
        let error: serde_json::Value = serde_json::from_slice(&callback.payload).unwrap();
        let word = |key: &str| error[key].as_str().unwrap().to_owned();
        let told = Err((word("code"), word("message")));
        self.outcome(at, Requester::Component(mailbox), told);
    }

    /// Called when the host gets the outcome of a request.
    pub fn completed(&self, message: u64, outcome: &Outcome) {
        let at = self.known().by_message[&message];
        let told = match outcome {
            Ok(reply) => Ok(reply.as_ref().map_or(0, Vec::len)),
            Err(error) => Err((error.code().to_owned(), error.to_string())),
        };
        self.outcome(at, Requester::Host, told);
    }

    fn outcome(&self, at: usize, of: Requester, told: Result<usize, (String, String)>) {
        let now = self.executor.now();
        let mut known = self.known();
        let request = &mut known.requests[at];
        let message = request.message;
        let before = std::mem::replace(&mut request.state, RequestState::Answered);
        assert_eq!(before, RequestState::Open, "{request:?} has another outcome: {told:?}");
        assert_eq!(request.of, of, "{request:?} is answered to {of:?}");
        let deadline = request.deadline;
        let state = known.messages[message as usize];
        drop(known);
        self.trace("outcome of", message, u64::from(told.is_ok()));
        self.fits(message, state, &told);
        let timed_out = matches!(&told, Err((code, _)) if code == "correlation-timeout");
        if timed_out {
            let deadline = deadline.expect("a deadline that passes");
            assert!(now >= deadline, "message {message} has timed out too early");
        }
        // A component's callback may wait in its mailbox.
        if let (Requester::Host, Some(deadline)) = (of, deadline) {
            assert!(
                now <= deadline + TICK,
                "the outcome of {message} is {:?} late",
                now - deadline
            );
        }
    }

    /// Checks that an outcome fits its message.
    fn fits(&self, message: u64, state: State, told: &Result<usize, (String, String)>) {
        let error = told.as_ref().err().map(|(code, text)| (code.as_str(), text.as_str()));
        let fits = match (error, state) {
            (None, State::Ended(Ended::Replied(bytes))) => told == &Ok(bytes),
            // The callback was too large.
            (Some(("resource-limit-exceeded", _)), State::Ended(Ended::Replied(_))) => true,
            (Some(("runtime-error", _)), State::Ended(Ended::Failed)) => true,
            (Some(("delivery-failed", text)), State::Ended(Ended::Lost)) => {
                text.contains("stopped")
            }
            (Some(("delivery-failed", text)), State::Dead) => {
                ["was stopped", "has failed", "cancelled"].iter().any(|why| text.contains(why))
            }
            (Some(("delivery-failed", text)), _) => text.contains("cancelled"),
            (Some(("queue-full" | "target-not-found", _)), State::Dead) => true,
            (Some(("correlation-timeout", text)), State::Dead) => text.contains("never started"),
            (Some(("correlation-timeout", text)), State::Begun | State::Ended(_)) => {
                !text.contains("never started")
            }
            _ => false,
        };
        assert!(fits, "message {message} is {state:?}, its requester is told {told:?}");
    }

    /// Checks the outcome of a call.
    pub fn returned(&self, message: u64, outcome: &Outcome) {
        let state = self.known().messages[message as usize];
        self.trace("returned", message, 0);
        let told = match outcome {
            Ok(reply) => Ok(reply.as_ref().map_or(0, Vec::len)),
            Err(CallError::CallerTimeout { unstarted, .. }) => {
                let fits = match state {
                    State::Dead => unstarted.is_some(),
                    State::Begun | State::Ended(_) => unstarted.is_none(),
                    _ => false,
                };
                assert!(fits, "message {message} is {state:?}, its caller is told {outcome:?}");
                return;
            }
            Err(error) => Err((error.code().to_owned(), error.to_string())),
        };
        self.fits(message, state, &told);
    }

    /// Checks that all accepted messages have ended, and all requests except those of `closed`
    /// mailboxes.
    pub fn check_ended(&self, closed: &[usize]) {
        let known = self.known();
        for (message, state) in known.messages.iter().enumerate() {
            let ended = matches!(state, State::Refused | State::Ended(_) | State::Dead);
            assert!(ended, "message {message} is still {state:?}");
        }
        for request in known.requests.iter().filter(|it| it.state == RequestState::Open) {
            let gone =
                matches!(request.of, Requester::Component(mailbox) if closed.contains(&mailbox));
            assert!(gone, "{request:?} has no outcome");
        }
    }

    /// The number of messages and of requests.
    pub fn size(&self) -> (usize, usize) {
        let known = self.known();
        (known.messages.len(), known.requests.len())
    }
}

impl DeadLetters for Model {
    fn take(&self, _: &Arc<ComponentId>, message: Message, _: &CallError) {
        let message = number(&message);
        self.change(message, State::Accepted, State::Dead, "dead");
    }
}

/// The number and the sender that a payload contains.
pub fn number(message: &Message) -> u64 {
    read(&message.payload, 0)
}

/// The sender.
pub fn sender(message: &Message) -> usize {
    read(&message.payload, 8) as usize
}

fn read(payload: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(payload[at..at + 8].try_into().unwrap())
}

/// A payload that contains both, and `bytes` more bytes.
pub fn payload(message: u64, sender: usize, bytes: usize) -> Vec<u8> {
    let mut payload = [message.to_le_bytes(), (sender as u64).to_le_bytes()].concat();
    payload.resize(16 + bytes, 0);
    payload
}
