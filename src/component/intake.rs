//! Mail for a guest that works it off in one call.

use std::sync::Arc;
use std::task::Poll;

use crate::component::status::Status;
use crate::component::stopwatch::Stopwatch;
use crate::core::error::{CallError, Unfit, WasmError};
use crate::core::id::ComponentId;
use crate::core::message::{Message, MessageView, Outcome, Timestamp};
use crate::messaging::mail::Mail;
use crate::messaging::mailbox::Mailbox;
use crate::runtime::driver::mail::{Coming, HandlerKind, Id, MailSource, Record};
use crate::runtime::driver::small::{self, Shape, SmallMessage, TinyMessage};
use crate::runtime::pace::Pace;
use crate::runtime::ticker::Ticks;
use crate::security::guard::Guard;

/// The longest payload that is worth one more copy of it.
const MAX_PAYLOAD: usize = 4096;

/// The longest content type that is.
const MAX_CONTENT_TYPE: usize = 256;

/// What a handler answered.
pub type Answer = Outcome;

/// Mail that was not handled to its end.
pub struct Unfinished {
    /// The mail.
    pub mail: Mail,
    /// Since when.
    pub watch: Stopwatch,
    /// What the handler answered, if it came to that.
    pub answer: Answer,
}

/// How much may be handled before others get their turn.
pub struct Turn {
    /// So many messages.
    pub most: usize,
    /// Whose turn it is.
    pub pace: Arc<Pace>,
    /// What tells the time.
    pub ticks: Ticks,
}

impl Turn {
    /// Whether more mail, if there is some, is for another turn.
    fn is_over(&self, handled: usize) -> bool {
        handled >= self.most || handled > 0 && self.pace.turn_is_over(&self.ticks)
    }
}

/// What a component's guest is given in one call of its loop. Mail that is lost with it answers for
/// itself.
pub struct Intake {
    mailbox: Arc<Mailbox>,
    status: Arc<Status>,
    host: Arc<ComponentId>,
    guard: Arc<Guard>,
    /// Comes first.
    first: Option<Mail>,
    current: Option<(Mail, Stopwatch)>,
    answer: Answer,
    turn: Turn,
    /// How many have been handled since the last pause.
    handled: usize,
    /// The sender of the last message: many are of the same.
    sender: Option<(Arc<ComponentId>, Id)>,
    payload: Arc<Vec<u8>>,
}

impl Intake {
    /// Gives `first`, and then what is in the mailbox, for a turn without a pause.
    pub fn new(
        mailbox: Arc<Mailbox>,
        status: Arc<Status>,
        host: Arc<ComponentId>,
        guard: Arc<Guard>,
        first: Mail,
        turn: Turn,
    ) -> Self {
        Self {
            mailbox,
            status,
            host,
            guard,
            first: Some(first),
            current: None,
            answer: Ok(None),
            turn,
            handled: 0,
            sender: None,
            payload: Arc::default(),
        }
    }

    /// Whether mail goes this way.
    pub fn takes(mail: &Mail) -> bool {
        mail.message().is_some_and(|message| {
            message.payload.len() <= MAX_PAYLOAD
                && message.content_type.as_ref().is_none_or(|it| it.len() <= MAX_CONTENT_TYPE)
        })
    }

    /// How many messages were handled since the last pause, and what was not.
    pub fn end(self) -> (usize, Option<Unfinished>) {
        let first = self.first.map(|mail| (mail, Stopwatch::start(&self.turn.ticks)));
        let unfinished = self.current.or(first);
        let answer = self.answer;
        let unfinished = unfinished.map(|(mail, watch)| Unfinished { mail, watch, answer });
        (self.handled, unfinished)
    }

    /// The message that is being handled, as the guest may see it.
    fn message(&self) -> Option<MessageView<'_>> {
        Some(self.view(self.current.as_ref()?.0.message()?))
    }

    fn view<'a>(&'a self, message: &'a Message) -> MessageView<'a> {
        let mut view = message.view(&self.host);
        if !self.guard.shows_time() {
            view.accepted = Timestamp::HIDDEN;
        }
        view
    }
}

impl MailSource for Intake {
    fn answer(&mut self, answer: Result<Option<&[u8]>, WasmError>) {
        let wanted =
            matches!(&self.current, Some((Mail::Message(_, reply), _)) if !reply.is_nobody());
        let limit = self.mailbox.options().bounds.max_message;
        self.answer = match answer {
            Ok(Some(reply)) if reply.len() as u64 > limit => {
                Err(CallError::DoesNotFit(Unfit::Reply { bytes: reply.len() as u64, limit }))
            }
            Ok(reply) => Ok(reply.filter(|_| wanted).map(<[u8]>::to_vec)),
            Err(error) => Err(CallError::Guest(error)),
        };
    }

    fn handled(&mut self, fuel: u64, memory_bytes: u64) {
        if self.answer.is_err() {
            return;
        }
        let Some((mail, watch)) = self.current.take() else { return };
        let answer = std::mem::replace(&mut self.answer, Ok(None)).unwrap_or_default();
        self.handled += 1;
        let status = &self.status;
        status.count_handled(true);
        status.count_fuel(fuel);
        status.set_memory(memory_bytes);
        status.count_time(watch.nanos(&self.turn.ticks));
        if let Mail::Message(_, reply) = mail
            && !reply.is_nobody()
        {
            self.mailbox.nearly_done();
            reply.answer(Ok(answer));
        }
    }

    fn poll_next(&mut self) -> Poll<Option<Coming>> {
        if self.answer.is_err() {
            return Poll::Ready(None);
        }
        let mail = match self.first.take() {
            Some(mail) => mail,
            None if self.turn.is_over(self.handled) && self.mailbox.load() > 1 => {
                return Poll::Ready(None);
            }
            None => match self.mailbox.poll_kept(Self::takes) {
                Poll::Ready(Some(mail)) => mail,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    self.handled = 0;
                    return Poll::Pending;
                }
            },
        };
        self.current = Some((mail, Stopwatch::start(&self.turn.ticks)));
        let (handler, message) = match &self.current {
            Some((Mail::Message(message, _), _)) => (HandlerKind::Message, message),
            Some((Mail::Callback(message), _)) => (HandlerKind::Callback, message),
            _ => return Poll::Ready(None),
        };
        let shape = Shape::of(&self.view(message));
        Poll::Ready(Some(Coming { handler, shape }))
    }

    fn take_small(&mut self) -> Option<SmallMessage> {
        small::small(&self.message()?)
    }

    fn take_tiny(&mut self) -> Option<TinyMessage> {
        small::tiny(&self.message()?)
    }

    fn take(&mut self) -> Option<Record> {
        let Self { current, sender, payload, host, guard, .. } = self;
        let message = current.as_ref()?.0.message()?;
        let from = message.sender.as_ref().unwrap_or(host);
        let id = match sender {
            Some((known, parts)) if Arc::ptr_eq(known, from) => parts.clone(),
            _ => {
                let parts = (from.namespace().into(), from.name().into(), from.instance().into());
                sender.insert((Arc::clone(from), parts)).1.clone()
            }
        };
        // The one before was copied into the guest.
        let bytes = Arc::make_mut(payload);
        bytes.clear();
        bytes.extend_from_slice(&message.payload);
        let correlation = message.correlation.map(|id| id.text().as_str().to_owned());
        let reply_to = message.wants_reply.then(|| id.clone());
        let accepted = if guard.shows_time() { message.accepted } else { Timestamp::HIDDEN };
        let time = (accepted.seconds(), accepted.nanoseconds());
        let metadata = (correlation, reply_to, time, message.content_type.clone());
        Some((id, Arc::clone(payload), metadata))
    }
}
